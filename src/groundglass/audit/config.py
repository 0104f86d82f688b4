"""How much an audit tries."""

from dataclasses import dataclass
from typing import Annotated

from groundglass.core.names import lookup
from groundglass.core.schema import left_out
from groundglass.core.settings import Count, In, Settings


class NothingToAuditError(ValueError):
    """The model gets no image right."""


@dataclass(frozen=True, kw_only=True)
class AuditConfig(Settings):
    """How much an audit tries; the defaults are those of `QUICK`.

    Attributes:
        steps: of PGD and of APGD; at least 2.
        queries: an image, of the attacks that only ask.
        query_images: attacked by them, of those that stand after every gradient, and an eighth as many by labels alone with
            at most 1,000 queries; all with all queries, where that breaks more than a few.
        probes: images for the checks that need few.
        fit_images: natural images that a surrogate may see; it stops where more explain no more.
        samples: passes that expectation over transformation averages over, for a model whose answers differ.
        targets: the most likely other classes that APGD aims at, one by one.
        restarts: runs of APGD from random starts, for each target.
        draws: of everything that an attacker of an optical layer draws (B, W), the first included: one draw is luck.
        labels: public labelled images that an attacker fits a head of its own to, of an optical network.
    """

    steps: Annotated[int, In("[2, inf)")] = 50
    queries: Count = 1000
    query_images: Count = 200
    probes: Count = 32
    fit_images: Count = 8000
    samples: Count = 8
    # Left out of a record at these values, which are those of records that are older than they.
    targets: Count = left_out(2)
    restarts: Count = left_out(1)
    draws: Count = left_out(5)
    labels: Count = left_out(1000)

    @staticmethod
    def preset(name: str) -> "AuditConfig":
        """`QUICK` or `STANDARD` by its name; an unknown one is refused with the nearest."""
        found: AuditConfig = lookup("preset", name, PRESETS)
        return found


#: Seconds to a minute for a small network. The attacks on what stands are fewer than AutoAttack's.
QUICK = AuditConfig()
#: The sizes of AutoAttack's "standard" (Croce and Hein 2020): APGD of 100 steps on cross-entropy and towards nine classes, and
#: Square with 5,000 queries on all that stands. In place of FAB it has APGD on the DLR loss, and each of these from two
#: random starts: benchmarks/audit_autoattack.py compares the two.
STANDARD = AuditConfig(
    steps=100, queries=5000, query_images=1_000_000, samples=16, targets=9, restarts=2, draws=20, fit_images=20_000
)
PRESETS = {"quick": QUICK, "standard": STANDARD}
