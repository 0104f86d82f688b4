"""One small problem for every attack by queries: some images are wrong, some are fooled soon, some late, some never."""

import pytest
import torch
from torch import nn

from groundglass.attacks import (
    NES,
    ZOO,
    Bandits,
    HopSkipJump,
    LabelAccess,
    LabelAttack,
    Linf,
    Live,
    Parsimonious,
    RayS,
    ScoreAccess,
    SparseRS,
    Square,
    SurFree,
    TiledES,
)
from groundglass.attacks.draws import Mersenne
from tests.attacks.toy import RowModel

ATTACKS = [
    NES(samples=4, step_size=0.03),
    Bandits(tile_size=2, step_size=0.03),
    Parsimonious(block_size=2, mini_batch=5, group=3, hierarchical=True),
    Square(),
    RayS(),
    HopSkipJump(probes=4),
    SurFree(tries=1, memory=3),
    SparseRS(),
    ZOO(coordinates=2, learning_rate=0.1, initial_c=10.0),
    TiledES(tiles=2, strategy="cma"),
]
every_attack = pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: type(a).__name__)
COUNT, BUDGET, BALL = 10, 24, Linf(0.09)


def ball_for(attack):
    return BALL if Linf in attack.kinds else attack.kinds[0](1.0)


def network():
    return RowModel(seed=3)


def made():
    images = torch.rand(COUNT, 3, 4, 4, generator=torch.Generator().manual_seed(2))
    labels = network()(images).argmax(1)
    labels[[2, 9]] = (labels[[2, 9]] + 1) % 3
    return images, labels


IMAGES, LABELS = made()


def access_for(attack, model=None, budget=BUDGET, **more):
    kind = LabelAccess if isinstance(attack, LabelAttack) else ScoreAccess
    return kind(model or network(), per_image=budget, **more)


def run(attack, access=None, **changes):
    options = {"images": IMAGES, "labels": LABELS, "ball": ball_for(attack), "seed": 5, "batch_size": 6} | changes
    access = access_for(attack) if access is None else access
    return attack(access, options.pop("images"), options.pop("labels"), options.pop("ball"), **options)


class Forbidden(nn.Module):
    def forward(self, x):
        raise AssertionError("asked")


def live_slots(images, step, ball, *, left) -> Live:
    """Images under attack, numbered from 0."""
    numbers = range(len(images))
    draws = Mersenne(0, numbers, images.device)
    return Live(images, torch.zeros_like(step), numbers, step, step.tolist(), left, ball, draws)
