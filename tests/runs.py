"""Run folders for tests of what is made from records: built from the studies' own Configs and Results, in milliseconds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields
from functools import cache
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import numpy as np
from markupsafe import Markup

from groundglass.audit.findings import OF_NETWORK, Attempt, Check, Claim
from groundglass.core.schema import written
from groundglass.core.statistics import Proportion
from groundglass.report.drawing import Drawing, Folder
from groundglass.report.markdown import parts
from groundglass.results import Record, RecordStore, Run, cell_key
from groundglass.results.kinds import ATTACK, AUDIT, CHECK, CRAFT, QUERY, REDRAW, TRAIN, TRANSFER, Kind
from groundglass.results.kinds.audit import Timing
from groundglass.results.kinds.network import DeviceNote, Epoch, FeaturesNote

T = TypeVar("T")
CLASSES = ("cat", "dog", "ship")
RESULTS = Path(__file__).parents[1] / "docs" / "results"
_OPEN = Run.open
#: Where adversarial images were made.
MADE: dict[str, Any] = {
    "sources": ("VGG-16 source",),
    "rules": ("bp",),
    "attack": "TransferPGD",
    "norm": "linf",
    "eps": 0.02,
    "eps_paper": 0.04,
}


@cache
def committed(name: str) -> Run:
    """A run under docs/results, opened once for all tests of a process. None changes it."""
    return _OPEN(RESULTS / name)


def opened_once(folder: Path) -> Run:
    """In place of `Run.open`, where a test makes the tables of committed runs."""
    return committed(str(folder.relative_to(RESULTS)))


@cache
def parts_once() -> dict[str, Callable[[Run], Any]]:
    """In place of `markdown.parts`, beside `opened_once`: what makes the tables of a part makes those of a run once."""
    return {name: cache(make) for name, make in parts().items()}


class RunFolder:
    """A run folder that is filled by hand: each method adds a result and returns its key."""

    def __init__(self, folder: Path, study: str = "white-box", *, data: str = "cifar10", **manifest: Any) -> None:
        told = {
            "study": study,
            "recipe": "laptop",
            "data": data,
            "config": {"classes": list(CLASSES)},
            "seed": 0,
            "versions": {"python": "3.11"},
            "machine": {"processor": "a processor"},
            "started": "2026-01-01T00:00:00+00:00",
            **manifest,
        }
        self.folder = folder
        self.store = RecordStore.open(folder, told)

    def run(self) -> Run:
        """The run as a page reads it."""
        self.store.close()
        return Run.open(self.folder)

    def add(
        self,
        kind: Kind[Any, Any],
        name: str,
        config: Any,
        result: Any,
        *,
        inputs: Sequence[str] = (),
        arrays: Mapping[str, Any] | None = None,
        seconds: float = 1.0,
    ) -> str:
        """Any result, by its kind."""
        told = {**written(config), "#": len(self.store)}  # two of the same config are two
        key = cell_key(kind.name, told, list(inputs))
        record = Record(
            key=key,
            kind=kind.name,
            name=name,
            config=told,
            result=written(result),
            inputs=tuple(inputs),
            seconds=seconds,
            finished="2026-01-01T00:00:01+00:00",
            memory=10**9,
        )
        self.store.add(record, {k: np.asarray(v) for k, v in (arrays or {}).items()})
        return key

    def fill(
        self, kind: Kind[Any, Any], config: Mapping[str, Any], result: Mapping[str, Any], name: str = "", **more: Any
    ) -> str:
        """Any result of which only some fields matter: see `filled`. `more`: see `add`."""
        return self.add(kind, name or kind.name, filled(kind.config, **config), filled(kind.result, **result), **more)

    def network(
        self,
        name: str = "VGG-OPU",
        *,
        clean: float = 0.8,
        credit: str = "hybrid-dfa",
        size: tuple[int, int] = (512, 8000),
        simulation: str = "dense",
        device: Mapping[str, Any] | None = None,
        layer: bool | None = None,
        parts: int = 1,
        features: str = "",
        inputs: Sequence[str] = (),
        **config: Any,
    ) -> str:
        """A trained network. OPUs have a device of this N and M, unless `layer` says otherwise; `device` says how another one has
        one, or differs."""
        note: dict[str, Any] = {"in_features": size[0], "out_features": size[1], "bits": 8, "matrix": "complex"}
        note |= {"kind": simulation, "fingerprint": "f" * 64, **(device or {})}
        result = {
            "clean_accuracy": clean,
            "n_test": 1000,
            "parameters": 10**6,
            "device": DeviceNote(**note)
            if (("OPU" in name or device is not None) if layer is None else layer)
            else None,
            "parts": parts,
            "train_seconds": 3.0,
            "epochs": tuple(filled(Epoch, epoch=k, train_accuracy=0.3 * k, seconds=float(k)) for k in (1, 2)),
            "features": FeaturesNote(name=features, clean_accuracy=clean) if features else None,
        }
        settings = {"training": {"credit": credit, "epochs": 2}, "name": name, **config}
        return self.fill(TRAIN, settings, result, name, inputs=inputs)

    def attack(
        self,
        network: str,
        right: Sequence[bool],
        *,
        inputs: Sequence[str] = (),
        clean: Sequence[bool] | None = None,
        arrays: Mapping[str, Any] | None = None,
        **config: Any,
    ) -> str:
        """An attack by gradients: which images are right after it, and before it (all, if not said)."""
        after, before = np.asarray(right, bool), np.ones(len(right), bool) if clean is None else np.asarray(clean, bool)
        hit, ball = before & ~after, {"norm": "linf", "eps": 0.005, "eps_paper": 0.01}
        made = {"model": network, "rule": "bp", "attack": "PGD", "steps": 50, "n_images": len(after), **ball, **config}
        result = {
            "robust_accuracy": float((before & after).mean()),
            "n_images": len(after),
            "correct": int((before & after).sum()),
            "clean_correct": int(before.sum()),
            "gradients": 10 * len(after),
            "success_rate": float(hit.sum() / max(1, before.sum())),
            "median_norm": made["eps"],
        }
        each = {
            "index": np.arange(len(after)),
            "success": hit,
            "clean_correct": before,
            "norm": np.full(len(after), made["eps"], np.float32),
            "label": np.zeros(len(after), int),
            "prediction": np.where(hit, 1, 0),
            **(arrays or {}),
        }
        return self.fill(ATTACK, made, result, f"{network} <- {made['rule']}", inputs=inputs, arrays=each)

    def query(
        self,
        network: str,
        attack: str,
        queries: Sequence[int | None],
        *,
        inputs: Sequence[str] = (),
        clean: Sequence[bool] | None = None,
        flat_share: float | None = None,
        chosen: float | None = None,
        budget: int = 100,
        arrays: Mapping[str, Any] | None = None,
        **config: Any,
    ) -> str:
        """An attack by queries: for each image the queries after which it was fooled; None: it was not."""
        before = np.ones(len(queries), bool) if clean is None else np.asarray(clean, bool)
        hit = before & np.array([q is not None for q in queries])
        cost = np.array([budget if q is None else q for q in queries])
        made = {"model": network, "attack": attack, "access": "labels" if attack == "RayS" else "scores"}
        made |= {"norm": "linf", "eps": 8 / 256, "n_images": len(queries), "budget": budget, **config}
        result = {
            "n_images": len(queries),
            "clean_correct": int(before.sum()),
            "fooled": int(hit.sum()),
            "success_rate": float(hit.sum() / max(1, before.sum())),
            "success_at": ((budget, int(hit.sum())),),
            "mean_queries": float(cost[hit].mean()) if hit.any() else None,
            "median_queries": float(np.median(cost[hit])) if hit.any() else None,
            "loss_queries": int(cost[before].sum()),
            "flat_share": flat_share,
            "chosen": chosen,
        }
        each = {
            "index": np.arange(len(queries)),
            "success": hit,
            "clean_correct": before,
            "loss_queries": cost,
            "check_queries": np.zeros(len(queries), int),
            **(arrays or {}),
        }
        return self.fill(QUERY, made, result, f"{network} <- {attack}", inputs=inputs, arrays=each)

    def transfer(self, target: str, right: Sequence[bool], *, inputs: Sequence[str] = (), **config: Any) -> str:
        """Adversarial images tried on a target: which are still right there."""
        after = np.asarray(right, bool)
        made = {"target": target, "label": "PGD", "purpose": "transfer", **MADE, **config}
        result = {"n_images": len(after), "correct": int(after.sum()), "fooled_source": len(after)}
        arrays = {"index": np.arange(len(after)), "correct": after}
        return self.fill(TRANSFER, made, result, f"{target} <- {made['label']}", inputs=inputs, arrays=arrays)

    def craft(self, label: str = "PGD", *, fooled: int = 100, of: int = 100, gradients: int = 50, **config: Any) -> str:
        """Adversarial images, and how many of them fool the network that they were made on."""
        result = {"n_images": of, "fooled": fooled, "gradients": gradients * of}
        return self.fill(CRAFT, {"label": label, "purpose": "transfer", **MADE, **config}, result, label)

    def check(self, name: str = "a check", *, passed: bool = True) -> str:
        """A check of a study."""
        return self.fill(CHECK, {"check": name}, {"passed": passed, "expected": "as it should"}, name)

    def redraw(
        self, number: int, *, tuned: float = 0.8, of: str = "VGG-OPU", inputs: Sequence[str] = (), **result: Any
    ) -> str:
        """A redraw of a network's U. `result`: fields of the RedrawResult that are to be others."""
        told: dict[str, Any] = {
            "before": 0.81,
            "untuned": 0.1,
            "tuned": tuned,
            "features_cached": number > 1,
            "tune_seconds": 10.0,
            "draw_seconds": 0.5,
            "n_test": 10_000,
            "old_fingerprint": "9f" * 16,
            "fingerprint": f"{number}a" * 16,
            **result,
        }
        return self.fill(REDRAW, {"model": of, "redraw": number}, told, f"{of} redraw {number}", inputs=inputs)

    def audit(
        self,
        network: str,
        *,
        clean: int = 80,
        claimed: int = 30,
        worst: int = 0,
        of: int = 100,
        failed: Sequence[str] = (),
        skipped: Sequence[str] = (),
        first: int = 0,
        more: Sequence[Claim] = (),
        inputs: Sequence[str] = (),
        **config: Any,
    ) -> str:
        """An audit: images right before, under the claim's attacks and in the worst case; checks by how they ended.

        The images that nothing broke are those from number `first` on; `more` claims come after the first.
        """
        made = {"model": network, "norm": "linf", "eps": 0.025, "eps_paper": 0.05, "n_images": of, **config}
        ended = [("claim stands", "passed"), *((n, "failed") for n in failed), *((n, "skipped") for n in skipped)]
        base = {"name": "PGD, dfa", "role": "base", "tried": clean, "broke": clean - claimed, "fooled": clean - claimed}
        checks = tuple(Check(name=n, status=s, measured="", threshold="", source="") for n, s in ended)  # type: ignore[arg-type]
        of_claim = tuple(check for check in checks if check.name not in OF_NETWORK)
        claim = Claim(name="dfa-fresh+fa", by="the paper's attacks", figure=Proportion(claimed, of), checks=of_claim)
        result = {
            "ball": "L-inf 6.375/255",
            "clean": Proportion(clean, of),
            "worst": Proportion(worst, of),
            "claims": (claim, *more),
            "attempts": (filled(Attempt, **base),),
            "checks": tuple(check for check in checks if check.name in OF_NETWORK),
            "timing": Timing(seconds=1.0, attempts=(1.0,)),
        }
        ends = [-1] * worst + [1] * (claimed - worst) + [0] * (clean - claimed) + [-2] * (of - clean)
        arrays = {"broken_by": np.roll(ends, first)}
        return self.fill(AUDIT, made, result, f"audit of {network}", inputs=inputs, arrays=arrays)


def right(count: int, of: int = 100, *, first: int = 0) -> list[bool]:
    """`count` of so many images right, from image `first` on: two of these share what they overlap."""
    return [first <= i < first + count for i in range(of)]


def filled(schema: type[T], **given: Any) -> T:
    """A Config or Result with what is given; the rest is its default, or nothing: None, 0, "", False, ()."""
    hints = get_type_hints(schema)
    empty = [f.name for f in fields(schema) if f.name not in given and f.default is MISSING]  # type: ignore[arg-type]
    return schema(**{name: _nothing(hints[name]) for name in empty}, **given)


def _nothing(hint: Any) -> Any:
    origin = get_origin(hint)
    return (
        None if NoneType in get_args(hint) else {} if origin is not None and origin is not tuple else (origin or hint)()
    )


def undrawn(self: Folder, name: str, draw: Callable[[], Any], *, alt: str, caption: str) -> Drawing:
    """In place of `Folder.save`, where a test looks at the words of a page: its figures take longer than all else."""
    return Drawing(name, Markup(), alt, caption)


class Drawn(Folder):
    """Keeps figures instead of writing them; one is drawn when somebody looks at it, as that takes longer than all else."""

    def __init__(self) -> None:
        self._draw: list[Callable[[], Any]] = []

    @property
    def figures(self) -> list[Any]:
        return [draw() for draw in self._draw]

    def save(self, name: str, draw: Callable[[], Any], *, alt: str, caption: str) -> Drawing:
        self._draw.append(draw)
        return undrawn(self, name, draw, alt=alt, caption=caption)
