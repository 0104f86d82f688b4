"""Adversarial images on disk, audited when they are saved and when they are used."""

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from groundglass.attacks.access import GradientAccess, Model, open_access
from groundglass.attacks.balls import L2, Ball, Linf
from groundglass.attacks.norms import as_ball
from groundglass.attacks.tensors import Flags, Images, Labels
from groundglass.core import check_labels, pieces
from groundglass.core.files import check_place
from groundglass.core.schema import read
from groundglass.core.settings import Settings
from groundglass.core.states import CheckedFile
from groundglass.core.untrusted import damaged

TOLERANCE = 1e-6
_FILE = CheckedFile(
    "file of adversarial images",
    "groundglass_adversarial",
    "origin",
    "delete it, and make the images again",
    sealed=True,
)


@dataclass(frozen=True, kw_only=True)
class Origin(Settings):
    """What adversarial images were made from and how. Equal origins, equal images.

    Attributes:
        source: fingerprint or name of the network, or networks, that they were made on.
        attack: its settings, `repr(attack)`.
        ball: where they may be, pixel units.
        seed: of the attack.
    """

    source: str
    attack: str
    ball: Linf | L2
    seed: int


@dataclass(frozen=True)
class AdversarialSet:
    """Adversarial images, one row each, with what is claimed of them.

    Attributes:
        origin: how they were made.
        adversarial: float32, in [0, 1].
        labels: the true classes.
        claimed: whether this one should fool the source: an attack's `success`.
        indices: the number of each image in its set.
    """

    origin: Origin
    adversarial: Images
    labels: Labels
    claimed: Flags
    indices: Labels

    def __post_init__(self) -> None:
        lengths = {f.name: len(getattr(self, f.name)) for f in fields(self) if f.name != "origin"}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"one row an image in every field, not {lengths}")


def check_adversarial(
    images: Images,
    adversarial: Images,
    labels: Labels,
    ball: Ball,
    source: GradientAccess | Model,
    *,
    claimed: Flags | None = None,
    batch_size: int = 256,
) -> None:
    """Check adversarial images afresh: numbers, range, ball (in float64, to 1e-6 pixel units), and that they fool.

    Args:
        images: the originals, in the same order.
        source: the network that they were made on; asked once about each claimed image.
        claimed: which ones should fool the source; all if not given. An attack that ran on a copy of the model that is
            set up for speed needs `AttackResult.confirmed` first: it asks in the same batches, so that no claim depends
            on the last bit of a logit.

    Raises:
        ValueError: names the first check that fails, how many images fail it, and the first of them.
    """
    if adversarial.shape != images.shape:
        raise ValueError(f"audit, shape: {tuple(adversarial.shape)} for images {tuple(images.shape)}")
    source, ball = open_access(source, GradientAccess, "an audit of adversarial images"), as_ball(ball)
    check_labels(labels, count=len(images))
    labels = labels.long()
    claimed = torch.ones(len(images), dtype=torch.bool, device=images.device) if claimed is None else claimed
    if claimed.shape != labels.shape or claimed.dtype != torch.bool:
        raise ValueError(f"audit, claims: {claimed.dtype} {tuple(claimed.shape)}, not bool, one an image")
    flat = adversarial.flatten(1)
    _refuse("finite", ~torch.isfinite(flat).all(1), "has pixels that are NaN or infinite")
    outside = ((flat < -TOLERANCE) | (flat > 1 + TOLERANCE)).any(1)
    _refuse("range", outside, "has pixels outside [0, 1]")
    parts = list(zip(adversarial.split(batch_size), images.split(batch_size), strict=True))
    near = [ball.contains(x.double(), centre.double(), tolerance=TOLERANCE) for x, centre in parts]
    _refuse("ball", ~torch.cat(near), f"is outside {ball!r} by more than {TOLERANCE:g}")
    resists = torch.zeros_like(claimed)
    for rows in pieces(claimed.nonzero().squeeze(1), batch_size):
        resists[rows] = ~source.wrong(adversarial[rows], labels[rows])
    _refuse("source", resists, "should fool the source, and does not (was it made on another network?)")


def save_adversarial(path: Path | str, found: AdversarialSet, images: Images, source: GradientAccess | Model) -> None:
    """Audit, then write one safetensors file, atomically. An audit that fails writes nothing.

    Args:
        images: the originals of `found`, in its order.
        source: the network that `found` was made on.

    Raises:
        ValueError: the audit failed.
        DiskFullError: a file that was there before is untouched.
        OSError: nothing can be written there; raised before the source is asked.
    """
    check_place(Path(path))
    check_adversarial(images, found.adversarial, found.labels, found.origin.ball, source, claimed=found.claimed)
    tensors = {name: getattr(found, name) for name in _TENSORS}
    _FILE.save(path, tensors, json.dumps(_plain(found.origin), sort_keys=True))


def load_adversarial(
    path: Path | str,
    images: Images,
    labels: Labels,
    source: GradientAccess | Model,
    *,
    origin: Origin | None = None,
    indices: Labels | None = None,
) -> AdversarialSet:
    """Read what `save_adversarial` wrote, on the device of `images`, and audit it.

    Args:
        images, labels: the originals, in the order in which they were attacked.
        source: the network that they were made on.
        origin: how its images must have been made; any way if not given.
        indices: which images of the set it must hold, in this order; any if not given.

    Raises:
        FileNotFoundError: there is no such file.
        DamagedFileError: truncated, altered, or not such a file.
        ValueError: another origin, other images or labels (names the first difference), or the audit failed.
    """
    found = _read(path)
    _compare(path, found, origin, labels, indices)
    found = AdversarialSet(found.origin, *(getattr(found, name).to(images.device) for name in _TENSORS))
    try:
        check_adversarial(images, found.adversarial, found.labels, found.origin.ball, source, claimed=found.claimed)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return found


_TENSORS = {
    "adversarial": (torch.float32, 4),
    "labels": (torch.int64, 1),
    "claimed": (torch.bool, 1),
    "indices": (torch.int64, 1),
}


@dataclass(frozen=True, kw_only=True)
class _Plain:
    """An origin as the file holds it; `eps` is a number, or one for each channel."""

    source: str
    attack: str
    ball: Literal["Linf", "L2"]
    eps: Any
    seed: int


def _compare(
    path: Path | str, found: AdversarialSet, origin: Origin | None, labels: Tensor, indices: Tensor | None
) -> None:
    """Refuse a file that is whole, but holds other images."""
    if origin is not None:
        stored, asked = _plain(found.origin), _plain(origin)
        for field in stored:
            if stored[field] != asked[field]:
                raise ValueError(
                    f"{path} is of another origin: {field} was {stored[field]!r}, is {asked[field]!r}. "
                    "Use the same settings, or make the images again"
                )
    for what, own, wanted in (("labels", found.labels, labels), ("indices", found.indices, indices)):
        if wanted is not None and not torch.equal(own, wanted.cpu().to(own.dtype)):
            raise ValueError(f"{path} holds other images: its {what} are not the given ones, or are in another order")


def _read(path: Path | str) -> AdversarialSet:
    tensors, plain = _FILE.load(path)
    told = read(_Plain, plain, f"the origin of {path}")
    eps: Any = tuple(told.eps) if isinstance(told.eps, list) else told.eps
    with damaged(str(path), _FILE.again):
        ball = L2(eps) if told.ball == "L2" else Linf(eps)
        origin = Origin(source=told.source, attack=told.attack, ball=ball, seed=told.seed)
        for name, (dtype, ndim) in _TENSORS.items():
            if tensors[name].dtype != dtype or tensors[name].ndim != ndim:
                raise ValueError(f"`{name}` is {tensors[name].dtype} {tuple(tensors[name].shape)}")
        return AdversarialSet(origin, **{name: tensors[name] for name in _TENSORS})


def _plain(origin: Origin) -> dict[str, Any]:
    """As it is in the file: JSON's own types, so that what was read and what was given compare equal."""
    ball = origin.ball
    eps = list(ball.eps) if isinstance(ball.eps, tuple) else ball.eps
    return {
        "source": origin.source,
        "attack": origin.attack,
        "ball": type(ball).__name__,
        "eps": eps,
        "seed": origin.seed,
    }


def _refuse(check: str, bad: Flags, what: str) -> None:
    if bool(bad.any()):
        rows = bad.nonzero().squeeze(1)
        raise ValueError(f"audit, {check}: image {int(rows[0])} {what}; {len(rows)} of {len(bad)} fail")
