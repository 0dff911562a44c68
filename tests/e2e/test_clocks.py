"""Wall clocks that jump, under real nodes: order and time-outs do not depend on them, and one wrong
clock of three spoils no message's time."""
import os
import platform
import shutil
import subprocess
import time
from datetime import datetime, timezone

import pytest

from cluster import ROOT, wait_for
from test_faults import Talk, judge

SKEW = os.path.join(ROOT, "build", "tools", "skew")
YEAR_S = 365 * 86400


def why_no_skew():
    if platform.machine() != "x86_64":
        return "the helper that moves a clock is for x86-64"
    if not os.path.exists(SKEW):
        return "build/tools/skew is not built (make build/tools/skew)"
    probe = subprocess.run([SKEW, "/dev/null", shutil.which("true")], capture_output=True)
    return "ptrace or seccomp is refused" if probe.returncode else ""


class Clocks:
    def __init__(self, cluster):
        self.cluster = cluster
        for node in cluster.ids:
            self.set(node, 0)

    def file(self, node):
        return os.path.join(self.cluster.folder, "clock%d" % node)

    def set(self, node, seconds):
        with open(self.file(node) + ".new", "w") as out:
            out.write("%d\n" % seconds)
        os.replace(self.file(node) + ".new", self.file(node))


def test_posts_flow_while_clocks_jump(make_cluster, make_person):
    why = why_no_skew()
    if why:
        pytest.skip(why)
    cluster = make_cluster(form=False, limits={"posts_per_s": 10000})
    cluster.ctl("init", status=0)
    clocks = Clocks(cluster)
    for node in cluster.ids:
        cluster.start(node, before=[SKEW, clocks.file(node)])
    cluster.ctl("form", "--wait", "30", status=0)
    people = [make_person(cluster, user, nodes=nodes) for user, nodes in
              (("alice", [1, 2, 3]), ("bob", [2, 3, 1]), ("carol", [3, 1, 2]))]
    assert people[0].do("create", room="#ops")["status"] == "committed"
    for person in people[1:]:
        assert person.do("join", room="#ops")["status"] == "committed"
    talk = Talk(people, "#ops", 20)
    cluster.wait_healthy_enough()
    leader = cluster.leader()
    follower = cluster.follower()
    for node, seconds in ((leader, 10 * YEAR_S), (leader, 0), (follower, -3600),
                          (follower, 12 * YEAR_S), (follower, 0), (leader, -YEAR_S), (leader, 0)):
        clocks.set(node, seconds)
        # That the node goes by it is seen in its own log's lines later; here posts go on at once.
        since = time.monotonic()
        time.sleep(0.4)
        for person, key in talk.sent_between(since, since + 0.4):
            ack = person.wait_final(key)
            at = datetime.strptime(ack["ts"], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc)
            assert abs(at.timestamp() - time.time()) < 60, (node, seconds, ack)
    # The wrong clocks were really the nodes' own.
    clocks.set(follower, 12 * YEAR_S)
    lines = cluster.log(follower).count("\n")
    cluster.stop(follower)
    wait_for("a line", lambda: cluster.log(follower).count("\n") > lines)
    year = datetime.fromtimestamp(time.time() + 12 * YEAR_S, timezone.utc).year
    assert "ts=%d-" % year in cluster.log(follower)
    clocks.set(follower, 0)
    cluster.start(follower, before=[SKEW, clocks.file(follower)])
    judge(cluster, people, talk)
