import numpy as np
import pytest

from groundglass.results import Run
from groundglass.results.kinds import ATTACK, CHOICE, QUERY
from groundglass.studies.cells import query as query_module
from tests.results.examples import made
from tests.studies.contract import Contract
from tests.studies.tiny import black_box, results, run

STUDY = "black-box"
CONFIG = black_box()


def counting(patch, errors=()):
    """A list with the number of times that a network is asked; at each of these numbers an error is raised once."""
    calls, ask = [0], query_module.Stopwatch.__call__

    def call(self, images):
        calls[0] += 1
        for at, error in errors:
            if calls[0] == at:
                raise error
        return ask(self, images)

    patch.setattr(query_module.Stopwatch, "__call__", call)
    return calls


def asked(fooled, total=100, **changes):
    """An attack by queries that fools so many images."""
    config = {"model": "VGG-OPU", "attack": "Square", "budget": 9, "purpose": "figure", "settings": {}}
    result = {"n_images": total, "clean_correct": total, "fooled": fooled, "flat_share": None, "unconfirmed": 0}
    result |= {"most_queries": 9, "success_rate": fooled / total}
    settings = {key: value for key, value in changes.items() if key not in result}
    return made(QUERY, config | settings, result | {k: v for k, v in changes.items() if k in result}, name=str(changes))


def white(left, total=100, rule="dfa"):
    """An attack by gradients, or noise, that leaves so many right."""
    attack = "RandomNoise" if rule == "none" else "PGD"
    return made(
        ATTACK,
        {"model": "VGG-OPU", "rule": rule, "attack": attack},
        {"n_images": total, "clean_correct": total, "correct": left},
    )


SWEPT = asked(50, purpose="sweep", flat_share=0.02)
TOLD = (
    ([asked(50)], [asked(50), asked(50, most_queries=10)]),
    ([asked(99, unconfirmed=1)], [asked(98, unconfirmed=2)]),
    ([asked(50, flat_share=0.01), SWEPT], [SWEPT, made(CHOICE, {}, {"key": SWEPT.key})]),
    ([asked(20), asked(30), white(70, rule="none")], [asked(20), asked(29), white(70, rule="none")]),
    ([asked(50), white(45)], [asked(80), white(50)]),
)


class TestContract(Contract):
    study = STUDY
    told = TOLD
    refused = (({"sigmas": ()}, "sigmas"),)

    def test_an_interruption_changes_nothing(self, finished, tmp_path, monkeypatch):
        """A third of the way a model fails, and at two thirds comes Ctrl-C: nothing changes, or is left over."""
        with monkeypatch.context() as patch:
            calls = counting(patch)
            run(STUDY, tmp_path / "whole", reuse=[finished.folder])
        errors = ((calls[0] // 3, TimeoutError("no answer")), (2 * calls[0] // 3, KeyboardInterrupt()))
        counting(monkeypatch, errors)
        folder = tmp_path / "again"
        for _, error in errors:
            with pytest.raises(type(error)):
                run(STUDY, folder, reuse=[finished.folder])
        run(STUDY, folder)
        assert results(folder) == results(tmp_path / "whole") == results(finished.folder)
        keys = {entry.key for entry in Run.open(folder).entries(QUERY)}
        assert not [path for path in (folder / "checkpoints").iterdir() if path.stem in keys]


def test_every_attack_meets_both_networks_and_counts_add_up(finished):
    queries = finished.entries(QUERY)
    attacks = ("NES", "Bandits", "Parsimonious", "Square", "RayS")
    assert {(e.config.model, e.config.attack) for e in queries} == {
        (model, attack) for model in ("VGG-16", "VGG-OPU") for attack in attacks
    }
    for entry in queries:
        found, arrays = entry.result, entry.arrays()
        spent, fooled, right = (
            arrays["loss_queries"] + arrays["check_queries"],
            arrays["success"],
            arrays["clean_correct"],
        )
        assert spent.max() == found.most_queries <= CONFIG.budget
        assert (right.sum(), fooled.sum()) == (found.clean_correct, found.fooled)
        assert not (fooled & ~right).any()
        assert (arrays["loss_queries"].sum(), arrays["check_queries"].sum()) == (
            found.loss_queries,
            found.check_queries,
        )
        assert found.success_at == ((CONFIG.budget, found.fooled),)
        assert (arrays["norm"] <= CONFIG.eps + 1e-6).all()
        assert (arrays["prediction"][fooled] != arrays["label"][fooled]).all()
        if found.fooled:
            assert found.median_queries == np.median(spent[fooled])
        # One that was wrong at first was looked at, and left alone.
        assert (spent[~right] == 1).all()
    assert sum(e.result.fooled for e in queries) > 0


def test_the_best_sigma_is_chosen_for_each_network(finished):
    queries, choices = {e.key: e for e in finished.entries(QUERY)}, finished.entries(CHOICE)
    assert [e.config.model for e in choices] == ["VGG-16", "VGG-OPU"]
    for choice in choices:
        chosen = queries[choice.result.key]
        assert chosen.result.success_rate == max(queries[key].result.success_rate for key in choice.inputs)
        assert choice.result.chosen == chosen.config.settings["sigma"]
