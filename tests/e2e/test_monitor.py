"""The monitor keeps the nodes of its host running (P7): who dies is started, who hangs is killed and
started, who was stopped on purpose is left alone; and none of that depends on the monitor's own life."""
import fcntl
import os
import shutil
import signal
import socket
import time

import pytest

from cluster import BINARY, ROOT, wait_for
from monitors import Monitor

# A pulse's time-out that is short for the tests and long for a busy machine.
PULSE_MS = 1000


@pytest.fixture
def make_monitor(make_cluster):
    """Ends before its cluster does: the nodes are its children."""
    made = []

    def make(cluster, *words, **more):
        monitor = Monitor(cluster, *words, **more)
        made.append(monitor)
        return monitor.start()
    yield make
    for monitor in made:
        monitor.close()


@pytest.fixture
def watched(make_cluster, make_monitor):
    """(cluster, monitor): three nodes, formed, all running."""
    def make(nodes=3, **settings):
        cluster = make_cluster(nodes, form=False, monitor={"pulse_timeout_ms": PULSE_MS, "http": "", **settings})
        cluster.ctl("init", status=0)
        monitor = make_monitor(cluster)
        for node in cluster.ids:
            monitor.wait_runs(node)
        cluster.ctl("form", "--wait", "30", status=0)
        return cluster, monitor
    return make


def stopped(pid):
    with open("/proc/%d/stat" % pid) as stat:
        return stat.read().rsplit(")", 1)[1].split()[0] == "T"


def test_who_is_killed_is_started_again(watched, make_person):
    cluster, monitor = watched()
    alice = make_person(cluster, "alice", nodes=[2, 1, 3])
    alice.do("create", room="#ops")
    for node in (2, cluster.leader()):
        pid = monitor.wait_runs(node)
        os.kill(pid, signal.SIGKILL)
        monitor.wait_runs(node, other_than=pid)
    ended = monitor.lines("node_ended")
    assert [line["how"] for line in ended] == ['"signal 9 (Killed)"'] * 2
    assert alice.wait_final(alice.send("#ops", "still here"))
    cluster.wait_healthy()


def test_two_of_three_at_once(watched, make_person):
    cluster, monitor = watched()
    alice = make_person(cluster, "alice", nodes=[1])
    alice.do("create", room="#ops")
    pids = {node: monitor.wait_runs(node) for node in (2, 3)}
    for pid in pids.values():
        os.kill(pid, signal.SIGKILL)
    assert alice.wait_final(alice.send("#ops", "committed all the same"))
    for node, pid in pids.items():
        monitor.wait_runs(node, other_than=pid)
    cluster.wait_healthy()


def test_who_hangs_is_killed_and_started_again(watched):
    cluster, monitor = watched()
    pid = monitor.wait_runs(2)
    os.kill(pid, signal.SIGSTOP)
    line = monitor.wait_line("node_hangs", 2)
    assert int(line["pid"]) == pid and int(line["silent_ms"]) >= PULSE_MS
    monitor.wait_runs(2, other_than=pid)
    cluster.wait_healthy()
    assert not monitor.lines("node_ended", 1) and not monitor.lines("node_ended", 3)


def test_who_was_stopped_is_left_alone(watched):
    cluster, monitor = watched()
    pid = monitor.wait_runs(3)
    os.kill(pid, signal.SIGTERM)
    line = monitor.wait_line("node_stopped", 3)
    assert line["how"] == '"status 0"'
    # Others come and go meanwhile; that one does not, until asked for.
    other = monitor.wait_runs(1)
    os.kill(other, signal.SIGKILL)
    monitor.wait_runs(1, other_than=other)
    assert monitor.pid(3) == pid
    monitor.signal(signal.SIGHUP)
    monitor.wait_runs(3, other_than=pid)
    cluster.wait_healthy()


def test_the_end_of_a_monitor_stops_its_nodes(watched):
    cluster, monitor = watched()
    pids = [monitor.wait_runs(node) for node in cluster.ids]
    assert monitor.stop() == 0
    assert not any(monitor.alive(pid) for pid in pids)
    assert len(monitor.lines("node_stopped")) == 3 and not monitor.lines("node_hangs")
    # And all is there when it is started again.
    monitor.start()
    for node, pid in zip(cluster.ids, pids):
        monitor.wait_runs(node, other_than=pid)
    cluster.wait_healthy()


def test_nodes_outlive_their_monitor_and_the_next_one_takes_them_over(watched, make_monitor):
    cluster, monitor = watched()
    pids = {node: monitor.wait_runs(node) for node in cluster.ids}
    monitor.kill()
    cluster.wait_healthy()
    monitor.start()
    for node in cluster.ids:
        line = monitor.wait_line("node_found", node)
        assert int(line["pid"]) == pids[node]
    assert cluster.wait_healthy()
    # They are watched as its own are: dying, hanging, ending on purpose.
    os.kill(pids[1], signal.SIGKILL)
    assert monitor.wait_line("node_ended", 1)["how"] == '"unknown"'
    monitor.wait_runs(1, other_than=pids[1])
    os.kill(pids[2], signal.SIGSTOP)
    monitor.wait_line("node_hangs", 2)
    monitor.wait_runs(2, other_than=pids[2])
    os.kill(pids[3], signal.SIGTERM)
    monitor.wait_line("node_stopped", 3)
    assert monitor.pid(3) == pids[3]


def test_a_frozen_node_that_is_found_is_killed(watched):
    cluster, monitor = watched(nodes=1)
    pid = monitor.wait_runs(1)
    monitor.kill()
    os.kill(pid, signal.SIGSTOP)
    wait_for("it to be frozen", lambda: stopped(pid))
    monitor.start()
    monitor.wait_line("node_found", 1)
    # It has not pulsed yet, as far as this monitor knows: it might be recovering, and has patience.
    line = monitor.wait_line("node_hangs", 1)
    assert int(line["silent_ms"]) >= 10 * PULSE_MS
    monitor.wait_runs(1, other_than=pid)


def test_a_node_that_was_started_by_hand_is_taken_over(make_cluster, make_monitor):
    cluster = make_cluster(1, monitor={"pulse_timeout_ms": PULSE_MS, "http": ""})
    monitor = make_monitor(cluster, 1)
    line = monitor.wait_line("node_found", 1)
    assert int(line["pid"]) == cluster.pid(1)
    monitor.wait_runs(1)


def test_a_monitor_that_was_away_kills_nobody(watched):
    cluster, monitor = watched()
    pids = [monitor.wait_runs(node) for node in cluster.ids]
    monitor.signal(signal.SIGSTOP)
    wait_for("it to be frozen", lambda: stopped(monitor.process.pid))
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)  # as when the whole host stands still
    began = time.monotonic()
    wait_for("three time-outs", lambda: time.monotonic() - began > 3 * PULSE_MS / 1000)
    monitor.signal(signal.SIGCONT)
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    cluster.wait_healthy()
    assert not monitor.lines("node_hangs") and not monitor.lines("node_ended")


def test_one_monitor_for_each_node(watched):
    cluster, monitor = watched(nodes=1)
    second = cluster.run("monitor", "--id", "1", status=1)
    assert "node 1 has a monitor already" in second.stderr
    assert monitor.wait_runs(1)


def test_a_folder_that_a_tool_holds_is_waited_for(make_cluster, make_monitor):
    cluster = make_cluster(1, form=False, monitor={"http": ""})
    cluster.ctl("init", status=0)
    os.makedirs(cluster.data(1))
    with open(os.path.join(cluster.data(1), "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        monitor = make_monitor(cluster)
        monitor.wait_line("folder_in_use", 1)
        assert not monitor.lines("node_started")
    monitor.wait_runs(1)
    assert not monitor.lines("node_ended")


def test_a_folder_that_was_lost_is_another_one(watched):
    cluster, monitor = watched()
    pid = monitor.wait_runs(2)
    os.kill(pid, signal.SIGTERM)
    monitor.wait_line("node_stopped", 2)
    shutil.rmtree(cluster.data(2))
    monitor.signal(signal.SIGHUP)
    pid = monitor.wait_runs(2, other_than=pid)  # its pulses are heard
    cluster.wait_healthy()
    os.kill(pid, signal.SIGSTOP)
    monitor.wait_line("node_hangs", 2)
    monitor.wait_runs(2, other_than=pid)
    assert len(monitor.lines("node_hangs")) == 1


def test_a_socket_that_is_taken_away_is_made_anew(watched):
    cluster, monitor = watched(nodes=1)
    pid = monitor.wait_runs(1)
    os.unlink(os.path.join(cluster.data(1), "monitor.sock"))
    monitor.wait_line("socket_gone", 1)
    os.kill(pid, signal.SIGSTOP)
    monitor.wait_line("node_hangs", 1)
    monitor.wait_runs(1, other_than=pid)
    assert len(monitor.lines("node_hangs")) == 1


def test_one_that_is_asked_for_while_it_stops_is_started_again(watched):
    cluster, monitor = watched()
    pid = monitor.wait_runs(2)
    os.kill(pid, signal.SIGTERM)
    monitor.signal(signal.SIGHUP)
    monitor.wait_line("node_stopped", 2)
    monitor.wait_runs(2, other_than=pid)
    cluster.wait_healthy()


def test_a_crash_loop_is_braked_and_says_so(make_cluster, make_monitor):
    cluster = make_cluster(1, form=False, monitor={"http": ""})
    cluster.ctl("init", status=0)
    taken = socket.create_server(("127.0.0.1", cluster.ports[1]))
    monitor = make_monitor(cluster)
    line = monitor.wait_line("crash_loop", 1)
    assert int(line["ends"]) == 6
    pauses = [int(line["restart_in_ms"]) for line in monitor.lines("node_ended", 1)][:6]
    assert pauses[0] == 0 and pauses[1] <= 100 and 7000 <= pauses[5] <= 10000
    assert pauses[1:] == sorted(pauses[1:])
    with open(os.path.join(cluster.data(1), "node.log")) as log:
        assert "the port is in use" in log.read()
    taken.close()
    monitor.signal(signal.SIGHUP)
    monitor.wait_runs(1)


def test_what_is_started_next_is_the_file_that_is_there(make_cluster, make_monitor, tmp_path):
    newer = os.path.join(ROOT, "build", "release-next", "ftchat")
    if not os.path.exists(newer):
        pytest.skip("no build/release-next/ftchat (make test builds it)")
    binary = str(tmp_path / "ftchat")
    shutil.copy(BINARY, binary)
    cluster = make_cluster(1, form=False, monitor={"http": ""})
    cluster.ctl("init", status=0)
    monitor = make_monitor(cluster, binary=binary)
    pid = monitor.wait_runs(1)
    cluster.ctl("form", status=0)
    version = cluster.node_status(1)["version"]
    # With the file gone it goes on with what it has.
    os.unlink(binary)
    os.kill(pid, signal.SIGKILL)
    pid = monitor.wait_runs(1, other_than=pid)
    assert cluster.node_status(1)["version"] == version
    shutil.copy(newer, binary + ".new")
    os.rename(binary + ".new", binary)
    os.kill(pid, signal.SIGKILL)
    monitor.wait_runs(1, other_than=pid)
    assert cluster.node_status(1)["version"] not in (None, version)


def test_a_long_log_is_moved_aside(make_cluster, make_monitor):
    cluster = make_cluster(1, form=False, monitor={"http": ""})
    cluster.ctl("init", status=0)
    log = os.path.join(cluster.data(1), "node.log")
    monitor = make_monitor(cluster)
    pid = monitor.wait_runs(1)
    with open(log, "a") as long:
        long.truncate((16 << 20) + 1)
    wait_for("another file", lambda: os.path.exists(log + ".1") and os.path.exists(log) and
             os.path.getsize(log) < 1 << 20)
    with open(log) as new:
        wait_for("its words", lambda: "event=reload" in new.read())
    assert monitor.pid(1) == pid


def test_what_it_cannot_do_it_says(make_cluster):
    cluster = make_cluster(1, form=False, monitor={"http": ""})
    assert "exactly one of them" in cluster.run("monitor", status=2).stderr
    assert "exactly one of them" in cluster.run("monitor", "--id", "1", "--all", status=2).stderr
    assert "no [node.3]" in cluster.run("monitor", "--id", "3", status=2).stderr
    assert "make the keys once" in cluster.run("monitor", "--all", status=2).stderr
    cluster.ctl("init", status=0)
    os.rmdir(os.path.join(cluster.folder, "data"))
    gone = cluster.run("monitor", "--all", status=1)
    assert "data_dir must exist" in gone.stderr
    cluster.hosts[1] = "192.0.2.1"  # TEST-NET-1 (RFC 5737): nobody's
    cluster.write_ini({"monitor": {"http": ""}})
    assert "has an address of this host" in cluster.run("monitor", "--all", status=2).stderr
