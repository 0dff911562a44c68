"""A node that is many segments behind copies them from another one, while commits go on.

Segments are small here (1 MiB), so that 24 MB are far behind, whatever of it a leader has sent before
it hears of the copying (6 MiB at most) and however large the newest four segments are (2 MiB each, when
batches are large); FULL=1 is away for a million posts, as the promise says.
"""
import os
import re
import shutil
import signal

import pytest

from client import Oracle, read_history
from cluster import FULL, wait_for

POSTS = 1000000 if FULL else 8000
LONG = "x" * 3000
TEXT = "x" * 100 if FULL else LONG
WAIT = 1800 if FULL else 120


@pytest.fixture
def cluster(make_cluster):
    return make_cluster(log={"segment_mb": 1}, limits={"posts_per_s": 1000000})


def write(person, posts, what, text=LONG):
    """So many posts, a few hundred of them under way at a time."""
    for first in range(0, posts, 500):
        person.wait_final(*[person.send("#ops", "%s %d %s" % (what, n, text))
                            for n in range(first, min(first + 500, posts))], timeout=WAIT)


def installed(cluster, node):
    """Up to where copied logs were put in place at the node's starts."""
    return [int(n) for n in re.findall(r"event=start .*installed=([1-9]\d*)", cluster.log(node))]


def catches_up(cluster, node, writer):
    """The node catches up by copying, in the same process, while others go on writing."""
    pid = cluster.pid(node)
    keys = []

    def copied():
        keys.append(writer.send("#ops", "meanwhile %d" % len(keys)))
        return installed(cluster, node)
    wait_for("the node to have copied", copied, WAIT, every=0.05)
    writer.wait_final(*keys, timeout=WAIT)
    wait_for("the node to have caught up",
             lambda: cluster.node_status(node)["applied"] == cluster.status()["commit"], WAIT)
    assert cluster.is_running(node) and cluster.pid(node) == pid
    assert "copy_refused" not in cluster.log(node)


@pytest.mark.parametrize("wiped", [False, True], ids=["behind", "wiped"])
def test_a_node_far_behind_copies_while_commits_go_on(wiped, cluster, make_person):
    node = cluster.follower()
    others = [n for n in cluster.ids if n != node]
    alice = make_person(cluster, "alice", nodes=others)
    assert alice.do("create", room="#ops")["status"] == "committed"
    write(alice, 50, "before")
    cluster.kill(node)
    if wiped:
        shutil.rmtree(cluster.data(node))
    write(alice, POSTS, "away", TEXT)
    cluster.start(node)
    catches_up(cluster, node, alice)
    bob = make_person(cluster, "bob", nodes=[node])
    assert bob.do("join", room="#ops")["status"] == "committed"
    assert bob.wait_final(bob.send("#ops", "from there"))["status"] == "committed"
    if not FULL:
        assert read_history(bob, "#ops") == read_history(alice, "#ops")
    # What was copied is its own now: it comes back from it alone, and proves it.
    cluster.kill(node)
    cluster.ctl("verify", str(node), status=0)
    cluster.start(node)
    cluster.wait_healthy(WAIT)
    assert alice.quit()[0] == 0 and bob.quit()[0] == 0
    if not FULL:
        Oracle(cluster, [alice, bob], ["#ops"]).check()


def test_copying_survives_deaths_on_both_sides(cluster, make_person):
    node = cluster.follower()
    others = [n for n in cluster.ids if n != node]
    alice = make_person(cluster, "alice", nodes=others, options=["--wait", "60"])
    assert alice.do("create", room="#ops")["status"] == "committed"
    cluster.kill(node)
    write(alice, 8000, "away")
    cluster.start(node)
    for _ in range(5):
        wait_for("copying to go on",
                 lambda: "event=copy_" in cluster.log(node) or installed(cluster, node), WAIT)
        cluster.kill(node)
        cluster.start(node)
    source = next(n for n in others if n != cluster.leader())
    cluster.kill(source)
    cluster.start(source)
    catches_up(cluster, node, alice)
    assert alice.quit() == (0, "")
    Oracle(cluster, [alice], ["#ops"]).check()


def test_sigterm_during_copying_ends_it(cluster, make_person):
    node = cluster.follower()
    alice = make_person(cluster, "alice", nodes=[n for n in cluster.ids if n != node])
    assert alice.do("create", room="#ops")["status"] == "committed"
    cluster.kill(node)
    write(alice, 8000, "away")
    cluster.start(node)
    wait_for("copying", lambda: "event=copy_begun" in cluster.log(node), WAIT)
    cluster.signal(node, signal.SIGTERM)
    assert cluster.processes[node].wait(30) == 0
    assert os.path.exists(os.path.join(cluster.data(node), "vote"))
    cluster.start(node)
    wait_for("the node to have caught up",
             lambda: cluster.node_status(node)["applied"] == cluster.status()["commit"], WAIT)
    assert alice.quit() == (0, "")
