"""A node that is left without a majority holds posts: on its disk, shown at once to everybody there, and committed once when
a majority is back, or retracted."""
import os
import signal

from client import Oracle, read_history
from cluster import wait_for


def held_files(cluster, node):
    return [name for name in os.listdir(cluster.data(node)) if name.startswith("held-")]


def is_held(person, key):
    return any(ack["status"] == "held" for _, _, ack in person.acks.get(key, ()))


def wait_held(person, key):
    person.wait("the ack that %s is held" % key, lambda: is_held(person, key))


def wait_shown(person, text, since=0):
    return person.wait("the held message %r" % text, lambda: next(
        (m for m in person.held[since:] if m["text"] == text), None))


def dark(make_cluster, make_person):
    """Two of three killed; alice and bob are on the third, and in #ops."""
    cluster = make_cluster()
    left = cluster.follower()
    others = [node for node in cluster.ids if node != left]
    alice = make_person(cluster, "alice", nodes=[left])
    assert alice.do("create", room="#ops")["status"] == "committed"
    bob = make_person(cluster, "bob", nodes=[left])
    assert bob.do("join", room="#ops")["status"] == "committed"
    alice.wait_final(*[alice.send("#ops", "before %d" % number) for number in range(3)])
    cluster.kill(*others)
    return cluster, left, others, alice, bob


def test_held_shown_kept_over_a_kill_and_committed_once(make_cluster, make_person):
    cluster, left, others, alice, bob = dark(make_cluster, make_person)
    keys = [alice.send("#ops", "dark %d" % number) for number in range(5)]
    keys.append(bob.send("@alice", "are you there"))
    for key in keys[:-1]:
        wait_held(alice, key)
    wait_held(bob, keys[-1])
    for person in (alice, bob):
        for number in range(5):
            shown = wait_shown(person, "dark %d" % number)
            assert shown["held"] is True and shown["from"] == "alice" and shown["room"] == "#ops"
            assert "seq" not in shown and "index" not in shown and shown["sent"]
    assert wait_shown(alice, "are you there")["room"] == "@bob"
    assert wait_shown(bob, "are you there")["room"] == "@alice"
    assert cluster.node_status(left)["held"] == 6 and held_files(cluster, left)
    assert not any(person.final(key) for person in (alice, bob) for key in keys)
    assert bob.ask("history", room="#ops")["messages"][-1]["text"] == "before 2"

    shown_before = {person: len(person.held) for person in (alice, bob)}
    cluster.kill(left)
    cluster.start(left, settled=False)
    for person, since in shown_before.items():  # again: it is another connection
        for number in range(5):
            wait_shown(person, "dark %d" % number, since)
    assert cluster.node_status(left)["held"] == 6
    later = alice.send("#ops", "after the kill")
    wait_held(alice, later)

    for node in others:
        cluster.start(node, settled=False)
    alice.wait_final(*keys[:-1], later)
    bob.wait_final(keys[-1])
    texts = ["before %d" % n for n in range(3)] + ["dark %d" % n for n in range(5)] + [
        "after the kill"]
    history = read_history(bob, "#ops")
    assert [message["text"] for message in history] == texts
    for message in history[3:]:  # the original time, and known by the same uid
        assert message["sent"] <= message["ts"]
        assert message["uid"] in {held["uid"] for held in bob.held}
    bob.wait("all of it in the stream", lambda: bob.texts("#ops") == texts[:])
    wait_for("nothing held", lambda: cluster.node_status(left)["held"] == 0)
    wait_for("no held log", lambda: not held_files(cluster, left))
    assert not bob.retracted and not alice.retracted
    cluster.wait_healthy()
    for person in (alice, bob):
        assert person.quit() == (0, "")
    Oracle(cluster, [alice, bob], ["#ops"]).check()


def test_held_and_forbidden_meanwhile_is_rejected_and_retracted(make_cluster, make_person):
    cluster, left, others, alice, bob = dark(make_cluster, make_person)
    other = make_person(cluster, "alice", device="other", nodes=others, start=False)
    retracted = None
    for attempt in range(4):  # a connection that does not outlast the pause is shown nothing of the end
        text = "not for long %d" % attempt
        key = alice.send("#ops", text)
        wait_held(alice, key)
        uid = wait_shown(bob, text)["uid"]
        offline = [e for _, _, e in bob.events if e["event"] == "offline"]
        cluster.signal(left, signal.SIGSTOP)
        for node in others:
            cluster.start(node, settled=False)
        if other.process is None:
            other.start()
        assert other.do("part", room="#ops")["status"] == "committed"
        cluster.signal(left, signal.SIGCONT)
        ack = alice.wait_final(key)
        assert (ack["status"], ack["code"], ack["uid"], ack["draft"]) == (
            "rejected", "not_a_member", uid, text)
        bob.ask("history", room="#ops")  # behind what the node sent before
        if len(offline) == len([e for _, _, e in bob.events if e["event"] == "offline"]):
            bob.wait_event("retract", uid=uid)
            retracted = uid
            break
        assert alice.do("join", room="#ops")["status"] == "committed"
        cluster.wait_healthy()
        cluster.kill(*others)
    assert retracted, "the connection was lost each time"
    cluster.wait_healthy()
    assert retracted not in {message["uid"] for message in read_history(bob, "#ops")}
    assert cluster.node_status(left)["held"] == 0


def test_send_that_is_content_with_held(make_cluster, make_person):
    cluster, left, others, alice, bob = dark(make_cluster, make_person)
    address = "127.0.0.1:%d" % cluster.ports[left]
    words = ["client", "--user", "alice", "--connect", address, "--room", "#ops", "--send",
             "--state-dir", os.path.join(cluster.folder, "cron")]
    password = {"FTCHAT_PASSWORD": alice.password}
    for node in others:
        cluster.start(node, settled=False)
    assert cluster.run(*words, input="one\n", env=password, status=0).stderr == ""
    cluster.wait_healthy()
    cluster.kill(*others)
    done = cluster.run(*words, "--held-ok", input="two\n", env=password, status=0)
    assert "held by one node" in done.stderr and "do not send it again" in done.stderr
    wait_shown(bob, "two")
    for node in others:
        cluster.start(node, settled=False)
    assert cluster.run(*words, input="three\n", env=password, status=0).stderr == ""
    texts = [message["text"] for message in read_history(bob, "#ops")]
    assert texts[3:] == ["one", "two", "three"]


def test_held_posts_outlive_a_recovery(make_cluster, make_person):
    cluster, left, others, alice, bob = dark(make_cluster, make_person)
    keys = [alice.send("#ops", "dark %d" % number) for number in range(3)]
    for key in keys:
        wait_held(alice, key)
    alice.kill()  # nobody but the node has them
    uids = {wait_shown(bob, "dark %d" % number)["uid"] for number in range(3)}
    cluster.kill(left)
    assert "3 held posts" in cluster.ctl("recover", str(left), "--yes", status=0).stdout
    cluster.start(left, settled=False)
    bob.wait("all of it in the stream", lambda: bob.texts("#ops")[-3:] == [
        "dark %d" % n for n in range(3)])
    history = read_history(bob, "#ops")
    assert [message["text"] for message in history][3:] == ["dark %d" % n for n in range(3)]
    assert {message["uid"] for message in history[3:]} == uids and not bob.retracted
    wait_for("nothing held", lambda: cluster.node_status(left)["held"] == 0)
    wait_for("no held log", lambda: not held_files(cluster, left))
    alice.start()
    alice.wait_final(*keys)  # each once, though she offers them again
    assert len(read_history(bob, "#ops")) == 6
