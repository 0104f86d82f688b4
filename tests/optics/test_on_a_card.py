"""What measuring on a card needs besides the same readings: memory, no waiting, and no word of the secret."""

import copy
import pickle
import traceback
import warnings
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

import groundglass as gg
from groundglass.core import NonFiniteError
from groundglass.kernels.tensor import as_on_a_card, products
from groundglass.optics import Camera, DriftingDevice, MovingDevice, OpticalLayer, SimulatedOPU, procedural, structured
from groundglass.optics import medium as medium_module
from groundglass.optics.dense import DenseMedium
from groundglass.optics.layer import FloatInputLayer
from groundglass.optics.medium import DeviceKind, Medium
from tests.optics.draws import draw, drawn

N, M = 70, 150
CPU = torch.device("cpu")
KINDS: tuple[DeviceKind, ...] = ("dense", "procedural", "structured")


@pytest.fixture
def card() -> Iterator[None]:
    with as_on_a_card():
        yield


@pytest.mark.parametrize("kind", KINDS)
def test_a_device_keeps_there_what_it_needs_and_counts_it(kind: DeviceKind) -> None:
    device = SimulatedOPU.create(N, M, seed=1, kind=kind)
    here = device.nbytes
    with as_on_a_card():
        assert device.nbytes == here
        device.measure(draw(5, N))
        there = device.nbytes - here
        assert there == {"dense": here, "procedural": 2**16 + 5 * 32, "structured": here}[kind]
        device.measure(draw(50, N))
        assert device.nbytes == here + there
        # A region has what it needs for itself, and not the whole device's.
        part = device.region([M - 1, 3])
        device.measure(draw(5, N))
        assert torch.equal(part.measure(draw(5, N)), device.measure(draw(5, N))[:, [M - 1, 3]])


@pytest.mark.parametrize("kind", KINDS)
def test_where_there_is_no_room_it_measures_here_and_says_so_once(
    kind: DeviceKind, card: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    device, bits = SimulatedOPU.create(N, M, seed=1, kind=kind), draw(20, N)
    right = device.measure(bits)
    device = SimulatedOPU.create(N, M, seed=1, kind=kind)
    device._medium._there.clear()
    monkeypatch.setattr(medium_module, "free_memory", lambda device: 3000)
    with pytest.warns(RuntimeWarning, match="measures on the CPU") as said:
        found = [device.measure(bits), device.measure(bits)]
    assert len(said) == 1
    assert all(torch.equal(readings, right) for readings in found)
    assert device._medium.placed_bytes == 0


WRONG = {
    "dense": (DenseMedium, "_lanes"),
    "procedural": (procedural, "drawn_lanes"),
    "structured": (structured, "transform"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_card_that_computes_otherwise_is_not_used(kind: DeviceKind, monkeypatch: pytest.MonkeyPatch) -> None:
    """One number in a thousand is off by one, in whatever the kind needs of the card."""
    device, bits = SimulatedOPU.create(N, M, seed=1, kind=kind), draw(20, N)
    right, (owner, name) = device.measure(bits), WRONG[kind]
    whole = getattr(owner, name)

    def off(*given: object) -> Tensor:
        found: Tensor = whole(*given).clone(memory_format=torch.contiguous_format)
        found.view(-1)[::1000] += 1
        return found

    monkeypatch.setattr(owner, name, off)
    monkeypatch.setattr(medium_module, "_RIGHT", {})
    with as_on_a_card(), pytest.warns(RuntimeWarning, match="other sums"):
        assert torch.equal(device.measure(bits), right)
    assert device._medium.placed_bytes == 0


@pytest.mark.parametrize("kind", ["dense", "procedural"])
def test_a_batch_of_a_size_that_no_product_adds_up_is_measured_here(
    kind: DeviceKind, card: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Products are chosen for each class of sizes: that of a small batch says nothing of a large one."""
    device, right = SimulatedOPU.create(N, M, seed=1, kind=kind), {}
    with monkeypatch.context() as patch:
        patch.setattr(medium_module, "is_card", lambda device: False)
        right = {rows: device.measure(draw(rows, N)) for rows in (3, 600)}
    assert torch.equal(device.measure(draw(3, N)), right[3])
    is_exact = products.is_exact
    monkeypatch.setattr(
        products, "is_exact", lambda product, rows, *given: rows < 100 and is_exact(product, rows, *given)
    )
    products._race.cache_clear()
    with pytest.warns(RuntimeWarning, match="other sums") as said:
        found = [device.measure(draw(600, N)) for _ in range(2)]
    assert len(said) == 1
    assert all(torch.equal(readings, right[600]) for readings in found)
    assert torch.equal(device.measure(draw(3, N)), right[3])
    assert device._medium.placed_bytes == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("matrix", ["complex", "real"])
def test_pieces_change_nothing(kind: DeviceKind, matrix: str, card: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows, tiles and inputs at a time: as few as can be, against all at once."""
    device = SimulatedOPU.create(N, M, seed=1, kind=kind, matrix=matrix, camera=Camera(bits=None))  # type: ignore[arg-type]
    bits = draw(30, N)
    right = device.measure(bits)
    for name in ("tiled._SUMS", "dense._PIECE", "structured._FIELDS"):
        monkeypatch.setattr(f"groundglass.optics.{name}", 1)
    monkeypatch.setattr(medium_module, "_ROWS", 7)
    monkeypatch.setattr("groundglass.kernels.tensor.products.FloatProduct.inputs", 13)
    device._medium._there.clear()
    assert torch.equal(device.measure(bits), right)


def test_wide_and_tall_devices() -> None:
    for kind in KINDS:
        device = SimulatedOPU.create(1100, 2100, seed=1, kind=kind).region(range(0, 2100, 20))
        right = device.measure(draw(3, 1100))
        with as_on_a_card():
            assert torch.equal(device.measure(draw(3, 1100)), right)


def test_devices_of_the_first_recipe() -> None:
    medium = drawn(1, N, M, by_shake=True)
    right = medium.intensities(draw(9, N))
    with as_on_a_card():
        assert torch.equal(medium.intensities(draw(9, N)), right)


def test_a_matrix_that_has_moved_is_the_moved_one_there_too() -> None:
    here, there = (DriftingDevice(SimulatedOPU.create(N, M, seed=1), correlation=50, hold=5) for _ in range(2))
    for rows in draw(60, N).split([13, 4, 43]):
        right = here.measure(rows)
        with as_on_a_card():
            assert torch.equal(there.measure(rows), right)
            assert torch.equal(there.now().measure(rows), here.now().measure(rows))


class Waited(Exception):
    """The processor looked at a value, and waited for the card."""


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Call it, and whatever reads a tensor's values raises."""

    def refuse(*given: object) -> None:
        raise Waited

    def begin() -> None:
        for name in ("item", "tolist", "numpy", "cpu", "nonzero", "__bool__", "__int__", "__float__", "__index__"):
            monkeypatch.setattr(Tensor, name, refuse)

    return begin


@pytest.mark.parametrize(
    "make",
    [
        lambda: SimulatedOPU.create(N, M, seed=1),
        lambda: SimulatedOPU.create(N, M, seed=1, kind="procedural", read_noise=1.0),
        lambda: SimulatedOPU.create(N, M, seed=1, kind="structured"),
        lambda: MovingDevice.create(N, M, count=2, seed=1),
    ],
    ids=["dense", "procedural, noisy", "structured", "moving"],
)
def test_a_step_of_training_waits_for_nothing(
    make: Callable[[], object], card: None, no_waiting: Callable[[], None]
) -> None:
    plain = nn.Sequential(nn.Flatten(), nn.Linear(12, N), nn.ReLU(), nn.Linear(N, 3))
    network = gg.defend(plain, at="3", device=make(), seed=0, classes=3)  # type: ignore[arg-type]
    images, labels = torch.rand(8, 3, 2, 2), torch.arange(8) % 3
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1)

    def step() -> Tensor:
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(network(images), labels)
        loss.backward()
        optimiser.step()
        return loss.detach()

    step()  # finds the fastest product, and places the matrix
    no_waiting()
    loss = step()
    with pytest.raises(Waited):
        bool(loss > 0)


def test_what_is_no_bit_goes_on_as_nan(card: None) -> None:
    layer = OpticalLayer(SimulatedOPU.create(N, M, seed=1))
    bits = draw(6, N).float()
    right = layer(bits)
    bits[1, 3], bits[2, 0], bits[4, N - 1] = torch.nan, 2, -torch.inf
    found = layer(bits)
    assert found[[1, 2, 4]].isnan().all()
    assert torch.equal(found[[0, 3, 5]], right[[0, 3, 5]])
    with pytest.raises(NonFiniteError):
        layer.measure(bits)  # the device's own readings are bytes: they hold no NaN


def test_the_layer_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = OpticalLayer(SimulatedOPU.create(N, M, seed=1))
    for bits in (draw(6, N).float(), draw(6, N).double(), draw(6, N), torch.zeros(0, N)):
        right = layer(bits)
        with as_on_a_card():
            assert torch.equal(layer(bits), right)


def test_float_inputs_have_their_planes_placed_once() -> None:
    layer = FloatInputLayer(SimulatedOPU.create(N, M, seed=1))
    planes = layer._normalised.projection.planes.on(CPU)  # type: ignore[union-attr]
    assert planes is layer._normalised.projection.planes.on(CPU)  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", KINDS)
def test_what_lies_there_is_as_secret(kind: DeviceKind, card: None, monkeypatch: pytest.MonkeyPatch) -> None:
    device = SimulatedOPU.create(N, M, seed=0x5EC2E7, kind=kind)
    device.measure(draw(5, N))
    medium: Medium = device._medium
    assert copy.deepcopy(medium) is medium
    assert "tensor" not in repr(medium) + repr(device) + repr([OpticalLayer(device)])
    with pytest.raises(TypeError, match="fingerprint"):
        pickle.dumps(medium)

    def fail(*given: object) -> None:
        raise ArithmeticError

    monkeypatch.setattr("groundglass.optics.medium.TensorOutput.put", fail)
    with pytest.raises(ArithmeticError) as caught:
        device.measure(draw(5, N))
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    below = [frame for frame in shown.stack if "groundglass/" in frame.filename and "optics/" in frame.filename]
    assert below
    of_the_secret = ("torch.int8", "torch.int16", "torch.int64", "dtype=int8", "TensorOutput")
    assert not any(name in str(frame.locals) for frame in below for name in of_the_secret)


def test_autocast_and_inference_mode_change_nothing_of_what_is_kept(card: None) -> None:
    device, bits = SimulatedOPU.create(N, M, seed=1, camera=Camera(bits=None)), draw(9, N)
    device._medium._there.clear()
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16), warnings.catch_warnings():
        first = device.measure(bits)
    (planes,) = device._medium._there[CPU]  # type: ignore[misc]
    assert not planes.is_inference()
    assert torch.equal(device.measure(bits), first)
