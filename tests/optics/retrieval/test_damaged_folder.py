"""Files of a retrieval that were cut short, altered or lost: told by name, and no frame is taken on top of them."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from groundglass.core import DamagedFileError
from groundglass.optics import SimulatedOPU
from tests.optics.retrieval.devices import FRAMES, Bench, N, opu, run

M = 12


@pytest.fixture(scope="module")
def device() -> SimulatedOPU:
    return opu(N, M)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def rubbish(path: Path) -> None:
    path.write_bytes(b"rubbish" * 1000)


def other_shape(path: Path) -> None:
    np.save(path, np.load(path)[:-1])


def other_type(path: Path) -> None:
    np.save(path, np.load(path).astype(np.float64))


def one_value(path: Path) -> None:
    values = np.load(path)
    values[9, 3] += 1
    np.save(path, values)


DAMAGE: list[tuple[str, Callable[[Path], object]]] = [
    *((name, harm) for name in ("readings.npy", "matrix.npy") for harm in (cut, empty, rubbish, other_shape, Path.unlink)),
    ("readings.npy", other_type),
    ("matrix.npy", one_value),
    ("retrieval.json", cut),
    ("retrieval.json", empty),
    ("retrieval.json", lambda path: path.write_text("{}")),
    ("retrieval.json", lambda path: path.write_text("[1, 2]")),
    ("retrieval.json", lambda path: path.write_text(path.read_text().replace('"solved"', '"resolved"'))),
    ("retrieval.json", lambda path: path.write_text(json.dumps({**json.loads(path.read_text()), "taken": "all"}))),
    ("retrieval.json", lambda path: path.write_text(json.dumps({**json.loads(path.read_text()), "identity": 3}))),
]  # fmt: skip


@pytest.fixture(scope="module")
def finished(device: SimulatedOPU, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("finished")
    run(device, folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("budget", [None, FRAMES])
@pytest.mark.parametrize(("name", "harm"), DAMAGE)
def test_damage_is_told(
    device: SimulatedOPU,
    finished: dict[str, bytes],
    tmp_path: Path,
    name: str,
    harm: Callable[[Path], object],
    budget: int | None,
) -> None:
    for file, content in finished.items():
        (tmp_path / file).write_bytes(content)
    # Control: as it is, it is read.
    bench = Bench(device)
    assert run(bench, tmp_path, budget=FRAMES).complete
    harm(tmp_path / name)
    with pytest.raises((DamagedFileError, FileExistsError)) as told:
        run(bench, tmp_path, budget=budget)
    assert name in str(told.value) or name == "retrieval.json"
    assert bench.taken == 0


def test_readings_that_were_cut_during_the_frames_are_told(device: SimulatedOPU, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="laser"):
        run(Bench(device, stops=FRAMES // 2), tmp_path)
    cut(tmp_path / "readings.npy")
    with pytest.raises(DamagedFileError, match=r"readings\.npy"):
        run(device, tmp_path)
