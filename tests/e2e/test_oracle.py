"""The oracle itself: every kind of harm, planted into a good record, is found."""
import copy
import threading

import pytest

from client import Oracle, Person


def message(seq, text, sender="alice", index=None):
    return {"event": "message", "room": "#ops", "seq": seq, "index": index or 10 + seq,
            "uid": "u-%s" % text, "from": sender, "text": text, "ts": "2026-01-01T00:00:%02d" % seq}


def ack(key, post):
    return {"event": "ack", "id": key, "status": "committed", "room": "#ops", "seq": post["seq"],
            "index": post["index"], "uid": post["uid"], "ts": post["ts"]}


def good():
    """A person of two runs, the first of them killed, who posted five texts, and the history."""
    person = Person.__new__(Person)
    history = [message(seq, "text %d" % seq) for seq in range(1, 6)]
    person.user, person.changed = "alice", threading.Condition()
    person.bad_lines, person.killed = [], {0}
    person.sent = {"a-%d" % m["seq"]: ("#ops", m["text"]) for m in history}
    person.acks = {"a-%d" % m["seq"]: [(0.0, 0 if m["seq"] < 4 else 1, ack("a-%d" % m["seq"], m))]
                   for m in history}
    person.streams = [copy.deepcopy(history[:3]), copy.deepcopy(history[2:])]
    return person, history


def judge(person, history):
    oracle = Oracle(None, [person], ["#ops"])
    oracle.check_history("#ops", history)
    oracle.check_acks(person, {"#ops": history})
    oracle.check_streams(person, {"#ops": history})
    oracle.check_streams_complete({"#ops": history})


def test_a_good_record_is_good():
    judge(*good())


def lost(person, history):
    del history[4]
    del person.streams[1][-1]


def doubled(person, history):
    history.append({**history[1], "seq": 6, "index": 20, "ts": "2026-01-01T00:00:09"})
    person.streams[1].append(copy.deepcopy(history[-1]))


def doubled_text_only(person, history):
    history.append({**history[1], "seq": 6, "index": 20, "uid": "another",
                    "ts": "2026-01-01T00:00:09"})
    person.streams[1].append(copy.deepcopy(history[-1]))


def reordered(person, history):
    for key, other in (("a-1", "a-2"), ("a-2", "a-1")):
        person.sent[key] = ("#ops", "text " + other[-1])
        person.acks[key] = [(0.0, 0, ack(key, history[int(other[-1]) - 1]))]


def hole(person, history):
    for at in (3, 4):
        history[at]["seq"] += 1


def index_back(person, history):
    history[3]["index"], history[2]["index"] = history[2]["index"], history[3]["index"]


def time_back(person, history):
    history[3]["ts"] = "2025-01-01T00:00:00"


def changed_text(person, history):
    history[2]["text"] = "other words"


def posted_by_nobody(person, history):
    history.append(message(6, "who said that?"))
    person.streams[1].append(copy.deepcopy(history[-1]))


def never_answered(person, history):
    person.acks["a-5"] = [(0.0, 1, {"event": "ack", "id": "a-5", "status": "queued"})]


def answered_twice(person, history):
    person.acks["a-5"] *= 2


def answered_again_by_a_client_that_was_not_killed(person, history):
    person.killed = set()
    person.streams = [history[:3], history[3:]]
    person.acks["a-1"].append((1.0, 1, person.acks["a-1"][0][2]))


def answered_otherwise(person, history):
    person.acks["a-1"].append((1.0, 1, {**person.acks["a-1"][0][2], "status": "rejected"}))


def rejected_and_posted(person, history):
    person.acks["a-5"] = [(0.0, 1, {"event": "ack", "id": "a-5", "status": "rejected",
                                    "code": "busy"})]


def gap_in_a_stream(person, history):
    del person.streams[1][1]


def gap_between_runs(person, history):
    person.streams[1] = person.streams[1][2:]


def streamed_twice(person, history):
    person.streams[1].append({**person.streams[1][-1], "index": 30})


def back_in_a_stream(person, history):
    person.streams[1].append(person.streams[1][0])


def came_again_changed(person, history):
    person.streams[1][0]["text"] = "other words"


def repeated_without_a_kill(person, history):
    person.killed = set()


def stream_of_other_words(person, history):
    person.streams[1][2]["text"] = "other words"


def stream_that_stops_early(person, history):
    del person.streams[1][-1]


def no_json(person, history):
    person.bad_lines.append(b"Segmentation fault")


@pytest.mark.parametrize("harm", [
    lost, doubled, doubled_text_only, reordered, hole, index_back, time_back, changed_text,
    posted_by_nobody, never_answered, answered_twice,
    answered_again_by_a_client_that_was_not_killed, answered_otherwise, rejected_and_posted,
    gap_in_a_stream, gap_between_runs, streamed_twice, back_in_a_stream, came_again_changed,
    repeated_without_a_kill, stream_of_other_words, stream_that_stops_early, no_json,
], ids=lambda harm: harm.__name__)
def test_harm_is_found(harm):
    person, history = good()
    harm(person, history)
    with pytest.raises(AssertionError):
        judge(person, history)
