"""What hardening a network was worth: the same audit before and after."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from groundglass.audit import AuditConfig
from groundglass.core import Progress, refuse_existing, silent
from groundglass.core.accelerator import Device
from groundglass.core.statistics import Difference, differs
from groundglass.data import Dataset
from groundglass.optics import RemoteOPU
from groundglass.results import RecordStore
from groundglass.results.kinds import AUDIT
from groundglass.results.kinds.audit import AuditResult
from groundglass.studies.audit_model import audit_model, check_ball
from groundglass.studies.hardened import Hardened

#: In the folder of the audits: what the hardening found, so that an interrupted command goes on with it.
KEPT = "hardening.safetensors"
_NAMES = ("before", "after")


@dataclass(frozen=True)
class Judged:
    """The audits of a network as it was and hardened, on the same images, and the paired test of their worst cases."""

    before: AuditResult
    after: AuditResult
    worst: Difference | None


def fitting(
    folder: Path, norm: Literal["linf", "l2"] = "linf", eps: str | None = None, images: int = 500
) -> Callable[[Dataset], None]:
    """What refuses data that `audit_both` could not be done on, or folders that are there; `harden_model` calls it beforehand.

    Raises:
        ValueError: the radius is none, or L2 is given none.
    """
    ball = check_ball(norm, eps)

    def check(dataset: Dataset) -> None:
        ball.check(dataset.test.head(1).floats())
        if not 0 < images <= len(dataset.test):
            raise ValueError(
                f"--images (={images}) must be in 1..{len(dataset.test)}, the test images of {dataset.name}"
            )
        for name in () if (folder / KEPT).exists() else _NAMES:
            refuse_existing(folder / name)

    return check


def audit_both(
    done: Hardened,
    folder: Path,
    *,
    data: str,
    norm: Literal["linf", "l2"] = "linf",
    eps: str | None = None,
    images: int = 500,
    config: AuditConfig | None = None,
    optical_device: RemoteOPU | None = None,
    device: Device = "auto",
    data_dir: Path | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Judged:
    """Audit a network as it was and hardened, into `folder`/before and `folder`/after, see `audit_model`.

    Raises:
        ValueError, OSError: as `audit_model`.
    """
    shared: dict[str, Any] = {"data": data, "norm": norm, "eps": eps, "images": images, "config": config}
    shared |= {
        "trained_on": done.trained_on,
        "device": device,
        "data_dir": data_dir,
        "seed": seed,
        "progress": progress,
    }
    places = [folder / name for name in _NAMES]
    audit_model(out=places[0], **vars(done.source), **shared)
    with_it: dict[str, Any] = {"device_file": done.device, "optical_device": optical_device}
    audit_model(out=places[1], **vars(done.hardened), **with_it, **shared)
    stores = [RecordStore.read(place) for place in places]
    records = [store.records[0] for store in stores]
    arrays = [store.arrays(record) for store, record in zip(stores, records, strict=True)]
    before, after = map(AUDIT.result_of, records)
    one, other = (dict(enumerate((each["broken_by"] == -1).tolist())) for each in arrays)
    return Judged(before, after, differs(one, other))
