"""What `make bench` measures, one function a question. Each returns plain numbers; report.py shows them.

Nodes, load and this program share the machine. Nothing here asserts a time. All processes are
started here, in a temporary folder, and end with it.
"""
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "e2e"))

from client import Person  # noqa: E402
from cluster import BINARY, ROOT, Cluster, environment, wait_for  # noqa: E402
from monitors import Monitor  # noqa: E402

# Limits that protect a cluster from its clients would only measure themselves.
UNLIMITED = {"limits": {"posts_per_s": 1000000, "registrations_per_min": 1000000,
                        "preauth": 16384, "preauth_per_address": 16384, "catch_up": 10000000},
             "client": {"retry_ms": 50}}


def bench(*options, folder, timeout=120):
    """One run of `ftchat ctl bench`."""
    done = subprocess.run([BINARY, "ctl", "bench", "--json", *map(str, options)], cwd=folder,
                          env=environment(TMPDIR=folder), stdout=subprocess.PIPE, text=True,
                          timeout=timeout, check=True)
    return json.loads(done.stdout)


def limits(folder):
    done = subprocess.run([os.path.join(ROOT, "build", "bench", "limits"), folder],
                          stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


# --- writes and reading ---------------------------------------------------------------------------

WRITES = [  # connections, depth, spread
    (1, 1, False),
    (16, 1, True),
    (16, 16, True),
    (256, 1, True),
    (16, 64, True),
    (16, 64, False),
]


def writes(folder, runs, seconds):
    """For each row of WRITES its runs, taken in turn, so that a noisy minute hits all rows alike."""
    found = [[] for _ in WRITES]
    for _ in range(runs):
        for row, (connections, depth, spread) in zip(found, WRITES):
            row.append(bench("--connections", connections, "--depth", depth, "--seconds", seconds,
                             *["--spread"] * spread, folder=folder))
    return found


FAN_OUT = [  # connections, depth, rate (0: as many as go)
    (4, 64, 0),
    (1, 16, 0),
    (4, 64, 1000),
]


def fan_out(folder, seconds):
    return [bench("--connections", connections, "--depth", depth, "--readers", 100, "--seconds",
                  seconds, *(["--rate", rate] if rate else []), folder=folder)
            for connections, depth, rate in FAN_OUT]


# --- failover -------------------------------------------------------------------------------------

def failover(folder, trials, how):
    """Milliseconds from the signal to the acknowledgement of a post that a client on a survivor sent
    after it, one post at a time; sorted by trial."""
    cluster = Cluster(os.path.join(folder, "failover-%d" % how), settings=UNLIMITED).form()
    people = {}
    times = []
    try:
        for node in cluster.ids:
            people[node] = Person(cluster, "user%d" % node, nodes=[node]).start()
            people[node].do("join", room="#bench")
        for trial in range(trials):
            leader = cluster.wait_healthy()["leader"]
            person = people[leader % len(cluster.ids) + 1]
            for number in range(20 + trial % 7):
                person.wait_final(person.send("#bench", "%d before %d" % (trial, number)))
            begin = time.monotonic()
            cluster.signal(leader, how)
            key = person.send("#bench", "%d after" % trial)
            person.wait_final(key)
            times.append((person.final_at(key) - begin) * 1000)
            if how == signal.SIGKILL:
                cluster.processes[leader].wait()
                cluster.start(leader)
            else:
                cluster.signal(leader, signal.SIGCONT)
            for each in people.values():
                each.wait_final(each.send("#bench", "%d again" % trial))
    finally:
        for person in people.values():
            person.close()
        cluster.close()
    return times


def ready_after(person, begin, act):
    """Milliseconds from `begin` to the first `ready` with a quorum after act()."""
    since = len(person.events)
    act()
    person.wait_event("ready", since=since, quorum=True)
    at = next(at for at, _, event in person.events[since:]
              if event["event"] == "ready" and event["quorum"])
    return (at - begin) * 1000


def healing(folder, trials):
    """Milliseconds until all is well again, by the monitors: {what: times}. The client of the first two
    knows one node only, the one that dies or hangs; that of the third is on the node that is left."""
    cluster = Cluster(os.path.join(folder, "healing"), settings=UNLIMITED)
    cluster.ctl("init", status=0)
    monitors = {node: Monitor(cluster, node, name="monitor%d" % node).start() for node in cluster.ids}
    times = {"killed": [], "hung": [], "two": []}
    people = {}
    try:
        for node, monitor in monitors.items():
            monitor.wait_runs(node)
        cluster.ctl("form", "--wait", "30", status=0)
        for node in cluster.ids:
            people[node] = Person(cluster, "user%d" % node, nodes=[node]).start()
            people[node].do("join", room="#bench")
        for trial in range(trials):
            for what, number in (("killed", signal.SIGKILL), ("hung", signal.SIGSTOP)):
                cluster.wait_healthy()
                node = cluster.ids[trial % len(cluster.ids)]
                pid = monitors[node].wait_runs(node)
                begin = time.monotonic()
                times[what].append(ready_after(people[node], begin, lambda: os.kill(pid, number)))
            cluster.wait_healthy()
            left = cluster.ids[trial % len(cluster.ids)]
            pids = [monitors[node].wait_runs(node) for node in cluster.ids if node != left]
            begin = time.monotonic()
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            key = people[left].send("#bench", "%d with two dead" % trial)
            people[left].wait_final(key)
            times["two"].append((people[left].final_at(key) - begin) * 1000)
    finally:
        for person in people.values():
            person.close()
        for monitor in monitors.values():
            monitor.close()
        cluster.close()
    return times


# --- sizes and the start --------------------------------------------------------------------------

def rss_mib(cluster):
    return statistics.median(cluster.rss(node) for node in cluster.ids) / (1 << 20)


def sealed_bytes_per_index(cluster, node):
    """Of the segments that are full, with their indexes, as the files lie there."""
    folder = os.path.join(cluster.data(node), "log")
    firsts = sorted(int(name[:-4]) for name in os.listdir(folder) if name.endswith(".seg"))
    size = sum(os.path.getsize(os.path.join(folder, name)) for name in os.listdir(folder)
               if name[:-4].isdigit() and int(name[:-4]) < firsts[-1])
    return size / (firsts[-1] - firsts[0]) if len(firsts) > 1 else None


def idle_connections(cluster, count):
    """Bytes that a node holds for a client that is logged in and idle."""
    before = rss_mib(cluster)
    load = subprocess.Popen([BINARY, "ctl", "bench", "--live", "--config", cluster.ini,
                             "--connections", "0", "--idle", str(count), "--seconds", "600"],
                            cwd=cluster.folder, env=environment(), stdout=subprocess.DEVNULL)
    try:
        wait_for("idle clients", lambda: sum(row["clients"] or 0 for row in
                                             cluster.status()["nodes"]) >= count, every=0.2)
        time.sleep(1)  # the gauges and the disks settle
        return (rss_mib(cluster) - before) * (1 << 20) / (count / len(cluster.ids))
    finally:
        load.kill()
        load.wait()


def cold_start(cluster, person):
    """Seconds from starting the three nodes, all killed before, to the first acknowledgement."""
    person.wait_final(person.send("#bench", "before"))
    cluster.kill(*cluster.ids)
    key = person.send("#bench", "first")
    begin = time.monotonic()
    for node in cluster.ids:
        cluster.start(node, settled=False)
    person.wait_final(key)
    return person.final_at(key) - begin


def sizes(folder, posts, idle):
    found = {"posts": posts, "idle": idle}
    with tempfile.TemporaryDirectory(dir=folder) as place:
        cluster = Cluster(place, settings=UNLIMITED)
        person = None
        try:
            cluster.form()
            time.sleep(1)
            found["idle_mib"] = rss_mib(cluster)
            load = bench("--live", "--config", cluster.ini, "--posts", posts, folder=place)
            found["posts_per_s"] = load["posts_per_s"]
            cluster.wait_healthy()
            found["full_mib"] = rss_mib(cluster)
            found["bytes_per_post"] = sealed_bytes_per_index(cluster, 1)
            person = Person(cluster, "starter").start()
            person.do("join", room="#bench")
            found["cold_start_s"] = [cold_start(cluster, person) for _ in range(3)]
            cluster.wait_healthy()
            found["restarted_mib"] = rss_mib(cluster)
            found["connection_bytes"] = idle_connections(cluster, idle)
        finally:
            if person:
                person.close()
            cluster.close()
    return found
