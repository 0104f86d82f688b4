"""Adversarial images that are made on some networks and tried on others."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from groundglass.core.statistics import Proportion
from groundglass.results.kinds.base import Column, Kind, share_columns


@dataclass(frozen=True, kw_only=True)
class CommonConfig:
    """The images that all these networks get right, of the first `n_images`."""

    models: tuple[str, ...]
    n_images: int


@dataclass(frozen=True, kw_only=True)
class CommonResult:
    """How many, and how many each network gets right (name, images)."""

    n_images: int
    common: int
    right: tuple[tuple[str, int], ...]


@dataclass(frozen=True, kw_only=True)
class CraftConfig:
    """Adversarial images made on `sources`, each differentiated by one of `rules`; `label` names the attacker."""

    label: str
    sources: tuple[str, ...]
    rules: tuple[str, ...]
    attack: str
    settings: Mapping[str, Any]
    norm: str
    eps: float
    eps_per_channel: tuple[float, ...] | None
    eps_paper: float | None
    budget: int | None
    fit_images: int | None
    seed: int
    purpose: str


@dataclass(frozen=True, kw_only=True)
class CraftResult:
    """Images that fool their sources, what that took, and the file that has them."""

    n_images: int
    fooled: int
    unconfirmed: int
    gradients: int
    queries: int
    median_norm: float | None
    file: str


@dataclass(frozen=True, kw_only=True)
class TransferConfig:
    """The images of a `CraftConfig`, tried on `target`."""

    target: str
    label: str
    sources: tuple[str, ...]
    rules: tuple[str, ...]
    attack: str
    norm: str
    eps: float
    eps_per_channel: tuple[float, ...] | None
    eps_paper: float | None
    purpose: str


@dataclass(frozen=True, kw_only=True)
class TransferResult:
    """Images still right on the target; and of those that fool their source, those that fool the target too."""

    n_images: int
    correct: int
    fooled_source: int
    also_fooled: int

    @property
    def robust(self) -> Proportion:
        """Accuracy under the transferred attack."""
        return Proportion(self.correct, self.n_images)


COMMON: Kind[CommonConfig, CommonResult] = Kind(
    "common",
    CommonConfig,
    CommonResult,
    "common_sets",
    {
        "networks": Column("how many must get an image right", lambda e: len(e.config.models)),
        "n_images": Column("test images looked at", lambda e: e.result.n_images),
        "common": Column("of them, right on all networks", lambda e: e.result.common),
    },
    line=lambda r: f"{r.common} of {r.n_images} images",
)
CRAFT: Kind[CraftConfig, CraftResult] = Kind(
    "craft",
    CraftConfig,
    CraftResult,
    "crafted",
    {
        "attacker": Column("label of the attacker", lambda e: e.config.label),
        "sources": Column("networks that the images were made on", lambda e: " + ".join(e.config.sources)),
        "rules": Column("what each was differentiated with", lambda e: " + ".join(e.config.rules)),
        "attack": Column("the attack", lambda e: e.config.attack),
        "norm": Column("linf", lambda e: e.config.norm),
        "radius": Column("of the ball, of images in [0, 1]", lambda e: round(e.config.eps, 9)),
        "radius_paper": Column("the same on the paper's axis", lambda e: e.config.eps_paper),
        "purpose": Column("of which study", lambda e: e.config.purpose),
        "n_images": Column("images", lambda e: e.result.n_images),
        **share_columns(
            "fooled_source",
            "share that fools the networks they were made on",
            lambda e: Proportion(e.result.fooled, e.result.n_images),
        ),
        "gradients_per_image": Column("forward and backward passes", lambda e: e.result.gradients / e.result.n_images),
        "queries_per_image": Column("images through the source", lambda e: e.result.queries / e.result.n_images),
    },
    line=lambda r: f"{r.fooled} of {r.n_images} fooled",
)
TRANSFER: Kind[TransferConfig, TransferResult] = Kind(
    "transfer",
    TransferConfig,
    TransferResult,
    "transfers",
    {
        "network": Column("the target", lambda e: e.config.target),
        "attacker": Column("label of the attacker", lambda e: e.config.label),
        "sources": Column("networks that the images were made on", lambda e: " + ".join(e.config.sources)),
        "rules": Column("what each was differentiated with", lambda e: " + ".join(e.config.rules)),
        "norm": Column("linf", lambda e: e.config.norm),
        "radius": Column("of the ball, of images in [0, 1]", lambda e: round(e.config.eps, 9)),
        "radius_paper": Column("the same on the paper's axis", lambda e: e.config.eps_paper),
        "per_channel": Column("the box differs by channel", lambda e: e.config.eps_per_channel is not None),
        "purpose": Column("of which study", lambda e: e.config.purpose),
        "n_images": Column("images that all networks get right untouched", lambda e: e.result.n_images),
        "correct": Column("still right on the target", lambda e: e.result.correct),
        **share_columns("accuracy_under_attack", "`correct` of `n_images`", lambda e: e.result.robust),
        "fooled_source": Column("images that fool their source", lambda e: e.result.fooled_source),
        "also_fooled": Column("of them, those that fool the target too", lambda e: e.result.also_fooled),
    },
    line=lambda r: f"accuracy under attack {r.correct / r.n_images:.1%}",
)
