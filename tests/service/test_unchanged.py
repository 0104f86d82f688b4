"""What is made for a device takes one at a service, and does to the bit what it does with the device itself."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from groundglass.optics import DeviceAccess, MovingDevice, OpticalDevice, SimulatedOPU, measure_packed, pack_bits
from groundglass.optics.retrieval import retrieve, row_errors
from groundglass.optics.true_matrix import true_matrix
from groundglass.training import HybridDFA, fit_classifier, train
from tests.optics.retrieval import devices
from tests.service import serving
from tests.service.serving import Bench
from tests.training.conftest import coloured, same  # noqa: F401
from tests.training.test_own_loop import CONFIG, DEVICE, defended

M = 24


@pytest.fixture
def bench() -> Iterator[Bench]:
    with serving.bench() as one:
        yield one


def test_a_network_is_trained_and_fitted(bench: Bench, coloured: Any) -> None:  # noqa: F811
    bench.serve("lab", DEVICE)
    device = bench.client("lab", bench.token("alice"))
    networks = [defended(device), defended(DEVICE)]
    for network in networks:
        train(network, coloured, CONFIG, credit=HybridDFA(), seed=4)
    assert bench.frames("alice") == len(coloured)
    assert same(*(network.state_dict() for network in networks))
    networks[0].load_state_dict(networks[1].state_dict())  # the fingerprint is the same
    bits = torch.randint(0, 2, (60, 32), dtype=torch.uint8)
    for network in networks:
        fit_classifier(network, bits, torch.arange(60) % 3, CONFIG, seed=5)
    assert same(*(network.state_dict() for network in networks))


def test_a_matrix_is_retrieved(bench: Bench) -> None:
    here = devices.opu(devices.N, M)
    bench.serve("lab", here)
    device = bench.client("lab", bench.token("eve"))
    access = DeviceAccess(device, budget=devices.FRAMES)
    result = retrieve(access, devices.METHOD, frames=devices.FRAMES, seed=1)
    assert result.frames == bench.frames("eve") == devices.FRAMES
    assert row_errors(result.matrix, true_matrix(here)).max() < 0.02
    assert torch.equal(
        result.matrix, retrieve(DeviceAccess(here), devices.METHOD, frames=devices.FRAMES, seed=1).matrix
    )
    with pytest.raises(TypeError, match="not known"):
        true_matrix(device)


@pytest.mark.parametrize(
    "make", [lambda: MovingDevice.create(40, M, count=3, seed=1), lambda: SimulatedOPU.create(40, M, seed=1)]
)
def test_files_of_bits(bench: Bench, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """In several requests, where the answer would be large."""
    monkeypatch.setattr("groundglass.optics.remote.wire.MOST_ANSWER", 10 * M)
    here: OpticalDevice = make()
    bench.serve("lab", make())
    device = bench.client("lab")
    assert device.facts().rows == 10
    bits = torch.randint(0, 2, (35, 40), dtype=torch.uint8)
    assert torch.equal(measure_packed(device, pack_bits(bits)), here.measure(bits))
