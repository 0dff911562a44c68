"""A monitor of real nodes, for the end-to-end tests: what it says is where the process ids come from."""
import os
import re
import signal
import subprocess

from cluster import BINARY, PATIENCE, WITH_PARENT, environment, wait_for


class Monitor:
    """Of all nodes of the cluster, or of one. Its nodes outlive it by design: close() ends them."""

    def __init__(self, cluster, node=None, name="monitor", binary=BINARY):
        self.cluster, self.node, self.binary = cluster, node, binary
        self.path = os.path.join(cluster.folder, name + ".log")
        self.process = None

    def start(self):
        which = ["--all"] if self.node is None else ["--id", str(self.node)]
        with open(self.path, "ab") as log:
            self.process = subprocess.Popen(
                [*WITH_PARENT, self.binary, "monitor", *which, "--config", self.cluster.ini],
                cwd=self.cluster.folder, env=environment(), stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=log)
        return self

    def lines(self, event=None, node=None):
        """What it said, as dictionaries, oldest first."""
        with open(self.path, errors="replace") as log:
            said = [dict(re.findall(r'(\w+)=("[^"]*"|\S+)', line)) for line in log]
        return [line for line in said if event in (None, line.get("event")) and
                node in (None, int(line.get("monitor", 0)))]

    def wait_line(self, event, node=None, more=lambda line: True, after=0):
        """The first such line beyond the `after` oldest of them."""
        def found():
            return next((line for line in self.lines(event, node)[after:] if more(line)), None)
        return wait_for("%s of node %s" % (event, node), found)

    def pid(self, node):
        """Of the process that runs, or ran last."""
        told = [line for line in self.lines(None, node) if line["event"] in ("node_started", "node_found")]
        return int(told[-1]["pid"]) if told else None

    def wait_runs(self, node, other_than=None):
        """The id of its process, once that pulses; another one than that."""
        def runs():
            pid = self.pid(node)
            told = [int(line["pid"]) for line in self.lines("node_runs", node)]
            return pid if pid != other_than and pid in told and self.alive(pid) else None
        return wait_for("node %d to run" % node, runs)

    @staticmethod
    def alive(pid):
        try:
            with open("/proc/%d/stat" % pid) as stat:
                return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
        except (FileNotFoundError, ProcessLookupError):
            return False

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        self.process.kill()
        self.process.wait(PATIENCE)

    def stop(self):
        """SIGTERM, to the end; returns the exit status."""
        self.process.terminate()
        return self.process.wait(PATIENCE)

    def close(self):
        if self.process and self.process.poll() is None:
            self.kill()
        for line in self.lines():
            pid = int(line.get("pid", 0))
            try:
                path = os.readlink("/proc/%d/exe" % pid) if pid else ""
            except OSError:
                continue
            if os.path.basename(path.replace(" (deleted)", "")).startswith("ftchat"):
                os.kill(pid, signal.SIGKILL)
