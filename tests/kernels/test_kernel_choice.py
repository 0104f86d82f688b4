"""The race of the kernels: a question of speed, which changes no reading."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from groundglass.kernels import kernel_choice
from groundglass.kernels.memory import Output
from groundglass.kernels.products import FloatGemm, Int8Gemm, LookupTables, MaskedSum
from groundglass.optics import SimulatedOPU
from tests.optics.draws import draw, drawn


def test_small_work_is_not_raced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_choice, "_race", lambda *size: pytest.fail("raced"))
    assert isinstance(kernel_choice.fastest_kernel(8, drawn(0, 100, 100)), FloatGemm)


def test_a_race_is_run_once_for_a_class_of_sizes_and_leaves_the_random_stream_alone() -> None:
    kernel_choice._race.cache_clear()
    before = torch.get_rng_state()
    first = kernel_choice._race(5, 9, 1)
    assert kernel_choice._race(5, 9, 1) is first
    assert kernel_choice._race.cache_info().misses == 1
    assert torch.equal(torch.get_rng_state(), before)


def test_the_choice_of_a_kernel_changes_no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exposure, fingerprint and readings, whichever kernel is chosen."""
    devices = []
    for kernel in (FloatGemm(), LookupTables(), MaskedSum(), Int8Gemm()):
        monkeypatch.setattr("groundglass.optics.dense.fastest_kernel", lambda rows, matrix, k=kernel: k)
        device = SimulatedOPU.create(80, 100, seed=1)
        devices.append((device.exposure, device.fingerprint, device.measure(draw(5, 80)).tolist()))
    assert all(device == devices[0] for device in devices)


def test_a_device_that_is_large_enough_to_race_measures_the_same() -> None:
    device = SimulatedOPU.create(512, 1024, seed=1)
    bits = draw(160, 512)
    expected = Output.of_readings(160, 1024, device.exposure.gain, 255)
    FloatGemm().fill(bits, device._medium, expected)
    misses = kernel_choice._race.cache_info().misses
    assert torch.equal(device.measure(bits), expected.tensor)
    assert kernel_choice._race.cache_info().misses > misses or kernel_choice._race.cache_info().hits > 0


def absent(*args: object) -> Tensor:
    raise RuntimeError("not on this machine")


@pytest.mark.parametrize("broken", [absent, lambda a, b: (a.float() @ b.float() + 1).int()], ids=["missing", "wrong"])
def test_a_kernel_that_is_wrong_or_missing_is_not_raced(
    broken: Callable[[Tensor, Tensor], Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel_choice._int8_is_worth_a_look.cache_clear()
    monkeypatch.setattr(torch, "_int_mm", broken)
    assert not kernel_choice._int8_is_worth_a_look()
    kernel_choice._int8_is_worth_a_look.cache_clear()


@pytest.mark.parametrize("sizes", [(3, 8, 1), (6, 9, 1), (7, 9, 1), (9, 8, 1)])
@pytest.mark.parametrize("wrong", [LookupTables, MaskedSum, Int8Gemm])
def test_a_kernel_that_is_wrong_loses_however_fast_it_is(
    wrong: type, sizes: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(self: object, bits: Tensor, matrix: object, out: Output) -> None:
        out.put(0, torch.ones(len(bits), 64, dtype=torch.float64))  # at once

    monkeypatch.setattr(kernel_choice, "_int8_is_worth_a_look", lambda: True)
    monkeypatch.setattr(wrong, "fill", fill)
    kernel_choice._race.cache_clear()
    assert not isinstance(kernel_choice._race(*sizes), wrong)
    kernel_choice._race.cache_clear()
