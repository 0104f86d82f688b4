"""A retrieval that is interrupted goes on from its folder: no frame twice, the same matrix, and nothing taken on trust."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from groundglass.optics import Camera, SimulatedOPU
from groundglass.optics.access import DeviceAccess
from groundglass.optics.retrieval import (
    ExposureError,
    FixedExposure,
    MatrixChangedError,
    RetrievalMethod,
    Retrieved,
    retrieve,
)
from groundglass.optics.retrieval import retrieve as retrieve_function
from groundglass.optics.retrieval.closed_form import SparseInputs
from groundglass.optics.retrieval.plan import HELD_OUT, OVERHEAD
from tests.optics.retrieval.devices import FRAMES, METHOD, Bench, N, opu, run

M = 132
SECRET = 987654321987654321


def interrupted(device: SimulatedOPU, folder: Path, stops: int, **options: Any) -> Bench:
    """A bench whose laser went out after so many frames, and is on again."""
    bench = Bench(device, stops=stops)
    with pytest.raises(OSError, match="laser"):
        run(bench, folder, **options)
    bench.stops = None
    return bench


def same(result: Retrieved, expected: Retrieved) -> bool:
    return torch.equal(result.matrix, expected.matrix) and torch.equal(result.held_out, expected.held_out)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 64 rows: three of them."""
    monkeypatch.setitem(retrieve_function.__globals__, "_BLOCK_BYTES", 1)


@pytest.fixture(scope="module")
def device() -> SimulatedOPU:
    return opu(N, M, seed=SECRET)


@pytest.fixture(scope="module")
def whole(device: SimulatedOPU) -> Retrieved:
    return run(device, None)


@pytest.fixture(scope="module")
def inputs(device: SimulatedOPU) -> torch.Tensor:
    """Of all frames, in their order."""
    bench = Bench(device)
    run(bench, None, rows=1)
    return torch.cat(bench.seen)


class Counted:
    """`FixedExposure` that notes the blocks that it solves, and stops at one."""

    name, exposure_control = "fixed-exposure", False
    least, design = METHOD.least, METHOD.design

    def __init__(self, stops: int | None = None) -> None:
        self.stops, self.blocks = stops, list[int]()

    def __repr__(self) -> str:
        return repr(METHOD)

    def solve(self, design: object, readings: torch.Tensor, scale: object, *, seed: int) -> torch.Tensor:
        if len(self.blocks) == self.stops:
            raise KeyboardInterrupt
        self.blocks.append(len(readings))
        return METHOD.solve(design, readings, scale, seed=seed)  # type: ignore[arg-type]


def test_a_folder_changes_nothing(device: SimulatedOPU, whole: Retrieved, tmp_path: Path) -> None:
    result = run(device, tmp_path / "deep" / "folder")
    assert same(result, whole)
    assert (result.frames, result.chance, result.noise) == (whole.frames, whole.chance, whole.noise)
    files = {path.name for path in (tmp_path / "deep" / "folder").iterdir()}
    assert files == {"readings.npy", "matrix.npy", "retrieval.json"}


@pytest.mark.parametrize("stops", [0, HELD_OUT, HELD_OUT + 60, FRAMES // 2, FRAMES - 5, FRAMES - 1])
def test_frames_go_on_where_they_stopped(
    device: SimulatedOPU, whole: Retrieved, inputs: torch.Tensor, tmp_path: Path, stops: int
) -> None:
    bench = interrupted(device, tmp_path / "r", stops)
    assert bench.taken <= stops
    result = run(bench, tmp_path / "r")
    assert bench.taken == result.frames == FRAMES
    # Not only as many frames: the same ones, in their order.
    assert torch.equal(torch.cat(bench.seen), inputs)
    assert same(result, whole)


def test_it_may_stop_at_every_batch(device: SimulatedOPU, whole: Retrieved, tmp_path: Path) -> None:
    bench, calls = Bench(device, stops=0), 0
    while True:
        calls += 1
        assert calls < 100
        try:
            result = run(bench, tmp_path)
            break
        except OSError:
            assert bench.stops is not None
            bench.stops += 40
    assert calls > 5
    assert bench.taken == FRAMES
    assert torch.equal(result.matrix, whole.matrix)


@pytest.mark.parametrize("stops", [0, 1, 2])
def test_rows_go_on_where_they_stopped(device: SimulatedOPU, whole: Retrieved, tmp_path: Path, stops: int) -> None:
    bench = Bench(device)
    stopped = Counted(stops)
    with pytest.raises(KeyboardInterrupt):
        run(bench, tmp_path, method=stopped)
    assert stopped.blocks == [64] * stops
    goes_on = Counted()
    result = run(bench, tmp_path, method=goes_on)
    assert stopped.blocks + goes_on.blocks == [64, 64, 4]
    assert bench.taken == FRAMES
    assert same(result, whole)


def test_a_finished_one_takes_nothing_and_solves_nothing(
    device: SimulatedOPU, whole: Retrieved, tmp_path: Path
) -> None:
    first = run(device, tmp_path)
    bench, method = Bench(device, stops=0), Counted()
    again = run(bench, tmp_path, method=method)
    assert bench.taken == 0
    assert not method.blocks
    assert same(again, whole)
    assert again.frames == FRAMES
    # Seconds are of all sessions.
    assert again.measure_seconds >= first.measure_seconds > 0
    assert again.compute_seconds == first.compute_seconds > 0


def test_earlier_frames_are_charged_to_the_new_session(device: SimulatedOPU, tmp_path: Path) -> None:
    interrupted(device, tmp_path, FRAMES // 2)
    access = DeviceAccess(device)
    retrieve(access, METHOD, frames=FRAMES, seed=1, folder=tmp_path)
    assert access.frames == FRAMES


@pytest.mark.parametrize("asked", [FRAMES, 20 * N + OVERHEAD])
def test_a_budget_holds_over_sessions(device: SimulatedOPU, tmp_path: Path, asked: int) -> None:
    """Of the same budget, in another process: what was taken counts, and no more than the budget is taken in all."""
    bench = interrupted(device, tmp_path, FRAMES // 2, frames=asked, budget=FRAMES)
    result = run(bench, tmp_path, frames=asked, budget=FRAMES)
    assert bench.taken == result.frames == FRAMES
    assert result.complete == (asked == FRAMES)


def test_the_same_access_goes_on(device: SimulatedOPU, whole: Retrieved, tmp_path: Path) -> None:
    """In one process, after an error: frames are not charged twice."""
    bench = Bench(device, stops=FRAMES // 2)
    access = DeviceAccess(bench, budget=FRAMES + HELD_OUT)
    with pytest.raises(OSError, match="laser"):
        retrieve(access, METHOD, frames=FRAMES, seed=1, folder=tmp_path)
    bench.stops = None
    result = retrieve(access, METHOD, frames=FRAMES, seed=1, folder=tmp_path)
    assert torch.equal(result.matrix, whole.matrix)
    # Frames of the call that failed may have been taken, and are counted.
    assert FRAMES <= access.frames <= FRAMES + HELD_OUT


OTHERS: list[tuple[str, dict[str, object]]] = [
    ("seed", {"seed": 2}),
    ("method", {"method": FixedExposure(momentum=0.8)}),
    ("method", {"method": SparseInputs()}),
    ("rows", {"rows": 100}),
    ("frames", {"frames": FRAMES + 8}),
]


@pytest.mark.parametrize(("field", "options"), [*OTHERS, ("fingerprint", {})])
def test_another_retrieval_is_refused(
    device: SimulatedOPU, tmp_path: Path, field: str, options: dict[str, Any]
) -> None:
    run(device, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    bench = Bench(device if options else device.redraw(seed=5))
    with pytest.raises(ValueError, match=f"holds another retrieval: its {field} is"):
        run(bench, tmp_path, **options)
    assert bench.taken == 0
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_folder_of_many_frames_is_not_planned_for_another_number(device: SimulatedOPU, tmp_path: Path) -> None:
    state = tmp_path / "retrieval.json"
    interrupted(device, tmp_path, OVERHEAD)
    told = json.loads(state.read_text())
    for frames, planned, said in (
        (10**15, 10**15, f"its frames is {10**15}, not {FRAMES}"),
        (FRAMES, 10**15, "was altered"),
        (FRAMES, "many", "planned"),
    ):
        state.write_text(json.dumps({**told, "planned": planned, "identity": {**told["identity"], "frames": frames}}))
        with pytest.raises(ValueError, match=said):
            run(device, tmp_path)


def test_no_row_is_written_through_a_link(device: SimulatedOPU, tmp_path: Path) -> None:
    interrupted(device, tmp_path / "run", FRAMES - 1)
    mine = tmp_path / "mine.npy"
    (tmp_path / "run" / "matrix.npy").rename(mine)
    before = mine.read_bytes()
    (tmp_path / "run" / "matrix.npy").symlink_to(mine)
    with pytest.raises(ValueError, match=r"matrix\.npy"):
        run(device, tmp_path / "run")
    assert mine.read_bytes() == before


def test_a_folder_of_something_else_is_left_alone(device: SimulatedOPU, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years")
    bench = Bench(device)
    with pytest.raises(FileExistsError, match="holds no retrieval"):
        run(bench, tmp_path)
    assert bench.taken == 0
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    (tmp_path / "empty").mkdir()
    assert run(device, tmp_path / "empty").complete


def test_the_matrix_is_for_its_owner_and_no_secret_is_written(
    device: SimulatedOPU, inputs: torch.Tensor, tmp_path: Path
) -> None:
    before = os.umask(0)
    try:
        run(device, tmp_path)
    finally:
        os.umask(before)
    assert (tmp_path / "matrix.npy").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "readings.npy").stat().st_mode & 0o777 == 0o600
    text = (tmp_path / "retrieval.json").read_text()
    assert str(SECRET) not in text
    assert f"{SECRET:x}" not in text
    state = json.loads(text)
    assert state["identity"] == {
        "fingerprint": device.fingerprint,
        "method": repr(METHOD),
        "frames": FRAMES,
        "seed": 1,
        "rows": M,
    }
    assert (state["taken"], state["solved"]) == (FRAMES, M)
    assert [(begin, end) for begin, end, _ in state["checksums"]] == [(0, 64), (64, 128), (128, M)]
    stored = np.load(tmp_path / "readings.npy")
    assert (stored.shape, stored.dtype) == ((M, FRAMES), np.uint8)
    # Frame by frame what the device says.
    assert np.array_equal(stored, device.measure(inputs).T.numpy())


@pytest.mark.parametrize(
    ("trouble", "error"),
    [
        *(({"swaps": at}, MatrixChangedError) for at in (HELD_OUT + 10, FRAMES // 2, FRAMES - 8)),
        *(({"light": light}, ExposureError) for light in (40.0, 0.004)),
    ],
)
def test_a_changed_matrix_and_a_wrong_exposure_are_told_again(
    trouble: dict[str, Any], error: type[Exception], device: SimulatedOPU, tmp_path: Path
) -> None:
    """The same call does not go on to solve readings that say nothing."""
    bench = Bench(device, after=device.redraw(seed=99), **trouble)
    for _ in range(2):
        with pytest.raises(error):
            run(bench, tmp_path)


@pytest.mark.parametrize(
    ("camera", "method", "stops"),
    [
        (Camera(bits=None), METHOD, 200),
        (Camera(read_noise=3.0), METHOD, 200),
        (Camera(), SparseInputs(), HELD_OUT + 150),
    ],
    ids=["float", "noisy", "sparse inputs"],
)
def test_other_readings_and_other_methods_go_on_too(
    camera: Camera, method: RetrievalMethod, stops: int, tmp_path: Path
) -> None:
    bench = interrupted(opu(N, 12, camera), tmp_path, stops, method=method)
    result = run(bench, tmp_path, method=method)
    assert bench.taken == result.frames
    assert same(result, run(opu(N, 12, camera), None, method=method))
    assert np.load(tmp_path / "readings.npy").dtype == (np.float32 if camera.bits is None else np.uint8)


def test_a_result_in_hand_does_not_change_the_folder(device: SimulatedOPU, whole: Retrieved, tmp_path: Path) -> None:
    result = run(device, tmp_path)
    result.matrix.mul_(2)
    assert torch.equal(run(device, tmp_path).matrix, whole.matrix)


def test_one_process_at_a_time(device: SimulatedOPU, whole: Retrieved, tmp_path: Path) -> None:
    class Twice(Bench):
        """Another retrieval begins in the same folder while this one takes its frames."""

        told: str = ""

        def measure(self, bits: torch.Tensor, **options: Any) -> torch.Tensor:
            if not self.told:
                self.told = "?"
                with pytest.raises(OSError, match="another process") as found:
                    run(device, tmp_path)
                self.told = str(found.value)
            return super().measure(bits, **options)

    bench = Twice(device)
    assert same(run(bench, tmp_path), whole)
    assert str(tmp_path) in bench.told
    assert run(device, tmp_path).complete


def test_a_refusal_does_not_lock_the_folder(device: SimulatedOPU, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years")
    kept = []
    for _ in range(2):
        with pytest.raises(FileExistsError, match="holds no retrieval") as told:
            run(device, tmp_path)
        kept.append(told)
