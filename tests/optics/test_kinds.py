"""Sizes: what fits, and what is said of what does not."""

import numpy as np
import pytest
import torch

from groundglass.core.sealed import Seed
from groundglass.optics import Camera, DoesNotFitError, SimulatedOPU, true_matrix
from groundglass.optics.kinds import bytes_needed, check_fits, make_medium

GIB = 2**30
KINDS = ["dense", "procedural", "structured"]


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch):
    def set_to(count: int | None) -> None:
        monkeypatch.setattr("groundglass.optics.kinds.available_memory", lambda: count)

    return set_to


@pytest.mark.parametrize(
    ("sizes", "says"),
    [
        ((0, 5), "in_features.*1"),
        ((5, 0), "out_features.*at least 1"),
        ((2**22 + 1, 1), "in_features"),
        ((-3, 5), "in_fe"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_sizes_out_of_range_are_refused(kind: str, sizes: tuple[int, int], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        SimulatedOPU.create(*sizes, kind=kind)


def test_a_matrix_that_memory_cannot_hold_is_refused_before_it_is_drawn(memory) -> None:
    memory(16 * GIB)
    with pytest.raises(DoesNotFitError, match=r"1\.82 TiB.*16 GiB.*procedural.*structured"):
        SimulatedOPU.create(10**6, 10**6)
    # A frame of light that does not fit: no kind would do.
    for kind in KINDS:
        with pytest.raises(DoesNotFitError, match="one frame"):
            SimulatedOPU.create(10, 10**10, kind=kind)


def test_what_fits_is_what_is_needed(memory) -> None:
    needed = bytes_needed("dense", 1000, 5000)
    assert 10_000_000 <= needed < 10_100_000
    memory(int(needed / 0.9) + 100)
    check_fits("dense", 1000, 5000)
    memory(int(needed / 0.9) - 100)
    with pytest.raises(DoesNotFitError):
        check_fits("dense", 1000, 5000)
    check_fits("procedural", 1000, 5000)
    check_fits("structured", 1000, 5000)
    # Half as many numbers in a real one.
    check_fits("dense", 1000, 5000, "real")


def test_where_memory_is_not_known_nothing_is_refused(memory) -> None:
    memory(None)
    check_fits("dense", 10**6, 10**9)


def test_a_million_by_a_million_needs_little(memory) -> None:
    memory(GIB)
    check_fits("procedural", 10**6, 10**6)
    check_fits("structured", 10**6, 10**6)
    for kind in ("procedural", "structured"):
        assert bytes_needed(kind, 10**6, 10**6) < GIB // 16


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"kind": "procedual"}, "did you mean 'procedural'"),
        ({"matrix": "complx"}, "did you mean 'complex'"),
        ({"matrix": "unitary"}, "complex, real"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(options: dict[str, str], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        SimulatedOPU.create(5, 5, **options)


@pytest.mark.parametrize("kind", ["procedural", "structured"])
def test_the_first_recipe_is_of_dense_devices_alone(kind) -> None:
    with pytest.raises(ValueError, match="recipe 1"):
        make_medium(kind, Seed(0), 5, 5, "complex", draw=1)


@pytest.mark.parametrize("kind", KINDS)
class TestRegion:
    def device(self, kind: str, **camera: float) -> SimulatedOPU:
        return SimulatedOPU.create(60, 200, seed=3, kind=kind, camera=Camera(**camera))

    def test_it_reads_what_the_device_reads_there(self, kind: str) -> None:
        device = self.device(kind)
        bits = torch.randint(0, 2, (9, 60), dtype=torch.uint8)
        whole = device.measure(bits)
        for outputs in ([5], [199, 0, 31, 32], range(200), torch.tensor([7, 3]), np.arange(64, 96)):
            region, chosen = device.region(outputs), torch.as_tensor(np.asarray(outputs))
            assert region.out_features == len(chosen)
            assert torch.equal(region.measure(bits), whole[:, chosen])
            assert torch.equal(true_matrix(region), true_matrix(device)[chosen])
            assert region.exposure == device.exposure
            assert region.kind == kind
        # A part of a part.
        assert torch.equal(device.region(range(50, 100)).region([10, 0]).measure(bits), whole[:, [60, 50]])

    def test_it_has_a_name_of_its_own(self, kind: str) -> None:
        device = self.device(kind)
        names = {device.fingerprint, *(device.region(o).fingerprint for o in ([1], [2], [1, 2], [2, 1]))}
        assert len(names) == 5
        assert device.region([1]).fingerprint == self.device(kind).region([1]).fingerprint

    @pytest.mark.parametrize(
        ("outputs", "says"),
        [
            *((outputs, "outputs") for outputs in ([], [200], [-1], [3, 4, 3])),
            *((outputs, "integers") for outputs in ([1.7, 5.2], torch.tensor([True, False]))),
        ],
    )
    def test_what_is_not_there_or_no_number_is_refused(self, kind: str, outputs: object, says: str) -> None:
        with pytest.raises(ValueError, match=says):
            self.device(kind).region(outputs)  # type: ignore[arg-type]

    def test_noise_is_its_own_and_counted_in_frames(self, kind: str) -> None:
        device = self.device(kind, read_noise=5.0)
        bits = torch.ones(4, 60, dtype=torch.uint8)
        region = device.region(range(100))
        assert not torch.equal(region.measure(bits), device.measure(bits)[:, :100])
        frames = self.device(kind, read_noise=5.0).measure(bits)
        late = self.device(kind, read_noise=5.0)
        late.skip_frames(3)
        assert torch.equal(late.measure(bits[3:]), frames[3:])
        assert not torch.equal(frames[2], frames[3])
