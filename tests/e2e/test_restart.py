"""All nodes stopped and started in any order; a node that lost its folder; nodes that come late."""
import itertools
import os
import shutil

import pytest

from client import Oracle, read_history
from cluster import wait_for


@pytest.fixture
def talk(make_cluster, make_person):
    cluster = make_cluster()
    alice = make_person(cluster, "alice", nodes=[1, 2, 3], options=["--wait", "5"])
    assert alice.do("create", room="#ops")["status"] == "committed"
    alice.wait_final(*[alice.send("#ops", "before %d" % number) for number in range(300)])
    return cluster, alice


def test_restart_in_any_order_keeps_everything(talk):
    cluster, alice = talk
    for number, order in enumerate(itertools.permutations(cluster.ids)):
        history = read_history(alice, "#ops")
        if number % 2:
            cluster.kill(*cluster.ids)
        else:
            for node in order:
                assert cluster.stop(node) == 0
        for node in order[::-1]:
            cluster.start(node)
        ack = alice.wait_final(alice.send("#ops", "after %d" % number))
        assert ack["seq"] == len(history) + 1
        assert read_history(alice, "#ops")[:-1] == history
    assert alice.quit() == (0, "")
    Oracle(cluster, [alice], ["#ops"]).check()


def test_nothing_is_lost_when_everything_is_stopped_in_mid_stream(talk):
    cluster, alice = talk
    keys = [alice.send("#ops", "in flight %d" % number) for number in range(2000)]
    alice.wait("some acks", lambda: alice.final(keys[100]))
    cluster.kill(*cluster.ids)
    status, errors = alice.quit()
    open_ones = [key for key in keys if not alice.final(key)]
    assert status == (3 if open_ones else 0)
    assert ("%d not confirmed" % len(open_ones) in errors) == bool(open_ones)
    acknowledged = {k: alice.final(k)["seq"] for k in keys if alice.final(k)}
    cluster.start_all()
    alice.start()
    alice.settle("#ops")    # what the client had not read when it ended is sent again
    assert all(alice.final(key)["seq"] == seq for key, seq in acknowledged.items())
    assert alice.quit() == (0, "")
    Oracle(cluster, [alice], ["#ops"]).check()


def identity(cluster, node):
    with open(os.path.join(cluster.data(node), "identity"), "rb") as data:
        return data.read()


@pytest.mark.parametrize("who", ["leader", "follower"])
def test_a_node_that_lost_its_folder_joins_as_somebody_else(who, talk, make_person):
    cluster, alice = talk
    node = cluster.leader() if who == "leader" else cluster.follower()
    before = identity(cluster, node)
    cluster.kill(node)
    shutil.rmtree(cluster.data(node))
    alice.wait_final(*[alice.send("#ops", "meanwhile %d" % number) for number in range(100)])
    cluster.start(node)
    wait_for("the node to have caught up",
             lambda: cluster.node_status(node)["applied"] == cluster.status()["commit"])
    assert identity(cluster, node) != before
    bob = make_person(cluster, "bob", nodes=[node])
    assert bob.do("join", room="#ops")["status"] == "committed"
    assert [m["text"] for m in read_history(bob, "#ops")] == (
        ["before %d" % number for number in range(300)] +
        ["meanwhile %d" % number for number in range(100)])
    # What it says goes through, and it never led under its former name.
    assert bob.wait_final(bob.send("#ops", "from the new one"))["status"] == "committed"
    assert cluster.leader() != node
    assert alice.quit() == (0, "") and bob.quit() == (0, "")
    Oracle(cluster, [alice, bob], ["#ops"]).check()


def test_a_node_that_comes_late_catches_up(make_cluster, make_person):
    cluster = make_cluster()
    node = cluster.follower()
    cluster.kill(node)
    alice = make_person(cluster, "alice", nodes=[n for n in cluster.ids if n != node])
    alice.do("create", room="#ops")
    alice.wait_final(*[alice.send("#ops", "away %d " % n + "x" * 200) for n in range(1500)])
    cluster.start(node)
    wait_for("the node to have caught up",
             lambda: cluster.node_status(node)["applied"] == cluster.status()["commit"])
    assert alice.quit() == (0, "")
    Oracle(cluster, [alice], ["#ops"]).check()


def test_the_leader_hands_over_when_it_is_asked_to_stop(talk):
    cluster, alice = talk
    leader = cluster.leader()
    term = cluster.status()["term"]
    assert cluster.stop(leader) == 0
    others = [node for node in cluster.ids if node != leader]
    assert cluster.leader() in others and cluster.status()["term"] == term + 1
    assert sum(cluster.log(node).count("level=alarm") for node in cluster.ids) == 0
    assert alice.wait_final(alice.send("#ops", "afterwards"))["status"] == "committed"
