import numpy as np
import pytest
import torch

from groundglass.attacks import GradientAccess, load_adversarial
from groundglass.results.kinds import COMMON, CRAFT, DISTIL, QUERY, TRANSFER
from tests.results.examples import made
from tests.studies.contract import Contract
from tests.studies.tiny import network, pictures

pytestmark = pytest.mark.slow

STUDY = "extraction"
# Channels of another spread each: radii of the paper's axis are a box, as on CIFAR-100.
DATA = pictures("shapes", std=(0.5, 0.4, 0.5))
TARGETS, CONTROLS = ("VGG-16", "VGG-OPU higher", "VGG-OPU lower"), ("VGG-DFA", "VGG-DFA lower")
OWN = "VGG-16 source"


def surrogate(agreed, queries=1000, begin=None):
    config = {"target": "VGG-OPU", "answers": "scores", "queries": queries, "begin": begin}
    return made(DISTIL, config, {"n_test": 100, "agreed": agreed, "right": 80})


def crafted(fooled, right=80, source="the surrogate"):
    return made(CRAFT, {"label": "PGD", "sources": (source,)}, {"n_images": 100, "right": right, "fooled": fooled})


TOLD = (
    ([crafted(70), crafted(0, 40, "one that is wrong")], [crafted(60)]),
    ([surrogate(70, begin=OWN), surrogate(40), surrogate(70, 5000)], [surrogate(70), surrogate(40, 5000)]),
    ([made(QUERY, {"budget": 5}, {"most_queries": 5})], [made(QUERY, {"budget": 5}, {"most_queries": 6})]),
)


class TestContract(Contract):
    study, stop_at = STUDY, "MI-DI on VGG-16 from"
    told = TOLD
    refused = (
        ({"query_eps_paper": 0.3}, "started from"),
        ({"queries": ()}, "empty"),
        ({"answers": ("logits",)}, "scores"),
    )


def test_each_target_is_asked_for_scores_and_labels_and_the_controls_for_scores(finished):
    asked = [(one.config.target, one.config.answers, one.config.begin) for one in finished.entries(DISTIL)]
    assert len(set(asked)) == len(asked)
    assert set(asked) == {(t, a, begin) for t in TARGETS for a in ("scores", "labels") for begin in (None, OWN)} | {
        (t, "scores", OWN) for t in CONTROLS
    }


def test_a_surrogate_is_tried_on_the_network_that_was_asked_and_the_attackers_own_on_all(finished):
    of = {one.name: one.config.target for one in finished.entries(DISTIL)}
    tried = [one.config for one in finished.entries(TRANSFER)]
    assert {(of.get(one.made_on, OWN), one.target) for one in tried if one.made_on in of} == {
        (t, t) for t in of.values()
    }
    assert {(one.label, one.target) for one in tried if one.made_on == OWN} == {
        (label, target) for label in ("PGD", "MI-DI") for target in (*TARGETS, *CONTROLS)
    }
    assert {(one.label, one.made_on) for one in tried if one.made_on in of} == {
        (x, s) for x in ("PGD", "MI-DI") for s in of
    }


def test_what_is_recorded_of_a_surrogate_is_what_the_networks_answer(finished):
    images = DATA.test.floats()
    for one in finished.entries(DISTIL):
        with torch.no_grad():
            own, target = (network(finished.folder, name)(images).argmax(1) for name in (one.name, one.config.target))
        assert one.result.right == int((own == DATA.test.labels).sum())
        assert one.result.agreed == int((own == target).sum())


def test_images_that_the_surrogate_gets_wrong_are_attacked_too(finished):
    (common,) = finished.entries(COMMON)
    index = torch.from_numpy(common.arrays()["index"])
    images, labels = DATA.test.floats(index), DATA.test.labels[index]
    wrong = 0
    for one in finished.entries(CRAFT):
        source = network(finished.folder, one.config.made_on)
        found = load_adversarial(finished.folder / one.result.file, images, labels, GradientAccess(source))
        with torch.no_grad():
            missed = source(images).argmax(1) != labels
        moved = (found.adversarial - images).flatten(1).abs().amax(1)
        assert bool((moved[missed] > 0.01).all())
        assert not bool(found.claimed[missed].any())
        wrong += int(missed.sum())
    assert wrong, "surrogates of 40 queries are not right everywhere"


def test_queries_start_where_the_transferred_attack_ended_on_the_same_images(finished):
    asked = finished.entries(QUERY)
    (common,) = finished.entries(COMMON)
    few = [i for i in common.arrays()["index"].tolist() if i < 20]
    for target in TARGETS:
        here = {one.config.start: one for one in asked if one.config.model == target}
        assert len(here) == 4, "blind, from two surrogates, from the attacker's own network"
        assert here[None].arrays()["index"].tolist() == list(range(20))
        fell = {one.config.made_on: one for one in finished.entries(TRANSFER) if one.config.target == target}
        for start, one in here.items():
            if start is None:
                continue
            arrays = one.arrays()
            assert arrays["index"].tolist() == few
            transferred = fell[start].arrays()
            at = np.isin(transferred["index"], few)
            # What the transferred image fools already, its first query finds.
            found = arrays["success"] & (arrays["loss_queries"] + arrays["check_queries"] == 2)
            assert found[~transferred["correct"][at]].all()
    assert len(asked) == 12
    assert len({one.key for one in asked}) == 12


@pytest.mark.parametrize("queries", [20, 400])
def test_few_queries_are_learned_for_longer(queries):
    from dataclasses import replace

    from groundglass.studies.extraction.study import cells
    from tests.studies.tiny import extraction

    config = replace(extraction(), queries=(queries,), controls=False)
    found = {(cell.begin is None, cell.training.epochs) for cell in cells(config, DATA) if cell.kind == "distil"}
    assert found == {(True, 4 if queries == 20 else 1), (False, 2 if queries == 20 else 1)}
    alone = [
        cell for cell in cells(replace(config, queries=(20, queries + 1), tuned=None), DATA) if cell.kind == "distil"
    ]
    assert {(cell.begin, cell.queries) for cell in alone} == {(None, 20), (None, queries + 1)}
