"""Made-up but plausible records of the ablation, and run folders with them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from groundglass.results.records import Record, RecordStore
from tests.old_report import synthetic_queries, synthetic_study
from tests.old_report.synthetic_study import record

EPS = (0.004, 0.008, 0.016)
N = 200
COMMON = 120

Made = tuple[Record, dict[str, np.ndarray] | None]

# name -> clean accuracy, what differs in its head, and its key. The features' network is trained, never attacked.
NETWORKS: dict[str, tuple[float, dict[str, Any], str]] = {
    "VGG-16": (0.81, {}, "a00000000001"),
    "VGG-16 source": (0.80, {}, "a00000000002"),
    "VGG-DFA": (0.79, {"linear_hidden": 1024}, "a00000000003"),
    "OPU": (0.805, {"device_in": 1024, "device_out": 8000}, "a00000000004"),
    "DFA": (0.82, {"linear_hidden": 1024}, "a00000000005"),
    "BIN": (0.81, {"linear_hidden": 1024, "encoding": "bits"}, "a00000000006"),
    "RP": (0.80, {"device_in": 1024, "device_out": 8000, "encoding": "float"}, "a00000000007"),
    "OPU batch threshold": (0.8, {"device_in": 1024, "device_out": 8000, "encoding": "bits-batch"}, "a00000000008"),
    "OPU float output": (0.81, {"device_in": 1024, "device_out": 8000, "bits": None}, "a00000000009"),
    "OPU real U": (0.8, {"device_in": 1024, "device_out": 8000, "matrix": "real"}, "a00000000010"),
    "OPU refitted": (0.80, {"device_in": 1024, "device_out": 8000}, "a00000000013"),
    "OPU N=128": (0.74, {"device_in": 128, "device_out": 8000}, "a00000000011"),
    "OPU M=1000": (0.78, {"device_in": 1024, "device_out": 1000}, "a00000000012"),
}
# Refitted only where the others are trained whole.
ATTACKED = tuple(name for name in NETWORKS if name not in ("VGG-16 source", "VGG-DFA", "OPU refitted"))

# Accuracy under each rule at each radius: what is left of DFA's network, and of the defended ones.
WHITE: dict[str, dict[str, tuple[float, float, float]]] = {
    "VGG-16": {"bp": (0.3, 0.05, 0.0)},
    "DFA": {"dfa": (0.45, 0.2, 0.1), "bp": (0.4, 0.1, 0.0), "bpda-fit-linear": (0.42, 0.12, 0.02)},
    "BIN": {"dfa": (0.7, 0.6, 0.45), "ste": (0.35, 0.06, 0.0), "bpda-fit-linear": (0.5, 0.3, 0.1)},
    "RP": {"dfa": (0.5, 0.22, 0.12), "exact": (0.36, 0.06, 0.0), "bpda-fit-linear": (0.45, 0.2, 0.05)},
    "OPU": {"dfa": (0.72, 0.62, 0.5), "exact": (0.33, 0.04, 0.0), "bpda-fit-linear": (0.55, 0.35, 0.2)},
    "OPU N=128": {"dfa": (0.5, 0.3, 0.2), "exact": (0.3, 0.04, 0.0), "bpda-fit-linear": (0.4, 0.25, 0.1)},
}
# Fooled of a hundred, median, zero estimates.
BLACK: dict[str, dict[str, tuple[int, float, float | None]]] = {
    "Square": {"VGG-16": (99, 150, None), "DFA": (95, 200, None), "BIN": (90, 260, None), "OPU": (88, 330, None)},
    "Bandits": {"VGG-16": (97, 700, 0.0), "DFA": (90, 900, 0.0), "BIN": (30, 3100, 0.4), "OPU": (25, 3300, 0.42)},
}
MOVED: dict[str, dict[str, tuple[int, int, int]]] = {
    "PGD": {"VGG-16": (90, 40, 10), "DFA": (100, 70, 40), "BIN": (105, 90, 70), "OPU": (106, 92, 72)},
    "MI-DI-TI": {"VGG-16": (70, 20, 2), "DFA": (80, 40, 12), "BIN": (84, 48, 18), "OPU": (85, 50, 20)},
}


def key(name: str) -> str:
    return NETWORKS[name][2]


def training(name: str, *, two_stages: bool | None = None) -> Record:
    clean, head, _ = NETWORKS[name]
    is_device = "device_in" in head
    two_stages = name == "RP" if two_stages is None else two_stages
    spec = {"width": 0.25, "classes": 10, "device_in": None, "device_out": None, "linear_hidden": None, **head}
    bits, matrix = spec.pop("bits", 8), spec.pop("matrix", None)
    device = {
        "in_features": spec["device_in"],
        "out_features": spec["device_out"],
        "fingerprint": "9f" * 32,
        "bits": bits,
    }
    credit = "classifier" if two_stages else "bp" if name.startswith("VGG-16") else "hybrid-dfa"
    result = {
        "clean_accuracy": clean,
        "n_test": 10_000,
        "parameters": 1_200_000,
        "train_seconds": 500.0,
        "images_per_second": 800.0,
        "epochs": [],
        "device": ({**device, "matrix": matrix} if matrix else device) if is_device else None,
        "checkpoint": None,
    }
    if two_stages:
        result["features"] = {"name": "VGG-DFA", "clean_accuracy": 0.79}
    inputs = (key("VGG-DFA"),) if two_stages else ()
    return record(
        "train",
        name,
        {"model": spec, "training": {"credit": credit, "epochs": 8}},
        result,
        inputs=inputs,
        key=key(name),
    )


def attack(model: str, rule: str, eps: float, accuracy: float, *, n: int = N) -> Made:
    made, arrays = synthetic_study.attack("VGG-OPU", rule, eps=eps, accuracy=accuracy, n=n, purpose="ablation")
    made.config["model"] = model
    return record("attack", f"{model} <- {rule} at {eps}", made.config, made.result, inputs=(key(model),)), arrays


def query(model: str, attack: str, fooled: int, median: float, flat: float | None) -> Made:
    made, arrays = synthetic_queries.query(
        "VGG-16", attack, fooled=fooled, right=100, n=120, median=median, flat_share=flat, purpose="ablation"
    )
    made.config["model"] = model
    return record("query", f"{model} <- {attack}", made.config, made.result, inputs=(key(model),)), arrays


def transfer(label: str, target: str, eps: float, right: int, **changes: Any) -> Made:
    config = {
        "label": label,
        "sources": ["VGG-16 source"],
        "rules": ["bp"],
        "target": target,
        "attack": "TransferPGD",
        "norm": "linf",
        "eps": eps,
        "eps_per_channel": None,
        "eps_paper": 2 * eps,
        "purpose": "ablation",
    }
    correct, fooled = np.arange(COMMON) < right, np.ones(COMMON, bool)
    arrays = {
        "index": np.arange(COMMON),
        "label": np.arange(COMMON) % 10,
        "prediction": (np.arange(COMMON) + ~correct) % 10,
        "correct": correct,
        "fooled_source": fooled,
    }
    result = {
        "n_images": COMMON,
        "correct": right,
        "fooled_source": COMMON,
        "also_fooled": COMMON - right,
        **changes,
    }
    return record("transfer", f"{label} on {target} at {eps}", config, result, inputs=("c" * 12, key(target))), arrays


def _like(table: dict[str, Any], name: str) -> Any:
    """A network's outcome; a variant that is not in the table does as OPU does, RP as DFA."""
    return table.get(name) or table["DFA" if name == "RP" else "OPU"]


def everything() -> list[Made]:
    """All the records of the ablation but its networks."""
    made: list[Made] = []
    for name in ATTACKED:
        for rule, left in _like(WHITE, name).items():
            made += [attack(name, rule, eps, accuracy) for eps, accuracy in zip(EPS, left, strict=True)]
        made += [query(name, method, *_like(table, name)) for method, table in BLACK.items()]
        for label, table in MOVED.items():
            made += [transfer(label, name, eps, right) for eps, right in zip(EPS, _like(table, name), strict=True)]
    return made


def write(
    folder: Path,
    made: list[Made] | None = None,
    *,
    keep: Callable[[Record], bool] = lambda _: True,
    two_stages: tuple[str, ...] = ("RP",),
) -> Path:
    """An ablation in `folder`; what `keep` refuses is planned and not done. `two_stages`: networks so trained."""
    all_: list[Made] = [(training(name, two_stages=name in two_stages), None) for name in NETWORKS]
    all_ += everything() if made is None else made
    plan = [{"key": r.key, "kind": r.kind, "name": r.name} for r, _ in all_]
    with RecordStore.open(folder, synthetic_study.manifest(study="ablation", cells=plan)) as store:
        for one, arrays in all_:
            if keep(one):
                store.add(one, arrays)
    return folder
