"""Made-up but plausible records of query attacks, as the black-box study writes them, and run folders with them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from groundglass.results.records import Record, RecordStore
from tests.old_report import synthetic_study
from tests.old_report.synthetic_study import TRAINED, record

EPS = 8 / 256
BUDGET = 15_000
SIGMAS = (0.05, 0.1, 0.5, 1.0)
CHOSEN = {"VGG-16": 0.5, "VGG-OPU": 1.0}

Made = tuple[Record, dict[str, np.ndarray] | None]

# How many of a hundred images that are right each attack fools, and the median of what that costs.
ATTACKS: dict[str, dict[str, tuple[float, float]]] = {
    "VGG-16": {"Bandits": (0.9, 900), "Parsimonious": (1.0, 450), "Square": (1.0, 160), "RayS": (0.97, 800)},
    "VGG-OPU": {"Bandits": (0.84, 1400), "Parsimonious": (0.7, 1200), "Square": (0.78, 400), "RayS": (0.75, 2600)},
}
NES = {"VGG-16": (0.55, 0.63, 0.81, 0.7), "VGG-OPU": (0.3, 0.42, 0.66, 0.79)}
# White-box PGD on the same images: the share fooled.
GRADIENTS = {("VGG-16", "bp"): 1.0, ("VGG-OPU", "dfa"): 0.31, ("VGG-OPU", "exact"): 1.0}
RIGHT = {"VGG-16": 84, "VGG-OPU": 82}


def query(
    model: str,
    attack: str,
    *,
    fooled: int,
    right: int | None = None,
    n: int = 100,
    median: float = 500,
    budget: int = BUDGET,
    purpose: str = "figure",
    costs: np.ndarray | None = None,
    **more: Any,
) -> Made:
    """A record and its arrays.

    Args:
        fooled: of the `right` images that are right at first.
        costs: queries to success of the images fooled; None: drawn around `median`.
        more: fields of the config and of the result to replace.
    """
    right = RIGHT[model] if right is None else right
    rng = np.random.default_rng([len(attack), len(model), fooled])
    clean_correct = np.zeros(n, bool)
    clean_correct[rng.permutation(n)[:right]] = True
    success = np.zeros(n, bool)
    success[rng.permutation(np.flatnonzero(clean_correct))[:fooled]] = True
    if costs is None:
        costs = np.rint(median * np.exp(1.1 * rng.standard_normal(fooled))).astype(int)
        costs = np.where((costs < 3) | (costs > budget), rng.integers(3, budget + 1, fooled), costs)
    total = np.where(clean_correct, budget, 1)
    total[success] = costs
    checks = np.where(clean_correct, 1 + total // 51, 1)
    arrays = {
        "index": np.arange(n),
        "label": np.arange(n) % 10,
        "clean_correct": clean_correct,
        "success": success,
        "loss_queries": (total - checks).astype(np.int32),
        "check_queries": checks.astype(np.int32),
        "norm": np.where(clean_correct, EPS, 0).astype(np.float32),
        "prediction": (np.arange(n) + success + ~clean_correct) % 10,
    }
    spent, losses = total[success], arrays["loss_queries"][success]
    config = {
        "model": model,
        "attack": attack,
        "settings": {"sigma": 0.5, "samples": 50} if attack == "NES" else {"block": 4},
        "access": "labels" if attack == "RayS" else "scores",
        "norm": "linf",
        "eps": EPS,
        "budget": budget,
        "n_images": n,
        "seed": 0,
        "purpose": purpose,
    }
    result = {
        "n_images": n,
        "clean_correct": right,
        "fooled": fooled,
        "success_rate": fooled / right if right else None,
        "success_at": [[at, int((spent <= at).sum())] for at in (1000, 5000, 15000)],
        "mean_queries": float(spent.mean()) if fooled else None,
        "median_queries": float(np.median(spent)) if fooled else None,
        "mean_loss_queries": float(losses.mean()) if fooled else None,
        "median_loss_queries": float(np.median(losses)) if fooled else None,
        "loss_queries": int(arrays["loss_queries"].sum()),
        "check_queries": int(arrays["check_queries"].sum()),
        "flat_share": 0.0 if attack in ("NES", "Bandits") else None,
        "forwards_per_second": 2431.7,
        "model_share": 0.913,
        "unconfirmed": 0,
    }
    config |= {k: v for k, v in more.items() if k in config}
    result |= {k: v for k, v in more.items() if k in result}
    assert set(more) <= {*config, *result}
    made = record("query", f"{model} <- {attack} {config['settings']}", config, result, inputs=(TRAINED[model],))
    return made, arrays


def sweep(model: str, *, flat: float = 0.0) -> list[Made]:
    """NES at every sigma, and the choice of the best."""
    tried = [
        query(
            model,
            "NES",
            fooled=round(share * RIGHT[model]),
            median=1800,
            purpose="sweep",
            settings={"sigma": sigma, "samples": 50},
            flat_share=flat,
        )
        for sigma, share in zip(SIGMAS, NES[model], strict=True)
    ]
    chosen = SIGMAS.index(CHOSEN[model])
    choice = record(
        "choice",
        f"sigma of NES on {model}",
        {"model": model, "attack": "NES", "parameter": "sigma", "values": list(SIGMAS)},
        {
            "chosen": SIGMAS[chosen],
            "key": tried[chosen][0].key,
            "table": [
                [sigma, one.result["success_rate"], one.result["mean_queries"]]
                for sigma, (one, _) in zip(SIGMAS, tried, strict=True)
            ],
        },
        inputs=tuple(one.key for one, _ in tried),
    )
    return [*tried, (choice, None)]


def reference(model: str, rule: str, fooled: float, *, eps: float = EPS, right: int | None = None) -> Made:
    """White-box PGD on the first hundred images."""
    right = RIGHT[model] if right is None else right
    made, arrays = synthetic_study.attack(
        model, rule, eps=eps, accuracy=(right - round(fooled * right)) / 100, n=100, gallery=4, purpose="reference"
    )
    clean = np.random.default_rng(99).permutation(100) < right
    arrays["clean_correct"], arrays["success"] = clean, clean & arrays["success"]
    made.result["clean_correct"] = right
    return made, arrays


def everything(**changes: Any) -> list[Made]:
    """All the records of a black-box study but its networks and checks."""
    made: list[Made] = []
    for model, attacks in ATTACKS.items():
        made += sweep(model, flat=0.124 if model == "VGG-OPU" else 0.0)
        for attack, (share, median) in attacks.items():
            made.append(query(model, attack, fooled=round(share * RIGHT[model]), median=median, **changes))
    return made + [reference(*who, fooled) for who, fooled in GRADIENTS.items()]


def checks(failing: str | None = None) -> list[Record]:
    names = {
        "queries within budget": (15000, "no image costs more than the budget"),
        "query successes confirmed": (0, "none withdrawn"),
        "gradient estimates are not zero": (0, "at most 1%"),
    }
    return [
        record(
            "check",
            name,
            {"check": name},
            {"passed": name != failing, "value": value, "expected": expected, "note": ""},
        )
        for name, (value, expected) in names.items()
    ]


def write(
    folder: Path,
    made: list[Made] | None = None,
    *,
    keep: Callable[[Record], bool] = lambda _: True,
    with_checks: bool = True,
    failing: str | None = None,
    white_box: bool = False,
    **manifest: Any,
) -> Path:
    """A black-box study in `folder`, or one of both parts; what `keep` refuses is planned and not done."""
    all_: list[Made] = [(synthetic_study.training(name), None) for name in synthetic_study.CLEAN]
    if white_box:
        all_ += [*synthetic_study.attacks(), *((check, None) for check in synthetic_study.checks())]
    part = everything() if made is None else made
    all_ += part
    if with_checks:
        all_ += [(_looking_at(check, part), None) for check in checks(failing)]
    plan = [{"key": r.key, "kind": r.kind, "name": r.name} for r, _ in all_]
    study = "all" if white_box else "black-box"
    with RecordStore.open(folder, synthetic_study.manifest(**{"study": study, "cells": plan, **manifest})) as store:
        for one, arrays in all_:
            if keep(one):
                store.add(one, arrays)
    return folder


def _looking_at(check: Record, made: list[Made]) -> Record:
    keys: Mapping[str, None] = dict.fromkeys(one.key for one, _ in made if one.kind == "query")
    return record("check", check.name, check.config, check.result, inputs=tuple(keys))
