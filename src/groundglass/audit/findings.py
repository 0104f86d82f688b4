"""What an audit finds, in plain facts: attempts, checks, and the verdict that they give. Imports no torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from groundglass.core.schema import left_out
from groundglass.core.statistics import Proportion

MASKING = "likely gradient masking"
CLEAR = "no sign of masking"
#: The claim's own attack leaves no image right: there is no figure to disbelieve.
NOTHING = "no robustness claimed"

Status = Literal["passed", "failed", "skipped"]


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One attack on the images that the attacks before it left.

    Attributes:
        name: "PGD, dfa".
        attack, mode: of it.
        role: "claim", "control" (must not beat the claim), "adaptive", "stronger" (same gradient, more effort),
            "queries", "transfer" or "given".
        tried: images it was tried on.
        broke: of them.
        gradients: images that went forward and backward.
        forwards: images that went forward only.
        seconds: wall time; a record keeps it apart from what the seed decides.
        zero_gradient_share: of its gradients.
        fit: what a fitted gradient took and reached.
    """

    name: str
    attack: str
    mode: str
    role: str
    tried: int
    broke: int
    gradients: int
    forwards: int
    seconds: float = left_out(0.0)
    zero_gradient_share: float = 0.0
    fit: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Check:
    """A sign of a claim that is not true, looked for.

    Attributes:
        name: in a few words.
        status: "skipped" is not a pass: the reason is in `measured`.
        measured: what was found.
        threshold: what a claim that can be believed shows.
        source: where the check is from.
        advice: what to try next; empty when it passed.
    """

    name: str
    status: Status
    measured: str
    threshold: str
    source: str
    advice: str = ""


def judged(claimed: Proportion, checks: Sequence[Check]) -> str:
    """The verdict: `NOTHING` over a claim of 0%, else `MASKING` where a check failed, else `CLEAR`."""
    if not claimed.count:
        return NOTHING
    return MASKING if any(check.status == "failed" for check in checks) else CLEAR
