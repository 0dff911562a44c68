"""Clusters that drop old history ([log] retain_days): a backup that begins late, and coming back from
it, or from a survivor. Days pass by the nodes' clocks."""
import os
import re

import pytest

from client import read_history
from cluster import wait_for
from test_backup import lose
from test_catchup import write
from test_clocks import SKEW, Clocks, why_no_skew

DAY_S = 86400


@pytest.fixture
def late(make_cluster, make_person):
    """The cluster, three days later: what was written first is dropped on every node."""
    why = why_no_skew()
    if why:
        pytest.skip(why)
    cluster = make_cluster(form=False, log={"segment_mb": 1, "retain_days": 1},
                           limits={"posts_per_s": 1000000})
    cluster.ctl("init", status=0)
    clocks = Clocks(cluster)
    for node in cluster.ids:
        cluster.start(node, before=[SKEW, clocks.file(node)])
    cluster.ctl("form", "--wait", "30", status=0)
    alice = make_person(cluster, "alice")
    assert alice.do("create", room="#ops")["status"] == "committed"
    write(alice, 4000, "old")
    last_old = cluster.status()["commit"]
    for node in cluster.ids:
        clocks.set(node, 3 * DAY_S)

    def all_dropped(node):
        """Only the segment that holds the last of it is left: nothing more goes while a test looks."""
        log = os.path.join(cluster.folder, "data", str(node), "log")
        firsts = sorted(int(name[:-4]) for name in os.listdir(log)
                        if re.fullmatch(r"[0-9]{20}\.seg", name))
        return len(firsts) > 1 and firsts[0] > 1 and firsts[1] > last_old

    def dropped():
        alice.wait_final(*[alice.send("#ops", "new %d %s" % (n, "y" * 3000)) for n in range(400)],
                         timeout=60)
        return all(all_dropped(node) for node in cluster.ids)
    wait_for("old history to be dropped everywhere", dropped, 120, every=0.01)
    return cluster, alice


def begins_at(out):
    return int(re.search(r"begins at index (\d+)", out)[1])


def test_a_backup_that_begins_late_brings_a_cluster_back(late, make_person):
    cluster, alice = late
    first = cluster.ctl("backup", "safe", status=0).stdout
    assert begins_at(first) > 1000 and "every entry is proven" in first
    assert not os.path.exists(os.path.join(cluster.folder, "safe.new"))
    alice.wait_final(*[alice.send("#ops", "more %d" % n) for n in range(100)], timeout=60)
    second = cluster.ctl("backup", "safe", status=0).stdout
    assert begins_at(second) == begins_at(first)
    before = read_history(alice, "#ops")
    assert before[0]["seq"] > 1, "the beginning is gone"
    lose(cluster, *cluster.ids)
    cluster.ctl("restore", "safe", status=0)
    cluster.start_all()
    cluster.wait_healthy(60)
    after = read_history(alice, "#ops")
    kept = {message["seq"]: message for message in after}
    assert all(kept[m["seq"]] == m for m in before if m["seq"] >= after[0]["seq"])
    assert after[-1] == before[-1] and after[0]["seq"] <= before[-100]["seq"]
    ack = alice.wait_final(alice.send("#ops", "second life"), timeout=60)
    assert ack["status"] == "committed" and ack["seq"] == before[-1]["seq"] + 1
    # Each node has it for itself, and proves it.
    assert alice.quit()[0] == 0
    for node in cluster.ids:
        assert cluster.stop(node) == 0
    cluster.ctl("verify", status=0)
    # What is restored can be backed up in its turn.
    cluster.start_all()
    assert begins_at(cluster.ctl("backup", "again", status=0).stdout) == begins_at(first)


def test_an_interrupted_beginning_is_done_again(late):
    cluster, _ = late
    os.makedirs(os.path.join(cluster.folder, "safe.new", "log"))  # what a killed one may leave
    os.mkdir(os.path.join(cluster.folder, "safe"))
    assert "every entry is proven" in cluster.ctl("backup", "safe", status=0).stdout
    os.mkdir(os.path.join(cluster.folder, "mine"))
    open(os.path.join(cluster.folder, "mine", "letter.txt"), "w").close()
    assert "holds other files" in cluster.ctl("backup", "mine", status=1).stderr
    assert os.listdir(os.path.join(cluster.folder, "mine")) == ["letter.txt"]
    # Somebody's folder that has the name of what is in the making is left alone, too.
    os.rename(os.path.join(cluster.folder, "mine"), os.path.join(cluster.folder, "other.new"))
    assert "is in the way" in cluster.ctl("backup", "other/", status=1).stderr
    assert os.listdir(os.path.join(cluster.folder, "other.new")) == ["letter.txt"]
    assert "every entry is proven" in cluster.ctl("backup", "third//", status=0).stdout


def test_recover_from_a_survivor_whose_log_begins_late(late, make_person):
    cluster, alice = late
    before = read_history(alice, "#ops")
    survivor = cluster.follower()
    wait_for("the survivor to have it all",
             lambda: cluster.node_status(survivor)["applied"] == cluster.status()["commit"])
    others = [node for node in cluster.ids if node != survivor]
    cluster.kill(survivor)
    lose(cluster, *others)
    cluster.ctl("recover", str(survivor), "--yes", status=0)
    for node in cluster.ids:
        cluster.start(node)
    cluster.wait_healthy(60)
    ack = alice.wait_final(alice.send("#ops", "alone"), timeout=60)
    assert ack["seq"] == before[-1]["seq"] + 1
    after = read_history(alice, "#ops")
    assert after[-2] == before[-1]
