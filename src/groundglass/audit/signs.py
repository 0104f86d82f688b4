"""What checks share: what was measured for them, their limits, and how a `Check` is made."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor

from groundglass.audit.findings import Attempt, Check, Status
from groundglass.audit.ledger import Ledger
from groundglass.audit.probes import Answers, Climb
from groundglass.core.text import listed

ATHALYE = "Athalye, Carlini, Wagner 2018, section 3.1"
CARLINI = "Carlini et al. 2019, section 5"
TRAMER = "Tramèr et al. 2020"
OURS = "measured on networks with known answers (tests of the audit)"

# Chance and rounding move so many images.
FEW = 0.01
# What is weaker by rights may break so much more: PGD is not the optimum.
SLACK = 0.02
# What an honest claim by PGD loses to stronger attacks: 1 to 5 points in the field's leaderboards.
STRONGER = 0.05

T = TypeVar("T")
#: Whether a check passed (None: it could not be run), and what was measured, or why not.
Measured = tuple[bool | None, str]


@dataclass
class Findings:
    """What an audit measured of the network, beside its attacks.

    Attributes:
        skipped: what could not be tried, and why.
        unneeded: gradients for which no image was left.
        answers: see `probes.answers`.
        flat, probed: share of images around which the loss does not move, of so many.
        dead: by gradient, the share of images where it is zero or not there.
        agreement: by gradient, its cosine with finite differences.
        before_queries: which images every gradient has left. [n]
    """

    skipped: dict[str, str] = field(default_factory=dict)
    unneeded: list[str] = field(default_factory=list)
    answers: Answers | None = None
    flat: float = 0.0
    probed: int = 0
    dead: dict[str, float] = field(default_factory=dict)
    agreement: dict[str, float] = field(default_factory=dict)
    before_queries: Tensor | None = None


@dataclass
class Evidence:
    """What an audit measured of a claim.

    Attributes:
        stated: the figure that somebody gave.
        gradients: names of those that it is made with; none for a stated figure and for an attack that was brought.
        left: which images its attacks leave, of those that are right. [n]; of a stated figure, all that are right.
        own: places of the attempts that it is made of.
        controls: places of those that should be weaker than it.
        invalid: why its attack does not count.
        zeros: share of its gradients that were zero.
        unbounded, unbounded_of: images that it leaves without a bound, of so many.
        at_once, at_twice, twice_of: images that it leaves at the radius and at twice that, of so many.
        works: gradients that find what must be there: without a bound they fool all but a few images.
        standing, broken: see `probes.climb`, on images that it leaves and on others.
    """

    stated: float | None
    gradients: tuple[str, ...]
    left: Tensor
    own: tuple[int, ...] = ()
    controls: tuple[int, ...] = ()
    invalid: str = ""
    zeros: float = 0.0
    unbounded: int = 0
    unbounded_of: int = 0
    works: tuple[str, ...] = ()
    at_once: int = 0
    at_twice: int = 0
    twice_of: int = 0
    standing: Climb | None = None
    broken: Climb | None = None


def few(share: float, of: int, limit: float) -> bool:
    """Whether a share of so many images is within the limit, or one image, which may be chance."""
    return share <= max(limit, 1 / max(1, of)) + 1e-9


def limit(ledger: Ledger, share: float) -> float:
    """The larger of a share and two images."""
    return max(share, 2 / len(ledger.images))


def broken(ledger: Ledger, left: Tensor, places: Sequence[int]) -> float:
    """Of all images, the share that these attempts broke among those that are left."""
    by = torch.isin(ledger.broken_by, torch.tensor(list(places), dtype=torch.int64, device="cpu"))
    return ledger.share(int((by & left).sum()))


def told(attempts: Sequence[Attempt]) -> str:
    """What attempts broke, in words."""
    each = [f"{a.name}{_fit(a)} broke {a.broke} of {a.tried}" for a in attempts if a.tried and not a.invalid]
    return listed(each) if each else "no image was left"


def _fit(attempt: Attempt) -> str:
    return f" (fitted on {attempt.fit['n_images']:,} natural images)" if attempt.fit else ""


def made(name: str, measured: Measured, threshold: str, source: str, failed: str, to_run: str = "") -> Check:
    """A check with its outcome.

    Args:
        failed, to_run: what to try next where it failed, and where it could not be run.
    """
    passed, found = measured
    status: Status = "skipped" if passed is None else "passed" if passed else "failed"
    advice = {"skipped": to_run, "passed": "", "failed": failed}[status]
    return Check(name=name, status=status, measured=found, threshold=threshold, source=source, advice=advice)


#: The checks of a kind: name, what is measured, what is expected, and where the check is from.
Listed = tuple[tuple[str, Callable[..., Measured], str, str], ...]
