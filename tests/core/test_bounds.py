"""Images in other bounds than [0, 1], there and back."""

import pytest
import torch

from groundglass.core.bounds import Bounds


def test_images_in_unit_bounds_are_themselves():
    images = torch.rand(2, 3, 4, 4)
    one = Bounds()
    assert one.unit
    assert one == (0, 1)
    assert one.to_unit(images) is one.from_unit(images) is one.inside_unit(images) is images


@pytest.mark.parametrize("bounds", [(-1.0, 1.0), (0.0, 255.0), (-0.3, 0.4)])
def test_what_was_not_moved_is_the_pixel_that_was_given_to_the_bit(bounds):
    one = Bounds(*bounds)
    given = one.low + one.width * torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    unit = one.inside_unit(given)
    assert 0 <= unit.min() <= unit.max() <= 1
    moved = unit.clone()
    moved[:, :, :4] = 1 - moved[:, :, :4]
    found = one.back(moved, unit, given)
    assert torch.equal(found[:, :, 4:], given[:, :, 4:])
    assert torch.allclose(found[:, :, :4], one.low + one.high - given[:, :, :4], atol=1e-6 * one.width)
    assert found.min() >= one.low
    assert found.max() <= one.high
    outside = torch.full((1, 1, 1, 1), one.high + one.width)
    assert (float(one.to_unit(outside)), float(one.inside_unit(outside))) == (pytest.approx(2), 1)
