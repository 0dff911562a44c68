"""Disks that are slow, fail or are full, under real nodes: strace delays and fails fdatasync, a
small tmpfs fills up."""
import os
import shutil
import statistics
import subprocess
import time

import pytest

from client import Oracle
from cluster import FULL, PATIENCE, wait_for

DELAY_S = 0.060
POSTS = 100 if FULL else 20


class Tracer:
    """strace on a running process; `fault` as in --inject=fdatasync:FAULT."""

    def __init__(self, pid, fault):
        self.pid = pid
        self.process = subprocess.Popen(
            ["strace", "-f", "-qq", "-p", str(pid), "-e", "trace=fdatasync", "-e",
             "inject=fdatasync:" + fault, "-o", "/dev/null"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        wait_for("strace to have all threads", self.attached)

    def attached(self):
        assert self.process.poll() is None, self.process.stderr.read()
        try:
            for thread in os.listdir("/proc/%d/task" % self.pid):
                with open("/proc/%d/task/%s/status" % (self.pid, thread)) as status:
                    if "TracerPid:\t%d\n" % self.process.pid not in status.read():
                        return False
        except (FileNotFoundError, ProcessLookupError):
            return False
        return True

    def close(self):
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(PATIENCE)
        self.process.stderr.close()


def why_no_strace():
    if not shutil.which("strace"):
        return "strace is not installed"
    probe = subprocess.run(["strace", "-qq", "-f", "-o", "/dev/null", "-e", "trace=fdatasync", "-e",
                            "inject=fdatasync:error=EIO:when=1", "true"], capture_output=True)
    return "" if probe.returncode == 0 else "ptrace is refused: %r" % probe.stderr[:100]


@pytest.fixture
def inject():
    why = why_no_strace()
    if why:
        pytest.skip(why)
    made = []

    def make(cluster, node, fault):
        made.append(Tracer(cluster.pid(node), fault))
        return made[-1]
    yield make
    for tracer in made:
        tracer.close()


@pytest.fixture
def talk(make_cluster, make_person):
    """A cluster with a leader, and somebody at home there."""
    cluster = make_cluster()
    leader = cluster.leader()
    alice = make_person(cluster, "alice", nodes=[leader])
    assert alice.do("create", room="#ops")["status"] == "committed"
    return cluster, leader, alice


def post_times(person, count, what):
    """Seconds from sending a post to its ack, one in flight."""
    times = []
    for number in range(count):
        key = person.send("#ops", "%s %d" % (what, number))
        assert person.wait_final(key)["status"] == "committed"
        times.append(person.final_at(key) - person.sent_at[key])
    return times


def test_no_ack_before_a_majority_has_synced(talk, inject):
    cluster, leader, alice = talk
    for node in cluster.ids:
        if node != leader:
            inject(cluster, node, "delay_enter=%d" % (DELAY_S * 1e6))
    times = post_times(alice, POSTS, "slow")
    assert min(times) >= DELAY_S, times
    assert cluster.leader() == leader
    Oracle(cluster, [alice], ["#ops"]).check()


def test_one_slow_disk_slows_nobody(talk, inject):
    cluster, leader, alice = talk
    before = post_times(alice, POSTS, "before")
    slow = inject(cluster, next(n for n in cluster.ids if n != leader),
                  "delay_enter=%d" % (DELAY_S * 1e6))
    during = post_times(alice, POSTS, "during")
    slow.close()
    after = post_times(alice, POSTS, "after")
    # Had the acks waited for the slow disk, they would all have taken DELAY_S more.
    without = statistics.median(before + after)
    assert statistics.median(during) - without < DELAY_S / 2, (during, without)
    assert cluster.leader() == leader
    Oracle(cluster, [alice], ["#ops"]).check()


@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
def test_a_failed_fdatasync_ends_the_leader_and_loses_nothing(error, make_cluster, make_person,
                                                              inject):
    cluster = make_cluster()
    leader = cluster.leader()
    alice = make_person(cluster, "alice", nodes=[leader, *(n for n in cluster.ids if n != leader)])
    alice.do("create", room="#ops")
    post_times(alice, 5, "good")
    inject(cluster, leader, "error=%s" % error)
    keys = [alice.send("#ops", "through it %d" % number) for number in range(50)]
    wait_for("the leader to end", lambda: cluster.ended(leader))
    assert cluster.processes[leader].returncode == 1
    assert "event=disk_failed" in cluster.log(leader)
    alice.wait_final(*keys)
    assert cluster.leader() != leader
    cluster.start(leader)
    post_times(alice, 5, "afterwards")
    assert alice.quit() == (0, "")
    Oracle(cluster, [alice], ["#ops"]).check()


def test_a_failed_fdatasync_ends_a_follower_only(talk, inject):
    cluster, leader, alice = talk
    follower = next(n for n in cluster.ids if n != leader)
    inject(cluster, follower, "error=EIO")
    post_times(alice, 5, "through it")
    wait_for("the follower to end", lambda: cluster.ended(follower))
    assert cluster.leader() == leader
    cluster.start(follower)
    Oracle(cluster, [alice], ["#ops"]).check()


def test_one_node_of_three_commits_nothing(talk):
    cluster, leader, alice = talk
    post_times(alice, 5, "three")
    others = [n for n in cluster.ids if n != leader]
    cluster.kill(*others)
    keys = [alice.send("#ops", "alone %d" % number) for number in range(10)]
    wait_for("the quorum to be missed", lambda: cluster.ctl("status").returncode == 3)
    end = time.monotonic() + 3
    while time.monotonic() < end:
        assert not any(alice.final(key) for key in keys)
        time.sleep(0.1)
    page = alice.ask("history", room="#ops")
    assert [m["text"] for m in page["messages"]] == ["three %d" % n for n in range(5)]
    cluster.start(others[0])
    alice.wait_final(*keys)
    cluster.start(others[1])
    Oracle(cluster, [alice], ["#ops"]).check()


# --- full ------------------------------------------------------------------------------------------

@pytest.fixture
def small_disk(tmp_path):
    """Mounts a small tmpfs at a folder."""
    if os.geteuid() != 0:
        pytest.skip("needs root, for a small tmpfs")
    mounted = []

    def mount(folder, size):
        os.makedirs(folder, exist_ok=True)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=" + size, "ftchat-e2e", folder],
                              capture_output=True, text=True)
        if done.returncode:
            pytest.skip("no tmpfs can be mounted: " + done.stderr.strip())
        mounted.append(folder)
    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", folder], check=False)


def test_a_full_disk_refuses_posts_and_serves_reads(small_disk, make_cluster, make_person):
    cluster = make_cluster(form=False, log={"segment_mb": 1})
    cluster.ctl("init", status=0)
    small_disk(os.path.join(cluster.folder, "data"), "40m")
    cluster.form()
    leader = cluster.leader()
    alice = make_person(cluster, "alice", nodes=[leader])
    alice.do("create", room="#ops")
    post_times(alice, 5, "room enough")
    # Nothing is left, as if somebody else had filled the disk.
    ballast = os.path.join(cluster.folder, "data", "ballast")
    with open(ballast, "wb", buffering=0) as out:
        size = 1 << 20
        while size:
            try:
                size = size if out.write(b"x" * size) else size // 2
            except OSError:
                size //= 2
    number = 0
    def refused():
        return next((e for _, _, e in list(alice.events)
                     if e["event"] == "ack" and e.get("code") == "disk_full"), None)
    while not refused():
        number += 1
        assert number < 4000
        alice.send("#ops", "%d " % number + "x" * 4000)
        if number % 20 == 0:
            time.sleep(0.02)
    assert refused()["status"] == "queued"
    assert not any(ack["status"] == "rejected" for acks in alice.acks.values()
                   for _, _, ack in acks)
    for node in cluster.ids:
        assert cluster.is_running(node), cluster.log(node)[-1000:]
    page = alice.ask("history", room="#ops", after=0, limit=5)
    assert [m["text"] for m in page["messages"]] == ["room enough %d" % n for n in range(5)]
    assert any(row["disk_full"] for row in cluster.status()["nodes"])
    assert cluster.ctl("status").returncode != 0
    waiting = [key for key in alice.sent if not alice.final(key)]
    assert waiting
    os.remove(ballast)
    alice.wait_final(*waiting, timeout=2 * PATIENCE)
    wait_for("no full disk", lambda: cluster.ctl("status").returncode == 0)
    assert alice.quit() == (0, "")
    Oracle(cluster, [alice], ["#ops"]).check()
