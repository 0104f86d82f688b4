"""Made-up but plausible records of the study of size, and run folders with them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from groundglass.results.records import Record, RecordStore
from tests.old_report import synthetic_study
from tests.old_report.synthetic_study import record

EPS, EPS_PAPER = 1.28 / 255, 0.01
N = 200
BLOCK = 4096

Made = tuple[Record, dict[str, np.ndarray] | None]

# kind -> seconds of one measurement by N = M, and bytes held an entry or an input; what is projected is beyond 2^14.
SQUARE: Mapping[str, Mapping[int, float]] = {
    "dense": {2**10: 4e-4, 2**12: 4e-3, 2**14: 0.064, 2**15: 0.256},
    "procedural": {2**10: 1.2e-3, 2**12: 0.02, 2**14: 0.32, 2**16: 5.1, 2**18: 82.0, 2**20: 1310.0},
    "structured": {2**10: 6e-5, 2**12: 1.2e-4, 2**14: 2.6e-4, 2**16: 1e-3, 2**18: 4.2e-3, 2**20: 0.019},
}
SIDES: Mapping[str, Mapping[str, Mapping[int, float]]] = {
    "outputs": {"dense": {2**12: 2e-4, 2**14: 8e-4, 2**16: 3.2e-3}, "structured": {2**12: 8e-5, 2**14: 3.2e-4}},
    "inputs": {"dense": {2**12: 2e-4, 2**14: 8e-4, 2**16: 3.2e-3}, "structured": {2**12: 8e-5, 2**14: 9e-5}},
}
FITS = (
    ("dense", "square", "each_seconds", 1.97, 2**12, 2**15),
    ("structured", "square", "each_seconds", 1.08, 2**16, 2**20),
    ("structured", "square", "one_seconds", 1.06, 2**16, 2**20),
    ("dense", "inputs", "row_seconds", 1.25, 512, 8192),
)
ROW_FACTOR = 2e-6
# medium -> whether a stand-in, and the laws that fail: (name, measured, expected, known to differ).
MEDIA: Mapping[str, tuple[bool, tuple[tuple[str, float, float, bool], ...]]] = {
    "dense": (False, ()),
    "structured": (False, (("total of all inputs one by one", 0.0, 1.0, True),)),
    "real matrix": (True, (("contrast", 1.41, 1.0, False), ("kernel", 2.0, 1.5, False))),
    "H D": (True, (("contrast", 0.0, 1.0, False),)),
}
LAWS = ("contrast", "kernel", "neighbouring outputs", "total of all inputs one by one")
# (N, M, kind): clean accuracy, and of N images right after each rule.
Left = Mapping[tuple[int, int, str], tuple[float, Mapping[str, int]]]
NETWORKS: Left = {
    (512, 8000, "dense"): (0.81, {"dfa": 50, "dfa-fresh": 118, "bpda-fit-linear": 49, "exact": 51}),
    (2048, 8000, "dense"): (0.815, {"dfa": 52, "dfa-fresh": 110, "bpda-fit-linear": 50, "exact": 50}),
    (512, 128_000, "dense"): (0.82, {"dfa": 51, "dfa-fresh": 120, "bpda-fit-linear": 52, "exact": 50}),
    (2048, 8000, "structured"): (0.814, {"dfa": 50, "dfa-fresh": 112, "bpda-fit-linear": 50, "exact": 49}),
}
BASELINE = 54
# kind, N -> seconds of computing a row, median error, rows that fail of 64.
ROWS: Mapping[tuple[str, int], tuple[float, float, int]] = {
    ("dense", 512): (0.005, 0.0035, 0),
    ("dense", 2048): (0.03, 0.0034, 0),
    ("structured", 2048): (0.031, 0.0036, 0),
}


def name_of(n: int, m: int, kind: str) -> str:
    return f"VGG-OPU {n}x{m}" + ("" if kind == "dense" else f" {kind}")


def cost(kind: str, n: int, m: int, sweep: str, seconds: float) -> Record:
    projected = kind == "procedural" and n * m > 2**28
    block = BLOCK if projected else m
    config = {
        "device_kind": kind,
        "in_features": n,
        "out_features": m,
        "sweep": sweep,
        "block": block,
        "batch": 64,
        "repeats": 3,
    }
    held = {"dense": 2 * n * m, "procedural": 0, "structured": 3 * max(n, m)}[kind]
    result = {
        "one": [seconds * block / m],
        "batch": [32 * seconds * block / m],
        "make_seconds": 1.0,
        "one_seconds": seconds,
        "each_seconds": seconds / 2,
        "held_bytes": held,
        "peak_bytes": held + 7 * 10**7 + 64 * m,
        "projected": projected,
        "threads": 2,
    }
    return record("cost", f"cost of {kind} {n} -> {m} {sweep}", config, result)


def fidelity(medium: str) -> Record:
    standin, failing = MEDIA[medium]
    wrong = {name: (measured, expected, known) for name, measured, expected, known in failing}
    laws = []
    for law in LAWS:
        measured, expected, known = wrong.get(law, (1.003, 1.0, law.startswith("total")))
        holds = law not in wrong
        laws.append(
            {
                "name": law,
                "measured": measured,
                "expected": expected,
                "standard_error": 0.01,
                "score": 0.3 if holds else -40.0,
                "says": "what it is",
                "expected_to_differ": known,
                "holds": holds,
            }
        )
    config = {"medium": medium, "standin": standin, "in_features": 1024, "out_features": 1024, "redraws": 40, "seed": 0}
    result = {"laws": laws, "holding": len(laws) - len(failing), "of": len(laws)}
    return record("fidelity", f"laws of {medium}", config, result)


def rows(kind: str, n: int) -> Record:
    seconds, error, failed = ROWS[kind, n]
    config = {"device_kind": kind, "in_features": n, "rows": 64, "frames": 12 * n, "frame_rate": 2000.0, "seed": 0}
    result = {
        "frames": 12 * n,
        "rows": 64,
        "median_error": error,
        "failed": failed,
        "device_seconds": 12 * n / 2000,
        "compute_seconds": 64 * seconds,
        "row_seconds": seconds,
        "threads": 2,
    }
    return record("rows", f"64 rows, N = {n}, {kind}", config, result)


def fit() -> Record:
    fits = [
        {
            "device_kind": kind,
            "sweep": sweep,
            "quantity": quantity,
            "exponent": exponent,
            "factor": ROW_FACTOR,
            "from": low,
            "to": high,
        }
        for kind, sweep, quantity, exponent, low, high in FITS
    ]
    return record("fit", "exponents of the costs", {"points": 3}, {"fits": fits})


def training(name: str, clean: float, device: dict[str, Any] | None) -> Record:
    plain = synthetic_study.training("VGG-16")
    credit = "bp" if device is None else "classifier"
    return record(
        "train",
        name,
        {"model": {}, "training": {"credit": credit, "epochs": 5}},
        {**plain.result, "clean_accuracy": clean, "device": device},
    )


def attack(trained: Record, rule: str, left: int) -> Made:
    config = {
        "model": trained.name,
        "rule": rule,
        "attack": "PGD",
        "settings": {},
        "norm": "linf",
        "eps": EPS,
        "eps_per_channel": None,
        "eps_paper": EPS_PAPER,
        "steps": 20,
        "n_images": N,
        "purpose": "scale",
    }
    right = round(trained.result["clean_accuracy"] * N)
    clean = np.arange(N) < right
    # Images are fooled from another end by the exact rule: together attacks leave less than each alone.
    order = np.arange(N) if rule != "exact" else np.roll(np.arange(N), 2)
    success = clean & (order >= left)
    result = {
        "n_images": N,
        "correct": int((clean & ~success).sum()),
        "clean_correct": int(clean.sum()),
        "gradients": 20 * N,
        "zero_gradient_share": 0.0,
    }
    made = record("attack", f"{trained.name} <- {rule}", config, result, inputs=(trained.key,))
    return made, {"index": np.arange(N), "success": success, "clean_correct": clean}


def everything(networks: Left = NETWORKS) -> list[Made]:
    made: list[Made] = [
        (cost(kind, n, n, "square", seconds), None) for kind, line in SQUARE.items() for n, seconds in line.items()
    ]
    for sweep, kinds in SIDES.items():
        for kind, line in kinds.items():
            for size, seconds in line.items():
                n, m = (2**12, size) if sweep == "outputs" else (size, 2**12)
                made.append((cost(kind, n, m, sweep, seconds), None))
    made += [(fidelity(medium), None) for medium in MEDIA]
    made += [(rows(kind, n), None) for kind, n in ROWS]
    made.append((fit(), None))
    baseline = training("VGG-16", 0.82, None)
    made += [(baseline, None), attack(baseline, "bp", BASELINE)]
    made.append((training("VGG-DFA N=512", 0.8, None), None))
    for (n, m, kind), (clean, left) in networks.items():
        device = {"in_features": n, "out_features": m, "fingerprint": "9f" * 16, "bits": 8, "kind": kind}
        trained = training(name_of(n, m, kind), clean, device)
        made.append((trained, None))
        made += [attack(trained, rule, count) for rule, count in left.items()]
    return made


def write(folder: Path, made: list[Made] | None = None, *, keep: Callable[[Record], bool] = lambda _: True) -> Path:
    records = everything() if made is None else made
    plan = [{"key": r.key, "kind": r.kind, "name": r.name, "purpose": r.config.get("purpose")} for r, _ in records]
    with RecordStore.open(folder, synthetic_study.manifest(study="scale", cells=plan)) as store:
        for one, arrays in records:
            if keep(one):
                store.add(one, arrays)
    return folder
