"""Cells of attacks by queries: what they are called, the choice among settings, and one ball after another."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from groundglass.attacks import NES, Parsimonious, RayS, Square
from groundglass.core import silent
from groundglass.data import ImageSet
from groundglass.results.kinds import QUERY
from groundglass.studies.cells.query import ChoiceCell, QueryCell
from groundglass.studies.kit import targets
from tests.results.examples import made
from tests.studies.tiny import DATA, white_box

ASKED = QueryCell(
    target=targets(white_box(), DATA)[0], attack=RayS(), budget=12, n_images=8, eps=0.02, seed=0, purpose="ladder"
)
SIGMAS = (0.1, 0.2, 0.3)
SHARED = {"target": None, "norm": "linf", "eps": 0.1, "budget": 60, "n_images": 1, "seed": 0, "purpose": "sweep"}
CELLS = tuple(QueryCell(attack=NES(sigma=sigma), **SHARED) for sigma in SIGMAS)


def test_an_attack_that_is_as_it_was_has_the_settings_that_it_had():
    """Records of a Square that dropped equal losses were made before there was a choice, and keep their identity."""
    strict, ties = (replace(ASKED, attack=Square(ties=ties)) for ties in (False, True))
    assert strict.config().settings == {"loss": "margin", "p_init": 0.8}
    assert ties.config().settings == {"loss": "margin", "p_init": 0.8, "ties": True}


def test_the_two_parsimonious_attacks_are_two():
    flat, halved = (replace(ASKED, attack=Parsimonious(hierarchical=one)) for one in (False, True))
    assert (flat.config().attack, halved.config().attack) == ("Parsimonious", "Hierarchical")


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


def world(folder, fell=()):
    """Eight images, of which the first is wrong at first, and a linear network; what a smaller ball's attack has fooled."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))
    seen = DATA.test.head(8)
    labels = network(seen.floats()).argmax(1)
    labels[0] = (labels[0] + 1) % 10
    test = ImageSet("shapes", "test", seen.images, labels, seen.classes)
    number = np.arange(8)
    before = {"index": number, "clean_correct": number > 0, "success": np.isin(number, fell)}
    return SimpleNamespace(
        dataset=SimpleNamespace(test=test),
        where=torch.device("cpu"),
        arrays=lambda record: before,
        target=lambda record: network,
        network=lambda record: network,
        progress=silent,
        folder=folder,
    )


def nested(folder, fell):
    """Square in a ball, among all images and after a smaller ball in which these fell."""
    smaller = replace(ASKED, attack=Square(), eps=0.001)
    alone = replace(smaller, eps=0.02)
    return (cell.run((None, None), world(folder, fell)) for cell in (alone, replace(alone, smaller=smaller)))


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


@pytest.mark.parametrize("eps", [0.01, (0.01, 0.005, 0.01)])
def test_one_run_for_the_nearest_tells_what_runs_in_every_larger_ball_fool(tmp_path, eps):
    narrow = replace(ASKED, eps=eps, budget=100)
    nearest = replace(narrow, nearest=True).run((None,), world(tmp_path)).arrays["nearest"]
    assert np.isinf(nearest[0]), "wrong at first: there is nothing to look for"
    for factor in (1, 2, 3, 4):
        wider = tuple(factor * e for e in eps) if isinstance(eps, tuple) else factor * eps
        fooled = replace(narrow, eps=wider).run((None,), world(tmp_path / str(factor))).arrays["success"]
        assert (fooled == (nearest <= factor * 0.01 + 1e-6)).all(), factor
    assert len({tuple(nearest <= factor * 0.01) for factor in (1, 2, 3, 4)}) > 1, "radii differ: else nothing is seen"


def test_every_answer_that_is_averaged_is_a_query(tmp_path):
    context = world(tmp_path)
    asked = []
    network = context.network(None)
    network.register_forward_pre_hook(lambda module, given: asked.append(len(given[0])))
    plain = replace(ASKED, attack=Square(), eps=0.01, budget=60)
    confirmations = 5
    for answers in (1, 4):
        asked.clear()
        found = replace(plain, answers=answers, confirmations=confirmations).run((None,), context)
        queries = found.arrays["loss_queries"] + found.arrays["check_queries"]
        # In the end each claim is confirmed, and the eight images are classified once more.
        claims = found.result.fooled + found.result.unconfirmed
        assert sum(asked) == queries.sum() + confirmations * claims + 8
        assert (queries % answers == 0).all()
        assert queries.max() <= 60
        assert queries[0] == answers, "one question for an image that is wrong at first"
    # A quarter of the questions: without noise the others tell nothing new.
    short = replace(plain, budget=15).run((None,), context)
    assert (short.arrays["success"] == found.arrays["success"]).all()
    assert (4 * short.arrays["loss_queries"] == found.arrays["loss_queries"]).all()


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"n_images": 7}, {"attack": RayS()}, {"first": 2}, {"norm": "l2"}], ids=repr
)
def test_an_attack_of_its_own_is_no_smaller_one(change):
    """Its images, or what it fooled, would be counted for those of another attack."""
    smaller = replace(ASKED, attack=Square(), eps=0.001)
    with pytest.raises(ValueError, match=f"another {next(iter(change))}"):
        replace(smaller, eps=0.02, smaller=replace(smaller, **change))
    with pytest.raises(ValueError, match="lies in this one"):
        replace(smaller, smaller=replace(smaller, eps=0.02))
