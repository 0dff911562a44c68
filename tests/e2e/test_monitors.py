"""Monitors of several hosts: they elect a leader among themselves, and it has a lost host's node started
when nobody hears either of them."""
import os
import signal
import time

import pytest

from cluster import BINARY, wait_for
from monitors import Monitor

# How long a monitor may be silent: short for the tests, long for a busy machine.
SILENCE_MS = 2000


@pytest.fixture
def monitors(make_cluster):
    """(cluster, {node: monitor}): a monitor of its own for each of three nodes, as on three hosts."""
    made = []

    def make(**settings):
        cluster = make_cluster(3, form=False, monitor={"heartbeat_timeout_ms": SILENCE_MS, "http": "", **settings},
                               health={"interval_ms": 500, "timeout_ms": 500})
        cluster.ctl("init", status=0)
        for node in cluster.ids:
            made.append(Monitor(cluster, node, name="monitor%d" % node).start())
        for node, monitor in zip(cluster.ids, made):
            monitor.wait_runs(node)
        cluster.ctl("form", "--wait", "30", status=0)
        return cluster, dict(zip(cluster.ids, made))
    yield make
    for monitor in made:
        monitor.close()


def follows(monitor):
    """Whom it said last that it follows, or that it leads."""
    told = [line for line in monitor.lines() if line["event"] in ("leads_monitors", "follows_monitor")]
    return int(told[-1]["of"])


def wait_leader(group, leader):
    wait_for("all to follow monitor %d" % leader, lambda: all(follows(one) == leader for one in group.values()))


def test_the_highest_that_is_there_leads(monitors):
    _, group = monitors()
    wait_leader(group, 3)
    last = group.pop(3)
    last.kill()
    wait_leader(group, 2)
    last.start()
    wait_leader({**group, 3: last}, 3)
    last.signal(signal.SIGSTOP)  # its connections stay: only its silence tells
    wait_leader(group, 2)
    last.signal(signal.SIGCONT)
    wait_leader({**group, 3: last}, 3)


def test_a_lost_host_is_told(monitors):
    _, group = monitors()
    wait_leader(group, 3)
    pid = group[1].wait_runs(1)
    group[1].kill()
    os.kill(pid, signal.SIGKILL)
    line = group[3].wait_line("host_lost", 3)
    assert line["of"] == "1"
    assert not group[2].lines("host_lost")


def test_the_start_command_of_a_lost_host(monitors):
    """A real one: what it starts is a monitor, which starts the node."""
    command = "echo %%i >>started; setsid %s monitor --id %%i --config ftchat.ini >>again.log 2>&1 &" % BINARY
    cluster, group = monitors(start_command=command)
    wait_leader(group, 3)
    pid = group[2].wait_runs(2)
    group[2].kill()
    # The node runs, and others hear it: nothing is to be done.
    began = time.monotonic()
    wait_for("more than a lost host is given", lambda: time.monotonic() - began > 3 * SILENCE_MS / 1000)
    assert cluster.wait_healthy()
    assert not group[3].lines("start_command")
    os.kill(pid, signal.SIGKILL)
    line = group[3].wait_line("start_command", 3)
    assert line["of"] == "2"
    again = Monitor(cluster, 2, name="again")
    try:
        wait_for("its monitor", lambda: os.path.exists(again.path))
        other = again.wait_runs(2)
        assert other != pid
        cluster.wait_healthy()
        with open(os.path.join(cluster.folder, "started")) as started:
            assert started.read() == "2\n"
        assert not group[1].lines("start_command")
    finally:
        # Nobody's child: it is found by what it holds.
        for lock in open("/proc/locks"):
            fields = lock.split()
            if fields[5].endswith(":%d" % os.stat(os.path.join(cluster.data(2), "monitor.lock")).st_ino):
                os.kill(int(fields[4]), signal.SIGKILL)
        again.close()


def test_a_host_that_was_stopped_on_purpose_stays_so(monitors):
    _, group = monitors(start_command="echo %i >>started")
    wait_leader(group, 3)
    assert group[1].stop() == 0
    began = time.monotonic()
    wait_for("more than a lost host is given", lambda: time.monotonic() - began > 3 * SILENCE_MS / 1000)
    assert not group[3].lines("start_command")


def test_monitors_work_without_a_majority_of_nodes(monitors):
    cluster, group = monitors()
    wait_leader(group, 3)
    pids = {node: group[node].wait_runs(node) for node in (1, 2)}
    for pid in pids.values():
        os.kill(pid, signal.SIGKILL)
    for node, pid in pids.items():
        group[node].wait_runs(node, other_than=pid)
    cluster.wait_healthy()
    wait_leader(group, 3)
