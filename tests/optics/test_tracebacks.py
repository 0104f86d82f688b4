"""No error of this package carries the secret: not in its words, not in the local variables of any frame.

A failure is injected at every line of the package that a piece of work comes by, and everything is looked at that a logger
which writes tracebacks with their variables would write (`pytest -l`, rich, cgitb, `TracebackException(capture_locals=True)`).
"""

import json
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import numpy as np
import pytest
import torch

import groundglass
from groundglass.adaptive import make_rule
from groundglass.adaptive.channel import blurred
from groundglass.attacks.backward_rules import Exact
from groundglass.cli.device import New
from groundglass.cli.options import given_seed
from groundglass.core.sealed import Seed
from groundglass.models import defend
from groundglass.optics import (
    Camera,
    DeviceStore,
    DriftingDevice,
    MovingDevice,
    OpticalLayer,
    SimulatedOPU,
    true_matrix,
)
from groundglass.optics.layer import FloatInputLayer
from groundglass.optics.retrieval import row_errors
from groundglass.optics.tiled import gaussian_table
from groundglass.studies.cells.network import DeviceCell
from groundglass.studies.cells.redraw import RandomisedCell, RedrawCell
from groundglass.studies.engine.context import Context
from tests.optics.draws import draw
from tests.studies.tiny import DATA

SEED = 0x5EC2E75EC2E75EC2E75EC2E75EC2E7
HOME = str(Path(groundglass.__file__).parent)
N, M = 24, 16
#: Of pieces of U: entries, keys, diagonals.
PIECES = (np.int8, np.uint16, np.uint32, np.uint64, np.complex64, np.complex128)
#: What seals, and what clears: they cannot do it for themselves.
KEEPERS = {(f"{HOME}/core/sealed.py", name) for name in ("__init__", "called", "_forget")}


#: How many pieces of work have come by a line: after a few, what is above it has been looked at with other lines failing.
T = TypeVar("T")
DONE = Counter[tuple[Any, int]]()
_OFTEN = 3


class Injected(Exception):
    """A failure where there was none."""


def frames(error: BaseException) -> Iterator[FrameType]:
    """Of an error and of all that it came from; not of this file, which knows the secret, nor of public draws."""
    todo, seen = [error], set[int]()
    while todo:
        one = todo.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        todo += [other for other in (one.__cause__, one.__context__) if other is not None]
        for frame, _ in traceback.walk_tb(one.__traceback__):
            if frame.f_code.co_filename != __file__ and frame.f_code.co_name != "_public_bits":
                yield frame


def written(value: object) -> str:
    """As a logger would write it."""
    try:
        return f"{value!r} {value!s}"
    except Exception as error:
        return repr(error)


def shown(error: BaseException, forms: set[str]) -> list[str]:
    """Where the secret is to be seen: its digits, or an array that can be a piece of U."""
    found = ["the error"] if any(form in written(error).lower() for form in forms) else []
    for frame in frames(error):
        for name, value in frame.f_locals.items():
            where = f"{name} in {frame.f_code.co_qualname}, line {frame.f_lineno}"
            if any(form in written(value).lower() for form in forms):
                found.append(where)
            array = value.numpy() if isinstance(value, torch.Tensor) and not value.requires_grad else value
            if isinstance(array, np.ndarray) and array.size and array is not gaussian_table():
                whole = array.shape == (M, N) and array.dtype in (np.float32, np.float64)
                found += [where] if whole or array.dtype in PIECES else []
    return found


@contextmanager
def traced(at_line: Callable[[FrameType], None]) -> Iterator[None]:
    """Call `at_line` before each line of the package but the first of a function, which seals what it was given."""
    fresh = set[int]()

    def local_trace(frame: FrameType, event: str, argument: object) -> Any:
        if event == "line":
            if id(frame) in fresh:
                fresh.discard(id(frame))
            else:
                at_line(frame)
        return local_trace

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        code = frame.f_code
        if not code.co_filename.startswith(HOME) or (code.co_filename, code.co_name) in KEEPERS:
            return None
        fresh.add(id(frame))
        return local_trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


def failures(
    work: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[str, BaseException, set[str]]]:
    """`work` with a failure at each line that it comes by, once a line: where, the error, the digits not to be seen."""
    work()  # compiles, and imports
    numbers, lines = {SEED}, dict[tuple[object, int], int]()
    count = 0

    def note(frame: FrameType) -> None:
        nonlocal count
        lines.setdefault((frame.f_code, frame.f_lineno), count)
        count += 1

    seal = Seed.__init__

    def noted(self: Seed, value: Any = None, **options: Any) -> None:
        seal(self, value, **options)
        if isinstance(value, int):
            numbers.add(int(value))

    with monkeypatch.context() as patch:
        patch.setattr(Seed, "__init__", noted)
        with traced(note):
            work()
    assert lines, "the work comes by no line of the package"
    for place in lines:
        DONE[place] += 1
    forms = {form for number in numbers if number > 2**20 for form in (str(number), f"{number:x}")}
    for (code, line), place in lines.items():
        if DONE[code, line] > _OFTEN:
            continue
        left = place

        def fail(frame: FrameType) -> None:
            nonlocal left
            if left == 0:
                left = -1
                raise Injected
            left -= 1

        try:
            with traced(fail):
                work()
        except BaseException as error:
            yield f"{code.co_qualname}, line {line}", error, forms


def apart(look: Callable[[], T]) -> T:
    """In a thread of its own: a failure between a block and the end of its `with` leaves autocast or no_grad on there."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(look).result()


def create(kind: str = "dense", **options: Any) -> SimulatedOPU:
    return SimulatedOPU.create(N, M, seed=SEED, kind=kind, **options)  # type: ignore[arg-type]


def load_moving(folder: Path) -> MovingDevice:
    device = MovingDevice.create(N, M, count=2, seed=SEED)
    DeviceStore(folder).put(device)
    return DeviceStore(folder).find(device.fingerprint)  # type: ignore[return-value]


def study_draws(folder: Path) -> None:
    """What a study makes from its seed: devices, redraws, a moving device."""
    context = Context(folder, dataset=DATA, device_seed=SEED)
    device = DeviceCell(in_features=N, out_features=M, camera=Camera())
    old = context.devices.find(device.prepare((), context).fingerprint)
    assert isinstance(old, SimulatedOPU)
    network: Any = device
    RedrawCell(network=network, seed=0, number=1).draw(old, context.device_seed)
    RandomisedCell(network=network, seed=0, matrices=2).draw(old, context.device_seed)


def drift() -> None:
    drifting = DriftingDevice(create(), correlation=4, hold=1)
    row_errors(true_matrix(create()), true_matrix(drifting.now()))
    drifting.measure(X)


def by_command(folder: Path) -> None:
    (folder / "seed").write_text(str(SEED))
    out = folder / "a.device"
    out.unlink(missing_ok=True)
    New(out, str(N), str(M), seed_file=folder / "seed").run()
    out.unlink()
    New(out, str(N), str(M), seed=given_seed("--seed", None, folder / "seed")).run()


def exact_rule() -> None:
    body = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 4))
    make_rule("exact", defend(body, at="1", device=create(), seed=0), seed=0)


X = draw(6, N)
WORK: dict[str, Callable[[Path], object]] = {
    **{f"create {kind}": lambda _, kind=kind: create(kind) for kind in ("dense", "procedural", "structured")},
    "create real": lambda _: create(matrix="real", camera=Camera(read_noise=1, shot_noise=500)),
    "create moving": lambda _: MovingDevice.create(N, M, count=2, seed=SEED),
    "drift": lambda _: drift(),
    **{f"measure {kind}": lambda _, kind=kind: create(kind).measure(X) for kind in ("procedural", "structured")},
    "measure dense": lambda _: create(camera=Camera(read_noise=1, bits=None)).measure(X),
    "measure a region": lambda _: create().region([3, 1]).measure(X),
    "redraw": lambda _: create().redraw(SEED),
    "save": lambda folder: create().save(folder / "a.device"),
    "load": lambda folder: SimulatedOPU.load(folder / "kept.device"),
    "moving in a store": load_moving,
    "draws": lambda _: MovingDevice.create(N, M, count=1, seed=SEED).with_draws(SEED).measure(X),
    "a study": study_draws,
    "a command": by_command,
    "true matrix": lambda _: row_errors(true_matrix(create()), true_matrix(create(matrix="real"))),
    "float input": lambda _: FloatInputLayer(create()).measure(torch.rand(3, N)),
    "exact": lambda _: Exact(true_matrix(create()), saturation=255).vjp(X[:2].float(), torch.ones(2, M)),
    "exact by name": lambda _: exact_rule(),
    "a blurred matrix": lambda _: blurred(true_matrix(create()), 0.1, 0),
    "a layer": lambda _: OpticalLayer(create())(X.float()),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    create().save(tmp_path / "kept.device")
    return tmp_path


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", WORK)
def test_no_failure_anywhere_shows_it(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def look() -> list[str]:
        found = failures(lambda: WORK[name](folder), monkeypatch)
        return [f"{place}, failing in {where}" for where, error, forms in found for place in shown(error, forms)]

    assert not apart(look)


def test_the_detector_detects(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The parser of a truncated file has the whole text; and without the decorator a medium shows pieces of U."""
    text = (folder / "kept.device").read_text()
    with pytest.raises(ValueError, match="line") as told:
        json.loads(text[:-3])
    assert shown(told.value, {f"{SEED:x}"})
    monkeypatch.setattr("groundglass.core.sealed._forget", lambda *args: None)
    DONE.clear()
    saved = lambda: WORK["save"](folder)  # noqa: E731
    assert any(apart(lambda: [shown(error, forms) for _, error, forms in failures(saved, monkeypatch)]))


@pytest.mark.parametrize("length", [0, 1, 40, 200, 400, -3, -2])
def test_a_truncated_device_file_shows_nothing_of_what_is_left(length: int, folder: Path) -> None:
    path = folder / "kept.device"
    path.write_text(path.read_text()[:length] if length else "")
    with pytest.raises(ValueError, match=r"kept\.device") as told:
        SimulatedOPU.load(path)
    assert not shown(told.value, {f"{SEED:x}"})
    captured = traceback.TracebackException.from_exception(told.value, capture_locals=True)
    text = "".join(captured.format())
    assert "kept.device" in text
    assert f"{SEED:x}" not in text
    assert str(SEED) not in text


@pytest.mark.parametrize("bad", [f"{SEED}", [SEED], -SEED, float(SEED), {"seed": SEED}, str(SEED) + "x"])
def test_a_seed_that_is_none_is_not_repeated(bad: Any, folder: Path) -> None:
    """A slip of the pen, most of all one that is nearly the secret."""
    forms = {str(SEED), f"{SEED:x}", repr(float(SEED))}
    device = create()
    context: dict[str, Any] = {"dataset": DATA, "device_seed": bad}
    for work in (
        lambda: SimulatedOPU.create(N, M, seed=bad),
        lambda: device.redraw(bad),
        lambda: MovingDevice.create(N, M, count=2, seed=bad),
        lambda: MovingDevice([device], seed=bad),
        lambda: Context(folder, **context),
    ):
        with pytest.raises((TypeError, ValueError), match="`seed` must") as told:
            work()
        assert not shown(told.value, forms)
