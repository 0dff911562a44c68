"""The quick start: three nodes, two people, a room; what everybody and every node says of it."""
import json

from client import Oracle, read_history
from cluster import wait_for


def test_quick_start(make_cluster, make_person):
    cluster = make_cluster(form=False)
    cluster.ctl("init", status=0)
    cluster.start_all()
    assert "ftchat ctl form" in cluster.log(1)
    assert "formed" in cluster.ctl("form", status=0).stdout
    again = cluster.ctl("form", status=0)
    assert again.stderr == ""
    alice = make_person(cluster, "alice", nodes=[1])
    bob = make_person(cluster, "bob", nodes=[2])
    assert alice.find("ready")["node"] == 1 and bob.find("ready")["node"] == 2
    assert alice.do("create", room="#ops")["status"] == "committed"
    assert bob.do("join", room="#ops")["status"] == "committed"
    for number in range(10):
        speaker = (alice, bob)[number % 2]
        ack = speaker.wait_final(speaker.send("#ops", "line %d" % number))
        assert (ack["status"], ack["seq"]) == ("committed", number + 1)
    lines = ["line %d" % number for number in range(10)]
    for person in (alice, bob):
        person.wait("all lines", lambda: len(person.texts("#ops")) == 10)
        assert person.texts("#ops") == lines
    histories = Oracle(cluster, [alice, bob], ["#ops"]).check()
    assert [message["text"] for message in histories["#ops"]] == lines
    assert {message["from"] for message in histories["#ops"]} == {"alice", "bob"}
    assert read_history(bob, "#ops") == histories["#ops"]


# --- status --------------------------------------------------------------------------------------

NODE_FIELDS = {
    "id": int, "addr": str, "role": str, "state": str, "applied": int, "lag": int, "held": int,
    "clients": int, "rtt_us": int, "fsync_p99_us": int, "disk_free_bytes": int, "rss_bytes": int,
    "uptime_s": int, "pid": int, "version": str,
}


def test_status_json(make_cluster, make_person):
    cluster = make_cluster()
    alice = make_person(cluster, "alice", nodes=[1])
    alice.do("create", room="#ops")
    for _ in range(5):
        alice.wait_final(alice.send("#ops", "hi %d" % _))
    cluster.wait_healthy()
    done = cluster.ctl("status", "--json", status=0)
    assert done.stdout.count("\n") == 1 and done.stderr == ""
    status = json.loads(done.stdout)
    assert list(status) == ["cluster", "quorum", "leader", "term", "commit", "nodes"]
    assert status["cluster"] == "e2e" and status["quorum"] is True
    assert status["leader"] in (1, 2, 3) and status["term"] > 0
    assert status["commit"] >= alice.find("ack", status="committed")["index"]
    for node, row in zip((1, 2, 3), status["nodes"]):
        assert [key for key in row if key in NODE_FIELDS] == list(NODE_FIELDS)
        assert all(type(row[key]) is kind for key, kind in NODE_FIELDS.items()), row
        assert row["id"] == node and row["addr"] == "127.0.0.1:%d" % cluster.ports[node]
        assert row["role"] == ("leader" if node == status["leader"] else "follower")
        assert (row["state"], row["lag"], row["held"]) == ("healthy", 0, 0)
        assert row["applied"] == status["commit"] and row["pid"] == cluster.pid(node)
        assert row["clients"] == (1 if node == 1 else 0)
        assert row["rss_bytes"] > 0 and row["disk_free_bytes"] > 0
        assert row["version"] in cluster.run("--version").stdout


def test_status_while_nodes_are_dead(make_cluster):
    cluster = make_cluster()
    assert cluster.ctl("status").returncode == 0
    cluster.kill(2)
    wait_for("a quorum of two", lambda: cluster.ctl("status").returncode == 1)
    status = json.loads(cluster.ctl("status", "--json", status=1).stdout)
    dead = status["nodes"][1]
    assert (dead["id"], dead["state"]) == (2, "dead") and status["leader"] in (1, 3)
    assert all(dead[key] is None for key in NODE_FIELDS if key not in ("id", "addr", "state"))
    cluster.kill(3)
    wait_for("the quorum to be missed", lambda: cluster.ctl("status").returncode == 3)
    status = json.loads(cluster.ctl("status", "--json", status=3).stdout)
    assert status["leader"] is None and status["quorum"] is False
    assert "NO QUORUM" in cluster.ctl("status", status=3).stdout
    cluster.kill(1)
    status = json.loads(cluster.ctl("status", "--json", status=3).stdout)
    assert [row["state"] for row in status["nodes"]] == ["dead"] * 3
    cluster.start_all()
    cluster.wait_healthy()
    assert cluster.ctl("status").returncode == 0
