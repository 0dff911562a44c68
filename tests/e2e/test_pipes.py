"""The client in pipes: --send, --follow, --history; without a configuration; direct messages."""
import json
import os
import re
import signal
import subprocess
import threading

import pytest

from client import Person
from cluster import BINARY, PATIENCE, WITH_PARENT, environment, wait_for


@pytest.fixture(scope="module")
def ops(tmp_path_factory):
    from cluster import Cluster
    cluster = Cluster(tmp_path_factory.mktemp("pipes") / "cluster")
    alice = None
    try:
        cluster.form()
        alice = Person(cluster, "alice", nodes=[1, 2, 3]).start()
        assert alice.do("create", room="#ops")["status"] == "committed"
        yield cluster, alice
    finally:
        if alice:
            alice.close()
        cluster.close()


def words_of(cluster, user, *words, state=None):
    return ("client", "--user", user, "--state-dir",
            os.path.join(cluster.folder, "state", state or user + "-pipe"), "--register", *words)


def run(cluster, user, *words, stdin="", state=None, **more):
    return cluster.run(*words_of(cluster, user, *words, state=state), input=stdin, **more)


def history(cluster, user, room, count=1000):
    done = run(cluster, user, "--room", room, "--history", str(count), "--json",
               state=user + "-history", status=0)
    return [json.loads(line) for line in done.stdout.splitlines()]


class Follower:
    """A client that runs in the background and whose lines are kept."""

    def __init__(self, cluster, user, *words):
        self.process = subprocess.Popen(
            [*WITH_PARENT, BINARY, *words_of(cluster, user, *words, state=user + "-follow")],
            cwd=cluster.folder, env=environment(), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.lines = []
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line)

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        status = self.process.wait(PATIENCE)
        self.thread.join(PATIENCE)
        errors = self.process.stderr.read()
        self.process.stdout.close()
        self.process.stderr.close()
        return status, errors


def test_send_posts_each_line_and_joins(ops):
    cluster, alice = ops
    done = run(cluster, "bob", "--room", "#ops", "--send", stdin="one\n\ntwo\nthree")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    alice.wait("what bob wrote", lambda: [m["text"] for m in alice.messages("#ops")
                                          if m["from"] == "bob"] == ["one", "two", "three"])
    assert alice.find("room", kind="join", room="#ops", user="bob")
    again = run(cluster, "bob", "--room", "#ops", "--send", stdin="four\n")
    assert (again.returncode, again.stderr) == (0, "")
    assert [m["text"] for m in history(cluster, "bob", "#ops") if m["from"] == "bob"] == [
        "one", "two", "three", "four"]


def test_send_says_what_was_refused(ops):
    cluster, _ = ops
    for room, line, words in (("#nowhere", "x\n", "no such room"), ("@nobody", "x\n", "no such user"),
                              ("#ops", "x" * 66000 + "\n", "64 KiB"),
                              ("ops", "x\n", "cannot be a name")):
        done = run(cluster, "bob", "--room", room, "--send", stdin=line)
        assert done.returncode == 1 and words in done.stderr and done.stdout == "", done
    done = cluster.run(*words_of(cluster, "bob", "--room", "#ops", "--send"), input="good\nb\udcffd\n",
                       errors="surrogateescape")
    assert done.returncode == 1 and "UTF-8" in done.stderr
    texts = [m["text"] for m in history(cluster, "bob", "#ops")]
    assert texts.count("good") == 1 and not any("x" * 100 in text for text in texts)


def test_send_refuses_what_is_over_long(ops):
    cluster, _ = ops
    done = run(cluster, "bob", "--room", "#ops", "--send", stdin="y" * 5000 + "\n")
    assert done.returncode == 1 and "too long" in done.stderr
    assert not any(m["text"].startswith("yyy") for m in history(cluster, "bob", "#ops"))


def test_send_of_many_lines(ops):
    cluster, _ = ops
    lines = ["line %d" % number for number in range(1500)]
    done = run(cluster, "dave", "--room", "#ops", "--send", stdin="\n".join(lines) + "\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert [m["text"] for m in history(cluster, "dave", "#ops", 100000)
            if m["from"] == "dave"] == lines


def test_history_prints_the_newest(ops):
    cluster, alice = ops
    room = "#history"
    assert alice.do("create", room=room)["status"] == "committed"
    alice.wait_final(*[alice.send(room, "line %d" % number) for number in range(450)])
    for count in (1, 7, 200, 201, 450, 1000):
        messages = history(cluster, "alice", room, count)
        assert [m["seq"] for m in messages] == list(range(max(1, 451 - count), 451))
    plain = run(cluster, "alice", "--room", room, "--history", "2", state="alice-history", status=0)
    lines = plain.stdout.splitlines()
    assert len(lines) == 2
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z #history <alice> line 448", lines[0]), lines
    denied = run(cluster, "alice", "--room", "#nowhere", "--history", "2", state="alice-history")
    assert denied.returncode == 1 and "unknown_room" in denied.stderr


def test_hostile_bytes_do_not_reach_the_terminal(ops):
    cluster, alice = ops
    assert alice.do("create", room="#hostile")["status"] == "committed"
    hostile = "\x1b[2J\x1b]0;title\x07\x9b31m\r\n\u202eevil\u2066\x7f\x00"[:-1]
    assert alice.wait_final(alice.send("#hostile", hostile))["status"] == "committed"
    done = run(cluster, "alice", "--room", "#hostile", "--history", "1", state="alice-history",
               status=0)
    assert "evil" in done.stdout and done.stdout.count("\n") == 1
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", done.stdout)


def test_follow_prints_messages_as_they_come(ops):
    cluster, alice = ops
    run(cluster, "carol", "--room", "#ops", "--send", stdin="carol is here\n", status=0)
    everything = Follower(cluster, "carol", "--follow", "--json")
    number = 0

    def heard():
        nonlocal number
        number += 1
        alice.send("#ops", "are you there? %d" % number)
        return any("are you there?" in line for line in everything.lines)
    wait_for("the follower to hear", heard, every=0.1)
    alice.wait_final(alice.send("#ops", "now"))
    wait_for("the last line", lambda: any('"now"' in line for line in list(everything.lines)))
    assert everything.end() == (0, "")
    events = [json.loads(line) for line in everything.lines]
    assert {event["event"] for event in events} <= {"message", "room"}
    seqs = [event["seq"] for event in events if event["event"] == "message"]
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
    # A second run goes on after what the first one printed.
    alice.wait_final(alice.send("#ops", "while you were away"))
    more = Follower(cluster, "carol", "--follow", "--room", "#ops")
    wait_for("what came meanwhile", lambda: len(more.lines) >= 1)
    assert more.end(signal.SIGINT) == (0, "")
    assert [line.split("> ", 1)[1] for line in more.lines] == ["while you were away\n"]


def test_reading_ends_when_nobody_listens(ops):
    cluster, _ = ops
    words = words_of(cluster, "alice", "--room", "#ops", "--history", "1000", state="alice-head")
    done = subprocess.run(["bash", "-c", '"$0" "$@" | head -1', BINARY, *words],
                          cwd=cluster.folder, env=environment(), timeout=PATIENCE,
                          capture_output=True, text=True)
    assert done.stdout.count("\n") == 1 and done.returncode == 0


def test_without_a_configuration(ops, tmp_path):
    cluster, alice = ops
    with open(os.path.join(cluster.folder, "ftchat.pub")) as public:
        key = re.search(r"\b[0-9a-f]{64}\b", public.read())[0]
    servers = ",".join("127.0.0.1:%d" % cluster.ports[node] for node in (3, 1))
    for given in (key, os.path.join(cluster.folder, "ftchat.pub")):
        done = subprocess.run(
            [BINARY, "client", "--json", "--user", "erin", "--register", "--connect", servers,
             "--cluster-key", given], cwd=tmp_path, timeout=PATIENCE, capture_output=True, text=True,
            env=environment(XDG_STATE_HOME=str(tmp_path / "state")),
            input='{"op":"whoami","id":"w"}\n')
        assert (done.returncode, done.stderr) == (0, "")
        events = [json.loads(line) for line in done.stdout.splitlines()]
        assert events[0]["event"] == "ready" and events[0]["node"] == 3
        assert events[-1]["user"] == "erin"
    state = tmp_path / "state" / "ftchat"
    assert state.is_dir() and state.stat().st_mode & 0o777 == 0o700
    missing = subprocess.run([BINARY, "client", "--json", "--user", "erin", "--connect", servers],
                             cwd=tmp_path, env=environment(), timeout=PATIENCE, capture_output=True,
                             text=True, stdin=subprocess.DEVNULL)
    assert missing.returncode == 2


def test_direct_messages(ops, make_person):
    cluster, alice = ops
    bob = make_person(cluster, "bob", nodes=[2], device="-dm")
    ann = make_person(cluster, "ann", nodes=[1], device="-dm")
    first = ann.wait_final(ann.send("@bob", "hello bob"))
    assert (first["status"], first["room"], first["seq"]) == ("committed", "@bob", 1)
    got = bob.wait_event("message", text="hello bob")
    assert (got["room"], got["from"], got["seq"]) == ("@ann", "ann", 1)
    assert got["uid"] == first["uid"] and got["index"] == first["index"]
    own = ann.wait_event("message", text="hello bob")
    assert (own["room"], own["seq"]) == ("@bob", 1)
    second = bob.wait_final(bob.op("send", to="ann", text="hello ann"))
    assert (second["room"], second["seq"]) == ("@ann", 2)
    ann.wait_event("message", text="hello ann", room="@bob", seq=2)
    for person, room in ((ann, "@bob"), (bob, "@ann")):
        page = person.ask("history", room=room)
        assert [(m["seq"], m["from"], m["text"], m["room"]) for m in page["messages"]] == [
            (1, "ann", "hello bob", room), (2, "bob", "hello ann", room)]
    assert not alice.find("message", text="hello bob")
    page = alice.ask("history", room="@ann")
    assert page["event"] == "error" or page["messages"] == []


def test_ready_tells_of_the_node_and_of_resuming(make_cluster, make_person):
    cluster = make_cluster()
    bob = make_person(cluster, "bob", nodes=[2, 3])
    ready = bob.find("ready")
    assert ready == {"event": "ready", "user": "bob", "node": 2, "leader": cluster.leader(),
                     "quorum": True, "resumed": False}
    cluster.kill(2)
    again = bob.wait_event("ready", resumed=True)
    assert again["node"] == 3
    assert bob.find("offline")["queued"] == 0
    kinds = [e["event"] for _, _, e in bob.events if e["event"] in ("ready", "offline")]
    assert kinds[:3] == ["ready", "offline", "ready"]
    cluster.kill(1, 3)
    bob.wait("offline again", lambda: [e["event"] for _, _, e in bob.events].count("offline") >= 2)
    key = bob.send("#ops", "kept")
    bob.wait("the outbox to take it", lambda: key in bob.acks)
    bob.process.send_signal(signal.SIGTERM)
    status, errors = bob.wait_exit()
    assert status == 3 and "1 not confirmed" in errors
    cluster.start_all()
    bob.start()
    assert bob.wait_final(key)["code"] == "unknown_room"
    assert bob.quit() == (0, "")
