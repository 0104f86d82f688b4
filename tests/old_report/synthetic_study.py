"""A run folder with made-up but plausible records of the white-box study, as its runner writes them."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from groundglass.results.records import Record, RecordStore, cell_key

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
PAPER_EPS = [0.0, 0.005, 0.01, 0.02, 0.03, 0.04, 0.05]
L2_EPS = [0.1, 0.25, 0.5, 1.0]
ADAPTIVE = ("bpda-drawn", "bpda-fit-linear", "bpda-fit-network", "exact")
TRAINED = {"VGG-16": "0123456789aa", "VGG-OPU": "0123456789bb"}

# How fast accuracy falls with the paper's eps: exp(-(rate eps)^1.5).
RATES = {
    ("VGG-16", "bp"): 75,
    ("VGG-OPU", "dfa"): 24,
    ("VGG-OPU", "dfa-fresh"): 9,
    ("VGG-OPU", "fa"): 16,
    ("VGG-OPU", "bpda-drawn"): 12,
    ("VGG-OPU", "bpda-fit-linear"): 44,
    ("VGG-OPU", "bpda-fit-network"): 62,
    ("VGG-OPU", "exact"): 78,
}
CLEAN = {"VGG-16": 0.812, "VGG-OPU": 0.827}


def manifest(**changes: Any) -> dict[str, Any]:
    return {
        "study": "white-box",
        "recipe": "laptop",
        "data": "cifar10",
        "config": {
            "classes": CLASSES,
            "training": {"epochs": 8, "batch_size": 128, "lr": 0.05, "amp": None},
            "attack": {"eps_paper": PAPER_EPS, "steps": 50, "restarts": 1},
        },
        "seed": 0,
        "versions": {"groundglass": "0.1.0", "python": "3.11.9", "torch": "2.13.0", "numpy": "2.4.6"},
        "machine": {"system": "Linux", "processor": "x86-64", "cores": 2, "threads": 2},
        "started": "2026-03-01T09:00:00+00:00",
        **changes,
    }


def record(kind: str, name: str, config: dict[str, Any], result: dict[str, Any], **more: Any) -> Record:
    inputs = more.pop("inputs", ())
    return Record(
        key=more.pop("key", cell_key(kind, {"name": name, **config}, inputs)),
        kind=kind,
        name=name,
        config=config,
        result=result,
        inputs=inputs,
        seconds=more.pop("seconds", 12.5),
        finished=more.pop("finished", "2026-03-01T09:30:00+00:00"),
    )


def training(name: str) -> Record:
    defended = name == "VGG-OPU"
    clean = CLEAN[name]
    epochs = [
        {
            "epoch": i,
            "loss": 2.0 / i,
            "train_accuracy": 0.97 - 0.55 / i,
            "test_accuracy": clean - 0.4 / i + 0.05,
        }
        for i in range(1, 9)
    ]
    device = {"in_features": 512, "out_features": 8000, "fingerprint": "9f" * 32, "bits": 8}
    return record(
        "train",
        name,
        {"model": {"width": 0.25}, "training": {"credit": "hybrid-dfa" if defended else "bp", "epochs": 8, "lr": 0.05}},
        {
            "clean_accuracy": clean,
            "n_test": 10000,
            "parameters": 1_300_000 if defended else 1_050_000,
            "train_seconds": 541.0,
            "images_per_second": 739.4,
            "epochs": epochs,
            "device": device if defended else None,
            "checkpoint": f"models/{name.lower()}.safetensors",
            "precision": "float32",
        },
        key=TRAINED[name],
        seconds=560.0,
    )


def attack(
    model: str,
    rule: str,
    *,
    eps: float,
    norm: str = "linf",
    eps_paper: float | None = None,
    method: str = "PGD",
    accuracy: float,
    n: int = 1000,
    gallery: int = 0,
    seed: int = 0,
    purpose: str = "figure",
) -> tuple[Record, dict[str, np.ndarray]]:
    """A record and its arrays. Images are fooled in the order of one fixed difficulty, so that attacks agree."""
    rng = np.random.default_rng(seed)
    difficulty = np.random.default_rng(99).permutation(n)
    clean_correct = difficulty < round(CLEAN[model] * n)
    robust = difficulty < round(accuracy * n)
    label = np.arange(n) % 10
    wrong = (label + 1 + rng.integers(0, 9, n)) % 10
    arrays: dict[str, np.ndarray] = {
        "index": np.arange(n),
        "success": clean_correct & ~robust,
        "clean_correct": clean_correct,
        "norm": np.full(n, eps, np.float32),
        "gradients": np.where(robust, 50, 7).astype(np.int32),
        "prediction": np.where(robust, label, wrong),
        "label": label,
    }
    if gallery:
        grid = np.linspace(0, 1, 32)
        base = 0.5 + 0.4 * np.sin(6 * grid[None, :] + 4 * grid[:, None] + np.arange(gallery)[:, None, None])
        original = np.stack([base, base.transpose(0, 2, 1), 1 - base], axis=1).astype(np.float32)
        delta = eps * np.sign(rng.standard_normal(original.shape)) * (1 if norm == "linf" else 0.02)
        arrays["original"] = original
        arrays["adversarial"] = np.clip(original + delta, 0, 1).astype(np.float32)
        arrays["clean_prediction"] = np.where(clean_correct, label, wrong)[:gallery]
    fit = {"n_images": 10000, "held_out_r2": 0.81 if rule.endswith("network") else 0.62} if "fit" in rule else None
    config = {
        "model": model,
        "rule": rule,
        "attack": method,
        "norm": norm,
        "eps": eps,
        "eps_paper": eps_paper,
        "steps": 1 if method == "FGSM" else 50,
        "step_size": 0.005,
        "restarts": 1,
        "n_images": n,
        "purpose": purpose,
    }
    result = {
        "robust_accuracy": float(robust.mean()),
        "n_images": n,
        "correct": int(robust.sum()),
        "clean_correct": int(clean_correct.sum()),
        "gradients": int(arrays["gradients"].sum()),
        "zero_gradient_share": 0.0,
        "success_rate": float((clean_correct & ~robust).sum() / clean_correct.sum()),
        "fit": fit,
    }
    name = f"{model} <- {rule}"
    return record("attack", name, config, result, inputs=(TRAINED[model],), seconds=31.0 + 100 * eps), arrays


def falling(model: str, rule: str, eps_paper: float) -> float:
    share = CLEAN[model] * float(np.exp(-((RATES[model, rule] * eps_paper) ** 1.5)))
    return share if share > 0.003 else 0.0


def attacks(rates: Iterable[tuple[str, str]] = tuple(RATES)) -> Iterable[tuple[Record, dict[str, np.ndarray]]]:
    for model, rule in rates:
        for paper in PAPER_EPS:
            shown = 8 if paper == 0.05 and rule in ("bp", "dfa", "exact") else 0
            accuracy = falling(model, rule, paper)
            yield attack(model, rule, eps=paper / 2, eps_paper=paper, accuracy=accuracy, gallery=shown)
        for eps in L2_EPS:
            yield attack(model, rule, eps=eps, norm="l2", accuracy=falling(model, rule, eps / 25))
    for model in CLEAN:
        for paper in PAPER_EPS[1:]:
            accuracy = CLEAN[model] - 0.2 * paper
            yield attack(
                model,
                "none",
                method="RandomNoise",
                eps=paper / 2,
                eps_paper=paper,
                accuracy=accuracy,
                purpose="control",
            )
    yield attack("VGG-16", "bp", method="FGSM", eps=0.025, eps_paper=0.05, accuracy=0.13, purpose="control")
    for model, rule in (("VGG-16", "bp"), ("VGG-OPU", "dfa")):
        yield attack(model, rule, eps=1.0, accuracy=0.02, n=100, purpose="control")
    yield distances("VGG-16", "bp")


def distances(model: str, rule: str) -> tuple[Record, dict[str, np.ndarray]]:
    """C&W on 64 images: all are fooled, at distances from 0 to 1."""
    record, arrays = attack(model, rule, method="CW", norm="l2", eps=10.0, accuracy=0.0, n=64, purpose="control")
    arrays["norm"] = np.linspace(0, 1, 64).astype(np.float32)
    record.result["median_norm"] = 0.5
    return record, arrays


def checks(failing: str | None = None) -> list[Record]:
    made = {
        "unbounded ball": (1.0, "100% success", "ε = 1 in L∞"),
        "accuracy never rises with eps": (0, "no rise beyond chance", ""),
        "PGD at least as strong as FGSM": (0.118, "PGD − FGSM ≥ 0", "VGG-16 at 6.38/255"),
        "stronger than random noise": (0.6123456789, "every attack below the control", ""),
        "gradient cosine": (0.031, "above 0.3", "DFA against finite differences of the true loss"),
    }
    return [
        record("check", name, {"check": name}, {"passed": name != failing, "value": v, "expected": e, "note": n})
        for name, (v, e, n) in made.items()
    ]


def write(
    folder: Path,
    *,
    keep: Callable[[Record], bool] = lambda _: True,
    failing: str | None = None,
    **changes: Any,
) -> Path:
    """A complete study in `folder`, but for the records that `keep` refuses: those are planned and not done."""
    everything: list[tuple[Record, dict[str, np.ndarray] | None]] = [(training(name), None) for name in CLEAN]
    everything += list(attacks())
    everything += [(check, None) for check in checks(failing)]
    plan = [{"key": r.key, "kind": r.kind, "name": r.name} for r, _ in everything]
    with RecordStore.open(folder, manifest(cells=plan, **changes)) as store:
        for one, arrays in everything:
            if keep(one):
                store.add(one, arrays)
    return folder
