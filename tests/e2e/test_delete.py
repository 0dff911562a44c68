"""Deleting: who may, what everybody sees at once, on catching up, in history, and after everything was started anew."""
import pytest

from client import Stale, read_history
from cluster import wait_for

WORDS = "a secret that nobody should read"


@pytest.fixture
def talk(make_cluster, make_person):
    cluster = make_cluster(log={"segment_mb": 1}, limits={"posts_per_s": 1000000})
    people = [make_person(cluster, name, nodes=[node])
              for node, name in ((1, "alice"), (2, "bob"), (3, "carl"))]
    alice, bob, carl = people
    assert alice.do("create", room="#ops")["status"] == "committed"
    for person in (bob, carl):
        assert person.do("join", room="#ops")["status"] == "committed"
    return cluster, people


def fresh_history(person, room):
    def read():
        try:
            return read_history(person, room, stale_ok=False)
        except Stale:
            return None
    return wait_for("a history that is not stale", read)


def expect(people, room, deleted):
    for person in people:
        for message in fresh_history(person, room):
            if message["seq"] in deleted:
                assert (message["text"], message.get("deleted")) == ("", True), message
                assert message["from"] and message["uid"] and message["ts"]
            else:
                assert message["text"] and "deleted" not in message, message


def test_who_may_and_what_is_seen(talk):
    cluster, (alice, bob, carl) = talk
    assert carl.quit() == (0, "")
    for number, person in enumerate((alice, bob, bob)):
        ack = person.wait_final(person.send("#ops", "%s %d" % (WORDS, number)))
        assert ack["seq"] == number + 1
    refused = bob.do("delete", room="#ops", seq=1)
    assert (refused["status"], refused["code"]) == ("rejected", "forbidden")
    for seq in (0, 4, 99):
        refused = alice.do("delete", room="#ops", seq=seq)
        assert (refused["status"], refused["code"]) == ("rejected", "bad_request")
    assert bob.do("delete", room="#nope", seq=1)["code"] == "unknown_room"
    assert alice.do("delete", room="#ops", seq="1")["code"] == "bad_request"
    assert bob.do("delete", room="#ops", seq=2)["status"] == "committed"
    ack = alice.do("delete", room="#ops", seq=3)
    assert (ack["status"], ack["room"]) == ("committed", "#ops") and "seq" not in ack
    for person in (alice, bob):
        person.wait_event("room", kind="delete", room="#ops", user="bob", by="bob", seq=2, text="")
        person.wait_event("room", kind="delete", room="#ops", user="bob", by="alice", seq=3)
    assert bob.do("delete", room="#ops", seq=3)["status"] == "committed"
    expect((alice, bob), "#ops", {2, 3})
    # Who was away is never shown the words.
    carl.start()
    carl.wait("three messages", lambda: len(carl.messages("#ops")) == 3)
    assert carl.texts("#ops") == [WORDS + " 0", "", ""]
    assert [m.get("deleted") for m in carl.messages("#ops")] == [None, True, True]
    expect((carl,), "#ops", {2, 3})
    events = [e for stream in carl.streams for e in stream if e.get("kind") == "delete"]
    assert [e["seq"] for e in events] in ([2, 3], [])  # streams may hold messages only
    # A conversation: each his own.
    alice.wait_final(alice.send("@bob", WORDS))
    bob.wait_event("message", room="@alice", text=WORDS)
    assert bob.do("delete", room="@alice", seq=1)["code"] == "forbidden"
    assert alice.do("delete", room="@bob", seq=1)["status"] == "committed"
    bob.wait_event("room", kind="delete", room="@alice", user="alice", by="alice", seq=1)
    expect((alice,), "@bob", {1})
    expect((bob,), "@alice", {1})


def test_it_stays_deleted(talk):
    """Across sealed segments and starts; deleted before and behind the newest checkpoint."""
    cluster, (alice, bob, carl) = talk
    deleted = set()
    for round_number in range(3):
        keys = [bob.send("#ops", "%s %d " % (WORDS, number) + "x" * 3000) for number in range(400)]
        first = bob.wait_final(*keys)["seq"] - len(keys) + 1
        for seq in (first, first + 200, first + 399, max(1, first - 150)):
            if seq not in deleted:
                assert bob.do("delete", room="#ops", seq=seq)["status"] == "committed"
                deleted.add(seq)
        for person in (alice, bob, carl):
            for seq in deleted:
                person.wait_event("room", kind="delete", seq=seq)
        expect((alice, bob, carl), "#ops", deleted)
        cluster.kill(*cluster.ids)
        cluster.start_all()
        cluster.wait_healthy()
        expect((alice, bob, carl), "#ops", deleted)
    again = alice.do("delete", room="#ops", seq=min(deleted))
    assert again["status"] == "committed"
    assert bob.wait_final(bob.send("#ops", "and on"))["status"] == "committed"
    assert cluster.stop(1) == 0
    dumped = cluster.ctl("dump", "1", status=0).stdout
    assert dumped.count('"kind":"delete"') == len(deleted) + 1
    assert '"kind":"unknown"' not in dumped
