"""Streams of random numbers by counters: what they are, and that compiled and plain code give the same."""

import numpy as np
import pytest
import torch

from groundglass.kernels import streams
from tests.kernels import references

KEY = (0xA4093822, 0x299F31D0)
NUMBERS = torch.tensor([0, 1, 2**31, 2**32 + 5, 2**62 + 3], dtype=torch.int64)
WHEN = torch.tensor([0, 7, 7, 2**32 - 1, 3], dtype=torch.int64)


@pytest.mark.parametrize("compiled", [True, False])
def test_words_are_philox_of_place_draw_and_number(compiled):
    found = np.asarray(streams.words(KEY, WHEN, NUMBERS, 9, compiled=compiled))
    assert found.shape == (5, 12)
    for row, (number, when) in enumerate(zip(NUMBERS.tolist(), WHEN.tolist(), strict=True)):
        for block in range(3):
            counter = block, when, number & (2**32 - 1), number >> 32
            assert tuple(found[row, 4 * block : 4 * block + 4].tolist()) == references.philox(KEY, counter)


@pytest.mark.parametrize("count", [0, 1, 2, 7, 8, 600])
@pytest.mark.parametrize("rows", [0, 1, 5])
def test_compiled_and_plain_code_give_the_same_bits(rows, count):
    for draw in (streams.normals, streams.integers):
        found = [draw(KEY, WHEN[:rows], NUMBERS[:rows], count, compiled=way) for way in (True, False, None)]
        assert found[0].shape == (rows, count)
        assert all(torch.equal(found[0], other) for other in found[1:])
        assert all(found[0].dtype == other.dtype for other in found[1:])


@pytest.mark.parametrize("draw", [streams.normals, streams.integers])
def test_a_row_does_not_depend_on_the_others_nor_on_how_much_is_drawn(draw):
    whole = draw(KEY, WHEN, NUMBERS, 40)
    some = torch.tensor([3, 1])
    assert torch.equal(draw(KEY, WHEN[some], NUMBERS[some], 13), whole[some, :13])
    rows = draw(KEY, torch.zeros(200, dtype=torch.int64), torch.arange(200), 40)
    assert len(rows.unique(dim=0)) == 200


def test_integers_have_known_values():
    """The streams of this version, on every machine."""
    zero = torch.zeros(1, dtype=torch.int64)
    low = 0xE169C58D << 32 | 0x6627E8D5  # of the authors' known answer for the counter and key 0
    assert streams.integers((0, 0), zero, zero, 1).tolist() == [[low & (2**62 - 1)]]
    assert streams.normals((0, 0), zero, zero, 4).tolist() == [
        [float(streams.quantiles()[half]) for half in (0xE8D5, 0x6627, 0xC58D, 0xE169)]
    ]


def test_normal_numbers_are_normal():
    values = streams.quantiles()
    assert torch.equal(values, -values.flip(0))
    assert torch.equal(values, values.sort().values)
    assert abs(float(values.double().square().mean()) - 1) < 1e-6
    assert abs(float((values.double() ** 4).mean()) - 3) < 5e-3
    drawn = streams.normals(KEY, torch.zeros(20, dtype=torch.int64), torch.arange(20), 5000).double()
    assert abs(float(drawn.mean())) < 0.02
    assert abs(float(drawn.var()) - 1) < 0.03
    for bound, share in ((0.0, 0.5), (1.0, 0.158655), (2.0, 0.02275), (3.0, 0.00135)):
        assert abs(float((drawn > bound).double().mean()) - share) < 5 * (share * (1 - share) / 100_000) ** 0.5
    # Rows, and neighbours in a row, have nothing to do with each other.
    together = torch.corrcoef(torch.cat([drawn, drawn.roll(1, 1)]))
    assert float((together - torch.eye(40)).abs().max()) < 0.07


def test_no_normal_number_depends_on_the_last_bits_of_a_machines_functions():
    """Before they are rounded, all are farther from the middle between two steps than any rounding error."""
    middles = (torch.arange(2**15, dtype=torch.float64) + 0.5) / 2**16
    exact = torch.special.ndtri(middles)
    steps = exact / exact.square().mean().sqrt() * 2**16
    assert float((steps - steps.floor() - 0.5).abs().min()) > 1e-7
