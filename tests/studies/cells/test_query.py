"""The choice among settings of an attack by queries."""

import pytest

from groundglass.attacks import NES
from groundglass.results.kinds import QUERY
from groundglass.studies.cells.query import ChoiceCell, QueryCell
from tests.results.examples import made

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
