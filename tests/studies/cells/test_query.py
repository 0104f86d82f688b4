"""The choice among settings of an attack by queries, and attacks in one ball after another."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from groundglass.attacks import NES, Square
from groundglass.core import silent
from groundglass.data import ImageSet
from groundglass.results.kinds import QUERY
from groundglass.studies.cells.query import ChoiceCell, QueryCell
from groundglass.studies.kit import targets
from tests.results.examples import made
from tests.studies.tiny import DATA, white_box

SIGMAS = (0.1, 0.2, 0.3)
SHARED = {"target": None, "norm": "linf", "eps": 0.1, "budget": 9, "n_images": 1, "seed": 0, "purpose": "sweep"}
CELLS = tuple(QueryCell(attack=NES(sigma=sigma), **SHARED) for sigma in SIGMAS)


@pytest.mark.parametrize(
    ("rates", "means", "chosen"),
    [
        ((0.5, 0.5, 0.4), (20.0, 10.0, 1.0), 0.2),  # among equals fewer queries are better
        ((0.0, 0.1, 0.0), (None, 90.0, None), 0.2),
        ((0.0, 0.0, 0.0), (None, None, None), 0.1),
    ],
)
def test_the_highest_success_and_then_the_fewest_queries_are_chosen(rates, means, chosen):
    swept = [
        made(
            QUERY,
            {"settings": {"sigma": sigma}},
            {"success_rate": rate, "fooled": int(10 * rate), "mean_queries": mean},
        )
        for sigma, rate, mean in zip(SIGMAS, rates, means, strict=True)
    ]
    found = ChoiceCell("sigma", CELLS).run(swept, None).result
    assert found.chosen == chosen
    assert found.key == swept[SIGMAS.index(chosen)].key
    assert found.table == tuple(zip(SIGMAS, rates, means, strict=True))


def nested(folder, fell):
    """Square in a ball, after a smaller one in which these of eight images fell; the first image is wrong at first."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))
    seen = DATA.test.head(8)
    labels = network(seen.floats()).argmax(1)
    labels[0] = (labels[0] + 1) % 10
    test = ImageSet("shapes", "test", seen.images, labels, seen.classes)
    number = np.arange(8)
    before = {"index": number, "clean_correct": number > 0, "success": np.isin(number, fell)}
    context = SimpleNamespace(
        dataset=SimpleNamespace(test=test),
        where=torch.device("cpu"),
        arrays=lambda record: before,
        target=lambda record: network,
        network=lambda record: network,
        progress=silent,
        folder=folder,
    )
    smaller = QueryCell(
        target=targets(white_box(), DATA)[0],
        attack=Square(),
        budget=12,
        n_images=8,
        eps=0.001,
        seed=0,
        purpose="ladder",
    )
    alone = replace(smaller, eps=0.02)
    whole, rest = (cell.run((None, None), context) for cell in (alone, replace(alone, smaller=smaller)))
    return whole, rest


def test_in_a_larger_ball_only_what_the_smaller_left_is_attacked_as_it_would_be_among_all(tmp_path):
    whole, rest = nested(tmp_path, (2, 5))
    left = [1, 3, 4, 6, 7]
    assert rest.arrays["index"].tolist() == left
    for name in ("success", "loss_queries", "label"):
        assert (rest.arrays[name] == whole.arrays[name][left]).all(), name
    assert (rest.result.n_images, rest.result.clean_correct) == (5, 5)
    assert 0 < whole.result.fooled < 7, "some fall, some stand: else nothing is seen"


def test_where_nothing_is_left_nothing_is_asked(tmp_path):
    _, rest = nested(tmp_path, range(1, 8))
    assert (rest.result.n_images, rest.result.loss_queries, rest.result.success_rate) == (0, 0, 0)
    assert rest.arrays["prediction"].shape == (0,)
