"""People who talk through `ftchat client --json`, and the oracle that judges what came of it.

A Person is one device (one state directory) over all its runs: it may be killed and started again.
Everything it was told is kept, with the time: acks by id, streamed messages in order, run by run.
"""
import json
import os
import subprocess
import threading
import time

from cluster import BINARY, PATIENCE, PASSWORD, WITH_PARENT, environment

FINAL = ("committed", "rejected")


class Person:
    """`nodes`: the nodes to connect to, in this order (None: as the ini says)."""

    def __init__(self, cluster, user, nodes=None, device="", register=True, password=PASSWORD,
                 options=()):
        self.cluster, self.user, self.nodes = cluster, user, nodes
        self.register, self.password, self.options = register, password, list(options)
        self.state = os.path.join(cluster.folder, "state", user + device)
        self.process = None
        self.changed = threading.Condition()
        self.writing = threading.Lock()
        self.events = []       # all, in order: (time, run, event)
        self.sent = {}         # id -> (room, text), in the order of sending
        self.sent_at = {}      # id -> time
        self.acks = {}         # id -> [(time, run, ack)]
        self.final_count = 0
        self.streams = []      # per run: message and room events in order; not what is held
        self.held = []         # message events with "held", in order
        self.retracted = []    # uids
        self.killed = set()    # runs that ended by kill -9
        self.bad_lines = []
        self.next_id = 0
        self.reader = None

    # --- one run -------------------------------------------------------------------------------

    def start(self, ready=True, wait=None):
        assert self.process is None
        words = [BINARY, "client", "--json", "--user", self.user, "--state-dir", self.state,
                 "--config", self.cluster.ini, *self.options]
        if self.nodes:
            words += ["--connect", ",".join("%s:%d" % (self.cluster.hosts[n],
                                                       self.cluster.ports[n])
                                            for n in self.nodes)]
        if self.register:
            words.append("--register")
        if wait is not None:
            words += ["--wait", str(wait)]
        self.process = subprocess.Popen([*WITH_PARENT, *self.cluster.enter_client, *words], cwd=self.cluster.folder,
                                        env=environment(FTCHAT_PASSWORD=self.password), bufsize=0,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE)
        self.streams.append([])
        run = len(self.streams) - 1
        self.reader = threading.Thread(target=self._read, args=(self.process.stdout, run),
                                       daemon=True)
        self.reader.start()
        if ready:
            self.wait_event("ready", run=run)
        return self

    @property
    def run(self):
        return len(self.streams) - 1

    def _read(self, stdout, run):
        rest = b""
        while True:
            data = stdout.read(1 << 16)
            lines = (rest + data).split(b"\n")
            rest = lines.pop()  # of a client that was killed: half a line
            now = time.monotonic()
            with self.changed:
                for line in lines:
                    self._take(now, run, line)
                self.changed.notify_all()
            if not data:
                return

    def _take(self, now, run, line):
        try:
            event = json.loads(line)
            kind = event["event"]
        except (ValueError, KeyError, TypeError):
            self.bad_lines.append(line)
            return
        self.events.append((now, run, event))
        if kind == "ack":
            self.acks.setdefault(event["id"], []).append((now, run, event))
            self.final_count += event["status"] in FINAL
        elif kind == "message" and event.get("held"):
            self.held.append(event)
        elif kind == "retract":
            self.retracted.append(event["uid"])
        elif kind in ("message", "room"):
            self.streams[run].append(event)

    def write(self, data):
        """Raw bytes to its standard input; False if it is gone."""
        process = self.process
        if process is None:
            return False
        with self.writing:
            try:
                while data:
                    data = data[os.write(process.stdin.fileno(), data):]
                return True
            except (OSError, ValueError):
                return False

    def op(self, op, **fields):
        """Sends an op; returns its id."""
        if "id" not in fields:
            self.next_id += 1
            fields["id"] = "%s-%d" % (self.user, self.next_id)
        self.sent_at[fields["id"]] = time.monotonic()
        self.write(json.dumps({"op": op, **fields}).encode() + b"\n")
        return fields["id"]

    def send(self, room, text, **fields):
        key = fields.pop("id", None)
        if key is None:
            self.next_id += 1
            key = "%s-%d" % (self.user, self.next_id)
        self.sent.pop(key, None)  # sent again: its place is the last
        self.sent[key] = (room, text)
        where = {"to": room[1:]} if room.startswith("@") else {"room": room}
        return self.op("send", id=key, text=text, **where, **fields)

    # --- what it was told ------------------------------------------------------------------------

    def wait(self, what, condition, timeout=PATIENCE):
        end = time.monotonic() + timeout
        with self.changed:
            while True:
                value = condition()
                if value:
                    return value
                left = end - time.monotonic()
                if left <= 0:
                    raise AssertionError("%s waited %.0f s in vain for: %s; last heard: %r" % (
                        self.user, timeout, what, [e for _, _, e in self.events[-5:]]))
                self.changed.wait(min(left, 1))

    def find(self, kind, /, run=None, since=0, **fields):
        for _, at, event in self.events[since:]:
            if (event["event"] == kind and (run is None or at == run) and
                    all(event.get(k) == v for k, v in fields.items())):
                return event
        return None

    def wait_event(self, kind, /, timeout=PATIENCE, run=None, since=0, **fields):
        return self.wait("%s %r" % (kind, fields),
                         lambda: self.find(kind, run, since, **fields), timeout)

    def final(self, key):
        """The last final ack of this id, or None."""
        for _, _, ack in reversed(self.acks.get(key, ())):
            if ack["status"] in FINAL:
                return ack
        return None

    def online(self):
        """By what it was told last."""
        for _, _, event in reversed(self.events):
            if event["event"] in ("ready", "offline"):
                return event["event"] == "ready"
        return False

    def finals(self):
        """How many final acks there were."""
        return self.final_count

    def final_at(self, key):
        for at, _, ack in self.acks.get(key, ()):
            if ack["status"] in FINAL:
                return at
        return None

    def wait_final(self, *keys, timeout=PATIENCE):
        """Until all have theirs; returns the last one's."""
        self.wait("final acks of %d ops, such as %s" % (len(keys), keys[:1]),
                  lambda: all(self.final(key) for key in keys), timeout)
        return self.final(keys[-1]) if keys else None

    def do(self, op, timeout=PATIENCE, **fields):
        """Sends an op that is answered by ack and returns its final one."""
        return self.wait_final(self.op(op, **fields), timeout=timeout)

    def ask(self, op, timeout=PATIENCE, **fields):
        """Sends an op that is answered by result (or error) and returns that."""
        since = len(self.events)
        key = self.op(op, **fields)
        return self.wait("an answer to " + op, lambda: (
            self.find("result", since=since, id=key) or self.find("error", since=since, id=key)),
            timeout)

    def messages(self, room=None):
        return [e for stream in self.streams for e in stream
                if e["event"] == "message" and room in (None, e["room"])]

    def texts(self, room=None):
        return [message["text"] for message in self.messages(room)]

    # --- its end ---------------------------------------------------------------------------------

    def kill(self):
        self.killed.add(self.run)
        self.process.kill()
        self._end()

    def quit(self, timeout=PATIENCE):
        """End of input; returns (exit status, standard error)."""
        with self.writing:
            self.process.stdin.close()
        return self._end(timeout)

    def wait_exit(self, timeout=PATIENCE):
        return self._end(timeout)

    def _end(self, timeout=PATIENCE):
        process = self.process
        status = process.wait(timeout)
        self.reader.join(timeout)
        errors = process.stderr.read().decode(errors="replace")
        for pipe in (process.stdin, process.stdout, process.stderr):
            try:
                pipe.close()
            except OSError:
                pass
        self.process = None
        return status, errors

    def close(self):
        if self.process is not None:
            self.kill()

    def settle(self, room, timeout=2 * PATIENCE):
        """Every op that was sent has its final ack; what a killed client never read is sent again.

        Acks come in the order of the ops, so that once a last one has its own, nothing is on its
        way any more: what has none then was lost in the pipe, and must not have been accepted."""
        self.wait_final(self.send(room, "settled: %s %d" % (self.user, self.next_id)),
                        timeout=timeout)
        lost = [key for key in self.sent if not self.final(key)]
        for key in lost:
            assert key not in self.acks, ("accepted and then forgotten", key, self.acks[key])
            self.send(*self.sent[key], id=key)
        self.wait_final(*lost, timeout=timeout)
        return len(lost)


class Stale(Exception):
    """A node says of its answer that it is behind."""


def read_history(reader, room, from_seq=0, stale_ok=True):
    """All of a room's messages as the node of `reader` has them."""
    messages = []
    while True:
        page = reader.ask("history", room=room, after=messages[-1]["seq"] if messages else from_seq,
                          limit=200)
        assert page["event"] == "result", page
        if page.get("stale") and not stale_ok:
            raise Stale()
        messages += page["messages"]
        if not page["more"]:
            return messages


class Oracle:
    """Judges from outside: nothing acknowledged lost, nothing twice, one order, no gap."""

    def __init__(self, cluster, people, rooms):
        self.cluster, self.people, self.rooms = cluster, people, rooms

    def check(self):
        """Returns {room: history}, the same on all nodes."""
        self.cluster.wait_healthy()
        histories = {}
        for node in self.cluster.ids:
            reader = Person(self.cluster, "auditor", nodes=[node], device="-%d" % node).start()
            try:
                for room in self.rooms:
                    assert reader.do("join", room=room)["status"] == "committed"
                    history = read_history(reader, room)
                    assert histories.setdefault(room, history) == history, (
                        "node %d has another history of %s" % (node, room))
            finally:
                reader.close()
        for room, history in histories.items():
            self.check_history(room, history)
        for person in self.people:
            self.check_acks(person, histories)
            self.check_streams(person, histories)
        return histories

    def check_history(self, room, history):
        seqs = [message["seq"] for message in history]
        assert seqs == list(range(1, len(seqs) + 1)), ("holes in " + room, seqs[:50])
        indexes = [message["index"] for message in history]
        assert indexes == sorted(set(indexes)), "index goes back in " + room
        times = [message["ts"] for message in history]
        assert times == sorted(times), "time goes back in " + room
        texts = [message["text"] for message in history]
        doubled = sorted({text for text in texts if texts.count(text) > 1}) \
            if len(set(texts)) < len(texts) else []
        assert not doubled, ("stand twice in " + room, doubled[:5])

    def check_acks(self, person, histories):
        assert not person.bad_lines, person.bad_lines[:3]
        places = {(room, message["seq"]): message
                  for room, history in histories.items() for message in history}
        expected = {room: [] for room in histories}
        for key, (room, text) in person.sent.items():
            finals = [(run, ack) for _, run, ack in person.acks.get(key, ())
                      if ack["status"] in FINAL]
            assert finals, ("no final ack", person.user, key, person.acks.get(key))
            # A client that was killed may not know that it had said so already.
            assert all(ack == finals[0][1] for _, ack in finals), ("two final acks", finals)
            assert len({run for run, _ in finals}) == len(finals), ("final twice in a run", finals)
            assert all(run in person.killed for run, _ in finals[:-1]), ("final again", finals)
            ack = finals[0][1]
            if room not in histories:
                continue
            assert ack["status"] == "committed", ack
            message = places.get((room, ack["seq"]))
            assert message, ("acknowledged and lost", key, ack)
            assert (message["text"], message["from"], message["uid"], message["index"]) == (
                text, person.user, ack["uid"], ack["index"]), (ack, message)
            expected[room].append(ack["seq"])
        for room, seqs in expected.items():
            assert seqs == sorted(seqs), ("order of %s changed in %s" % (person.user, room))
            own = [m["seq"] for m in histories[room] if m["from"] == person.user]
            assert set(own) == set(seqs), ("posts that nobody sent", person.user, room)

    def check_streams(self, person, histories):
        seen = {}     # uid -> message, of messages
        index, last = 0, {}
        for run, stream in enumerate(person.streams):
            within = 0
            for event in stream:
                assert event["index"] > within, ("index goes back in a run", person.user, event)
                within = event["index"]
                if event["index"] <= index:  # only what a killed client may have forgotten
                    assert run > 0 and run - 1 in person.killed, ("repeated", person.user, event)
                    if event["event"] == "message":
                        assert seen.get(event["uid"]) == event, ("came again, changed", event)
                    continue
                index = event["index"]
                if event["event"] != "message":
                    continue
                assert event["uid"] not in seen, ("streamed twice", event)
                seen[event["uid"]] = event
                room = event["room"]
                if room in last:
                    assert event["seq"] == last[room] + 1, ("gap in a stream", person.user,
                                                           last[room], event)
                last[room] = event["seq"]
                if room in histories:
                    assert histories[room][event["seq"] - 1] == event, "stream and history differ"

    def check_streams_complete(self, histories):
        """Everybody saw everything, up to the room's last message."""
        for person in self.people:
            for room, history in histories.items():
                got = {message["seq"] for message in person.messages(room)}
                first = min(got, default=1)
                missing = sorted(set(range(first, len(history) + 1)) - got)
                assert not missing and max(got, default=0) <= len(history), (
                    person.user, room, missing, len(history))
