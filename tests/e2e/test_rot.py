"""Bits that flip at rest under real nodes: found, fetched from the others, put back; nothing lost."""
import os
import random
import zlib

import pytest

from client import Oracle
from cluster import FULL, wait_for

FLIPS = 1000 if FULL else 60
ROUND = 20  # flips between two looks
TAIL_NODE = 2  # what a node votes by rots on a minority only, and here it is this one


def files_of(cluster, node):
    """Files that hold something, with how much of each: behind a log's end are zeros."""
    found = []
    for folder, _, names in os.walk(cluster.data(node)):
        for name in names:
            path = os.path.join(folder, name)
            if name == "lock" or name.startswith("spare") or name.endswith(".tmp"):
                continue
            try:
                with open(path, "rb") as file:
                    size = len(file.read().rstrip(b"\0"))
            except FileNotFoundError:
                continue
            if size:
                found.append((path, size))
    return found


def may_rot(cluster, node, path):
    """Of three nodes one at most, for each file; and the newest segment's is TAIL_NODE."""
    name = os.path.basename(path)
    segments = sorted(n for n in os.listdir(os.path.join(cluster.data(node), "log"))
                      if n.endswith(".seg"))
    if name in ("vote", "identity") or name in segments[-2:]:
        return node == TAIL_NODE
    return zlib.crc32(name.encode()) % 3 + 1 == node


def flip(path, offset, bit):
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 1 << bit]))


def flip_some(cluster, dice, count, nodes):
    done = 0
    while done < count:
        node = dice.choice(nodes)
        choices = [f for f in files_of(cluster, node) if may_rot(cluster, node, f[0])]
        if not choices:
            continue
        path, size = dice.choice(choices)
        try:
            flip(path, dice.randrange(size), dice.randrange(8))
        except (FileNotFoundError, IndexError):
            continue  # a checkpoint that was dropped meanwhile
        done += 1


@pytest.fixture
def talk(make_cluster, make_person):
    cluster = make_cluster(log={"segment_mb": 1})
    people = [make_person(cluster, "alice", nodes=[1, 2, 3], options=["--wait", "5"])]
    assert people[0].do("create", room="#ops")["status"] == "committed"
    people[0].wait_final(*[people[0].send("#ops", "%d %s" % (number, "x" * 3000))
                           for number in range(900)])
    return cluster, people


def all_proved(cluster):
    return cluster.ctl("verify", "--live", "--wait", "60", timeout=120).returncode == 0


def test_flipped_bits_are_mended_while_a_client_posts(talk):
    cluster, (alice,) = talk
    dice = random.Random(int(os.environ.get("SEED", "0")) or random.SystemRandom().randrange(1 << 30))
    posted = []
    for begun in range(0, FLIPS, ROUND):
        posted += [alice.send("#ops", "after %d flips, %d" % (begun, i)) for i in range(10)]
        flip_some(cluster, dice, ROUND, cluster.ids)
        if begun // ROUND % 3 == 2:  # what recovery finds, too
            cluster.kill(TAIL_NODE)
            flip_some(cluster, dice, 2, [TAIL_NODE])
            cluster.start(TAIL_NODE)
        done = cluster.ctl("verify", "--live", "--wait", "60", timeout=120)
        assert done.returncode in (0, 1, 3, 5), done
        wait_for("everything to be mended", lambda: all_proved(cluster), timeout=120, every=0.5)
    alice.wait_final(*posted)
    cluster.wait_healthy(timeout=60)
    assert sum(row["mended"] for row in cluster.status()["nodes"]) > 0
    for node in cluster.ids:
        assert cluster.stop(node) == 0
    cluster.ctl("verify", status=0)
    cluster.start_all()
    cluster.wait_healthy(timeout=60)
    assert alice.quit() == (0, "")
    Oracle(cluster, [alice], ["#ops"]).check()


def test_a_rotten_tail_starts_says_so_and_is_mended(talk):
    cluster, (alice,) = talk
    node = cluster.follower()
    cluster.kill(node)
    log = os.path.join(cluster.data(node), "log")
    newest = max(name for name in os.listdir(log) if name.endswith(".seg"))
    path = os.path.join(log, newest)
    with open(path, "rb") as file:
        size = len(file.read().rstrip(b"\0"))
    flip(path, size - 100, 3)
    assert cluster.ctl("verify", str(node)).returncode == 5
    cluster.start(node)
    wait_for("its log to say so", lambda: "event=log_held" in cluster.log(node))
    alice.wait_final(alice.send("#ops", "meanwhile"))
    cluster.wait_healthy(timeout=60)
    assert cluster.stop(node) == 0
    cluster.ctl("verify", str(node), status=0)
    assert alice.quit() == (0, "")
