"""No attack succeeds inside a certified radius. Some do inside a few times as much, so these attacks are no straw men."""

import pytest
import torch
from torch import Tensor

import groundglass as gg
from groundglass.adaptive import make_rule
from groundglass.attacks import RandomNoise
from groundglass.certify import ABSTAIN, SmoothedClassifier
from groundglass.models import DefendedNetwork
from tests.certify.toys import curved, defended, images

DRAWS = 16


def pushed(climbed: SmoothedClassifier, x: Tensor, labels: Tensor, radii: Tensor) -> list[Tensor]:
    """Images within the radii, by attacks that climb a smoothed classifier, or search at random."""
    soft, balls = climbed.soft(DRAWS, seed=1), gg.L2.each(radii)
    found = [
        gg.PGD(steps=10, stop_when_fooled=False, keep="last")(soft, x, labels, balls).adversarial,
        RandomNoise(points=10)(climbed.soft(1, seed=2), x, labels, balls).adversarial,
        gg.CarliniWagnerL2(steps=15, searches=3)(soft, x, labels).adversarial,
        gg.FAB(steps=8)(soft, x, labels, gg.L2(3.0)).adversarial,
    ]
    # What the last two have found is nearer than they look for, or farther: along their line, at the radius.
    lengths = [(one - x).flatten(1).norm(dim=1).clamp_min(1e-9) for one in found]
    scales = [(radii / length).clamp_max(1)[:, None, None, None] for length in lengths]
    lines = [x + (one - x) * scale for one, scale in zip(found, scales, strict=True)]
    return [*lines, x + (found[2] - x) * (radii / lengths[2])[:, None, None, None]]


def others(smoothed: SmoothedClassifier, near: list[Tensor], classes: Tensor) -> Tensor:
    """Whether an image is given another class for certain, by any of the attacks."""
    told = [smoothed.predict(x.clamp(0, 1), n=150, seed=5) for x in near]
    return torch.stack([(one != classes) & (one != ABSTAIN) for one in told]).any(0)


@pytest.mark.parametrize(("kind", "times"), [("plain", 3), ("defended", 10)])
def test_no_attack_succeeds_inside_a_certified_radius(kind: str, times: int) -> None:
    network = curved() if kind == "plain" else defended(5)
    smoothed, x = gg.smooth(network, 0.1), images(24)
    # Of a defended network the attacker knows U: the certificate must hold for whoever knows everything.
    known = (
        network.seen_through(make_rule("exact", network, seed=0)) if isinstance(network, DefendedNetwork) else network
    )
    climbed = gg.smooth(known, 0.1)
    found = smoothed.certify(x, n0=20, n=250)
    radii = torch.tensor([one.radius for one in found.images])
    sure = (radii > 0.03).nonzero()[:8, 0]
    assert len(sure) == 8
    x, radii = x[sure], radii[sure]
    classes = torch.tensor([found.images[i].prediction for i in sure])
    assert not bool(others(smoothed, pushed(climbed, x, classes, 0.999 * radii), classes).any())
    # The check would see it: some times the radius does not hold.
    assert int(others(smoothed, pushed(climbed, x, classes, times * radii), classes).sum()) >= 2
