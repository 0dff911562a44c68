"""Strangers on a node's port, and somebody in the middle of an honest connection: what is not of
the cluster is counted, told once per burst, and costs nobody else anything."""
import os
import selectors
import socket
import statistics
import threading
import time

from client import Oracle
from cluster import FULL, PATIENCE, wait_for

EACH = 500 if FULL else 50
FOR_S = 30 if FULL else 0          # how long the lost ones are replaced
POSTS = 200 if FULL else 40
PREAMBLE = b"FTC1\x01\0\0\0"


class Strangers(threading.Thread):
    """Keeps `each` connections of each kind on a port until stopped, then waits for their end.

    Who is hung up on comes back a second later. Half-open ones say nothing, slow ones say one
    honest byte a second, garbage says noise. `counts` are connections made; none is ended from
    here, so that the node has to."""

    FROM = {"half": "127.0.0.2", "slow": "127.0.0.3", "garbage": "127.0.0.4"}

    def __init__(self, port, each, for_s):
        super().__init__(daemon=True)
        self.port, self.each, self.until = port, each, time.monotonic() + for_s
        self.counts = dict.fromkeys(self.FROM, 0)
        self.open = dict.fromkeys(self.FROM, 0)
        self.again = {kind: [] for kind in self.FROM}  # when those that were hung up on come back
        self.giving_up = False
        self.selector = selectors.DefaultSelector()
        self.start()

    def connect(self, kind):
        one = socket.socket()
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        one.bind((self.FROM[kind], 0))
        one.settimeout(PATIENCE)
        one.connect(("127.0.0.1", self.port))
        self.counts[kind] += 1
        self.open[kind] += 1
        state = {"kind": kind, "sent": 0, "next": time.monotonic()}
        self.selector.register(one, selectors.EVENT_READ, state)
        if kind == "garbage":
            try:
                one.send(b"\xff" + os.urandom(63))
            except OSError:
                pass

    def run(self):
        first = True
        while not self.giving_up:
            now = time.monotonic()
            if first or now < self.until:
                for kind in self.FROM:
                    back = [at for at in self.again[kind] if at > now]
                    for _ in range(min(self.each - self.open[kind] - len(back), 50)):
                        self.connect(kind)
                    self.again[kind] = back
                first = any(self.counts[kind] < self.each for kind in self.FROM)
            elif not any(self.open.values()):
                return
            for key, _ in self.selector.select(0.05):
                try:
                    ended = not key.fileobj.recv(4096)
                except OSError:
                    ended = True
                if ended:
                    self.selector.unregister(key.fileobj)
                    key.fileobj.close()
                    self.open[key.data["kind"]] -= 1
                    self.again[key.data["kind"]].append(now + 1)
            for key in list(self.selector.get_map().values()):
                state = key.data
                if state["kind"] != "slow" or now < state["next"] or state["sent"] >= len(PREAMBLE):
                    continue
                try:
                    key.fileobj.send(PREAMBLE[state["sent"]:state["sent"] + 1])
                except OSError:
                    pass
                state["sent"] += 1
                state["next"] = now + 1

    def close(self):
        self.giving_up = True
        self.join(PATIENCE)
        for key in list(self.selector.get_map().values()):
            key.fileobj.close()


def steady_posts(person, count, what):
    times = []
    for number in range(count):
        key = person.send("#ops", "%s %d" % (what, number))
        assert person.wait_final(key)["status"] == "committed"
        times.append(person.final_at(key) - person.sent_at[key])
        time.sleep(0.02)
    return statistics.median(times)


def test_strangers_cost_nobody_anything(make_cluster, make_person):
    cluster = make_cluster()
    leader = cluster.leader()
    alice = make_person(cluster, "alice", nodes=[leader])
    assert alice.do("create", room="#ops")["status"] == "committed"
    quiet = steady_posts(alice, POSTS, "before")
    before = cluster.status()
    counters = before["nodes"][leader - 1]["connections"]
    memory = cluster.rss(leader)
    strangers = Strangers(cluster.ports[leader], EACH, FOR_S)
    medians, peak = [], memory
    try:
        while strangers.is_alive():
            medians.append(steady_posts(alice, 10, "meanwhile %d" % len(medians)))
            peak = max(peak, cluster.rss(leader))
            assert len(medians) < 1000
    finally:
        strangers.close()
    sent = strangers.counts

    def counted():
        now = cluster.node_status(leader)["connections"]
        more = {key: now[key] - counters[key] for key in now}
        refused = more["refused_cap"] + more["refused_deadline"] + more["garbage"]
        return more if refused == sum(sent.values()) else None
    more = wait_for("the node to have counted all", counted, every=0.2)
    if not FULL:  # few enough for every one to be judged by what it did
        assert more["garbage"] == sent["garbage"]
        assert more["refused_deadline"] == sent["half"] + sent["slow"]
    assert more["truncated"] == 0 and more["oversized"] == 0
    after = cluster.status()
    assert (after["term"], after["leader"]) == (before["term"], leader)
    assert [row["elections"] for row in after["nodes"]] == [
        row["elections"] for row in before["nodes"]]
    assert peak - memory <= 8 << 20, (memory, peak)
    told = cluster.log(leader).count("event=refused")
    assert 1 <= told <= 40, told
    busy = statistics.median(medians)
    print("strangers: %r; p50 %.2f ms before, %.2f ms meanwhile; memory %+d KiB; told %d times" % (
        sent, quiet * 1e3, busy * 1e3, (peak - memory) >> 10, told))
    if FULL:
        assert busy <= 2 * quiet
    assert not alice.find("offline")
    Oracle(cluster, [alice], ["#ops"]).check()


# --- in the middle -----------------------------------------------------------------------------------

class Middle:
    """A proxy before a node that keeps what clients say, frame by frame, and may change a frame.

    `change(number, frame)` returns the bytes to pass on instead, or None to cut the connection; it
    is asked for the client's frames, 0 being its preamble with the handshake."""

    def __init__(self, port):
        self.port = port
        self.server = socket.create_server(("127.0.0.1", 0))
        self.own_port = self.server.getsockname()[1]
        self.change = lambda number, frame: frame
        self.said = []      # per connection: the client's frames
        self.threads = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.server.accept()
            except OSError:
                return
            node = socket.create_connection(("127.0.0.1", self.port))
            frames = []
            self.said.append(frames)
            for target in ((self._forward, client, node, frames), (self._back, node, client)):
                threading.Thread(target=target[0], args=target[1:], daemon=True).start()

    def _forward(self, client, node, frames):
        try:
            with client.makefile("rb") as source:
                head = source.read(len(PREAMBLE))
                while True:
                    size = source.read(2)
                    if len(size) < 2:
                        break
                    frame = head + size + source.read(size[0] << 8 | size[1])
                    head = b""
                    changed = self.change(len(frames), frame)
                    frames.append(frame)
                    if changed is None:
                        break
                    node.sendall(changed)
        except OSError:
            pass
        finally:
            for end in (node, client):
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def _back(self, node, client):
        try:
            while True:
                data = node.recv(65536)
                if not data:
                    break
                client.sendall(data)
        except OSError:
            pass
        try:
            client.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def close(self):
        self.server.close()


def speak(port, first, rest=b"", end=False):
    """Says `first` to a node, once that is answered `rest`, and waits for the node to hang up."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as one:
        one.sendall(first)
        try:
            if rest:
                assert one.recv(65536)
                one.sendall(rest)
            if end:
                one.shutdown(socket.SHUT_WR)
            while one.recv(65536):
                pass
        except (ConnectionResetError, BrokenPipeError):
            pass


def test_tampered_connections_end_and_nothing_else_does(make_cluster, make_person):
    cluster = make_cluster()
    leader = cluster.leader()
    middle = Middle(cluster.ports[leader])
    bob = make_person(cluster, "bob", nodes=[leader])
    alice = make_person(cluster, "alice", start=False,
                        options=["--connect", "127.0.0.1:%d" % middle.own_port])
    alice.start()
    assert alice.do("create", room="#ops")["status"] == "committed"
    assert bob.do("join", room="#ops")["status"] == "committed"
    node = lambda: cluster.node_status(leader)["connections"]
    kept = []

    def flip(number, frame):
        return frame[:-1] + bytes([frame[-1] ^ 1])

    def flip_length(number, frame):
        return bytes([frame[0], frame[1] ^ 1]) + frame[2:]

    def twice(number, frame):
        return frame + frame

    def swap(number, frame):
        kept.append(frame)
        return b"" if len(kept) % 2 else frame + kept[-2]

    def cut(number, frame):
        return None

    for what, change, counter in (("flip", flip, "garbage"), ("twice", twice, "garbage"),
                                  ("swap", swap, "garbage"), ("length", flip_length, None),
                                  ("cut", cut, "truncated")):
        before, seen = node(), len(alice.events)
        tampered = []

        def once(number, frame, change=change, tampered=tampered):
            if number < 2 or (tampered and change is not swap) or len(tampered) > 1:
                return frame
            tampered.append(number)
            return change(number, frame)
        middle.change = once
        keys = [alice.send("#ops", "%s %d" % (what, number)) for number in range(5)]
        for number in range(5, 10):
            alice.wait("the outbox", lambda: keys[-1] in alice.acks)
            keys.append(alice.send("#ops", "%s %d" % (what, number)))
        alice.wait_event("offline", since=seen)
        alice.wait_final(*keys)
        middle.change = lambda number, frame: frame
        if counter:
            wait_for(what + " to be counted as " + counter,
                     lambda: node()[counter] == before[counter] + 1, every=0.2)
    assert not bob.find("offline")
    bob.wait_final(bob.send("#ops", "still here"))
    assert alice.quit() == (0, "")
    Oracle(cluster, [alice, bob], ["#ops"]).check()
    middle.close()


def test_replayed_truncated_and_oversized_bytes(make_cluster, make_person):
    cluster = make_cluster()
    leader = cluster.leader()
    port = cluster.ports[leader]
    middle = Middle(port)
    alice = make_person(cluster, "alice", start=False,
                        options=["--connect", "127.0.0.1:%d" % middle.own_port])
    alice.start()
    assert alice.do("create", room="#ops")["status"] == "committed"
    assert alice.wait_final(alice.send("#ops", "once"))["seq"] == 1
    first, rest = middle.said[-1][0], b"".join(middle.said[-1][1:])
    before = cluster.node_status(leader)["connections"]

    def counted(**more):
        def same():
            now = cluster.node_status(leader)["connections"]
            return all(now[key] - before[key] == count for key, count in more.items())
        wait_for("the counters %r" % more, same, every=0.2)

    speak(port, first, rest)                 # an honest connection, again
    speak(port, first + rest)                # without waiting for the answer
    counted(garbage=2)
    places = range(0, len(first), 9)
    for place in places:                     # half a handshake
        speak(port, first[:place], end=True)
    counted(garbage=2, truncated=len(places))
    # A frame that is too large before a login, from its first bytes on.
    speak(port, first, b"\xff\xff")
    speak(port, first, b"\xff\xff" + b"x" * 65535)
    counted(garbage=2, truncated=len(places), oversized=2)
    speak(port, PREAMBLE + b"\xff\xff")
    speak(port, b"FTC1\x07\0\0\0" + first[8:])    # a role that there is not
    speak(port, b"FTC1\x02\0\0\0" + first[8:])    # a node without the cluster's secret
    speak(port, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    counted(garbage=6, truncated=len(places), oversized=2)
    assert alice.wait_final(alice.send("#ops", "twice"))["seq"] == 2
    assert not alice.find("offline")
    Oracle(cluster, [alice], ["#ops"]).check()
    assert cluster.log(leader).count("what=garbage") <= 2
    middle.close()
