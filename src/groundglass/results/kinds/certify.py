"""Certificates of a network that is smoothed with noise, each checked by an attack."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from groundglass.core.statistics import Proportion
from groundglass.results.kinds.base import Kind, column, counted_of, derives, length_of


@dataclass(frozen=True, kw_only=True)
class CertifyConfig:
    """How a network is smoothed, and the attack, with all its `settings`, that each certificate is checked by.

    Radii are L2. The first of `radii` is that of the frame; `control`: in certified radii.
    """

    model: str = column("name of the certified network", "network")
    sigma: float = column("std of the noise, of images in [0, 1]")
    n0: int
    n: int = column("draws that estimate a certificate", "draws")
    alpha: float = column("how often a certificate may be wrong")
    n_images: int
    radii: tuple[float, ...]
    rule: str = column("what the attacker differentiates with; see `groundglass.adaptive.attackers`")
    attack: str = column("that checks the certificates")
    settings: Mapping[str, Any]
    attack_draws: int = column("noisy copies whose mean the attack climbs")
    judge_draws: int
    control: float = column("radius of the attack's own control, in certified radii", "control_radius")
    seed: int


@dataclass(frozen=True, kw_only=True)
class CertifyResult:
    """What was certified, and which certificates an attack has broken.

    Attributes:
        right: images whose class under noise is right and certain.
        certified: (radius, images that are right with a certificate of that radius or more), in the order of the radii.
        attacked: certified images that were attacked in a ball just smaller than their own certificate's: all but the few whose
            class the mean of `attack_draws` draws does not show.
        broken: of them those that were given another class for certain: there may be none.
        outside: of them those that were given one by the same attack within `control` times the radius. Where there are none the
            attack is too weak to check anything.
        frames: that a device was asked for, of all draws, attacks and judgements; 0 without a device.
    """

    n_images: int = column("the first of the test set")
    right: Proportion
    abstained: int = column("images without a certificate")
    certified: tuple[tuple[float, Proportion], ...]
    mean_radius: float = column("of right images, others count 0", "average_certified_radius")
    attacked: int = column("certified images that were attacked within their own radius")
    broken: int = column("certificates that the attack has broken")
    outside: int = column("images that the same attack has broken at the control's radius")
    frames: int = column("that the device was asked for")

    def at(self, radius: float) -> Proportion | None:
        """Certified accuracy at an L2 radius; None where that was not asked for."""
        return next((share for each, share in self.certified if abs(each - radius) < 1e-9), None)

    @derives("share right under noise, without abstention", "smoothed_accuracy")
    def accuracy(self) -> Proportion:
        return self.right

    @derives("L2, of `certified_accuracy`")
    def certified_radius(self) -> float | None:
        return self.certified[0][0] if self.certified else None

    @derives("share right with a certificate of `certified_radius` or more")
    def certified_accuracy(self) -> Proportion | None:
        return self.certified[0][1] if self.certified else None


def _falls(r: CertifyResult) -> bool:
    shares = [r.right, *(share for _, share in sorted(r.certified, key=lambda one: one[0]))]
    return all(a.count >= b.count and a.total == b.total == r.n_images for a, b in pairwise(shares))


#: Certificates of a smoothed network, each attacked: `CertifyConfig`, `CertifyResult`.
CERTIFY = Kind(
    "certify",
    CertifyConfig,
    CertifyResult,
    "certificates",
    lambda r: ", ".join(
        (
            *(f"certified at L2 {radius:g}: {share.share:.1%}" for radius, share in r.certified[:1]),
            f"{r.broken} of {r.attacked} certificates broken",
        )
    ),
    holds={
        "1 <= n_images": lambda r: r.n_images >= 1,
        "right and abstained images are n_images or fewer": lambda r: r.right.count + r.abstained <= r.n_images,
        "certified accuracy falls with the radius": _falls,
        "broken <= attacked <= certified": lambda r: r.broken <= r.attacked <= r.n_images - r.abstained,
        "outside <= attacked": lambda r: r.outside <= r.attacked,
    },
    counts={
        "images": (length_of("prediction"), lambda r: r.n_images),
        "images that are right": (lambda a: int((a["prediction"] == a["label"]).sum()), lambda r: r.right.count),
        "images without a certificate": (lambda a: int((a["prediction"] < 0).sum()), lambda r: r.abstained),
        "images that were attacked": (counted_of("attacked"), lambda r: r.attacked),
        "certificates that were broken": (counted_of("broken"), lambda r: r.broken),
        "images that the control has broken": (counted_of("outside"), lambda r: r.outside),
    },
)
