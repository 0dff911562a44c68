"""A cluster rolls from one release to the next, node by node, under load.

build/release-next/ftchat is this tree built as its own successor: its version ends in -next, it can do one feature level
more, and at that level topics are kept in capitals (core/feature.h)."""
import os
import shutil

import pytest

from client import Oracle
from cluster import BINARY, ROOT, wait_for
from test_backup import Load

NEXT = os.path.join(ROOT, "build", "release-next", "ftchat")
pytestmark = pytest.mark.skipif(not os.path.exists(NEXT), reason="make build/release-next/ftchat")


def replace(cluster, node, binary):
    """What the manual says: SIGTERM, start, wait until ctl status exits 0."""
    assert cluster.stop(node) == 0
    cluster.binaries[node] = binary
    cluster.start(node)
    cluster.wait_healthy_enough()


def level(cluster):
    """The highest that any node has applied."""
    return max(row["feature_level"] or 0 for row in cluster.status()["nodes"])


def topics(make_person, cluster):
    """As each node has it."""
    found = []
    for node in cluster.ids:
        reader = make_person(cluster, "auditor", nodes=[node], device="-%d" % node)
        rooms = reader.ask("rooms")["rooms"]
        found.append(next(room["topic"] for room in rooms if room["room"] == "#ops"))
        reader.close()
    return found


def test_a_rolling_upgrade_and_back_and_forth(make_cluster, make_person):
    cluster = make_cluster(limits={"posts_per_s": 100000}, log={"segment_mb": 1})
    alice = make_person(cluster, "alice")
    assert alice.do("create", room="#ops")["status"] == "committed"
    bob = make_person(cluster, "bob")
    assert bob.do("join", room="#ops")["status"] == "committed"
    load = Load(bob, "#ops")
    leader = cluster.leader()
    order = [node for node in cluster.ids if node != leader] + [leader]

    replace(cluster, order[0], NEXT)
    replace(cluster, order[1], NEXT)
    assert level(cluster) == 1
    replace(cluster, order[0], BINARY)
    assert level(cluster) == 1, "going back is possible until the last one is new"
    replace(cluster, order[0], NEXT)
    assert alice.do("topic", room="#ops", text="still the old way")["status"] == "committed"
    assert topics(make_person, cluster) == ["still the old way"] * 3
    versions = {row["version"] for row in cluster.status()["nodes"]}
    assert len(versions) == 2 and level(cluster) == 1

    replace(cluster, order[2], NEXT)
    wait_for("the level to rise", lambda: level(cluster) == 2)
    assert alice.do("topic", room="#ops", text="the new way")["status"] == "committed"
    wait_for("the new way on all nodes",
             lambda: topics(make_person, cluster) == ["THE NEW WAY"] * 3, every=0.2)
    sent = load.sent
    wait_for("posts go on", lambda: load.sent > sent)
    load.stop()

    # And now back: refused, in so many words, and harmless.
    node = order[0]
    assert cluster.stop(node) == 0
    done = cluster.run("node", "--id", str(node), "--config", cluster.ini)
    assert done.returncode in (1, 5), done
    assert "newer version" in done.stderr or "version that wrote it" in done.stderr, done.stderr
    cluster.start(node)  # the new one, on the same folder
    cluster.wait_healthy()

    # A blank node of the old version is no member either.
    assert cluster.stop(node) == 0
    shutil.rmtree(cluster.data(node))
    done = cluster.run("node", "--id", str(node), "--config", cluster.ini)
    assert done.returncode == 1 and "newer version" in done.stderr, done
    cluster.start(node)
    cluster.wait_healthy()
    assert alice.quit()[0] == 0 and bob.quit()[0] == 0
    Oracle(cluster, [alice, bob], ["#ops"]).check()


def test_the_ini_holds_the_level(make_cluster, make_person):
    cluster = make_cluster(form=False, cluster={"name": "e2e", "feature_level": "1"})
    cluster.binaries = {node: NEXT for node in cluster.ids}
    cluster.form()
    alice = make_person(cluster, "alice")
    assert alice.do("create", room="#ops", topic="hm")["status"] == "committed"
    assert alice.do("topic", room="#ops", text="held")["status"] == "committed"
    assert level(cluster) == 1
    assert "rises when all can" in cluster.ctl("status").stdout
    cluster.write_ini({})
    for node in cluster.ids:
        replace(cluster, node, NEXT)
    wait_for("the level to rise", lambda: level(cluster) == 2)
