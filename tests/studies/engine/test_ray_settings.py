"""What is asked of Ray, and what is refused before it starts."""

import socket
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from groundglass.core.platform import versions
from groundglass.studies import run_study
from groundglass.studies.engine import ray as on_ray
from groundglass.studies.engine.cell import Prepared
from groundglass.studies.engine.executor import Task
from groundglass.studies.engine.ray import ClusterError, Needs, Ray
from groundglass.studies.engine.worker import Setup
from tests.studies.engine.toys import Toy


def test_without_ray_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ValueError, match=r'pip install "groundglass\[ray\]"'):
        Ray()


@pytest.fixture
def installed(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)


@pytest.mark.parametrize("address", ["", "ray://head:10001", "head", "head:", "a b:1", "Local"])
def test_an_address_is_one_of_three(address, installed):
    assert Ray("head.cluster:6379").address == "head.cluster:6379"
    with pytest.raises(ValueError, match="HOST:PORT"):
        Ray(address)


def setup(**changes):
    return Setup(**{"folder": Path("x"), "dataset": b"", "where": "cpu", "threads": 2, "path": (), **changes})


NODES = [
    {"CPU": 4.0, "memory": 2.0**35, "GPU": 2.0},
    {"CPU": 16.0, "memory": 2.0**35},
    {"CPU": 32.0, "memory": 2.0**20},
    {"CPU": 8.0, "GPU": 1.0, "memory": 2.0**35},
]


def task(memory=0, alone=False):
    return Task(Toy("one", alone=alone), (), Prepared(), memory)


def test_a_cell_asks_for_its_threads_and_on_cuda_for_a_card(installed):
    needs = Needs.of(Ray(), setup(), NODES)
    assert needs.of_task(task()) == {"num_cpus": 2, "num_gpus": 0, "memory": 3 * 2**30}
    alone = {"num_cpus": 16, "num_gpus": 0, "memory": 3 * 2**30}
    assert needs.of_task(task(alone=True)) == alone, "one with less memory is not the largest"
    needs = Needs.of(Ray(cards=0.5), setup(where="cuda", threads=3), NODES)
    assert needs.of_task(task()) == {"num_cpus": 3, "num_gpus": 0.5, "memory": 3 * 2**30}
    alone = {"num_cpus": 8, "num_gpus": 1, "memory": 3 * 2**30}
    assert needs.of_task(task(alone=True)) == alone, "the largest that has one, with all it has"


def test_a_cell_that_takes_more_memory_than_usual_asks_for_it_if_a_node_has_it(installed):
    needs = Needs.of(Ray(), setup(), NODES)
    assert needs.of_task(task(12 * 10**9))["memory"] == 12 * 10**9
    assert needs.of_task(task(2**40))["memory"] == 2**35
    assert needs.of_task(task(10**6))["memory"] == 3 * 2**30
    assert needs.of_task(task(12 * 10**9, alone=True))["memory"] == 3 * 2**30, "it has the node to itself"


def test_a_cell_of_the_script_itself_is_refused(installed, monkeypatch):
    monkeypatch.setattr(Toy, "__module__", "__main__")
    monkeypatch.setattr(sys.modules["__main__"], "Toy", Toy, raising=False)
    with pytest.raises(ClusterError, match="module of its own"):
        object.__new__(on_ray.RayExecutor).submit(task())


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"threads": 33}, "33 cores, and no node"),
        ({"where": "cuda", "threads": 9}, "9 cores and a card.*16 cores, 0 cards"),
    ],
)
def test_what_no_node_has_is_refused(changes, match, installed):
    with pytest.raises(ClusterError, match=match):
        Needs.of(Ray(), setup(**changes), NODES)


def test_an_address_where_nothing_answers_is_said_at_once(tmp_path, monkeypatch):
    pytest.importorskip("ray")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        free = taken.getsockname()[1]
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    with pytest.raises(ClusterError, match=f"joined at 127.0.0.1:{free}.*RAY_AUTH_MODE=token is not set"):
        Ray(f"127.0.0.1:{free}").start(setup(folder=tmp_path))
    # A study says it before its folder is made.
    with pytest.raises(ClusterError, match="joined at"):
        run_study("white-box", "quick", tmp_path / "run", data="shapes", executor=Ray(f"127.0.0.1:{free}"))
    assert not (tmp_path / "run").exists()


def test_a_card_is_not_chosen_by_its_number(installed):
    with pytest.raises(ValueError, match="Ray chooses the card"):
        Ray().start(setup(where="cuda:1"))


def test_a_part_of_a_card_is_for_cells_that_use_one(installed):
    with pytest.raises(ValueError, match="leave it out"):
        Ray(cards=0.5).start(setup(where="cpu"))


def test_a_node_that_is_open_or_has_other_versions_runs_nothing(monkeypatch, tmp_path):
    told = on_ray._Told(setup(), np.zeros(0, np.uint8), str(tmp_path), versions())
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    with pytest.raises(ClusterError, match="without authentication"):
        on_ray._work(told, None, b"")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    with pytest.raises(ClusterError, match=r"torch .* and not 1\.0"):
        on_ray._work(replace(told, versions={**versions(), "torch": "1.0"}), None, b"")
