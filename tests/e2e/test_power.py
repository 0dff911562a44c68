"""Power cuts under real nodes on real file systems: posts flow, the power goes in the middle of it,
the file system is mounted again as the cut left it, the node starts, and whatever was acknowledged
must be there.

A node alone has nobody to learn from what it lost: each of its acks stands for its own disk. The
three of a cluster lose their power at once: each ack stands for two of three disks. And one of
three: the others go on, and must agree with it when it comes back.

POWER_CYCLES=n: so many cuts of each kind on each file system (FULL=1: 500).
"""
import os
import random
import time

import pytest

from client import Oracle, Stale, read_history
from cluster import FULL, PATIENCE, wait_for
from disks import LoopDisk, why_not
from test_faults import Talk

CYCLES = int(os.environ.get("POWER_CYCLES") or (500 if FULL else 4))
PEOPLE = 2
LOOK_EACH = 50  # cycles between two looks at the whole history


class Hosts:
    """A cluster whose nodes each have a disk of their own, under their data folder."""

    def __init__(self, make_cluster, disks, kind, nodes):
        # Small segments: a cut may fall into any step of sealing one and beginning the next.
        self.cluster = make_cluster(nodes=nodes, form=False, log={"segment_mb": 1},
                                    limits={"posts_per_s": 100000}, client={"retry_ms": 50})
        self.cluster.ctl("init", status=0)
        self.disks = {}
        for node in self.cluster.ids:
            disk = LoopDisk(self.cluster.data(node), kind)
            disks.append(disk)
            self.disks[node] = disk.mount()
        self.cluster.form()

    def cut(self, nodes):
        for node in nodes:
            self.disks[node].cut()
        self.cluster.kill(*nodes)  # a process does not outlive its host
        for node in nodes:
            self.disks[node].unmount()

    def power_on(self, nodes):
        for node in nodes:
            self.disks[node].mount()
            self.cluster.start(node, settled=False)
        for node in nodes:
            wait_for("node %d to listen" % node,
                     lambda: self.cluster.listens(node) or self.cluster.ended(node))
            assert self.cluster.is_running(node), self.cluster.log(node)[-2000:]


@pytest.fixture
def hosts(own_disks, make_cluster):
    def make(kind, nodes):
        why = why_not(kind)
        if why:
            pytest.skip(why)
        return Hosts(make_cluster, own_disks, kind, nodes)
    return make


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
@pytest.mark.parametrize("who", ["alone", "all-three", "one-of-three"])
def test_nothing_acknowledged_is_lost_when_the_power_goes(who, kind, hosts, make_person):
    count = 1 if who == "alone" else 3
    host = hosts(kind, count)
    cluster = host.cluster
    seed = int(os.environ.get("SEED") or random.SystemRandom().randrange(1 << 32))
    print("SEED=%d" % seed)
    choose = random.Random(seed)
    people = [make_person(cluster, "user%d" % n) for n in range(PEOPLE)]
    assert people[0].do("create", room="#ops")["status"] == "committed"
    for person in people[1:]:
        assert person.do("join", room="#ops")["status"] == "committed"
    talk = Talk(people, "#ops", rate=20, longest=3000)  # segments fill up, too
    oracle = Oracle(cluster, people, ["#ops"])
    for cycle in range(1, CYCLES + 1):
        # Something is acknowledged in each cycle, and the cut comes wherever that is.
        enough = [person.finals() + 5 for person in people]
        for person, wanted in zip(people, enough):
            person.wait("acks", lambda: person.finals() >= wanted)
        time.sleep(choose.uniform(0, 0.1))
        nodes = [choose.choice(cluster.ids)] if who == "one-of-three" else cluster.ids
        host.cut(nodes)
        host.power_on(nodes)
        if cycle % LOOK_EACH == 0:
            print("%d cycles, %d posts" % (cycle, talk.posts()), flush=True)
            look(people[0])
    talk.end()
    for person in people:
        person.wait_final(*person.sent, timeout=2 * PATIENCE)
    for person in people:
        assert person.quit() == (0, "")
    history = oracle.check()["#ops"]
    assert len(history) == sum(len(person.sent) for person in people)
    for node in cluster.ids:
        assert cluster.log(node).count("event=start") >= (CYCLES + 1 if who != "one-of-three" else 1)
        assert cluster.stop(node) == 0
        # Every entry is whole and follows the one before, on the disk itself.
        cluster.ctl("verify", str(node), status=0, timeout=300)
    print("%s, %s: %d power cuts, %d posts, 0 lost, 0 doubled" % (who, kind, CYCLES, len(history)))


def look(person):
    """All that this person was acknowledged up to now is where the ack said. (A node that has just
    started may be behind, but then it says so.)"""
    acks = {key: person.final(key) for key in list(person.sent)}

    def whole():
        try:
            return read_history(person, "#ops", stale_ok=False)
        except Stale:
            return None
    places = {message["seq"]: message for message in wait_for("a history that is not stale", whole)}
    for key, ack in acks.items():
        if ack:
            assert ack["status"] == "committed", ack
            message = places.get(ack["seq"])
            assert message and message["uid"] == ack["uid"], ("acknowledged and lost", key, ack)
