"""Made-up but plausible records of transferred attacks, as the transfer study writes them, and run folders with them."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from groundglass.results.records import Record, RecordStore
from tests.old_report import synthetic_study
from tests.old_report.synthetic_study import record

Made = tuple[Record, dict[str, np.ndarray] | None]

N, COMMON = 1000, 640
PAPER_EPS = (0.01, 0.02, 0.05, 0.1)
STRONGER_EPS = (0.02, 0.1)
TARGETS = ("VGG-16", "VGG-OPU higher", "VGG-OPU lower")
CLEAN = {
    "VGG-16": 0.853,
    "VGG-16 source": 0.846,
    "VGG-OPU source": 0.851,
    "VGG-OPU higher": 0.848,
    "VGG-OPU lower": 0.801,
}
CONTROL_CLEAN = {"VGG-16 lower": 0.795, "VGG-DFA": 0.846, "VGG-DFA lower": 0.797}
KEYS = {name: f"{i:012x}" for i, name in enumerate(CLEAN | CONTROL_CLEAN, start=0xABC0)}
SOURCES = {
    "PGD": (("VGG-16 source", "bp"),),
    "MI-FGSM": (("VGG-16 source", "bp"),),
    "MI-DI-TI": (("VGG-16 source", "bp"),),
    "Ensemble": (("VGG-16 source", "bp"), ("VGG-OPU source", "exact")),
    "Own VGG-OPU": (("VGG-OPU source", "exact"),),
}

# The share of the common images still right, at each of PAPER_EPS or STRONGER_EPS: where the layer helps ...
HELPS: dict[str, dict[str, tuple[float, ...]]] = {
    "PGD": {
        "VGG-16": (0.93, 0.74, 0.31, 0.09),
        "VGG-OPU higher": (0.95, 0.84, 0.55, 0.33),
        "VGG-OPU lower": (0.96, 0.88, 0.65, 0.47),
    },
    "MI-FGSM": {"VGG-16": (0.7, 0.07), "VGG-OPU higher": (0.81, 0.29), "VGG-OPU lower": (0.86, 0.41)},
    "MI-DI-TI": {"VGG-16": (0.66, 0.05), "VGG-OPU higher": (0.78, 0.24), "VGG-OPU lower": (0.83, 0.37)},
    "Ensemble": {"VGG-16": (0.67, 0.06), "VGG-OPU higher": (0.74, 0.2), "VGG-OPU lower": (0.79, 0.3)},
    "Own VGG-OPU": {"VGG-16": (0.71, 0.11), "VGG-OPU higher": (0.73, 0.17), "VGG-OPU lower": (0.77, 0.28)},
}
# ... and where a network of the attacker's own takes all that away.
FALLS = HELPS | {
    "Own VGG-OPU": {"VGG-16": (0.71, 0.11), "VGG-OPU higher": (0.73, 0.04), "VGG-OPU lower": (0.77, 0.06)},
}
# An undefended network that is as seldom right, added to either of them.
CONTROL = {"PGD": (0.95, 0.84, 0.47, 0.2), "Own VGG-OPU": (0.74, 0.15)}
# White-box: what is left of the common images at each of STRONGER_EPS.
WHITE_BOX = {
    ("VGG-16", "bp"): (0.05, 0.0),
    ("VGG-OPU higher", "exact"): (0.06, 0.0),
    ("VGG-OPU higher", "bpda-fit-linear"): (0.21, 0.02),
    ("VGG-OPU lower", "exact"): (0.08, 0.0),
    ("VGG-OPU lower", "bpda-fit-linear"): (0.25, 0.03),
}

INDEX = np.sort(np.random.default_rng(7).permutation(N)[:COMMON])


def network(name: str) -> Record:
    made = synthetic_study.training("VGG-OPU" if "OPU" in name else "VGG-16")
    result = {
        **made.result,
        "clean_accuracy": (CLEAN | CONTROL_CLEAN)[name],
        "checkpoint": f"models/{name}.safetensors",
    }
    return record("train", name, made.config, result, key=KEYS[name], seconds=560.0)


def common(count: int = COMMON, **more: Any) -> Made:
    index = INDEX[:count]
    right = [[name, max(count, round(clean * N))] for name, clean in CLEAN.items()]
    made = record(
        "common",
        "images that all get right",
        {"models": list(CLEAN), "n_images": N},
        {"n_images": N, "common": count, "right": right, **more},
        inputs=tuple(KEYS[name] for name in CLEAN),
    )
    return made, {"index": index, "label": index % 10}


def craft(label: str, paper: float, *, fooled: float = 1.0, count: int = COMMON, **changes: Any) -> Made:
    """`changes`: fields of the config and of the result to replace."""
    sources = SOURCES.get(label, SOURCES["PGD"])
    success = np.arange(count) < round(fooled * count)
    config = {
        "label": label,
        "sources": [name for name, _ in sources],
        "rules": [rule for _, rule in sources],
        "attack": "TransferPGD",
        "settings": {"steps": 50, "step_size": 0.005, "momentum": None if label == "PGD" else 1.0},
        "norm": "linf",
        "eps": paper / 2,
        "eps_per_channel": None,
        "eps_paper": paper,
        "budget": None,
        "seed": 0,
        "purpose": "transfer",
    }
    result = {
        "n_images": count,
        "fooled": int(success.sum()),
        "gradients": 50 * count,
        "median_norm": paper / 2,
        "file": "adversarial/x.safetensors",
    }
    config |= {k: v for k, v in changes.items() if k in config}
    result |= {k: v for k, v in changes.items() if k in result}
    inputs = (common(count)[0].key, *(KEYS[name] for name in config["sources"]))
    made = record("craft", f"{label} at {paper}", config, result, inputs=inputs, seconds=40.0)
    return made, {"index": INDEX[:count], "success": success, "norm": np.full(count, paper / 2, np.float32)}


def transfer(crafted: Made, target: str, right: float, **changes: Any) -> Made:
    """An attack on a target that leaves the share `right`: in part the images that are hard for all, in part its own."""
    made, arrays = crafted
    assert arrays is not None
    count = len(arrays["index"])
    difficulty = np.random.default_rng(5).random(count) + np.random.default_rng(list(target.encode())).random(count)
    correct = difficulty.argsort().argsort() < round(right * count)
    fooled = arrays["success"]
    kept = ("label", "sources", "rules", "attack", "norm", "eps", "eps_per_channel", "eps_paper", "purpose")
    config = {**{name: made.config[name] for name in kept}, "target": target}
    result = {
        "n_images": count,
        "correct": int(correct.sum()),
        "fooled_source": int(fooled.sum()),
        "also_fooled": int((fooled & ~correct).sum()),
    }
    config |= {k: v for k, v in changes.items() if k in config}
    result |= {k: v for k, v in changes.items() if k in result}
    label = arrays["index"] % 10
    tried = record("transfer", f"{target} <- {made.name}", config, result, inputs=(made.key, KEYS[target]), seconds=2.0)
    return tried, {
        "index": arrays["index"],
        "label": label,
        "prediction": np.where(correct, label, (label + 1) % 10),
        "correct": correct,
        "fooled_source": fooled,
    }


def with_control(
    shares: Mapping[str, Mapping[str, tuple[float, ...]]] = HELPS, control: Mapping[str, tuple[float, ...]] = CONTROL
) -> dict[str, dict[str, tuple[float, ...]]]:
    found = {label: dict(targets) for label, targets in shares.items()}
    for label, rights in control.items():
        found[label]["VGG-16 lower"] = rights
    return found


def with_features(shares: Mapping[str, Mapping[str, tuple[float, ...]]] = HELPS, less: float = 0.0) -> Any:
    """The networks with the features of both VGG-OPUs and no layer, each attack leaving so much less of them."""
    found = {label: dict(targets) for label, targets in shares.items()}
    for targets in found.values():
        for ours, features in (("VGG-OPU higher", "VGG-DFA"), ("VGG-OPU lower", "VGG-DFA lower")):
            targets[features] = tuple(max(0.0, right - less) for right in targets[ours])
    return found


def white_box(target: str, rule: str, paper: float, left: float, *, n: int = 500) -> Made:
    """White-box PGD on the first `n` images, of which the common ones are right before and the share `left` after."""
    tried = np.arange(n)
    is_common = np.isin(tried, INDEX)
    robust = is_common & (np.cumsum(is_common) <= round(left * is_common.sum()))
    clean = is_common | (tried % 2 == 0)
    config = {
        "model": target,
        "rule": rule,
        "attack": "PGD",
        "norm": "linf",
        "eps": paper / 2,
        "eps_paper": paper,
        "steps": 50,
        "n_images": n,
        "purpose": "transfer",
    }
    result = {
        "n_images": n,
        "correct": int(robust.sum()),
        "clean_correct": int(clean.sum()),
        "gradients": 50 * n,
        "zero_gradient_share": 0.0,
    }
    made = record("attack", f"{target} <- {rule} at {paper}", config, result, inputs=(KEYS[target],))
    return made, {"index": tried, "success": clean & ~robust, "clean_correct": clean}


def everything(
    shares: Mapping[str, Mapping[str, tuple[float, ...]]] = HELPS,
    white: Mapping[tuple[str, str], tuple[float, ...]] = WHITE_BOX,
    *,
    fooled: float = 1.0,
    count: int = COMMON,
) -> list[Made]:
    """All the records of a transfer study but its networks and checks."""
    made = [common(count)]
    for label, targets in shares.items():
        radii = PAPER_EPS if len(next(iter(targets.values()))) == len(PAPER_EPS) else STRONGER_EPS
        for i, paper in enumerate(radii):
            crafted = craft(label, paper, fooled=fooled, count=count)
            made.append(crafted)
            made += [transfer(crafted, target, rights[i]) for target, rights in targets.items()]
    for (target, rule), lefts in white.items():
        made += [white_box(target, rule, paper, left) for paper, left in zip(STRONGER_EPS, lefts, strict=True)]
    return made


def checks(made: Iterable[Made], failing: str | None = None) -> list[Record]:
    keys = tuple(one.key for one, _ in made if one.kind in ("craft", "transfer"))
    return [
        record(
            "check",
            name,
            {"check": name},
            {"passed": name != failing, "value": 0, "expected": e, "note": ""},
            inputs=keys,
        )
        for name, e in {
            "adversarial images audited": "every image within its ball",
            "transfer no stronger than white-box": "every white-box attack at least as strong",
        }.items()
    ]


def write(
    folder: Path,
    made: list[Made] | None = None,
    *,
    keep: Callable[[Record], bool] = lambda _: True,
    with_checks: bool = True,
    failing: str | None = None,
    **manifest: Any,
) -> Path:
    """A transfer study in `folder`; what `keep` refuses is planned and not done."""
    part = everything() if made is None else made
    tried = {one.config.get("target") for one, _ in part}
    all_: list[Made] = [(network(name), None) for name in (*CLEAN, *(n for n in CONTROL_CLEAN if n in tried))]
    all_ += part
    if with_checks:
        all_ += [(check, None) for check in checks(part, failing)]
    plan = [{"key": r.key, "kind": r.kind, "name": r.name} for r, _ in all_]
    with RecordStore.open(
        folder, synthetic_study.manifest(**{"study": "transfer", "cells": plan, **manifest})
    ) as store:
        for one, arrays in all_:
            if keep(one):
                store.add(one, arrays)
    return folder
