"""What is deleted is erased: no file of any node has the words any more, once the segments are sealed; and all that
reads a log goes on: pages, a restart, a node that joins, a backup and what is made of it."""
import os
import re
import shutil

import pytest

from client import read_history
from cluster import wait_for
from test_backup import lose
from test_catchup import catches_up, write
from test_delete import expect, fresh_history

SECRET = "the safe opens with"
KEPT = "nothing to hide here"


@pytest.fixture
def talk(make_cluster, make_person):
    cluster = make_cluster(log={"segment_mb": 1}, limits={"posts_per_s": 1000000})
    alice = make_person(cluster, "alice", options=["--wait", "60"])
    assert alice.do("create", room="#ops")["status"] == "committed"
    return cluster, alice


def holds(folder, words):
    """The files under the folder that have these words in them."""
    found = []
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                with open(os.path.join(path, name), "rb") as file:
                    if words.encode() in file.read():
                        found.append(name)
            except FileNotFoundError:
                pass  # renamed or dropped meanwhile
    return found


def say_and_delete(person, count):
    """Posts of all lengths, a secret one and an open one in turn; the secret ones are deleted. Their seqs."""
    keys = []
    for number in range(count):
        filler = "." * (number * 397 % 4000)
        keys.append(person.send("#ops", "%s %d%s" % (SECRET, number, filler)))
        keys.append(person.send("#ops", "%s %d%s" % (KEPT, number, filler)))
    first = person.wait_final(*keys, timeout=60)["seq"] - len(keys) + 1
    deleted = set(range(first, first + len(keys), 2))
    deletes = [person.op("delete", room="#ops", seq=seq) for seq in deleted]
    person.wait_final(*deletes, timeout=60)
    return deleted


def seal(cluster, person, nodes):
    """Goes on writing until nobody has the words any more."""
    def gone():
        write(person, 100, "filler")
        return not any(holds(cluster.data(node), SECRET) for node in nodes)
    wait_for("the words to be gone from every node", gone, 120, every=0.01)
    for node in nodes:
        assert holds(cluster.data(node), KEPT), "this would find them"


def erased(cluster, node):
    """What ctl verify says of a stopped node."""
    return int(re.search(r"all good: .* entries, (\d+) posts erased",
                         cluster.ctl("verify", str(node), status=0).stdout)[1])


def test_no_file_has_the_words_and_all_goes_on(talk, make_person):
    cluster, alice = talk
    deleted = say_and_delete(alice, 40)
    assert any(holds(cluster.data(node), SECRET) for node in cluster.ids), "they were there"
    seal(cluster, alice, cluster.ids)
    for node in cluster.ids:
        assert sum(int(n) for n in re.findall(r"event=scrub posts=(\d+) unreadable=0 refused=0",
                                              cluster.log(node))) == len(deleted)
    expect((alice,), "#ops", deleted)
    # Across a start, and as those see it who look at the files.
    cluster.kill(*cluster.ids)
    for node in cluster.ids:
        assert erased(cluster, node) == len(deleted)
    dumped = cluster.ctl("dump", "1", status=0).stdout
    assert dumped.count('"erased":true') == len(deleted) and SECRET not in dumped
    cluster.start_all()
    cluster.wait_healthy()
    expect((alice,), "#ops", deleted)
    # A node that lost its disk copies the segments.
    node = cluster.follower()
    cluster.kill(node)
    shutil.rmtree(cluster.data(node))
    write(alice, 3000, "away")
    cluster.start(node)
    catches_up(cluster, node, alice)
    assert not holds(cluster.data(node), SECRET)
    bob = make_person(cluster, "bob", nodes=[node])
    assert bob.do("join", room="#ops")["status"] == "committed"
    expect((bob,), "#ops", deleted)
    # A backup, and the cluster that is made of it.
    assert "every entry is proven" in cluster.ctl("backup", "safe", status=0).stdout
    assert not holds(os.path.join(cluster.folder, "safe"), SECRET)
    before = fresh_history(alice, "#ops")
    lose(cluster, *cluster.ids)
    cluster.ctl("restore", "safe", status=0)
    cluster.start_all()
    cluster.wait_healthy(60)
    assert read_history(alice, "#ops") == before
    assert alice.quit()[0] == 0 and bob.quit()[0] == 0
    for node in cluster.ids:
        assert cluster.stop(node) == 0
        assert erased(cluster, node) == len(deleted)


def test_killed_again_and_again(talk):
    cluster, alice = talk
    deleted = set()
    for _ in range(4):
        deleted |= say_and_delete(alice, 60)
        write(alice, 400, "filler")
        cluster.kill(*cluster.ids)
        cluster.start_all()
        cluster.wait_healthy_enough()
    seal(cluster, alice, cluster.ids)
    expect((alice,), "#ops", deleted)
    assert alice.quit()[0] == 0
    for node in cluster.ids:
        assert cluster.stop(node) == 0
        assert erased(cluster, node) == len(deleted)


def test_a_backup_of_before_is_erased_once_it_is_a_cluster_again(talk):
    """What a backup holds is not the cluster's to erase; what is restored from it is."""
    cluster, alice = talk
    assert alice.wait_final(alice.send("#ops", SECRET))["seq"] == 1
    cluster.ctl("backup", "safe", status=0)
    assert alice.do("delete", room="#ops", seq=1)["status"] == "committed"
    alice.wait_final(alice.send("#ops", KEPT))
    seal(cluster, alice, cluster.ids)
    cluster.ctl("backup", "safe", status=0)
    assert holds(os.path.join(cluster.folder, "safe"), SECRET)
    lose(cluster, *cluster.ids)
    cluster.ctl("restore", "safe", status=0)
    cluster.start_all()
    cluster.wait_healthy(60)
    expect((alice,), "#ops", {1})
    seal(cluster, alice, cluster.ids)
    expect((alice,), "#ops", {1})
