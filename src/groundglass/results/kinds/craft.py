"""Adversarial images that are made on some networks and tried on others."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from groundglass.core.statistics import Proportion
from groundglass.results.kinds.attack import BallConfig
from groundglass.results.kinds.base import Kind, column, counted_of, derives, length_of


@dataclass(frozen=True, kw_only=True)
class CommonConfig:
    """The images that all these networks get right, of the first `n_images`."""

    models: tuple[str, ...]
    n_images: int
    confirmations: int = column("answers of each network, most of which must be right", default=1, left_out=True)

    @derives("how many must get an image right")
    def networks(self) -> int:
        return len(self.models)


@dataclass(frozen=True, kw_only=True)
class CommonResult:
    """How many, and how many each network gets right (name, images)."""

    n_images: int = column("test images looked at")
    common: int = column("of them, right on all networks")
    right: tuple[tuple[str, int], ...]


@dataclass(frozen=True, kw_only=True)
class MadeConfig(BallConfig):
    """Where adversarial images were made: on `sources`, each differentiated by one of `rules`."""

    label: str = column("label of the attacker", "attacker")
    sources: tuple[str, ...]
    rules: tuple[str, ...]
    attack: str = column("the attack")
    purpose: str = column("of which study")

    @derives("networks that the images were made on", "sources")
    def made_on(self) -> str:
        return " + ".join(self.sources)

    @derives("what each was differentiated with", "rules")
    def made_by(self) -> str:
        return " + ".join(self.rules)


@dataclass(frozen=True, kw_only=True)
class CraftConfig(MadeConfig):
    """The making of adversarial images."""

    settings: Mapping[str, Any]
    budget: int | None
    fit_images: int | None
    seed: int


@dataclass(frozen=True, kw_only=True)
class CraftResult:
    """Images that fool their sources, what that took, and the file that has them."""

    n_images: int = column("images")
    fooled: int
    unconfirmed: int
    gradients: int
    queries: int
    median_norm: float | None
    file: str
    right: int | None = column(
        "of them, right on the source before the attack; none where not counted",
        "right_before",
        default=None,
        left_out=True,
    )

    @derives("share that fools the networks they were made on", "fooled_source")
    def success(self) -> Proportion:
        return Proportion(self.fooled, self.n_images)

    @derives("forward and backward passes")
    def gradients_per_image(self) -> float:
        return self.gradients / self.n_images

    @derives("images through the source")
    def queries_per_image(self) -> float:
        return self.queries / self.n_images


@dataclass(frozen=True, kw_only=True)
class TransferConfig(MadeConfig):
    """Such images, tried on a target."""

    target: str = column("the target", "network")
    confirmations: int = column("answers of the target, most of which must be right", default=1, left_out=True)


@dataclass(frozen=True, kw_only=True)
class TransferResult:
    """What they left there."""

    n_images: int = column("images that all networks classify correctly")
    correct: int = column("still right on the target")
    fooled_source: int = column("images that fool their source")
    also_fooled: int = column("of them, those that fool the target too")

    @derives("`correct` of `n_images`", "accuracy_under_attack")
    def robust(self) -> Proportion:
        return Proportion(self.correct, self.n_images)


#: Images that all networks get right: `CommonConfig`, `CommonResult`.
COMMON = Kind(
    "common",
    CommonConfig,
    CommonResult,
    "common_sets",
    lambda r: f"{r.common} of {r.n_images} images",
    holds={
        "each network gets right at least the common images, and at most all": lambda r: all(
            r.common <= right <= r.n_images for _, right in r.right
        )
    },
    counts={"images": (length_of("index"), lambda r: r.common)},
)
#: The making of adversarial images: `CraftConfig`, `CraftResult`.
CRAFT = Kind(
    "craft",
    CraftConfig,
    CraftResult,
    "crafted",
    lambda r: f"{r.fooled} of {r.n_images} fooled",
    files=("file",),
    holds={
        "fooled <= n_images, and 1 <= n_images": lambda r: r.fooled <= r.n_images and r.n_images >= 1,
        "fooled <= right <= n_images": lambda r: r.right is None or r.fooled <= r.right <= r.n_images,
    },
    counts={
        "images": (length_of("success"), lambda r: r.n_images),
        "images that fool": (counted_of("success"), lambda r: r.fooled),
    },
)
#: Such images, tried on a target: `TransferConfig`, `TransferResult`.
TRANSFER = Kind(
    "transfer",
    TransferConfig,
    TransferResult,
    "transfers",
    lambda r: f"accuracy under attack {r.correct / r.n_images:.1%}",
    holds={
        "correct <= n_images, and 1 <= n_images": lambda r: r.correct <= r.n_images and r.n_images >= 1,
        "also_fooled <= fooled_source <= n_images": lambda r: r.also_fooled <= r.fooled_source <= r.n_images,
        "also_fooled <= n_images - correct": lambda r: r.also_fooled <= r.n_images - r.correct,
    },
    counts={
        "images": (length_of("correct"), lambda r: r.n_images),
        "images right": (counted_of("correct"), lambda r: r.correct),
        "images that fool their source": (counted_of("fooled_source"), lambda r: r.fooled_source),
    },
)
