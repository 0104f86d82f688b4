from dataclasses import replace

import numpy as np
import pytest

from groundglass.attacks import NES, Bandits, Linf, ScoreAccess
from groundglass.core import derive_seed
from groundglass.results import Run
from groundglass.results.kinds import ATTACK, CHECK, CHOICE, QUERY
from groundglass.studies import find_study
from groundglass.studies.cells import query as query_module
from groundglass.studies.engine.context import Context
from tests.results.examples import made
from tests.studies.contract import Contract
from tests.studies.tiny import DATA, black_box, results, run

pytestmark = pytest.mark.slow

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
    result |= {"most_queries": 9, "success_rate": fooled / total, "reach": None}
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
    ([asked(50, reach=0.2, eps=0.2), asked(50)], [asked(50, reach=0.19, eps=0.2)]),
    ([asked(20), asked(30), white(70, rule="none")], [asked(20), asked(29), white(70, rule="none")]),
    ([asked(50), white(45)], [asked(80), white(50)]),
)


class TestContract(Contract):
    study = STUDY
    told = TOLD
    refused = (({"sigmas": ()}, "sigmas"), ({"fd_etas": ()}, "fd_etas"))

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
    attacks = ("NES", "Bandits", "Parsimonious", "Hierarchical", "Square", "RayS")
    shown = [e for e in queries if e.config.purpose == "figure"]
    assert sorted((e.config.model, e.config.attack) for e in shown) == sorted(
        (model, attack) for model in ("VGG-16", "VGG-OPU") for attack in attacks
    )
    for entry in queries:
        found, arrays = entry.result, entry.arrays()
        spent, fooled, right = (
            arrays["loss_queries"] + arrays["check_queries"],
            arrays["success"],
            arrays["clean_correct"],
        )
        budget = CONFIG.budget if entry in shown else CONFIG.choice_budget
        assert spent.max() == found.most_queries <= budget
        assert (right.sum(), fooled.sum()) == (found.clean_correct, found.fooled)
        assert not (fooled & ~right).any()
        assert (arrays["loss_queries"].sum(), arrays["check_queries"].sum()) == (
            found.loss_queries,
            found.check_queries,
        )
        assert found.success_at == ((budget, found.fooled),)
        assert (arrays["norm"] <= CONFIG.eps + 1e-6).all()
        assert (arrays["prediction"][fooled] != arrays["label"][fooled]).all()
        if found.fooled:
            assert found.median_queries == np.median(spent[fooled])
        # One that was wrong at first was looked at, and left alone.
        assert (spent[~right] == 1).all()
    assert sum(e.result.fooled for e in queries) > 0


def test_the_best_probe_is_chosen_for_each_network_on_images_of_its_own(finished):
    queries, choices = {e.key: e for e in finished.entries(QUERY)}, finished.entries(CHOICE)
    both = ("VGG-16", "VGG-OPU")
    assert {(e.config.model, e.config.attack, e.config.parameter) for e in choices} == {
        *((model, "NES", "sigma") for model in both),
        *((model, "Bandits", "fd_eta") for model in both),
    }
    for choice in choices:
        chosen, parameter = queries[choice.result.key], choice.config.parameter
        assert chosen.result.success_rate == max(queries[key].result.success_rate for key in choice.inputs)
        assert choice.result.chosen == chosen.config.settings[parameter]
        (shown,) = (e for e in queries.values() if choice.key in e.record.inputs)
        assert (shown.config.choice, shown.result.chosen) == (parameter, choice.result.chosen)
        assert parameter not in shown.config.settings
        assert shown.arrays()["index"].tolist() == list(range(CONFIG.n_images))
        elsewhere = list(range(CONFIG.n_images, CONFIG.n_images + CONFIG.choice_images))
        assert all(queries[key].arrays()["index"].tolist() == elsewhere for key in choice.inputs)
    looked_at = {key for check in finished.entries(CHECK) for key in check.record.inputs}
    assert looked_at & queries.keys() == {key for key, e in queries.items() if e.config.purpose == "figure"}


def test_a_cell_with_a_chosen_setting_attacks_with_it(finished):
    """The same attack, images and seed, its setting named beforehand: the same successes and queries."""
    for entry in finished.entries(QUERY):
        if entry.config.choice:
            record = next(r for r in finished.records if r.key == entry.record.inputs[0])
            context = Context(finished.folder, dataset=DATA)
            settings = {"step_size": 0.05, "samples": 10} if entry.config.attack == "NES" else {"step_size": 0.02}
            attack = {"NES": NES, "Bandits": Bandits}[entry.config.attack]
            told = attack(**settings, **{entry.config.choice: entry.result.chosen})
            images = DATA.test.head(CONFIG.n_images)
            result = told(
                ScoreAccess(context.target(record), per_image=CONFIG.budget),
                images.floats(),
                images.labels,
                Linf(CONFIG.eps),
                seed=derive_seed(CONFIG.seed, "query", entry.config.attack),
            )
            assert result.loss_queries.tolist() == entry.arrays()["loss_queries"].tolist()


def test_without_images_of_its_own_the_choice_is_made_on_those_that_are_reported():
    cells = find_study(STUDY).cells(replace(CONFIG, choice_images=0), DATA)
    asked = [cell for cell in cells if cell.kind == "query"]
    assert all((cell.first, cell.choice, cell.n_images) == (0, None, CONFIG.n_images) for cell in asked)
    assert [cell.purpose for cell in asked].count("sweep") == 2 * (len(CONFIG.sigmas) + len(CONFIG.fd_etas))
    checks = [cell for cell in cells if cell.kind == "check"]
    assert all(cell in check.attacks for check in checks for cell in asked), "the best of them is shown"
