"""Made-up but plausible records of the retrieval study, and run folders with them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from groundglass.results.records import Record, RecordStore
from tests.old_report import synthetic_study
from tests.old_report.synthetic_study import TRAINED, record

Made = tuple[Record, dict[str, np.ndarray] | None]

N, M = 512, 8000
RATE = 2000.0
# The paper's radius -> in pixel units.
RADII = {0.02: 0.01, 0.05: 0.025}
PERIODS = (0.5, 1.5, 6.0, 60.0)
BLURS = (0.03, 0.1, 0.3, 0.6, 1.0, 1.4)

# frames / N -> median error, share of rows that fail
PRICES = {4.0: (0.11, 0.502), 8.0: (0.0046, 0.002), 12.0: (0.0031, 0.0), 16.0: (0.0027, 0.0)}
# rule -> accuracy left at each radius. A retrieval is needed: no attacker without U comes close.
NEEDED = {"exact": (0.21, 0.01), "dfa": (0.62, 0.42), "bpda-drawn": (0.72, 0.58), "bpda-fit-linear": (0.44, 0.21)}
# It is not: the linear fit gets as far.
UNNEEDED = {**NEEDED, "bpda-fit-linear": (0.2, 0.015)}
# Accuracy left by a blurred U, at each radius.
BLURRED = {
    0.03: (0.21, 0.01),
    0.1: (0.21, 0.012),
    0.3: (0.23, 0.02),
    0.6: (0.35, 0.09),
    1.0: (0.53, 0.3),
    1.4: (0.71, 0.57),
}


def retrieve(
    purpose: str,
    per_input: float,
    *,
    n: int = N,
    m: int = M,
    rows: int | None = None,
    error: float = 0.003,
    failed: float = 0.0,
    told: float | None = None,
    method: str = "fixed-exposure",
    period: float | None = None,
    exposure_control: bool = False,
    camera: Mapping[str, Any] | None = None,
    seconds: float = 81.0,
    **changes: Any,
) -> Made:
    """A record of kind "retrieve". `changes`: fields of the result to replace."""
    frames, out = round(per_input * n), rows or m
    told_period = f", redrawn every {period:g} s" if period is not None else f", {purpose}"
    name = f"U {n} -> {out} from {per_input:.3g} N frames{told_period}"
    config = {
        "method": method,
        "settings": {"iterations": 200},
        "frames": frames,
        "per_input": per_input,
        "in_features": n,
        "out_features": m,
        "rows": rows,
        "camera": {
            "bits": 8,
            "saturation": 0.01,
            "read_noise": 0.0,
            "shot_noise": 0.0,
            "density": 0.5,
            **(camera or {}),
        },
        "exposure_control": exposure_control,
        "frame_rate": RATE,
        "seed": 0,
        "purpose": purpose,
        "period": period,
    }
    result = {
        "frames": frames,
        "complete": True,
        "note": "",
        "rows": out,
        "error": {"median": error, "q10": 0.8 * error, "q90": 1.3 * error, "max": 1.42, "mean": 1.1 * error},
        "failed_share": failed,
        "held_out": {"median": 0.3 + 40 * error, "chance": 23.0, "noise": 0.0},
        "told_share": failed if told is None else told,
        "measure_seconds": 3.0,
        "compute_seconds": seconds,
        "device_seconds": frames / RATE,
        "threads": 2,
        **changes,
    }
    arrays = {"error": np.full(out, error, np.float32), "held_out": np.full(out, 0.4, np.float32)}
    return record("retrieve", name, config, result), arrays


def price(per_input: float, **changes: Any) -> Made:
    error, failed = PRICES[per_input]
    return retrieve("price", per_input, error=error, failed=failed, seconds=7 * per_input, **changes)


def period(seconds: float, error: float, failed: float) -> Made:
    return retrieve("period", RATE * seconds / N, error=error, failed=failed, period=seconds)


def attack(
    rule: str, paper: float, accuracy: float, *, inputs: tuple[str, ...] = (), n: int = 1000, **more: Any
) -> Made:
    model = "VGG-16" if rule == "bp" else "VGG-OPU"
    made, arrays = synthetic_study.attack(
        model, rule, eps=RADII[paper], eps_paper=paper, accuracy=accuracy, n=n, purpose="retrieval"
    )
    config = {**made.config, **more}
    inputs = (TRAINED[model], *inputs)
    return record("attack", f"{model} <- {rule} {more or inputs} {paper}", config, made.result, inputs=inputs), arrays


def attacks(accuracies: Mapping[str, tuple[float, ...]]) -> list[Made]:
    """The attacks that hold the exact U, or none."""
    return [
        attack(rule, paper, left)
        for rule, lefts in accuracies.items()
        for paper, left in zip(RADII, lefts, strict=True)
    ]


def blurs(accuracies: Mapping[float, tuple[float, ...]] = BLURRED) -> list[Made]:
    return [
        attack("exact-blurred", paper, left, matrix_error=error)
        for error, lefts in accuracies.items()
        for paper, left in zip(RADII, lefts, strict=True)
    ]


def with_u(retrieved: Made, *lefts: float) -> list[Made]:
    """A retrieval, and the attacks with its U."""
    key = retrieved[0].key
    return [retrieved] + [
        attack("bpda-retrieved", paper, left, inputs=(key,)) for paper, left in zip(RADII, lefts, strict=True)
    ]


def periods() -> list[Made]:
    """0.5 s allow 1,000 frames: too few to try. 1.5 s keep the retrieval out, 6 s and more do not."""
    return [
        *with_u(period(1.5, 0.9, 0.97), 0.7, 0.56),
        *with_u(period(6.0, 0.0024, 0.0), 0.21, 0.01),
        *with_u(period(60.0, 0.0019, 0.0), 0.21, 0.01),
    ]


def sweeps() -> list[Made]:
    made = [
        retrieve("queries", per_input, n=n, m=256, error=error * (1024 / n) ** 0.5, failed=failed)
        for n in (128, 256, 1024)
        for per_input, (error, failed) in {4.0: (0.3, 0.61), 6.0: (0.013, 0.2), **PRICES}.items()
        if per_input != 4.0 or n != 1024
    ]
    made += [
        retrieve("noise", 12.0, n=256, m=256, error=0.004 + 0.016 * noise, camera={"read_noise": noise})
        for noise in (0.0, 1.0, 2.0, 4.0)
    ]
    made += [
        retrieve(
            "bits",
            12.0,
            n=256,
            m=256,
            error=0.002 + 0.9 / 2**bits,
            failed=max(0.0, 0.3 - bits / 20),
            camera={"bits": b},
        )
        for bits, b in ((10, None), (8, 8), (6, 6), (4, 4), (2, 2))
    ]
    made += [
        retrieve("exposure", 12.0, n=256, m=256, error=0.004 + share, camera={"saturation": share})
        for share in (0.001, 0.01, 0.1, 0.3)
    ]
    made += [
        retrieve("method", 12.0, n=256, m=256, error=0.0041),
        retrieve("method", 14.9, n=256, m=256, error=0.021, failed=0.03, method="multilateration", seconds=9.0),
        retrieve("method", 3.0, n=256, m=256, error=0.011, method="closed-form", exposure_control=True, seconds=0.4),
    ]
    return made


def checks(*, passed: bool = True) -> list[Made]:
    told = {"passed": passed, "value": 0.001, "expected": "within 2 points", "note": "of 8,000 rows"}
    made = record("check", "held-out readings tell the truth", {"check": "held-out readings tell the truth"}, told)
    return [(made, None)]


def everything(accuracies: Mapping[str, tuple[float, ...]] = NEEDED) -> list[Made]:
    """All the records of the study but the networks."""
    return [
        *with_u(price(4.0), 0.26, 0.06),
        *with_u(price(8.0), 0.21, 0.011),
        *with_u(price(12.0), 0.21, 0.01),
        price(16.0),
        *periods(),
        *attacks({**accuracies, "bp": (0.2, 0.008)}),
        *blurs(),
        *sweeps(),
        *checks(),
    ]


def write(
    folder: Path,
    made: list[Made] | None = None,
    *,
    keep: Callable[[Record], bool] = lambda _: True,
    periods: tuple[float, ...] = PERIODS,
) -> Path:
    """A retrieval study in `folder`; what `keep` refuses is planned and not done."""
    all_: list[Made] = [(synthetic_study.training(name), None) for name in synthetic_study.CLEAN]
    all_ += everything() if made is None else made
    plan = [
        {"key": r.key, "kind": r.kind, "name": r.name}
        | ({"purpose": r.config["purpose"]} if "purpose" in r.config else {})
        for r, _ in all_
    ]
    config = {"classes": synthetic_study.CLASSES, "periods": list(periods), "frame_rate": RATE, "blurs": list(BLURS)}
    with RecordStore.open(folder, synthetic_study.manifest(study="retrieval", cells=plan, config=config)) as store:
        for one, arrays in all_:
            if keep(one):
                store.add(one, arrays)
    return folder
