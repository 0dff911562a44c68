"""Bits that flip at rest under real nodes: found, fetched from the others, put back; nothing lost."""
import os
import random
import re
import zlib

import pytest

from client import Oracle
from cluster import FULL, wait_for
from test_held import dark, held_files, wait_held
from test_retention import late  # noqa: F401

FLIPS = 1000 if FULL else 60
ROUND = 20  # flips between two looks
TAIL_NODE = 2  # what a node votes by rots on a minority only, and here it is this one


def dice():
    seed = int(os.environ.get("SEED", "0")) or random.SystemRandom().randrange(1 << 30)
    print("SEED=%d" % seed)  # shown when the test fails
    return random.Random(seed)


def files_of(cluster, node, zeros=False):
    """Files that hold something, with how much of each: behind a log's end are zeros."""
    found = []
    for folder, _, names in os.walk(cluster.data(node)):
        for name in names:
            path = os.path.join(folder, name)
            if name == "lock" or name.startswith("spare") or name.endswith(".tmp"):
                continue
            try:
                with open(path, "rb") as file:
                    content = file.read()
            except FileNotFoundError:
                continue
            size = len(content) if zeros else len(content.rstrip(b"\0"))
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
    """In files of running nodes; returns what each must tell in its log: {(node, file, id)}."""
    done = 0
    told = set()
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
        name, kind = os.path.splitext(os.path.basename(path))
        if kind:
            told.add((node, {".seg": "segment", ".idx": "index"}[kind], int(name)))
        elif name == "identity":
            told.add((node, name, 0))
    return told


def named(cluster, node):
    """The files that `ctl verify` names, relative to the node's folder."""
    done = cluster.ctl("verify", str(node))
    assert done.returncode in (0, 5), done
    return {re.match(r".*/data/%d/(\S+): offset " % node, line)[1]
            for line in done.stdout.splitlines() if ": offset " in line}


def flip_stopped(cluster, dice, node, count, seen):
    """In files of a stopped node, wherever; `ctl verify` must name each of them, and no other. A log
    that begins late needs one checkpoint that can be read (without any its node refuses to start)."""
    assert named(cluster, node) == set()
    done = set()
    late = os.path.exists(os.path.join(cluster.data(node), "begin"))
    newest = max(os.listdir(os.path.join(cluster.data(node), "checkpoint")), default="")
    while len(done) < count:
        path, size = dice.choice(files_of(cluster, node, zeros=dice.random() < 0.2))
        if late and os.path.basename(path) == newest:
            continue
        at = (path, dice.randrange(size), dice.randrange(8))
        if at not in done:
            flip(*at)
            done.add(at)
    files = {os.path.relpath(path, cluster.data(node)) for path, _, _ in done}
    assert named(cluster, node) == files
    seen.update(re.sub(r"\d{20}", "N", name) for name in files)


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


def mended(cluster):
    wait_for("everything to be mended", lambda: all_proved(cluster), timeout=120, every=0.5)


def nothing_is_lost(cluster, people, rooms):
    cluster.wait_healthy(timeout=60)
    for node in cluster.ids:
        assert cluster.stop(node) == 0
    cluster.ctl("verify", status=0)
    cluster.start_all()
    cluster.wait_healthy(timeout=60)
    for person in people:
        assert person.quit() == (0, "")
    Oracle(cluster, people, rooms).check()


def test_flipped_bits_are_mended_while_a_client_posts(talk):
    cluster, (alice,) = talk
    rolls = dice()
    posted = []
    for begun in range(0, FLIPS, ROUND):
        posted += [alice.send("#ops", "after %d flips, %d" % (begun, i)) for i in range(10)]
        before = {node: len(cluster.log(node)) for node in cluster.ids}
        told = flip_some(cluster, rolls, ROUND, cluster.ids)
        done = cluster.ctl("verify", "--live", "--wait", "60", timeout=120)
        assert done.returncode == 5, done
        mended(cluster)
        for node, file, number in told:
            assert re.search(r"event=damage_(found|mended) file=%s id=%d\b" % (file, number),
                             cluster.log(node)[before[node]:]), (node, file, number)
    alice.wait_final(*posted)
    cluster.wait_healthy(timeout=60)
    assert sum(row["mended"] for row in cluster.status()["nodes"]) > 0
    nothing_is_lost(cluster, [alice], ["#ops"])


def test_flipped_bits_of_a_stopped_node_are_named_and_mended(talk):
    cluster, (alice,) = talk
    rolls = dice()
    posted = []
    seen = set()
    for begun in range(0, FLIPS, ROUND):
        node = rolls.choice(cluster.ids)  # all is mended before another's turn comes
        cluster.kill(node)
        posted += [alice.send("#ops", "%d flips, %d" % (begun, i)) for i in range(10)]
        flip_stopped(cluster, rolls, node, ROUND, seen)
        cluster.start(node)
        cluster.wait_healthy(timeout=120)
        mended(cluster)
        alice.wait_final(*posted[-10:])
    assert seen >= {"identity", "vote", "log/N.seg", "log/N.idx", "checkpoint/N"} or not FULL
    nothing_is_lost(cluster, [alice], ["#ops"])


def test_bits_of_the_held_log_are_named_and_nothing_is_lost(make_cluster, make_person):
    cluster, left, others, alice, bob = dark(make_cluster, make_person)
    keys = [alice.send("#ops", "dark %d" % number) for number in range(20)]
    for key in keys:
        wait_held(alice, key)
    rolls = dice()
    cluster.kill(left)
    held, = held_files(cluster, left)
    path = os.path.join(cluster.data(left), held)
    for _ in range(FLIPS // 4):
        at = (path, rolls.randrange(os.path.getsize(path)), rolls.randrange(8))
        flip(*at)
        assert named(cluster, left) == {held}
        flip(*at)
    assert named(cluster, left) == set()
    with open(path, "rb") as file:
        flip(path, file.read().rindex(b"dark 7"), 4)
    cluster.start(left, settled=False)
    wait_for("its log to say so", lambda: held + " at " in cluster.log(left))
    for node in others:
        cluster.start(node, settled=False)
    alice.wait_final(*keys)  # the client had it, too
    assert bob.quit() == (0, "")
    nothing_is_lost(cluster, [alice], ["#ops"])


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


def test_a_running_node_mends_its_held_log(make_cluster, make_person):
    cluster, left, others, alice, bob = dark(make_cluster, make_person)
    keys = [alice.send("#ops", "dark %d" % number) for number in range(20)]
    for key in keys:
        wait_held(alice, key)
    rolls = dice()
    held, = held_files(cluster, left)
    path = os.path.join(cluster.data(left), held)
    with open(path, "rb") as file:
        before = file.read()
    for _ in range(5):
        flip(path, rolls.randrange(len(before)), rolls.randrange(8))
    assert cluster.ctl("verify", str(left), "--live", "--wait", "60", timeout=120).returncode == 5
    assert "event=damage_mended file=held id=1" in cluster.log(left)
    with open(path, "rb") as file:
        assert file.read() == before
    cluster.ctl("verify", str(left), "--live", "--wait", "60", timeout=120, status=0)
    cluster.kill(left)
    assert named(cluster, left) == set()
    for node in (left, *others):
        cluster.start(node, settled=False)
    alice.wait_final(*keys)
    assert bob.quit() == (0, "")
    nothing_is_lost(cluster, [alice], ["#ops"])


def test_rot_where_history_was_dropped(late):  # noqa: F811
    cluster, alice = late
    rolls = dice()
    node = cluster.follower()
    begin = os.path.join(cluster.data(node), "begin")
    for _ in range(5):
        cluster.kill(node)
        flip(begin, rolls.randrange(os.path.getsize(begin)), rolls.randrange(8))
        assert named(cluster, node) == {"begin"}
        cluster.start(node)
        cluster.wait_healthy()
        assert 'event=damage files=1 first="begin ' in cluster.log(node)
        assert cluster.stop(node) == 0
        assert named(cluster, node) == set()
        cluster.start(node)
    flip(begin, rolls.randrange(os.path.getsize(begin)), rolls.randrange(8))
    assert cluster.ctl("verify", str(node), "--live", "--wait", "60", timeout=120).returncode == 5
    assert "event=damage_mended file=begin" in cluster.log(node)
    seen = set()
    for _ in range(FLIPS // ROUND // 3):
        cluster.kill(node)
        flip_stopped(cluster, rolls, node, ROUND, seen)
        cluster.start(node)
        cluster.wait_healthy(timeout=120)
        mended(cluster)
    alice.wait_final(alice.send("#ops", "the end"))
    assert alice.quit() == (0, "")
    assert cluster.stop(node) == 0
    assert named(cluster, node) == set()
