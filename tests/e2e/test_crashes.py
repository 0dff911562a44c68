"""Clients and the leader are killed at random in mid-stream and started again with what they had on
disk: every id ends in one final ack, every text stands once."""
import os
import random
import threading

from client import Oracle
from cluster import FULL, wait_for
from test_faults import Talk

KILLS = int(os.environ.get("KILLS") or (200 if FULL else 20))


def test_clients_and_leader_killed_at_random(make_cluster, make_person):
    cluster = make_cluster(limits={"posts_per_s": 10000})
    people = [make_person(cluster, user, nodes=nodes) for user, nodes in
              (("alice", [1, 2, 3]), ("bob", [2, 3, 1]), ("carol", [3, 1, 2]))]
    assert people[0].do("create", room="#ops")["status"] == "committed"
    for person in people[1:]:
        assert person.do("join", room="#ops")["status"] == "committed"
    talk = Talk(people, "#ops", rate=150)
    seed = int(os.environ.get("SEED") or random.SystemRandom().randrange(1 << 32))
    print("SEED=%d" % seed)
    choose = random.Random(seed)
    for _ in range(KILLS):
        threading.Event().wait(choose.uniform(0.02, 0.3))  # in mid-stream, wherever that is
        victim = choose.choice([*people, None])
        if victim is not None:
            victim.kill()
            victim.start(ready=choose.random() < 0.7)
            continue
        leader = wait_for("a leader", lambda: cluster.status()["leader"])
        if cluster.is_running(leader):
            cluster.kill(leader)
        cluster.start(leader)
    talk.end()
    lost = sum(person.settle("#ops") for person in people)
    posts = sum(len(person.sent) for person in people)
    for person in people:  # the others' last posts may still be on their way
        wait_for("the whole stream of " + person.user,
                 lambda: max(m["seq"] for m in person.messages("#ops")) == posts)
    for person in people:
        assert person.quit()[0] == 0
    oracle = Oracle(cluster, people, ["#ops"])
    history = oracle.check()["#ops"]
    oracle.check_streams_complete({"#ops": history})
    assert len(history) == sum(len(person.sent) for person in people)
    print("%d posts through %d kills; %d were in a killed client's pipe" % (len(history), KILLS, lost))
