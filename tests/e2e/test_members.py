"""The cluster's members change while it is talked in: nodes are added, removed and replaced, and two
processes that run under one identity are both refused."""
import json
import os
import shutil

from cluster import free_ports, wait_for
from test_faults import Talk, judge, three  # noqa: F401  (a fixture)


def members(cluster):
    return json.loads(cluster.ctl("members", "--json").stdout)


def roles(cluster):
    return {row["id"]: row["role"] for row in members(cluster)["members"]}


def says(cluster, node, event):
    return wait_for("node %d to say %s" % (node, event),
                    lambda: "event=" + event in cluster.log(node))


def start_new(cluster, *nodes):
    """Blank nodes with an ini of their own: the others' does not name them."""
    ports = dict(zip(nodes, free_ports(len(nodes))))
    ini = cluster.another_ini("late.ini", **{"node_%d" % n: port for n, port in ports.items()})
    for node, port in ports.items():
        cluster.ports[node] = port
        cluster.inis[node] = ini
        cluster.hosts[node] = "127.0.0.1"
        cluster.start(node)


def test_grows_from_three_to_five_under_load(three):  # noqa: F811
    cluster, people = three
    talk = Talk(people, "#ops")
    start_new(cluster, 4, 5)
    for node in (4, 5):
        done = cluster.ctl("add", str(node), "127.0.0.1:%d" % cluster.ports[node], status=0)
        assert "%d nodes vote now" % node in done.stdout
    assert roles(cluster) == {node: "voter" for node in range(1, 6)}
    cluster.ids += [4, 5]
    cluster.wait_healthy_enough()  # by the old ini: the log says where the new ones are
    differs = members(cluster)["ini_differs"]
    assert {"on": 1, "id": 4} in differs and {"on": 4, "id": 4} not in differs
    says(cluster, 1, "ini_differs")
    victims = [cluster.leader(), cluster.follower()]
    cluster.kill(*victims)
    sent = [(person, person.send("#ops", person.user + ": with two of five gone")) for person in people]
    for person, key in sent:
        assert person.wait_final(key)["status"] == "committed"
    for node in victims:
        cluster.start(node)
    cluster.wait_healthy_enough()
    judge(cluster, people, talk)


def test_the_leader_is_removed_under_load(three):  # noqa: F811
    cluster, people = three
    start_new(cluster, 4)
    cluster.ctl("add", "4", "127.0.0.1:%d" % cluster.ports[4], status=0)
    talk = Talk(people, "#ops")
    gone = cluster.leader()
    # Its answer may be lost with its leadership; who is asked again says that it is done.
    done = cluster.ctl("remove", str(gone), status=0).stdout
    assert "3 nodes vote now" in done or "does not belong to the cluster" in done
    assert gone not in roles(cluster)
    says(cluster, gone, "removed")
    assert wait_for("another leader", lambda: members(cluster)["leader"]) != gone
    # Its client talks on elsewhere; a restart, also alone, disturbs nobody.
    assert people[gone - 1].wait_final(people[gone - 1].send("#ops", "still here"))
    assert cluster.node_status(gone)["state"] == "removed"
    cluster.wait_healthy_enough()  # who is no member does not count
    term = cluster.status()["term"]
    cluster.kill(gone)
    cluster.start(gone)
    wait_for("it to know again", lambda: cluster.node_status(gone)["state"] == "removed")
    assert cluster.status()["term"] == term
    assert "is no member" in cluster.ctl("remove", str(gone), status=0).stdout
    # Taken in again as it is, it goes on where it was.
    cluster.ctl("add", str(gone), status=0)
    assert roles(cluster)[gone] == "voter"
    says(cluster, gone, "member_again")
    cluster.wait_healthy_enough()
    judge(cluster, people, talk)


def test_a_dead_host_is_replaced_by_another(three):  # noqa: F811
    """README, "Dead host"."""
    cluster, people = three
    talk = Talk(people, "#ops")
    node = cluster.follower()
    assert "it lives" in cluster.ctl("replace", str(node), status=1).stderr
    cluster.kill(node)
    old = [row["identity"] for row in members(cluster)["members"] if row["id"] == node]
    shutil.move(cluster.data(node), cluster.data(node) + ".dead")
    port = free_ports(1)[0]
    wait_for("the seat to be given up",
             lambda: cluster.ctl("replace", str(node), "127.0.0.1:%d" % port).returncode == 0)
    assert roles(cluster)[node] == "vacant"
    cluster.ctl("members", status=1)
    # The old one comes back by mistake: its seat is not its own any more.
    shutil.copytree(cluster.data(node) + ".dead", cluster.data(node))
    cluster.start(node)
    says(cluster, node, "removed")
    assert roles(cluster)[node] == "vacant"
    cluster.kill(node)
    shutil.rmtree(cluster.data(node))
    cluster.ports[node] = port
    cluster.inis[node] = cluster.another_ini("moved.ini", **{"node_%d" % node: port})
    cluster.start(node)
    wait_for("the new one to vote", lambda: roles(cluster)[node] == "voter")
    assert [r["identity"] for r in members(cluster)["members"] if r["id"] == node] != old
    # The ini still says the old port: once it is the same everywhere, nothing differs.
    assert members(cluster)["ini_differs"]
    judge(cluster, people, talk)


def test_what_would_cost_the_quorum_is_refused(make_cluster):
    cluster = make_cluster()
    leader = cluster.leader()
    one, other = [node for node in cluster.ids if node != leader]
    cluster.kill(one)
    wait_for("it to be missed", lambda: cluster.ctl("members").returncode == 1)
    assert "too few" in cluster.ctl("remove", str(other), status=1).stderr
    assert "does not answer" in cluster.ctl("add", "5", "127.0.0.1:1", "--wait", "1",
                                            status=3).stderr
    assert "not done in time" in cluster.ctl("add", "5", "--wait", "1", "--config",
                                             cluster.another_ini("five.ini", node_5=free_ports(1)[0]),
                                             status=3).stderr
    assert "already" in cluster.ctl("add", str(other), status=0).stdout
    cluster.ctl("remove", str(one), status=0)
    cluster.ctl("remove", str(other), status=0)
    assert "only voter" in cluster.ctl("remove", str(leader), status=1).stderr
    for line in (["add"], ["add", "9"], ["remove", "1", "h:1"], ["replace", "1", "h:1", "h:2"]):
        cluster.ctl(*line, status=2)
    assert list(roles(cluster)) == [leader]
    cluster.ctl("health", status=0)


def test_a_copied_folder_and_its_original_are_both_refused(three):  # noqa: F811
    cluster, people = three
    node = cluster.follower()
    others = [n for n in cluster.ids if n != node]
    assert cluster.stop(node) == 0
    shutil.copytree(cluster.data(node), os.path.join(cluster.folder, "copy", str(node)))
    cluster.start(node)
    cluster.wait_healthy_enough()
    ini = cluster.another_ini("twin.ini", **{"node_%d" % node: free_ports(1)[0]})
    with open(ini, "r+") as twin:
        text = twin.read().replace("name = e2e\n", "name = e2e\ndata_dir = copy\n")
        twin.seek(0)
        twin.write(text)
    original = cluster.processes.pop(node)
    cluster.inis[node] = ini
    cluster.start(node, settled=False)
    for peer in others:
        says(cluster, peer, "twins")
    wait_for("both to know", lambda: cluster.log(node).count("event=twin ") >= 2)
    wait_for("ctl to tell", lambda: cluster.node_status(node)["state"] == "twins")
    key = people[0].send("#ops", "the others talk on")
    assert people[0].wait_final(key)["status"] == "committed"
    cluster.kill(node)
    cluster.processes[node] = original
    wait_for("the one that is left to be taken back", lambda: cluster.ctl("status").returncode == 0)
    for peer in others:
        says(cluster, peer, "twins_over")
