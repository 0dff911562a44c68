"""Fixtures of the end-to-end tests: a cluster of one's own, people who are gone afterwards."""
import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from client import Person  # noqa: E402
from cluster import Cluster  # noqa: E402


@pytest.fixture
def own_disks():
    """A list for the disks and networks that tests make. Asked for before make_cluster: the nodes
    end before those go."""
    made = []
    yield made
    for disk in made:
        disk.close()


@pytest.fixture
def make_cluster(tmp_path):
    made = []

    def make(nodes=3, name="cluster", form=True, network=None, **settings):
        cluster = Cluster(tmp_path / name, nodes, settings, network)
        made.append(cluster)
        return cluster.form() if form else cluster
    yield make
    for cluster in made:
        cluster.close()


@pytest.fixture
def make_person():
    made = []

    def make(cluster, user, start=True, **more):
        person = Person(cluster, user, **more)
        made.append(person)
        return person.start() if start else person
    yield make
    for person in made:
        person.close()
