"""Made-up but plausible records of the redraw study, and run folders with them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from groundglass.results.records import Record, RecordStore
from tests.old_report import synthetic_study
from tests.old_report.synthetic_study import TRAINED, record

EPS = 0.02
OLD = TRAINED["VGG-OPU"]
COMMON = 200
TEST = 10_000

Made = tuple[Record, dict[str, np.ndarray] | None]

# label -> (source, rule, of the common images: fooled at the source, still fooled after each redraw)
LABELS: dict[str, tuple[str, str, int, tuple[int, ...]]] = {
    "DFA": ("VGG-OPU", "dfa", 120, (96, 90, 93)),
    "BPDA, fitted": ("VGG-OPU", "bpda-fit-linear", 180, (91, 88, 94)),
    "Exact U": ("VGG-OPU", "exact", 200, (40, 36, 44)),
    "Square": ("VGG-OPU", "none", 160, (20, 18, 24)),
    "VGG-16 transfer": ("VGG-16 source", "bp", 190, (99, 95, 97)),
}
AFRESH = {"dfa": 0.31, "bpda-fit-linear": 0.2, "exact": 0.0}


def redraw(number: int, *, tuned: float = 0.829, **changes: Any) -> Record:
    """A record of kind "redraw". `changes`: fields of the result to replace."""
    result = {
        "before": 0.827,
        "untuned": 0.094 + 0.004 * number,
        "tuned": tuned,
        "n_test": TEST,
        "n_train": 50_000,
        "feature_seconds": 61.2 if number == 1 else 0.0,
        "features_cached": number > 1,
        "draw_seconds": 0.21,
        "tune_seconds": 12.4 + number,
        "fingerprint": f"{number}a" * 32,
        "old_fingerprint": "9f" * 32,
        "checkpoint": f"models/vgg-opu-redraw-{number}.safetensors",
        **changes,
    }
    config = {"model": "VGG-OPU", "redraw": number, "training": {"epochs": 3, "lr": 0.01}, "seed": 0}
    return record("redraw", f"VGG-OPU redraw {number}", config, result, inputs=(OLD,), seconds=75.0)


def craft(label: str, *, n: int = COMMON) -> Made:
    source, rule, fooled, _ = LABELS[label]
    config = {
        "label": label,
        "sources": [source],
        "rules": [rule],
        "attack": "Square" if rule == "none" else "TransferPGD",
        "settings": {"steps": 50},
        "norm": "linf",
        "eps": EPS,
        "eps_per_channel": None,
        "eps_paper": 0.04,
        "budget": 2000 if rule == "none" else None,
        "seed": 0,
        "purpose": "redraw",
    }
    result = {
        "n_images": n,
        "fooled": fooled,
        "gradients": 0 if rule == "none" else 50 * n,
        "median_norm": EPS,
        "file": f"adversarial/{label}.safetensors",
    }
    arrays = {"index": np.arange(n), "success": np.arange(n) < fooled, "norm": np.full(n, EPS, np.float32)}
    return record("craft", f"{label} images", config, result, inputs=("c" * 12, OLD)), arrays


def transfer(label: str, target: str, key: str, wrong: np.ndarray, **changes: Any) -> Made:
    """The images of `label` on a target. `wrong`: which of the images, in order, fool it."""
    made, _ = craft(label, n=len(wrong))
    names = ("label", "sources", "rules", "attack", "norm", "eps", "eps_per_channel", "eps_paper", "purpose")
    config = {**{name: made.config[name] for name in names}, "target": target}
    n, fooled = len(wrong), np.arange(len(wrong)) < LABELS[label][2]
    arrays = {
        "index": 3 * np.arange(n),
        "label": np.arange(n) % 10,
        "prediction": (np.arange(n) + wrong) % 10,
        "correct": ~wrong,
        "fooled_source": fooled,
    }
    result = {
        "n_images": n,
        "correct": int((~wrong).sum()),
        "fooled_source": int(fooled.sum()),
        "also_fooled": int((wrong & fooled).sum()),
        **changes,
    }
    return record("transfer", f"{label} on {target}", config, result, inputs=(made.key, key)), arrays


def first(count: int, n: int = COMMON) -> np.ndarray:
    """The first `count` images of n."""
    return np.arange(n) < count


def attack(target: str, rule: str, accuracy: float) -> Made:
    """The attack made afresh on a redrawn network."""
    made, arrays = synthetic_study.attack("VGG-OPU", rule, eps=EPS, accuracy=accuracy, n=200, purpose="redraw")
    made.config["model"] = target
    return record("attack", f"{target} <- {rule}", made.config, made.result, inputs=("d" * 12,)), arrays


def everything(redraws: Sequence[Record]) -> list[Made]:
    """All the records of the study but the networks."""
    made: list[Made] = [(one, None) for one in redraws]
    for label, (_, rule, fooled, still) in LABELS.items():
        made.append(craft(label))
        # Of the images made on another network fewer fool the old one.
        on_old = fooled if label != "VGG-16 transfer" else 100
        made.append(transfer(label, "VGG-OPU", OLD, first(on_old)))
        for one, count in zip(redraws, still, strict=False):
            made.append(transfer(label, one.name, one.key, first(count)))
        if rule in AFRESH:
            made.append(attack(redraws[0].name, rule, AFRESH[rule]))
    return made


def write(
    folder: Path,
    made: list[Made] | None = None,
    *,
    keep: Callable[[Record], bool] = lambda _: True,
) -> Path:
    """A redraw study in `folder`; what `keep` refuses is planned and not done."""
    all_: list[Made] = [(synthetic_study.training(name), None) for name in synthetic_study.CLEAN]
    all_ += everything([redraw(number) for number in (1, 2, 3)]) if made is None else made
    plan = [{"key": r.key, "kind": r.kind, "name": r.name} for r, _ in all_]
    with RecordStore.open(folder, synthetic_study.manifest(study="redraw", cells=plan)) as store:
        for one, arrays in all_:
            if keep(one):
                store.add(one, arrays)
    return folder
