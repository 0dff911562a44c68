"""A cluster of real processes for the end-to-end tests.

A Cluster owns a temporary folder with an ini, keys and one data folder a node; nodes are started,
signalled and waited for by their own process ids, and none outlives the tests. Waiting is for
conditions, with a bound (PATIENCE) that is generous: it costs nothing when all is well.

FULL=1 in the environment: the sizes that the promises name, instead of quick ones.
"""
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BINARY = os.path.abspath(os.environ.get("FTCHAT_BINARY") or os.path.join(ROOT, "ftchat"))
FULL = os.environ.get("FULL", "") not in ("", "0")
PATIENCE = 30.0
# A process whose parent died, killed tests for instance, is of no use to anybody.
WITH_PARENT = ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []
PASSWORD = "correct horse battery"


def environment(**more):
    """This process's, without what would change what ftchat does."""
    clean = {k: v for k, v in os.environ.items()
             if not k.startswith("FTCHAT_") and k not in ("XDG_STATE_HOME", "NOTIFY_SOCKET")}
    return {**clean, "FTCHAT_PASSWORD": PASSWORD, **more}


def wait_for(what, condition, timeout=PATIENCE, every=0.02):
    """Returns the first true value of condition(); fails, naming `what`, when none comes."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("waited %.0f s in vain for: %s (last: %r)" % (timeout, what, value))
        time.sleep(every)


def free_ports(count):
    """Neighbouring ports below the range that outgoing connections take theirs from."""
    for _ in range(200):
        first = random.SystemRandom().randrange(12000, 32000)
        taken = []
        try:
            for port in range(first, first + count):
                taken.append(socket.create_server(("127.0.0.1", port)))
            return list(range(first, first + count))
        except OSError:
            pass
        finally:
            for one in taken:
                one.close()
    raise AssertionError("no free ports")


class Cluster:
    """`settings` is {"section": {"key": value}}, over those of a demo on localhost. `network`: the
    hosts that the nodes and the clients are on (hosts.py); None: all on this one."""

    def __init__(self, folder, nodes=3, settings=None, network=None):
        self.folder = str(folder)
        os.makedirs(self.folder, exist_ok=True)
        self.ids = list(range(1, nodes + 1))
        self.ports = dict(zip(self.ids, free_ports(nodes)))
        self.hosts = {node: network.address(node) if network else "127.0.0.1" for node in self.ids}
        self.enter = {node: network.enter(node) if network else [] for node in self.ids}
        self.enter_client = network.enter_client() if network else []
        self.processes = {}  # id -> Popen of the node that runs, or ran last
        self.binaries = {}   # id -> another version's program, from its next start on
        self.ini = os.path.join(self.folder, "ftchat.ini")
        self.inis = {}  # id -> that node's, when it is not everybody's
        self.write_ini(settings or {})

    # --- files ---------------------------------------------------------------------------------

    def write_ini(self, settings):
        sections = {"cluster": {"name": "e2e"}, "accounts": {"registration": "open"},
                    "monitor": {"http": ""}, "client": {"retry_ms": 500}, "limits": {}, "log": {},
                    "raft": {}}
        for section, keys in settings.items():
            sections.setdefault(section, {}).update(keys)
        with open(self.ini, "w") as out:
            for section, keys in sections.items():
                out.write("[%s]\n" % section)
                out.writelines("%s = %s\n" % pair for pair in keys.items())
            for node, port in self.ports.items():
                out.write("[node.%d]\nhost = %s\nport = %d\n" % (node, self.hosts[node], port))

    def another_ini(self, name, **ports):
        """The ini once more, with node_N = port added or changed."""
        with open(self.ini) as common:
            text = common.read()
        for key, port in ports.items():
            head = "[%s]\nhost = 127.0.0.1\nport = " % key.replace("_", ".")
            text = re.sub(re.escape(head) + r"\d+\n", "", text) + head + "%d\n" % port
        with open(os.path.join(self.folder, name), "w") as out:
            out.write(text)
        return os.path.join(self.folder, name)

    def data(self, node):
        return os.path.join(self.folder, "data", str(node))

    def log(self, node):
        try:
            with open(os.path.join(self.folder, "node%d.log" % node), errors="replace") as log:
                return log.read()
        except FileNotFoundError:
            return ""

    # --- commands ------------------------------------------------------------------------------

    def run(self, *words, status=None, timeout=60, env=None, **more):
        """One ftchat command to its end."""
        more.setdefault("stdin", subprocess.DEVNULL)
        if "input" in more:
            del more["stdin"]
        done = subprocess.run([*self.enter_client, BINARY, *words], cwd=self.folder, env=environment(**(env or {})),
                              timeout=timeout, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, **more)
        if status is not None:
            assert done.returncode == status, (words, done.returncode, done.stdout, done.stderr)
        return done

    def ctl(self, *words, status=None, **more):
        return self.run("ctl", *words, status=status, **more)

    def form(self):
        """All nodes up and one cluster."""
        self.ctl("init", status=0)
        self.start_all()
        self.ctl("form", "--wait", str(int(PATIENCE)), status=0)
        return self

    def status(self):
        return json.loads(self.ctl("status", "--json").stdout)

    def node_status(self, node):
        return next(row for row in self.status()["nodes"] if row["id"] == node)

    def leader(self, timeout=PATIENCE):
        return wait_for("a leader", lambda: self.status()["leader"], timeout)

    def follower(self):
        leader = self.leader()
        return next(node for node in self.ids if node != leader)

    def wait_healthy(self, timeout=PATIENCE):
        """All nodes healthy, with a leader, and no one behind."""
        def settled():
            status = self.status()
            good = (status["quorum"] and status["leader"] and
                    all(row["state"] == "healthy" for row in status["nodes"]) and
                    len({row["applied"] for row in status["nodes"]}) == 1)
            return status if good else None
        return wait_for("all nodes healthy and caught up", settled, timeout, every=0.1)

    def wait_healthy_enough(self):
        """All nodes there and in the quorum, under whatever load."""
        wait_for("all nodes healthy", lambda: self.ctl("status").returncode == 0, every=0.1)

    # --- processes -----------------------------------------------------------------------------

    def start(self, node, before=(), settled=True):
        """Runs the node (under the command `before`, which must exec it)."""
        assert not self.is_running(node)
        with open(os.path.join(self.folder, "node%d.log" % node), "ab") as log:
            self.processes[node] = subprocess.Popen(
                [*WITH_PARENT, *self.enter.get(node, []), *before, self.binaries.get(node, BINARY),
                 "node", "--id", str(node), "--config", self.inis.get(node, self.ini)],
                cwd=self.folder, env=environment(), stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=log)
        if settled:
            wait_for("node %d to listen" % node, lambda: self.listens(node) or self.ended(node))
            assert self.is_running(node), self.log(node)[-2000:]

    def start_all(self):
        for node in self.ids:
            self.start(node, settled=False)
        for node in self.ids:
            wait_for("node %d to listen" % node, lambda: self.listens(node) or self.ended(node))
            assert self.is_running(node), self.log(node)[-2000:]

    def start_all_that_are_down(self):
        for node in self.ids:
            if self.ended(node):
                self.start(node)

    def listens(self, node):
        """Whether somebody has the port, without connecting to it."""
        wanted = ":%04X" % self.ports[node]
        try:
            with open("/proc/%d/net/tcp" % self.pid(node)) as table:
                rows = [line.split() for line in list(table)[1:]]
        except (FileNotFoundError, ProcessLookupError, OSError):
            return False  # it ended
        return any(row[1].endswith(wanted) and row[3] == "0A" for row in rows)

    def is_running(self, node):
        return node in self.processes and self.processes[node].poll() is None

    def ended(self, node):
        return not self.is_running(node)

    def pid(self, node):
        return self.processes[node].pid

    def signal(self, node, number):
        self.processes[node].send_signal(number)

    def kill(self, *nodes):
        """kill -9, of all of them before any is waited for."""
        for node in nodes:
            self.signal(node, signal.SIGKILL)
        for node in nodes:
            self.processes[node].wait(PATIENCE)

    def stop(self, node):
        """SIGTERM, to the end; returns the exit status."""
        self.signal(node, signal.SIGTERM)
        return self.processes[node].wait(PATIENCE)

    def close(self):
        for process in self.processes.values():
            if process.poll() is None:
                process.kill()
                process.wait(PATIENCE)

    def rss(self, node):
        with open("/proc/%d/status" % self.pid(node)) as status:
            return int(re.search(r"VmRSS:\s+(\d+) kB", status.read())[1]) * 1024
