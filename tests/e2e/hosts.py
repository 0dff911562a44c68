"""Hosts of one's own: a network namespace for each node and one for the clients, on one bridge.

Links are cut by nft rules in the namespaces: what a host does not hear is dropped where it would
arrive, so that each direction can be cut for itself and nobody is told. Needs root; everything is
gone with the namespaces at the test's end.
"""
import os
import shutil
import subprocess

CLIENTS = 0  # the host on which clients and ctl run


def command(*words, text=None):
    return subprocess.run(words, input=text, capture_output=True, text=True,
                          **({} if text else {}))


def must(*words, text=None):
    done = command(*words, text=text)
    assert done.returncode == 0, (words, text, done.stderr)
    return done.stdout


def why_not():
    """Why there can be no such network here; "" if there can."""
    if os.geteuid() != 0:
        return "needs root, for network namespaces"
    for tool in ("ip", "nft"):
        if not shutil.which(tool):
            return tool + " is not installed"
    name = "ftchat-probe-%d" % os.getpid()
    try:
        for words in (["ip", "netns", "add", name],
                      ["ip", "-n", name, "link", "add", "name", "probe", "type", "bridge"],
                      ["ip", "-n", name, "link", "add", "name", "one", "type", "veth", "peer",
                       "name", "two"],
                      ["ip", "netns", "exec", name, "nft", "add table inet probe"]):
            done = command(*words)
            if done.returncode:
                return "%s: %s" % (" ".join(words[:4]), done.stderr.strip())
        return ""
    finally:
        command("ip", "netns", "del", name)


class Network:
    made = 0

    def __init__(self, nodes):
        Network.made += 1
        self.prefix = "ftchat-%d-%d-" % (os.getpid(), Network.made)
        self.ids = list(range(1, nodes + 1))
        self.blocked = set()  # (from, to)
        hub = self.name(CLIENTS)
        must("ip", "netns", "add", hub)
        must("ip", "-n", hub, "link", "set", "lo", "up")
        must("ip", "-n", hub, "link", "add", "name", "hub", "type", "bridge")
        must("ip", "-n", hub, "address", "add", self.address(CLIENTS) + "/24", "dev", "hub")
        must("ip", "-n", hub, "link", "set", "hub", "up")
        for node in self.ids:
            name = self.name(node)
            must("ip", "netns", "add", name)
            must("ip", "-n", name, "link", "set", "lo", "up")
            must("ip", "-n", name, "link", "add", "name", "eth0", "type", "veth", "peer", "name",
                 "host%d" % node, "netns", hub)
            must("ip", "-n", hub, "link", "set", "host%d" % node, "master", "hub", "up")
            must("ip", "-n", name, "address", "add", self.address(node) + "/24", "dev", "eth0")
            must("ip", "-n", name, "link", "set", "eth0", "up")
        for host in [CLIENTS, *self.ids]:
            self.nft(host, "table inet cut {\n chain in {\n"
                           "  type filter hook input priority 0; policy accept;\n }\n}\n")

    def name(self, host):
        return self.prefix + ("clients" if host == CLIENTS else str(host))

    def address(self, host):
        return "10.77.0.%d" % (254 if host == CLIENTS else host)

    def enter(self, host):
        # Not `ip netns exec`: that copies the mounts, and keeps busy what others unmount meanwhile.
        return ["nsenter", "--net=/run/netns/" + self.name(host), "--"]

    def enter_client(self):
        return self.enter(CLIENTS)

    def nft(self, host, rules):
        must(*self.enter(host), "nft", "-f", "-", text=rules)

    # --- cuts ----------------------------------------------------------------------------------

    def set_blocked(self, blocked):
        """Exactly these pairs (from, to): what `from` sends does not arrive at `to`."""
        changed = {to for _, to in self.blocked ^ set(blocked)}
        self.blocked = set(blocked)
        for to in changed:
            rules = "".join("add rule inet cut in ip saddr %s drop\n" % self.address(one)
                            for one, other in self.blocked if other == to)
            self.nft(to, "flush chain inet cut in\n" + rules)

    def isolate(self, host, hears=False, is_heard=False):
        """The host alone on its side, clients included on the other; or one way only."""
        others = [other for other in [CLIENTS, *self.ids] if other != host]
        blocked = set()
        if not hears:
            blocked |= {(other, host) for other in others}
        if not is_heard:
            blocked |= {(host, other) for other in others}
        self.set_blocked(blocked)

    def ring(self):
        """Each node hears only its two neighbours: everybody has a majority of five, nobody the
        same one."""
        count = len(self.ids)
        self.set_blocked({(a, b) for a in self.ids for b in self.ids
                          if a != b and (a - b) % count not in (1, count - 1)})

    def cut_link(self, a, b):
        self.set_blocked({(a, b), (b, a)})

    def heal(self):
        self.set_blocked(set())

    # --- resets --------------------------------------------------------------------------------

    def reset(self, host):
        """Every connection of the host ends as if the other side had reset it; how many did."""
        done = command(*self.enter(host), "ss", "-K", "-H", "-t", "-n", "state", "established")
        return len(done.stdout.strip().splitlines())

    def close(self):
        for host in [*self.ids, CLIENTS]:
            command("ip", "netns", "del", self.name(host))
