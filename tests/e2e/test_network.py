"""Posts flow while the network between the hosts is cut in all the ways it can be: each node on a
host of its own (a network namespace), the links cut by dropping packets, so that nobody is told.

What is sent while a link is down must be committed while it is down.
"""
import time

import pytest

from client import Oracle
from cluster import FULL, wait_for
from hosts import CLIENTS, Network, why_not
from test_faults import Talk, committed_while_down, judge

RATE = 30
ROUNDS = 6 if FULL else 1
FLAPS = 60 if FULL else 6


@pytest.fixture
def spread(own_disks, make_cluster, make_person):
    """A cluster over so many hosts, and three people on one of their own."""
    why = why_not()
    if why:
        pytest.skip(why)

    def make(nodes=3):
        network = Network(nodes)
        own_disks.append(network)
        cluster = make_cluster(nodes=nodes, network=network, limits={"posts_per_s": 10000})
        people = []
        for number, user in enumerate(("alice", "bob", "carol")):
            turned = cluster.ids[number:] + cluster.ids[:number]
            people.append(make_person(cluster, user, nodes=turned))
        assert people[0].do("create", room="#ops")["status"] == "committed"
        for person in people[1:]:
            assert person.do("join", room="#ops")["status"] == "committed"
        return network, cluster, people
    return make


def other_than(cluster, node):
    return next(one for one in cluster.ids if one != node)


MOVES = ["isolate-leader", "leader-deaf", "leader-mute"]  # those that need another leader
STAYS = ["one-link-of-the-leader"] + (["isolate-follower", "follower-deaf"] if FULL else [])


@pytest.mark.parametrize("fault", MOVES + STAYS)
def test_posts_flow_through_a_partition(fault, spread):
    network, cluster, people = spread()
    talk = Talk(people, "#ops", RATE)
    for _ in range(ROUNDS):
        cluster.wait_healthy_enough()
        leader = cluster.leader()
        other = other_than(cluster, leader)
        since = time.monotonic()
        if fault == "isolate-leader":
            network.isolate(leader)
        elif fault == "isolate-follower":
            network.isolate(other)
        elif fault == "leader-deaf":
            network.isolate(leader, is_heard=True)
        elif fault == "leader-mute":
            network.isolate(leader, hears=True)
        elif fault == "follower-deaf":
            network.isolate(other, is_heard=True)
        else:
            network.cut_link(leader, other)
        committed_while_down(talk, since)
        if fault in MOVES:
            assert cluster.leader() != leader
        network.heal()
    judge(cluster, people, talk)


def test_a_ring_of_majorities_agrees_on_one_leader(spread):
    network, cluster, people = spread(5)
    talk = Talk(people, "#ops", RATE)
    cluster.wait_healthy_enough()
    since = time.monotonic()
    network.ring()
    committed_while_down(talk, since)
    # Those that do not hear the leader keep asking, and disturb nobody.
    term = cluster.status()["term"]
    time.sleep(3)  # many elections, if they did
    assert cluster.status()["term"] <= term + 1
    network.heal()
    judge(cluster, people, talk)


def test_a_flapping_link_loses_nothing(spread):
    network, cluster, people = spread()
    talk = Talk(people, "#ops", RATE)
    for number in range(FLAPS):
        node = cluster.ids[number % 3]
        network.isolate(node)
        time.sleep(0.3)
        network.heal()
        time.sleep(0.3)
    judge(cluster, people, talk)


def test_reset_connections_are_made_again(spread):
    network, cluster, people = spread()
    talk = Talk(people, "#ops", RATE)
    ended = 0
    for number in range(FLAPS):
        since = time.monotonic()
        ended += network.reset(cluster.ids[number % 3])
        if not ended:
            talk.end()
            pytest.skip("ss -K ends no connection here (needs CONFIG_INET_DIAG_DESTROY)")
        posts = talk.posts()
        wait_for("posts after the reset", lambda: talk.posts() > posts + 5)
        for person, key in talk.sent_between(since, time.monotonic() - 0.05):
            person.wait_final(key)
    print("%d connections reset" % ended)
    judge(cluster, people, talk)


def test_a_healed_minority_agrees(spread):
    """Each host is cut off from the others: nothing is committed, what was can be read. Healed,
    everything that waited is committed."""
    network, cluster, people = spread()
    keys = [people[0].send("#ops", "before %d" % n) for n in range(20)]
    people[0].wait_final(*keys)
    hosts = [CLIENTS, *cluster.ids]
    network.set_blocked({(a, b) for a in hosts for b in hosts
                         if a != b and {a, b} != {CLIENTS, 1}})  # node 1 is all that they reach
    waiting = [person.send("#ops", "%s waits %d" % (person.user, n))
               for person in people for n in range(5)]
    wait_for("no quorum", lambda: cluster.ctl("status").returncode == 3)
    since = time.monotonic()
    while time.monotonic() < since + 2.5:
        assert not any(person.final(key) for person in people for key in waiting)
        time.sleep(0.1)
    page = people[0].ask("history", room="#ops")
    assert [m["text"] for m in page["messages"]] == ["before %d" % n for n in range(20)]
    network.heal()
    for person in people:
        person.wait_final(*person.sent)
        assert person.quit() == (0, "")
    Oracle(cluster, people, ["#ops"]).check()
