"""Philox, the entries of U and numpy's normal numbers, drawn on tensors."""

import numpy as np
import pytest
import torch

from groundglass.kernels import jit
from groundglass.kernels.tensor import normals
from groundglass.kernels.tensor.philox import drawn_lanes, key64, philox32, words64
from groundglass.optics.tiled import gaussian_table
from tests.kernels import references

CPU = torch.device("cpu")
KEYS = (0, 1, 2**64 - 1, 2**127 + 2**63 + 5, 2**128 - 1)


def test_philox32_is_the_published_generator() -> None:
    random = np.random.default_rng(0)
    words = random.integers(0, 2**32, (6, 50), dtype=np.int64)
    words[:, 0], words[:, 1] = 0, 2**32 - 1
    found = philox32(tuple(torch.from_numpy(words[:2])), tuple(torch.from_numpy(words[2:])))
    for k, (k0, k1, *counter) in enumerate(words.T.tolist()):
        assert tuple(int(word[k]) for word in found) == references.philox((k0, k1), counter)


def test_entries_are_those_that_compiled_code_draws() -> None:
    keys = np.random.default_rng(1).integers(0, 2**32, (3, 4), dtype=np.uint32)
    inputs = np.arange(5, 42, dtype=np.int32)
    found = drawn_lanes(torch.from_numpy(gaussian_table()), torch.from_numpy(keys.astype(np.int64)), 5, 42)
    assert found.dtype == torch.int8
    for key, lanes in zip(keys, found.numpy().reshape(3, 64, 37), strict=True):
        right = np.empty((37, 64), dtype=np.int8)
        jit.philox.fill(gaussian_table(), key, inputs, right)
        assert (right == lanes.T).all()


@pytest.mark.parametrize("key", KEYS)
def test_words_are_numpys(key: int) -> None:
    frames = torch.tensor([0, 7, 2**40])
    for frame, words in zip(frames.tolist(), words64(key64(key, CPU), frames, 9).numpy().view(np.uint64), strict=True):
        assert (words == np.random.Philox(key=key, counter=frame << 128).random_raw(36)).all()


@pytest.mark.parametrize("count", [1, 45, 3000])
@pytest.mark.parametrize("key", KEYS)
def test_normal_numbers_are_numpys(key: int, count: int) -> None:
    """To the last bit; those of the tail, out of a logarithm, to one unit in the last place."""
    found = normals.normals(key, 2**33, 6, count, CPU).numpy()
    right = np.stack(
        [
            np.random.Generator(np.random.Philox(key=key, counter=(2**33 + row) << 128)).standard_normal(count)
            for row in range(6)
        ]
    )
    tail = np.abs(right) > 3.654
    assert (found[~tail] == right[~tail]).all()
    assert (np.abs(found - right) <= np.spacing(np.abs(right))).all()


def test_tail_and_wedges_come_up() -> None:
    """The test above would pass without them only if no number came from there."""
    found = normals.normals(3, 0, 1, 40_000, CPU)
    assert (found.abs() > 3.66).sum() > 2
    assert found.std().item() == pytest.approx(1, abs=0.02)


def test_the_check_sees_a_number_that_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    assert normals.are_right.__wrapped__(CPU)
    right = normals.normals
    monkeypatch.setattr(normals, "normals", lambda *given: right(*given).mul_(1 + 1e-14))
    assert not normals.are_right.__wrapped__(CPU)
    monkeypatch.setattr(normals, "normals", lambda *given: right(*given).roll(1, 1))
    assert not normals.are_right.__wrapped__(CPU)
