"""The attack that checks certificates: it breaks what is not true, up to the known boundary, and nothing that is."""

import pytest
import torch

import groundglass as gg
from groundglass.certify import SmoothedClassifier, challenge
from tests.certify.toys import defended, images, linear

SIGMA = 0.1


def boundary(x: torch.Tensor) -> torch.Tensor:
    """The distance of images to the boundary of `linear`: of its smoothed classifier too, as noise is symmetric."""
    weight = linear()[1].weight[1].detach()
    return ((x.flatten(1) - 0.5) @ weight / weight.norm()).abs()


def test_what_is_broken_is_what_lies_behind_the_boundary() -> None:
    x, smoothed = images(12), gg.smooth(linear(), SIGMA)
    classes = linear()(x).argmax(1)
    # Within 0.6 of the boundary's distance none; at twice the distance, and so much more that the noise shows it, all.
    for times, more, broken in ((0.6, 0.0, 0), (2.0, 0.15, 12)):
        found = challenge(smoothed, smoothed, x, classes, (times * boundary(x) + more).tolist(), judge_draws=60)
        assert bool(found.attacked.all())
        assert int(found.broken.sum()) == broken


def test_a_forged_certificate_is_broken_and_true_ones_are_not() -> None:
    x, smoothed = images(12), gg.smooth(linear(), SIGMA)
    made = smoothed.certify(x, n0=20, n=200)
    sure = torch.tensor([i for i, one in enumerate(made.images) if one.radius > 0.02])
    radii = torch.tensor([made.images[i].radius for i in sure.tolist()])
    classes = torch.tensor([made.images[i].prediction for i in sure.tolist()])
    assert len(sure) >= 6
    assert not bool(challenge(smoothed, smoothed, x[sure], classes, (0.99 * radii).tolist(), seed=3).broken.any())
    # Nothing certifies more than 2.4 sigma by 200 draws: one that says so much more is not true.
    forged = (2 * boundary(x[sure]) + 0.15).tolist()
    assert bool(challenge(smoothed, smoothed, x[sure], classes, forged, seed=3).broken.all())


def certain(smoothed: SmoothedClassifier, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images that it gives a class for certain, with these."""
    x = images(count)
    classes = smoothed.predict(x, n=60)
    assert int((classes >= 0).sum()) >= 3
    return x[classes >= 0], classes[classes >= 0]


def test_all_passes_are_counted() -> None:
    network = defended(5, read_noise=1.0)  # a device without noise does not count its frames
    smoothed = gg.smooth(network, SIGMA)
    x, classes = certain(smoothed, 5)
    before = network.device.frames
    found = challenge(smoothed, smoothed, x, classes, [0.4] * len(x), judge_draws=20)
    assert found.passes == network.device.frames - before > 0


def test_an_image_is_its_own_whatever_the_batch() -> None:
    smoothed = gg.smooth(defended(5), SIGMA)
    x, classes = certain(smoothed, 5)
    whole = challenge(smoothed, smoothed, x, classes, [0.4] * len(x), judge_draws=20)
    parts = [
        challenge(smoothed, smoothed, x[i : i + 1], classes[i : i + 1], [0.4], judge_draws=20, indices=[i])
        for i in range(len(x))
    ]
    assert sum(part.passes for part in parts) == whole.passes
    for name in ("attacked", "broken"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name))


def test_one_radius_an_image() -> None:
    smoothed = gg.smooth(linear(), SIGMA)
    with pytest.raises(ValueError, match="radii"):
        challenge(smoothed, smoothed, images(2), torch.zeros(2, dtype=torch.int64), [0.1])
