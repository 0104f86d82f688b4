"""How much an audit tries."""

from dataclasses import dataclass
from typing import Annotated

from groundglass.core.settings import Count, In, Settings


class NothingToAuditError(ValueError):
    """The model gets no image right."""


@dataclass(frozen=True, kw_only=True)
class AuditConfig(Settings):
    """How much an audit tries.

    Attributes:
        steps: of PGD and of APGD; at least 2.
        queries: an image, of the attacks that only ask.
        query_images: attacked by them, of those that stand after every gradient, and an eighth as many by labels alone;
            all, where that breaks more than a few.
        probes: images for the checks that need few.
        fit_images: natural images that a surrogate may see; it stops where more explain no more.
        samples: passes that expectation over transformation averages over, for a model whose answers differ.
    """

    steps: Annotated[int, In("[2, inf)")] = 50
    queries: Count = 1000
    query_images: Count = 200
    probes: Count = 32
    fit_images: Count = 8000
    samples: Count = 8
