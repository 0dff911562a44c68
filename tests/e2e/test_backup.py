"""Backup, restore and recover: a cluster is lost, and comes back."""
import json
import os
import shutil
import subprocess
import threading

import pytest

from client import Oracle, read_history
from cluster import BINARY, FULL, environment, wait_for


def folder_state(path):
    """Every file with its size and time, to see that nothing was touched."""
    found = {}
    for folder, _, names in os.walk(path):
        for name in names:
            info = os.stat(os.path.join(folder, name))
            found[os.path.join(folder, name)] = (info.st_size, info.st_mtime_ns)
    return found


class Load:
    """One person posts without a pause, a few at a time, until told to stop."""

    def __init__(self, person, room):
        self.person, self.room, self.stopping, self.sent = person, room, False, 0
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while not self.stopping:
            keys = [self.person.send(self.room, "%s %d" % (self.person.user, self.sent + i))
                    for i in range(20)]
            self.sent += len(keys)
            self.person.wait_final(*keys, timeout=60)

    def stop(self):
        self.stopping = True
        self.thread.join(90)
        assert not self.thread.is_alive()


@pytest.fixture
def talk(make_cluster, make_person):
    cluster = make_cluster(log={"segment_mb": 1}, limits={"posts_per_s": 100000})
    alice = make_person(cluster, "alice")
    assert alice.do("create", room="#ops")["status"] == "committed"
    alice.wait_final(*[alice.send("#ops", "before %d" % number) for number in range(500)])
    return cluster, alice


def lose(cluster, *nodes):
    """Their disks are gone for ever."""
    for node in nodes:
        if cluster.is_running(node):
            cluster.kill(node)
        shutil.rmtree(cluster.data(node))


def test_a_lost_cluster_comes_back_from_its_backup(talk, make_person):
    cluster, alice = talk
    bob = make_person(cluster, "bob")
    assert bob.do("join", room="#ops")["status"] == "committed"
    load = Load(bob, "#ops")
    wait_for("some posts", lambda: load.sent > 200)
    first = cluster.ctl("backup", "safe", status=0).stdout
    wait_for("more posts", lambda: load.sent > 600)
    # Everything that is acknowledged now must be in the second one, which only fetches what is new.
    acknowledged = {key: bob.final(key) for key in list(bob.sent) if bob.final(key)}
    second = cluster.ctl("backup", "safe", status=0).stdout
    load.stop()
    assert "every entry is proven" in first and "every entry is proven" in second
    new = int(second.split(", ")[1].split(" ")[0])
    assert 0 < new < int(second.split("index ")[1].split(" ")[0]), second

    late = bob.wait_final(*[bob.send("#ops", "lost %d" % number) for number in range(100)])
    carol = make_person(cluster, "carol")  # registered after the backup: not in it
    assert carol.do("join", room="#ops")["status"] == "committed"
    carol.close()
    before = read_history(alice, "#ops")
    lose(cluster, *cluster.ids)

    assert "data/2" in cluster.ctl("restore", "safe", "--id", "2", status=0).stdout
    cluster.start_all()
    cluster.wait_healthy(60)

    # The same people, with the devices and outboxes that they have: nobody logs in anew.
    since = len(bob.events)
    keys = [bob.send("#ops", "after %d" % number) for number in range(200)]
    bob.wait_final(*keys, timeout=60)
    assert bob.find("ready", restored=True) is not None, "a client is told that history was lost"
    after = read_history(alice, "#ops")
    texts = [message["text"] for message in after]
    assert len(set(texts)) == len(texts), "nothing twice"
    shared = 0
    while shared < len(before) and before[shared] == after[shared]:
        shared += 1
    for key, ack in acknowledged.items():
        assert ack["seq"] <= shared, ("acknowledged before the backup, and lost", key, ack)
    assert before[shared:], "what came after the backup is lost, as the manual says"
    assert late["seq"] > shared and "lost 0" not in texts
    assert [text for text in texts if text.startswith("after")] == [
        "after %d" % number for number in range(200)]
    assert [message["seq"] for message in after] == list(range(1, len(after) + 1))
    # A stream goes on from where the histories part, without a gap.
    streamed = [event for _, _, event in bob.events[since:] if event["event"] == "message"]
    assert [m["text"] for m in streamed if m["text"].startswith("after")] == [
        "after %d" % number for number in range(200)]

    # Who was not in the backup registers again; who was is known, also to a fresh device.
    carol.start()
    assert carol.do("join", room="#ops", timeout=60)["status"] == "committed"
    fresh = make_person(cluster, "alice", device="-new", register=False)
    assert read_history(fresh, "#ops")[:shared] == before[:shared]
    for person in (alice, bob, carol, fresh):
        assert person.quit()[0] == 0
    for node in cluster.ids:
        assert cluster.stop(node) == 0
    cluster.ctl("verify", status=0)


def test_a_restored_history_can_be_backed_up_and_restored_again(talk, make_person):
    cluster, alice = talk
    cluster.ctl("backup", "one", status=0)
    lose(cluster, *cluster.ids)
    cluster.ctl("restore", "one", "--id", "1", status=0)
    cluster.start_all()
    alice.wait_final(alice.send("#ops", "second life"), timeout=60)
    refused = cluster.ctl("backup", "one", status=1).stderr
    assert "another cluster" in refused and "new folder" in refused
    cluster.ctl("backup", "two", status=0)
    assert alice.quit()[0] == 0
    lose(cluster, *cluster.ids)
    cluster.ctl("restore", "two", "--id", "3", status=0)
    cluster.start_all()
    alice.start()
    ack = alice.wait_final(alice.send("#ops", "third life"), timeout=60)
    assert ack["seq"] == 502
    assert [m["text"] for m in read_history(alice, "#ops")][-2:] == ["second life", "third life"]


def test_restore_never_over_a_live_identity(talk):
    cluster, alice = talk
    cluster.ctl("backup", "safe", status=0)
    cluster.stop(1)
    before = folder_state(cluster.data(1))
    refused = cluster.ctl("restore", "safe", "--id", "1", status=1).stderr
    assert "is there already" in refused and "put it aside" in refused
    assert folder_state(cluster.data(1)) == before
    # The old nodes cannot mix with the restored one: one of them is restored beside the two others.
    os.rename(cluster.data(1), cluster.data(1) + ".old")
    cluster.ctl("restore", "safe", "--id", "1", status=0)
    cluster.start(1)
    wait_for("the alarm", lambda: "foreign_peer" in cluster.log(1))
    wait_for("it leads itself alone", lambda: cluster.node_status(1)["role"] == "leader")
    rows = {row["id"]: row for row in cluster.status()["nodes"]}
    assert sum(row["role"] == "leader" for row in rows.values()) == 2, "two clusters, side by side"


def test_a_backup_is_no_nodes_folder_and_a_folder_no_backup(talk, tmp_path):
    cluster, _ = talk
    cluster.ctl("backup", "safe", status=0)
    cluster.stop(3)
    shutil.move(cluster.data(3), str(tmp_path / "aside"))
    refused = cluster.ctl("restore", str(tmp_path / "aside"), "--id", "3", status=1).stderr
    assert "node's folder, not a backup" in refused
    shutil.copytree(os.path.join(cluster.folder, "safe"), cluster.data(3))
    done = cluster.run("node", "--id", "3", status=1)
    assert "it is a backup" in done.stderr and "ftchat ctl restore" in done.stderr
    shutil.rmtree(cluster.data(3))
    os.mkdir(os.path.join(cluster.folder, "mine"))
    open(os.path.join(cluster.folder, "mine", "letter.txt"), "w").close()
    assert "holds other files" in cluster.ctl("backup", "mine", status=1).stderr
    assert "no backup" in cluster.ctl("restore", "mine", "--id", "3", status=1).stderr
    assert cluster.ctl("restore", "nowhere", status=1).stderr


def test_an_interrupted_backup_goes_on(talk):
    cluster, alice = talk
    text = "x" * 3000
    alice.wait_final(*[alice.send("#ops", "%s %d" % (text, n)) for n in range(4000)], timeout=120)
    for _ in range(4):  # killed at whatever it does
        process = subprocess.Popen([BINARY, "ctl", "backup", "safe"], cwd=cluster.folder,
                                   env=environment(), stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        log = os.path.join(cluster.folder, "safe", "log")
        names = len(os.listdir(log)) if os.path.isdir(log) else 0
        wait_for("another segment", lambda: process.poll() is not None or (
            os.path.isdir(log) and len(os.listdir(log)) > names + 1), every=0.001)
        process.kill()
        process.wait(30)
    # The node that is copied from dies; another one goes on.
    cluster.kill(cluster.follower())
    out = cluster.ctl("backup", "safe", status=0).stdout
    assert "every entry is proven" in out
    cluster.start_all_that_are_down()
    history = read_history(alice, "#ops")
    lose(cluster, *cluster.ids)
    cluster.ctl("restore", "safe", status=0)
    cluster.start_all()
    cluster.wait_healthy(60)
    assert read_history(alice, "#ops") == history


def test_a_damaged_backup_is_found_and_not_restored(talk):
    cluster, _ = talk
    cluster.ctl("backup", "safe", status=0)
    log = os.path.join(cluster.folder, "safe", "log")
    path = os.path.join(log, min(name for name in os.listdir(log) if name.endswith(".seg")))
    with open(path, "r+b") as file:
        file.seek(5000)
        byte = file.read(1)[0]
        file.seek(5000)
        file.write(bytes([byte ^ 1]))
    assert cluster.ctl("backup", "safe").returncode == 5
    lose(cluster, 3)
    done = cluster.ctl("restore", "safe", "--id", "3")
    assert done.returncode == 5, (done.stdout, done.stderr)
    assert not os.path.exists(cluster.data(3))


def test_recover_when_the_majority_is_lost(talk, make_person):
    cluster, alice = talk
    bob = make_person(cluster, "bob")
    assert bob.do("join", room="#ops")["status"] == "committed"
    cluster.wait_healthy()
    history = read_history(alice, "#ops")
    survivor = cluster.follower()
    others = [node for node in cluster.ids if node != survivor]
    cluster.kill(*cluster.ids)
    for node in others:  # kept aside, to try later whether they can mix
        os.rename(cluster.data(node), cluster.data(node) + ".lost")
    assert "--yes" in cluster.ctl("recover", str(survivor), status=2).stderr
    out = cluster.ctl("recover", str(survivor), "--yes", status=0).stdout
    assert "The old folder is kept at" in out
    kept = [name for name in os.listdir(os.path.join(cluster.folder, "data")) if "before" in name]
    assert len(kept) == 1
    cluster.start(survivor)
    wait_for("the survivor leads", lambda: cluster.status()["leader"] == survivor)
    ack = alice.wait_final(alice.send("#ops", "alone"), timeout=60)
    assert ack["status"] == "committed" and ack["seq"] == len(history) + 1
    assert read_history(alice, "#ops")[:-1] == history, "nothing committed is lost"
    assert "in use" in cluster.ctl("recover", str(survivor), "--yes", status=1).stderr

    # A lost node comes back as it was: it is refused, and said to be of another cluster.
    os.rename(cluster.data(others[0]) + ".lost", cluster.data(others[0]))
    cluster.start(others[0])
    wait_for("the alarm", lambda: "foreign_peer" in cluster.log(survivor))
    assert cluster.node_status(survivor)["role"] == "leader"
    cluster.kill(others[0])
    shutil.rmtree(cluster.data(others[0]))
    for node in others:  # blank, they join
        cluster.start(node)
    cluster.wait_healthy(60)
    bob.wait_final(bob.send("#ops", "together"), timeout=60)
    histories = [read_history(make_person(cluster, "alice", nodes=[node], device="-%d" % node),
                              "#ops") for node in cluster.ids]
    assert histories[0] == histories[1] == histories[2]
    assert [m["text"] for m in histories[0]][-2:] == ["alone", "together"]
    cluster.kill(survivor)  # and it is a cluster of three again
    ack = alice.wait_final(alice.send("#ops", "without it"), timeout=60)
    assert ack["seq"] == len(history) + 3


def test_recover_asks(talk):
    cluster, _ = talk
    import pty
    cluster.kill(*cluster.ids)
    before = folder_state(cluster.data(1))
    for answer, status in ((b"no\n", 1), (b"yes\n", 0)):
        main, end = pty.openpty()
        process = subprocess.Popen([BINARY, "ctl", "recover", "1"], cwd=cluster.folder,
                                   env=environment(), stdin=end, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        os.write(main, answer)
        out, errors = process.communicate(timeout=60)
        os.close(main)
        os.close(end)
        assert process.returncode == status, (out, errors)
        assert b"ARE LOST" in out and b"can never come back" in out
        if status:
            assert folder_state(cluster.data(1)) == before
