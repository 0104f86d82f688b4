"""What tests of studies share: settings of a second, and a look into a run folder."""

from typing import Any

import pytest
from torch import nn

from groundglass.audit import AuditConfig
from groundglass.data import Dataset
from groundglass.models import load_model
from groundglass.optics import DeviceStore
from groundglass.results import Record, RecordStore
from groundglass.studies import RECIPES, Recipe, run_study
from groundglass.studies import run as run_module
from groundglass.training import TrainingConfig

DEVICE_SEED = 31415926535897


def targets(data: str, seed: int, precision: Any, *, epochs: int = 6) -> dict[str, Any]:
    """Two small networks that tell `pictures` apart.

    They do so from any seed, and so on machines that round otherwise: of 6 seeds every one ends with all 60 test
    images right. With 3 epochs at twice the rate one in six is left below 60%.
    """
    training = TrainingConfig(epochs=epochs, batch_size=20, learning_rate=0.03, precision=precision)
    return {
        "data": data,
        "width": 0.05,
        "device_in": 48,
        "device_out": 96,
        "baseline": training,
        "hybrid": training,
        "seed": seed,
        "audit_images": 24,
        "audit": AuditConfig(steps=4, queries=10, query_images=4, probes=12, fit_images=40),
    }


def enter(patch: pytest.MonkeyPatch, study: str, make: Any, plan: Any, data: Dataset) -> None:
    """Have a study with the recipe "tiny", on `data` whatever is asked for."""
    patch.setitem(RECIPES, (study, "tiny"), Recipe(study, "tiny", ("shapes",), "", "", make, plan))
    patch.setattr(run_module, "load", lambda name, data_dir=None: data)


def run(study: str, folder: Any, **changes: Any) -> int:
    return run_study(study, "tiny", folder, **{"device_seed": DEVICE_SEED, "precision": "float32", **changes})


def records(folder: Any, kind: str) -> list[Record]:
    return [r for r in RecordStore.read(folder).records if r.kind == kind]


def network(folder: Any, name: str) -> nn.Module:
    """A network of the folder by its name, trained or redrawn."""
    (record,) = (r for kind in ("train", "redraw", "randomise") for r in records(folder, kind) if r.name == name)
    return load_model(folder / record.result["checkpoint"], find_device=DeviceStore(folder / "devices").find)


def results(folder: Any) -> dict[str, dict[str, Any]]:
    """All results by key, without times, which no seed decides."""
    timed = {"train_seconds", "images_per_second", "epochs", "feature_seconds", "draw_seconds", "tune_seconds"}
    timed |= {"timing", "forwards_per_second", "model_share", "measure_seconds", "compute_seconds", "threads"}
    return {r.key: {k: v for k, v in r.result.items() if k not in timed} for r in RecordStore.read(folder).records}


class Stop:
    """A listener that interrupts the run at the first cell with `at` in its name."""

    def __init__(self, at: str) -> None:
        self._at = at

    def note(self, text: str) -> None:
        pass

    def announce(self, text: str) -> None:
        if self._at in text:
            raise KeyboardInterrupt

    def finished(self, name: str, said: str, seconds: float) -> None:
        pass
