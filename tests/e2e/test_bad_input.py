"""Whatever is wrong with what people, bots and administrators give: a typed answer, and nothing is
changed by it."""
import json
import os
import re
import socket

import pytest

from client import Person, read_history
from cluster import PASSWORD, PATIENCE, wait_for

LONG = 4096   # [limits] message_bytes


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """One cluster for all that cannot harm it: alice and bob in #ops, carol is not."""
    from cluster import Cluster
    cluster = Cluster(tmp_path_factory.mktemp("bad") / "cluster")
    people = []
    try:
        cluster.form()
        for user in ("alice", "bob", "carol"):
            people.append(Person(cluster, user, nodes=[1, 2, 3]).start())
        alice, bob, carol = people
        assert alice.do("create", room="#ops")["status"] == "committed"
        assert bob.do("join", room="#ops")["status"] == "committed"
        assert alice.wait_final(alice.send("#ops", "first"))["seq"] == 1
        yield cluster, alice, bob, carol
    finally:
        for person in people:
            person.close()
        cluster.close()


# --- ops that are refused ----------------------------------------------------------------------------

@pytest.mark.parametrize("code, op", [
    ("unknown_room", {"op": "send", "room": "#nowhere", "text": "x"}),
    ("unknown_room", {"op": "join", "room": "#nowhere"}),
    ("unknown_room", {"op": "part", "room": "#nowhere"}),
    ("unknown_room", {"op": "topic", "room": "#nowhere", "text": "x"}),
    ("unknown_user", {"op": "send", "to": "nobody", "text": "x"}),
    ("unknown_user", {"op": "send", "room": "@nobody", "text": "x"}),
    ("bad_request", {"op": "send", "room": "#ops", "text": ""}),
    ("bad_request", {"op": "send", "room": "#ops"}),
    ("bad_request", {"op": "send", "room": "#ops", "text": 7}),
    ("bad_request", {"op": "send", "room": "#ops", "text": ["x"]}),
    ("bad_request", {"op": "send", "room": "#ops", "to": "bob", "text": "x"}),
    ("bad_request", {"op": "send", "room": 7, "text": "x"}),
    ("bad_request", {"op": "topic", "room": "#ops"}),
    ("bad_request", {"op": "read", "room": "#ops"}),
    ("bad_request", {"op": "create", "room": "#new", "private": "yes"}),
    ("too_long", {"op": "send", "room": "#ops", "text": "x" * (LONG + 1)}),
    ("too_long", {"op": "send", "room": "#ops", "text": "é" * (LONG // 2) + "x"}),
    ("not_utf8", {"op": "send", "room": "#ops", "text": "\ud800"}),
    ("not_utf8", {"op": "send", "room": "#ops", "text": "a\udc00b"}),
    ("not_utf8", {"op": "send", "room": "#ops", "text": "a\0b"}),
    ("bad_name", {"op": "create", "room": "ops"}),
    ("bad_name", {"op": "create", "room": "#"}),
    ("bad_name", {"op": "create", "room": "#a b"}),
    ("bad_name", {"op": "create", "room": "#" + "x" * 33}),
    ("bad_name", {"op": "create", "room": "#\u03b1\u0430"}),
    ("bad_name", {"op": "create", "room": "#OPS"}),
    ("bad_name", {"op": "create", "room": "#a\x1b[31m"}),
    ("exists", {"op": "create", "room": "#ops"}),
    ("not_a_member", {"op": "send", "room": "#ops", "text": "x"}),
    ("not_a_member", {"op": "topic", "room": "#ops", "text": "x"}),
    ("unsupported", {"op": "edit", "room": "#ops", "seq": 1, "text": "x"}),
])
def test_refused(code, op, room):
    cluster, alice, bob, carol = room
    person = carol if code == "not_a_member" else bob
    before = read_history(alice, "#ops")
    events = len(alice.events)
    ack = person.do(**op)
    assert (ack["status"], ack["code"]) == ("rejected", code)
    assert ack["message"] and "seq" not in ack
    acks = person.acks[ack["id"]]
    assert [a["status"] for _, _, a in acks].count("rejected") == 1
    assert not any(e["event"] == "error" and e.get("id") == ack["id"] for _, _, e in person.events)
    assert read_history(alice, "#ops") == before
    assert not [e for _, _, e in alice.events[events:] if e["event"] in ("message", "room")]


@pytest.mark.parametrize("code, op", [
    ("unknown_room", {"op": "history", "room": "#nowhere"}),
    ("unknown_room", {"op": "who", "room": "#nowhere"}),
    ("bad_request", {"op": "history", "room": "#ops", "before": 3, "after": 1}),
    ("bad_request", {"op": "history", "room": "#ops", "limit": 0}),
    ("bad_request", {"op": "history", "room": "#ops", "after": -1}),
    ("bad_request", {"op": "history", "room": "#ops", "after": 1.5}),
    ("bad_request", {"op": "history", "room": "#ops", "after": "1"}),
    ("bad_request", {"op": "history", "room": "#ops", "before": 0}),
    ("bad_request", {"op": "dance"}),
    ("unsupported", {"op": "search", "query": "x"}),
])
def test_refused_questions(code, op, room):
    alice = room[1]
    answer = alice.ask(**op)
    assert (answer["event"], answer["code"]) == ("error", code) and answer["message"]


def test_what_is_just_right(room):
    cluster, alice, bob, _ = room
    for text in ("x" * LONG, "é" * (LONG // 2), "\U0001f600", "a\nb\tc", "\x1b[31mred", '"\\\u2028'):
        ack = bob.wait_final(bob.send("#ops", text))
        assert ack["status"] == "committed"
        assert read_history(alice, "#ops", ack["seq"] - 1)[0]["text"] == text
    for name in ("#" + "x" * 32, "#a", "#0-_", "#b\u00e9t\u00e9"):
        assert alice.do("create", room=name)["status"] == "committed"
    assert alice.do("join", room="#ops")["status"] == "committed"    # holds already
    assert alice.do("create", room="#ops")["code"] == "exists"
    last = read_history(alice, "#ops")[-1]["seq"]
    page = alice.ask("history", room="#ops", after=last)
    assert page["messages"] == [] and page["more"] is False
    page = alice.ask("history", room="#ops", limit=2)
    assert [m["seq"] for m in page["messages"]] == [last - 1, last] and page["more"] is True
    page = alice.ask("history", room="#ops", before=3)
    assert [m["seq"] for m in page["messages"]] == [1, 2] and page["more"] is False


BAD_LINES = [
    b"", b"{", b"}", b"[]", b"7", b'"send"', b"null", b"{}", b'{"id":"a"}', b'{"op":7}',
    b'{"op":"send","id":"a"', b'{"op":"send" "id":"a"}', b'{op:"send"}', b"{'op':'send'}",
    b'{"op":"send","id":7,"room":"#ops","text":"x"}', b'{"op":"send","text":"\\x"}',
    b'{"op":"send"}{"op":"send"}', b'{"op":"send"} x', b"\xff\xfe\x00", b"\0", b"{\"op\":\"se\xc3\"",
    b'{"a":' * 1000, b"[" * 5000, os.urandom(300).replace(b"\n", b""), b"x" * 65537,
    b'{"op":"send","id":"a","room":"#ops","text":"' + b"x" * 65536 + b'"}', b"y" * 1000000,
]


@pytest.mark.parametrize("line", BAD_LINES, ids=range(len(BAD_LINES)))
def test_lines_that_are_none(line, room):
    bob = room[2]
    seen = len(bob.events)
    bob.write(line + b"\n")
    key = bob.op("whoami")
    bob.wait("an answer", lambda: bob.find("result", since=seen, id=key))
    heard = [e for _, _, e in bob.events[seen:]]
    if line:   # an empty line may be passed over
        assert [(e["id"], e["code"]) for e in heard if e["event"] == "error"] == [
            (None, "bad_request")]
    assert not [e for e in heard if e["event"] not in ("error", "result")]
    assert not bob.bad_lines


def test_unknown_fields_and_strange_ids(room):
    alice = room[1]
    strange = '\u00e9"\\\n\u2028 {}'
    ack = alice.do("send", id=strange, room="#ops", text="strange", colour="red", deep={"a": [1]})
    assert (ack["status"], ack["id"]) == ("committed", strange)
    assert alice.do("send", room="#ops", text="last counts", reply_to=1)["status"] == "committed"
    alice.write(b'{"op":"send","id":"l","room":"#no","text":"a","room":"#ops","text":"b"}\n')
    assert alice.wait_final("l")["status"] == "committed"


# --- login ------------------------------------------------------------------------------------------

def client(cluster, *words, password=PASSWORD, stdin="", state="other", timeout=PATIENCE):
    return cluster.run("client", "--state-dir", os.path.join(cluster.folder, "state", state), *words,
                       input=stdin, timeout=timeout, env={"FTCHAT_PASSWORD": password})


@pytest.mark.parametrize("words", [("--user", "alice"), ("--user", "alice", "--register"),
                                   ("--user", "nobody-knows-me")])
def test_wrong_password(words, room):
    done = client(room[0], "--json", *words, password="wrong")
    error = json.loads(done.stdout.splitlines()[-1])
    assert (error["event"], error["id"], error["code"]) == ("error", None, "bad_password")
    assert done.returncode == 4
    done = client(room[0], *words, "--room", "#ops", "--send", password="wrong", stdin="hello\n")
    assert done.returncode == 4 and "bad_password" in done.stderr
    done = client(room[0], *words, "--room", "#ops", "--send", password=PASSWORD.upper(),
                  stdin="hello\n")
    assert done.returncode == 4


@pytest.mark.parametrize("words, named", [
    (("--json", "--user", "a b"), "a b"), (("--json", "--user", "7x"), "7x"),
    (("--json", "--user", "x" * 33), "--user"), (("--json", "--usr", "alice"), "--user?"),
    (("--send", "--user", "alice"), "--room"), (("--user", "alice"), "--json"),
    (("--json", "--user", "alice", "--wait", "soon"), "--wait"),
    (("--json", "--user", "alice", "--wait"), "--wait"),
    (("--history", "0", "--user", "alice", "--room", "#ops"), "--history"),
    (("--send", "--follow", "--user", "alice", "--room", "#ops"), "only one"),
    (("--json", "--user", "alice", "--connect", "127.0.0.1:99999"), "--connect"),
    (("--json", "--user", "alice", "--connect", ""), "--connect"),
    (("--json", "--user", "alice", "--connect", "127.0.0.1:"), "--connect"),
    (("--json", "--user", "alice", "--cluster-key", "abc"), "--cluster-key"),
    (("--json", "--user", "alice", "not-a-link"), "not-a-link"),
    (("--json", "--user", "alice", "--password-file", "missing"), "missing"),
    (("--json", "--user", "alice", "--config", "missing.ini"), "missing.ini"),
])
def test_usage(words, named, room):
    done = client(room[0], *words)
    assert done.returncode == 2 and done.stdout == ""
    assert named in done.stderr and done.stderr.count("\n") == 1
    assert done.stderr.startswith("ftchat client: ")


def test_password_file(room):
    cluster = room[0]
    path = os.path.join(cluster.folder, "password")
    for content in (PASSWORD, PASSWORD + "\n", PASSWORD + "\r\nmore", PASSWORD + "\n\n"):
        with open(path, "w", newline="") as out:
            out.write(content)
        done = client(cluster, "--user", "ALICE", "--history", "1", "--room", "#ops",
                      "--password-file", path, password="wrong",
                      state="file-%d" % len(content))
        assert (done.returncode, done.stderr) == (0, ""), content
    done = client(cluster, "--user", "alice", "--history", "1", "--room", "#ops", "--password-file",
                  "/dev/null", state="file-none")
    assert done.returncode == 4


def test_another_clusters_key(room, make_cluster):
    other = make_cluster(nodes=1, name="foreign", form=False)
    other.ctl("init", status=0)
    done = client(room[0], "--user", "alice", "--history", "1", "--room", "#ops", "--wait", "1",
                  "--cluster-key", os.path.join(other.folder, "ftchat.pub"), state="foreign")
    assert done.returncode == 3 and done.stdout == ""


# --- nobody there -------------------------------------------------------------------------------------

def test_no_cluster_reachable(make_cluster):
    cluster = make_cluster(form=False)
    cluster.ctl("init", status=0)
    common = ("--user", "alice", "--register", "--room", "#ops", "--wait", "1")
    done = client(cluster, *common, "--send", stdin="one\ntwo\n")
    assert done.returncode == 3
    assert "not send it again" in done.stderr and done.stderr.count("\n") == 1
    done = client(cluster, *common, "--history", "5", state="history")
    assert done.returncode == 3 and done.stderr.count("\n") == 1
    done = client(cluster, *common, "--json", state="json",
                  stdin='{"op":"send","id":"a","room":"#ops","text":"x"}\n')
    assert done.returncode == 3
    acks = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(a["event"], a.get("status")) for a in acks if a["event"] == "ack"] == [("ack", "queued")]
    assert cluster.ctl("status").returncode == 3
    assert cluster.ctl("form", "--wait", "1").returncode == 3
    # What was kept comes first in the next run, once.
    cluster.form()
    alice = Person(cluster, "alice", device="-maker").start()
    assert alice.do("create", room="#ops")["status"] == "committed"
    alice.close()
    done = client(cluster, "--user", "alice", "--room", "#ops", "--send", stdin="three\n")
    assert done.returncode == 0, done.stderr
    done = client(cluster, "--user", "alice", "--room", "#ops", "--history", "9", "--json")
    assert [json.loads(line)["text"] for line in done.stdout.splitlines()] == ["one", "two", "three"]


# --- nodes --------------------------------------------------------------------------------------------

def node(cluster, *words, status, named):
    done = cluster.run("node", *words)
    assert done.returncode == status, done.stderr
    assert all(name in done.stderr for name in named), done.stderr
    assert done.stderr.startswith("ftchat node: ") and done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_node_usage(make_cluster):
    cluster = make_cluster(form=False)
    cluster.ctl("init", status=0)
    node(cluster, status=2, named=["--id"])
    node(cluster, "--id", "0", status=2, named=["--id"])
    node(cluster, "--id", "8", status=2, named=["--id"])
    node(cluster, "--id", "one", status=2, named=["--id"])
    node(cluster, "--id", "4", status=2, named=["node.4"])
    node(cluster, "--id", "1", "--port", "7", status=2, named=["--port"])
    node(cluster, "--id", "1", "now", status=2, named=["now"])
    node(cluster, "--id", "1", "--config", "missing.ini", status=2, named=["missing.ini"])
    assert os.listdir(os.path.join(cluster.folder, "data")) == []


def test_node_without_its_files(make_cluster):
    cluster = make_cluster(form=False)
    node(cluster, "--id", "1", status=2, named=["ftchat.key", "ctl init"])
    cluster.ctl("init", status=0)
    os.chmod(os.path.join(cluster.folder, "ftchat.key"), 0o644)
    node(cluster, "--id", "1", status=4, named=["ftchat.key", "600"])
    os.chmod(os.path.join(cluster.folder, "ftchat.key"), 0o600)
    os.rmdir(os.path.join(cluster.folder, "data"))
    node(cluster, "--id", "1", status=1, named=["data", "no such folder"])
    assert not os.path.exists(os.path.join(cluster.folder, "data"))


def test_a_second_node_on_the_same_folder_or_port(make_cluster):
    cluster = make_cluster()
    before = cluster.pid(1)
    node(cluster, "--id", "1", status=1, named=[cluster.data(1), "another process"])
    assert cluster.is_running(1) and cluster.pid(1) == before
    assert cluster.ctl("status").returncode == 0
    # Somebody else has the port: said, and the folder is free again.
    cluster.kill(2)
    with socket.create_server(("127.0.0.1", cluster.ports[2])):
        done = cluster.run("node", "--id", "2")
        assert done.returncode == 1 and str(cluster.ports[2]) in done.stderr
    cluster.start(2)
    cluster.wait_healthy()


def files(folder):
    """path -> (content, size, time of change) of everything in a folder."""
    found = {}
    for where, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(where, name)
            with open(path, "rb") as data:
                content = data.read()
            found[os.path.relpath(path, folder)] = (content, os.stat(path).st_mtime_ns)
    return found


def siphash(data):
    """SipHash-2-4 under a key of zeros: what a file's opening 16 bytes are sealed with."""
    mask = (1 << 64) - 1
    v = [0x736f6d6570736575, 0x646f72616e646f6d, 0x6c7967656e657261, 0x7465646279746573]

    def turn(x, bits):
        return (x << bits | x >> (64 - bits)) & mask

    def rounds(count):
        for _ in range(count):
            v[0] = (v[0] + v[1]) & mask
            v[1] = turn(v[1], 13) ^ v[0]
            v[0] = turn(v[0], 32)
            v[2] = (v[2] + v[3]) & mask
            v[3] = turn(v[3], 16) ^ v[2]
            v[0] = (v[0] + v[3]) & mask
            v[3] = turn(v[3], 21) ^ v[0]
            v[2] = (v[2] + v[1]) & mask
            v[1] = turn(v[1], 17) ^ v[2]
            v[2] = turn(v[2], 32)
    whole = len(data) // 8 * 8
    words = [int.from_bytes(data[at:at + 8], "little") for at in range(0, whole, 8)]
    words.append(len(data) % 256 << 56 | int.from_bytes(data[whole:], "little"))
    for word in words:
        v[3] ^= word
        rounds(2)
        v[0] ^= word
    v[2] ^= 0xff
    rounds(4)
    return (v[0] ^ v[1] ^ v[2] ^ v[3]).to_bytes(8, "little")


def newer(content):
    """The same file, of a version that is to come."""
    assert content[16:24] == siphash(content[:16]), "a file opens in another way"
    opening = content[:8] + (int.from_bytes(content[8:12], "little") + 1).to_bytes(4, "little") + \
        content[12:16]
    return opening + siphash(opening) + content[24:]


def foreign(content):
    """A whole file of another kind. (What is not whole may be rot, and is mended: test_rot.py.)"""
    opening = content[:6] + b"?" + content[7:16]
    return opening + siphash(opening) + content[24:]


@pytest.mark.parametrize("change, words", [(newer, "newer version"), (foreign, "not a file of this")])
@pytest.mark.parametrize("which", ["identity", "log"])
def test_data_of_others_stops_the_node_and_is_left_untouched(which, change, words, make_cluster):
    cluster = make_cluster()
    for each in cluster.ids:
        assert cluster.stop(each) == 0
    folder = cluster.data(1)
    name = which
    if which == "log":
        name = os.path.join("log", sorted(os.listdir(os.path.join(folder, "log")))[0])
    path = os.path.join(folder, name)
    with open(path, "rb") as data:
        good = data.read()
    with open(path, "wb") as out:
        out.write(change(good))
    before = files(folder)
    done = cluster.run("node", "--id", "1")
    assert done.returncode in (1, 5), done
    assert words in done.stderr and folder in done.stderr and name in done.stderr, done.stderr
    assert done.stderr.count("\n") == 1
    assert files(folder) == before
    with open(path, "wb") as out:
        out.write(good)
    cluster.start_all()
    cluster.wait_healthy()


@pytest.mark.parametrize("name", ["identity", "vote", "log", "lock"])
def test_a_data_directory_that_cannot_be_read(name, make_cluster):
    """A folder where a file should be, or a file for a folder: not even root can read that."""
    cluster = make_cluster(nodes=1)
    cluster.stop(1)
    path = os.path.join(cluster.data(1), name)
    os.rename(path, path + ".kept")
    if name == "log":
        with open(path, "w") as out:
            out.write("mine")
    else:
        os.mkdir(path)
    before = files(cluster.data(1))
    done = cluster.run("node", "--id", "1")
    assert done.returncode in (1, 5) and done.stderr.count("\n") == 1, done
    assert cluster.data(1) in done.stderr and "(" in done.stderr
    assert files(cluster.data(1)) == before
    (os.remove if name == "log" else os.rmdir)(path)
    os.rename(path + ".kept", path)
    cluster.start(1)
    cluster.wait_healthy()


def test_a_node_that_lost_its_log_gets_it_from_the_others(make_cluster, make_person):
    """Segments that are gone would be acknowledgements that are forgotten: it says so, votes for nobody who has less, and
    has all of it again."""
    cluster = make_cluster(log={"segment_mb": 1}, limits={"posts_per_s": 10000})
    alice = make_person(cluster, "alice", nodes=[2, 3, 1])
    assert alice.do("create", room="#ops")["status"] == "committed"
    for lost in range(1, 4):  # the only one; later the newest of two, of three
        assert cluster.stop(1) == 0
        segments = sorted(name for name in os.listdir(os.path.join(cluster.data(1), "log"))
                          if name.endswith(".seg"))
        assert len(segments) >= lost
        os.remove(os.path.join(cluster.data(1), "log", segments[-1]))
        before = len(cluster.log(1))
        cluster.start(1)
        cluster.wait_healthy()
        assert re.search(r"level=(alarm|warn) .*missing", cluster.log(1)[before:]), cluster.log(1)[before:]
        alice.wait_final(*[alice.send("#ops", "%d " % number + "x" * 4000) for number in range(400)])
        cluster.wait_healthy()
    rows = cluster.status()["nodes"]
    assert len({row["applied"] for row in rows}) == 1, rows
    # What a checkpoint covers of it is fetched while the node serves: that is waited for.
    wait_for("node 1 to have everything again",
             lambda: cluster.ctl("verify", "--live", "--wait", "60", timeout=120).returncode == 0, timeout=120, every=0.5)
    for each in cluster.ids:
        assert cluster.stop(each) == 0
    cluster.ctl("verify", status=0)


def test_a_data_directory_that_is_a_file(make_cluster):
    cluster = make_cluster(form=False)
    cluster.ctl("init", status=0)
    with open(cluster.data(1), "w") as out:
        out.write("mine")
    node(cluster, "--id", "1", status=1, named=[cluster.data(1)])
    with open(cluster.data(1)) as kept:
        assert kept.read() == "mine"


def test_nodes_of_another_cluster_do_not_mix(make_cluster):
    """Data of another cluster under this cluster's key and ini: no node of it takes part."""
    cluster, other = make_cluster(), make_cluster(name="other")
    for one in (cluster, other):
        assert one.stop(1) == 0
    os.rename(cluster.data(1), cluster.data(1) + ".kept")
    os.rename(other.data(1), cluster.data(1))
    before = cluster.status()["commit"]
    cluster.start(1, settled=False)
    wait_for("the stranger to be noticed", lambda: cluster.ended(1) or "cluster" in
             cluster.log(1).rpartition("event=start")[2].lower())
    if cluster.is_running(1):
        assert cluster.node_status(1)["state"] != "healthy"
        cluster.kill(1)
    assert cluster.status()["commit"] >= before and cluster.leader() in (2, 3)
    os.rename(cluster.data(1), other.data(1))
    os.rename(cluster.data(1) + ".kept", cluster.data(1))
    for one in (cluster, other):
        one.start(1)
        one.wait_healthy()
