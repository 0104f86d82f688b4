"""Every optical device passes these: simulated ones, the adapter for a real one over a stand-in, and those at a service."""

import copy
from collections.abc import Callable, Iterator
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from groundglass.kernels.tensor import as_on_a_card
from groundglass.optics import (
    Camera,
    DeviceAccess,
    DriftingDevice,
    LightOnOPU,
    MovingDevice,
    OpticalDevice,
    OpticalLayer,
    SimulatedOPU,
    measure_packed,
    pack_bits,
)
from tests.service.serving import remote

N, M = 70, 45


class StandIn:
    """The interface of LightOn's OPU object over a small matrix, without noise; strict about what it is given."""

    n_components = M

    def __init__(self, arrays: str) -> None:
        rng = np.random.default_rng(5)
        self.matrix = rng.normal(size=(N, M)) + 1j * rng.normal(size=(N, M))
        self.arrays = arrays
        self.rows: list[int] = []

    def transform(self, bits: "np.ndarray | Tensor") -> "np.ndarray | Tensor":
        assert isinstance(bits, Tensor) == (self.arrays == "torch")
        values = np.asarray(bits)
        assert values.dtype == np.uint8
        assert values.shape[1] == N
        assert len(values) > 0, "a camera takes no picture of nothing"
        self.rows.append(len(values))
        # Row by row: BLAS rounds differently in batches of different sizes.
        light = np.stack([np.abs(row @ self.matrix) ** 2 for row in values.astype(float)])
        readings = np.minimum(light * 1.5, 255).astype(np.uint8)
        return torch.from_numpy(readings) if self.arrays == "torch" else readings


#: The same input, the same reading, for as long as they live.
STEADY: dict[str, Callable[[], OpticalDevice]] = {
    "complex": lambda: SimulatedOPU.create(N, M, seed=1),
    "procedural": lambda: SimulatedOPU.create(N, M, seed=1, kind="procedural"),
    "procedural float": lambda: SimulatedOPU.create(N, M, seed=1, kind="procedural", camera=Camera(bits=None)),
    "structured": lambda: SimulatedOPU.create(N, M, seed=1, kind="structured"),
    "structured float": lambda: SimulatedOPU.create(N, M, seed=1, kind="structured", camera=Camera(bits=None)),
    "region": lambda: SimulatedOPU.create(N, 9 * M, seed=1).region(range(0, 9 * M, 9)),
    "region, procedural": lambda: SimulatedOPU.create(N, 9 * M, seed=1, kind="procedural").region(range(0, 9 * M, 9)),
    "region, structured": lambda: SimulatedOPU.create(N, 9 * M, seed=1, kind="structured").region(range(0, 9 * M, 9)),
    "real": lambda: SimulatedOPU.create(N, M, seed=1, matrix="real"),
    "4 bits": lambda: SimulatedOPU.create(N, M, seed=1, camera=Camera(bits=4)),
    "float": lambda: SimulatedOPU.create(N, M, seed=1, camera=Camera(bits=None)),
    "amplitudes": lambda: SimulatedOPU.create(N, M, seed=1, camera=Camera(power=1)),
    "power 3.5, float": lambda: SimulatedOPU.create(N, M, seed=1, camera=Camera(power=3.5, bits=None)),
    "power 4, structured": lambda: SimulatedOPU.create(N, M, seed=1, kind="structured", camera=Camera(power=4, bits=2)),
    "lighton numpy": lambda: LightOnOPU.calibrate(StandIn("numpy"), N, M, rows_per_call=7),
    "lighton torch": lambda: LightOnOPU.calibrate(StandIn("torch"), N, M, rows_per_call=7, arrays="torch"),
    "moving among one": lambda: MovingDevice([SimulatedOPU.create(N, M, seed=1)]),
    "remote": lambda: remote(SimulatedOPU.create(N, M, seed=1)),
    "remote float": lambda: remote(SimulatedOPU.create(N, M, seed=1, kind="structured", camera=Camera(bits=None))),
    "remote amplitudes": lambda: remote(SimulatedOPU.create(N, M, seed=1, camera=Camera(power=1))),
    "remote lighton": lambda: remote(LightOnOPU.calibrate(StandIn("numpy"), N, M, rows_per_call=7)),
}

#: And those that answer the same input differently on purpose.
DEVICES = STEADY | {
    "moving": lambda: MovingDevice.create(N, M, count=3, seed=1),
    "moving float": lambda: MovingDevice.create(N, M, count=3, seed=1, camera=Camera(bits=None)),
    "drifting": lambda: DriftingDevice(SimulatedOPU.create(N, M, seed=1), correlation=20_000),
    "drifting float": lambda: DriftingDevice(
        SimulatedOPU.create(N, M, seed=1, camera=Camera(bits=None)), correlation=20_000, hold=7
    ),
    "remote moving": lambda: remote(MovingDevice.create(N, M, count=3, seed=1)),
}

# Not computed in this process, as far as it is known here.
_ELSEWHERE = ("lighton", "remote")


#: Those whose measurements are computed: on a card, too. The last ones have noise.
SIMULATED = {name: make for name, make in DEVICES.items() if not name.startswith(_ELSEWHERE)} | {
    "read noise": lambda: SimulatedOPU.create(N, M, seed=1, read_noise=0.5),
    "both noises": lambda: SimulatedOPU.create(N, M, seed=1, read_noise=0.5, shot_noise=1e4),
    "read noise, power 4": lambda: SimulatedOPU.create(N, M, seed=1, camera=Camera(power=4, read_noise=0.5)),
    "read noise, float": lambda: SimulatedOPU.create(N, M, seed=1, camera=Camera(bits=None, read_noise=0.5)),
    "moving with noise": lambda: MovingDevice.create(N, M, count=2, seed=1, camera=Camera(read_noise=0.5)),
}


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> OpticalDevice:
    return DEVICES[request.param]()


@pytest.fixture(params=[*STEADY, *(f"{name}, on a card" for name in STEADY if name in SIMULATED)])
def steady(request: pytest.FixtureRequest) -> Iterator[OpticalDevice]:
    device = STEADY[request.param.removesuffix(", on a card")]()
    with as_on_a_card() if request.param.endswith(", on a card") else nullcontext():
        yield device


def draw(rows: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 2, (rows, N), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def test_it_is_a_device(device: OpticalDevice) -> None:
    assert isinstance(device, OpticalDevice)
    assert (device.in_features, device.out_features) == (N, M)
    assert device.fingerprint
    assert device.mean_reading > 0


def test_shapes_and_dtypes(device: OpticalDevice, request: pytest.FixtureRequest) -> None:
    dtype = torch.float32 if "float" in request.node.callspec.params["device"] else torch.uint8
    for rows in (0, 1, 2, 50):
        readings = device.measure(draw(rows))
        assert readings.shape == (rows, M)
        assert readings.dtype == dtype
        assert not readings.requires_grad


def test_readings_depend_on_the_input_and_their_mean_is_the_mean_reading(device: OpticalDevice) -> None:
    readings = device.measure(draw(500, seed=3)).double()
    assert readings.std(0).min() > 0
    # 45 outputs of 500 inputs: the mean of an output is its own row's, so this is a loose bound on purpose.
    assert readings.mean().item() == pytest.approx(device.mean_reading, rel=0.05)


def test_no_light_no_reading(device: OpticalDevice) -> None:
    assert device.measure(torch.zeros(2, N, dtype=torch.uint8)).count_nonzero() == 0


def test_a_reading_does_not_depend_on_its_batch(steady: OpticalDevice) -> None:
    bits = draw(60)
    whole = steady.measure(bits)
    assert torch.equal(torch.cat([steady.measure(row[None]) for row in bits]), whole)
    assert torch.equal(torch.cat([steady.measure(rows) for rows in bits.split([1, 30, 0, 29])]), whole)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(1))
    assert torch.equal(steady.measure(bits[order]), whole[order])
    assert torch.equal(steady.measure(bits.flip(0)).flip(0), whole)


@pytest.mark.parametrize("name", SIMULATED)
def test_a_card_gives_the_same_readings(name: str) -> None:
    """Bit for bit, frame for frame, however the batch is split."""
    bits, here, there = draw(60), SIMULATED[name](), SIMULATED[name]()
    for rows in bits.split([20, 1, 0, 39]):
        right = here.measure(rows)
        with as_on_a_card():
            assert torch.equal(there.measure(rows), right)


@pytest.mark.parametrize("name", ["complex", "procedural", "region, structured", "both noises"])
def test_a_device_that_is_made_on_a_card_is_the_same(name: str) -> None:
    with as_on_a_card():
        there = SIMULATED[name]()
    here = SIMULATED[name]()
    assert there.fingerprint == here.fingerprint
    assert there.mean_reading == here.mean_reading
    assert torch.equal(there.measure(draw(20)), here.measure(draw(20)))


def test_strides_do_not_matter(steady: OpticalDevice) -> None:
    bits = draw(20)
    assert torch.equal(steady.measure(bits.t().contiguous().t()), steady.measure(bits))
    wide = torch.stack([bits, 1 - bits], 2)[:, :, 0]
    assert torch.equal(steady.measure(wide), steady.measure(bits))


def test_surroundings_do_not_matter(steady: OpticalDevice) -> None:
    bits = draw(20)
    plain = steady.measure(bits)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(steady.measure(bits), plain)
    with torch.inference_mode():
        assert torch.equal(steady.measure(bits), plain)
    torch.set_default_dtype(torch.float64)
    try:
        again = steady.measure(bits)
    finally:
        torch.set_default_dtype(torch.float32)
    assert again.dtype == plain.dtype
    assert torch.equal(again, plain)


def test_measuring_draws_from_nobodys_random_stream(device: OpticalDevice) -> None:
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    device.measure(draw(20))
    assert torch.equal(torch.get_rng_state(), before)
    assert (np.random.get_state()[1] == numpy_before).all()  # noqa: NPY002


def test_the_input_is_left_as_it_was(device: OpticalDevice) -> None:
    bits = draw(20)
    kept = bits.clone()
    device.measure(bits)
    assert torch.equal(bits, kept)


def backwards(bits: Tensor) -> np.ndarray:
    """The same bits in an array that torch cannot look into: its strides are negative, and it cannot be written to."""
    array = np.ascontiguousarray(bits.numpy()[::-1])[::-1]
    array.flags.writeable = False
    return array


#: Bits as people have them.
KINDS: dict[str, Callable[[Tensor], "np.ndarray | Tensor"]] = {
    "bool": lambda bits: bits.bool(),
    "int64": lambda bits: bits.long(),
    "uint16": lambda bits: bits.to(torch.uint16),
    "int8": lambda bits: bits.to(torch.int8),
    "column by column": lambda bits: bits.t().contiguous().t(),
    "inference mode": lambda bits: inferred(bits),
    "numpy uint8": lambda bits: bits.numpy(),
    "numpy bool": lambda bits: bits.bool().numpy(),
    "numpy int64": lambda bits: bits.long().numpy(),
    "numpy uint16": lambda bits: bits.numpy().astype(np.uint16),
    "numpy big-endian": lambda bits: bits.numpy().astype(">i4"),
    "numpy backwards": backwards,
}


@torch.inference_mode()
def inferred(bits: Tensor) -> Tensor:
    return bits.clone()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", DEVICES)
def test_bits_of_every_kind_give_the_same_readings_in_the_same_library(name: str) -> None:
    bits = draw(20)
    device = DEVICES[name]()
    plain = device.measure(bits)
    for kind, make in KINDS.items():
        given = make(bits)
        kept = given.copy() if isinstance(given, np.ndarray) else given.clone()
        device = device if name in STEADY else DEVICES[name]()  # the same frames again
        found = device.measure(given)
        assert type(found) is type(given), kind
        assert torch.equal(torch.as_tensor(found), plain), kind
        assert (given == kept).all(), kind
        nothing = device.measure(given[:0])
        assert (type(nothing), nothing.shape) == (type(given), (0, M)), kind
        if isinstance(given, np.ndarray):
            found[:] = 0  # it is the caller's own
        packed = pack_bits(given)
        assert type(packed) is type(given), kind


@pytest.mark.parametrize("name", DEVICES)
@pytest.mark.parametrize("kind", ["bool", "numpy bool"])
def test_so_do_those_of_an_attacker_and_packed_ones(name: str, kind: str) -> None:
    bits = draw(20)
    plain, given = DEVICES[name]().measure(bits), KINDS[kind](bits)
    for found in (
        DeviceAccess(DEVICES[name]()).measure(given),
        measure_packed(DEVICES[name](), pack_bits(given)),
    ):
        assert type(found) is type(given)
        assert torch.equal(torch.as_tensor(found), plain)


def test_what_is_refused_costs_an_attacker_no_frame(device: OpticalDevice) -> None:
    access = DeviceAccess(device, budget=5)
    for bits in (torch.zeros(2, N), np.full((2, N), 2)):
        with pytest.raises((TypeError, ValueError)):
            access.measure(bits)
    assert access.frames == 0
    access.measure(np.zeros((5, N), dtype=bool))
    assert access.remaining == 0


#: What is not bits, what is raised, and what it says.
NOT_BITS: list[tuple[object, type[Exception], str]] = [
    (torch.zeros(2, N), TypeError, "binarise first"),
    (torch.zeros(2, N, dtype=torch.float64), TypeError, "binarise first"),
    (torch.zeros(2, N, dtype=torch.complex64), TypeError, "binarise first"),
    (np.zeros((2, N)), TypeError, "binarise first"),
    (np.zeros((2, N), dtype=object), TypeError, "array of object"),
    ([[0] * N], TypeError, "as_tensor"),
    (-torch.ones(2, N, dtype=torch.int64), ValueError, "signs"),
    (-np.ones((2, N), dtype=np.int8), ValueError, "signs"),
    (np.full((2, N), 256), ValueError, "not up to 256"),
    (np.full((2, N), 2**64 - 1, dtype=np.uint64), ValueError, "0 or 1"),
    (np.zeros((2, N + 1), dtype=np.uint8), ValueError, f"{N} columns"),
    (np.zeros(N, dtype=bool), ValueError, r"bits\[None\]"),
    (torch.full((2, N), 2, dtype=torch.uint8), ValueError, "not up to 2"),
    (torch.full((2, N), 255, dtype=torch.uint8), ValueError, "binarise them first"),
    (torch.zeros(2, N + 1, dtype=torch.uint8), ValueError, f"{N} columns"),
    (torch.zeros(2, N - 1, dtype=torch.uint8), ValueError, f"{N} columns"),
    (torch.zeros(N, dtype=torch.uint8), ValueError, r"bits\[None\]"),
    (torch.zeros(2, 1, N, dtype=torch.uint8), ValueError, r"flatten\(1\)"),
]


def test_what_is_not_bits_is_refused_with_what_to_do(device: OpticalDevice) -> None:
    for bits, error, says in NOT_BITS:
        with pytest.raises(error, match=says):
            device.measure(bits)


def test_one_wrong_value_among_many_is_found(device: OpticalDevice) -> None:
    bits = draw(50)
    bits[49, N - 1] = 2
    with pytest.raises(ValueError, match="0 or 1"):
        device.measure(bits)


def test_a_copied_model_holds_the_same_device(device: OpticalDevice) -> None:
    assert copy.copy(device) is device
    assert copy.deepcopy(device) is device
    twin = copy.deepcopy(nn.Sequential(OpticalLayer(device)))
    assert twin[0].device is device


def test_a_model_file_cannot_swallow_the_device(device: OpticalDevice, tmp_path) -> None:
    layer = OpticalLayer(device)
    (told,) = layer.state_dict().values()
    assert bytes(told.tolist()).decode() == device.fingerprint
    with pytest.raises(TypeError, match="fingerprint"):
        torch.save(layer, tmp_path / "model.pt")
