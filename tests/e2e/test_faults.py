"""Posts flow while nodes are killed, frozen and stopped; the oracle says what came of it.

What is sent while a node is down must be committed while it is down: it comes back only then.
"""
import random
import signal
import threading
import time

import pytest

from client import Oracle
from cluster import FULL, PATIENCE, wait_for

DOWN_S = 2.5            # longer than any election
COUNTS_S = 1.5          # what was sent so long after the fault is waited for before the repair
ROUNDS = 12 if FULL else 2     # at least, and ...
POSTS = 30000 if FULL else 0   # ... until so many were sent
RATE = 170 if FULL else 60     # posts a second of each of the three people

class Talk:
    """Each person posts to one room at a steady rate, from a thread of its own; each post is up to
    `longest` bytes longer than its number."""

    def __init__(self, people, room, rate=RATE, longest=0):
        self.people, self.room, self.rate, self.longest = people, room, rate, longest
        self.ending = threading.Event()
        self.threads = [threading.Thread(target=self._talk, args=(person,), daemon=True)
                        for person in people]
        for thread in self.threads:
            thread.start()

    def _talk(self, person):
        number, due = 0, time.monotonic()
        while not self.ending.is_set():
            number += 1
            person.send(self.room, "%s says %d%s" % (person.user, number,
                                                     "." * random.randrange(self.longest + 1)))
            due += 1 / self.rate
            self.ending.wait(max(0, due - time.monotonic()))

    def posts(self):
        return sum(len(person.sent) for person in self.people)

    def sent_between(self, start, end):
        return [(person, key) for person in self.people for key in list(person.sent)
                if start <= person.sent_at[key] < end]

    def rounds(self):
        """Numbers the rounds, until there were enough of everything."""
        number = 0
        while number < ROUNDS or self.posts() < POSTS:
            number += 1
            yield number

    def end(self):
        self.ending.set()
        for thread in self.threads:
            thread.join(PATIENCE)


@pytest.fixture
def three(make_cluster, make_person):
    """A cluster and three people, each at home on a node of its own."""
    cluster = make_cluster(limits={"posts_per_s": 10000})
    people = [make_person(cluster, user, nodes=nodes) for user, nodes in
              (("alice", [1, 2, 3]), ("bob", [2, 3, 1]), ("carol", [3, 1, 2]))]
    assert people[0].do("create", room="#ops")["status"] == "committed"
    for person in people[1:]:
        assert person.do("join", room="#ops")["status"] == "committed"
    yield cluster, people


def judge(cluster, people, talk):
    talk.end()
    for person in people:
        person.wait_final(*person.sent, timeout=2 * PATIENCE)
    last = max(person.final(key)["seq"] for person in people for key in person.sent)
    for person in people:
        person.wait("the last message", lambda: person.messages()[-1]["seq"] == last)
    for person in people:
        status, errors = person.quit()
        assert (status, errors) == (0, "")
    oracle = Oracle(cluster, people, ["#ops"])
    histories = oracle.check()
    oracle.check_streams_complete(histories)
    assert len(histories["#ops"]) == last == sum(len(person.sent) for person in people)
    print("%d posts: 0 lost, 0 doubled, 0 out of order" % last)


def committed_while_down(talk, since):
    """Returns when all that was sent in the first part of the fault is committed."""
    time.sleep(max(0, since + COUNTS_S - time.monotonic()))
    posts = talk.sent_between(since, since + COUNTS_S)
    assert posts
    for person, key in posts:
        person.wait_final(key)
    time.sleep(max(0, since + DOWN_S - time.monotonic()))


@pytest.mark.parametrize("fault", ["kill-leader", "kill-any", "freeze-leader", "freeze-any",
                                   "stop-leader"])
def test_posts_flow_through(fault, three):
    cluster, people = three
    talk = Talk(people, "#ops")
    for _ in talk.rounds():
        cluster.wait_healthy_enough()
        node = cluster.leader() if fault.endswith("leader") else random.choice(cluster.ids)
        since = time.monotonic()
        if fault.startswith("kill"):
            cluster.kill(node)
        elif fault.startswith("freeze"):
            cluster.signal(node, signal.SIGSTOP)
        else:
            assert cluster.stop(node) == 0
        committed_while_down(talk, since)
        if fault.startswith("freeze"):
            cluster.signal(node, signal.SIGCONT)
        else:
            cluster.start(node)
    if fault.startswith("stop"):
        for node in cluster.ids:
            assert "level=error" not in cluster.log(node) and "level=alarm" not in cluster.log(node)
    judge(cluster, people, talk)


def test_all_three_killed_at_once(three):
    cluster, people = three
    talk = Talk(people, "#ops")
    for _ in talk.rounds():
        cluster.wait_healthy_enough()
        enough = talk.posts() + 50
        wait_for("some posts", lambda: talk.posts() > enough)
        for person in people:
            person.wait("to be online", person.online)
        cluster.kill(*cluster.ids)
        for person in people:  # what was on its way to them is told before this
            person.wait("to be offline", lambda: not person.online())
        committed = [person.finals() for person in people]
        time.sleep(DOWN_S if FULL else 1)
        assert committed == [person.finals() for person in people], "committed with nobody there"
        cluster.start_all()
    judge(cluster, people, talk)
