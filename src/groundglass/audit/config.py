"""How much an audit tries."""

from dataclasses import dataclass


class NothingToAuditError(ValueError):
    """The model gets no image right."""


@dataclass(frozen=True, kw_only=True)
class AuditConfig:
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

    steps: int = 50
    queries: int = 1000
    query_images: int = 200
    probes: int = 32
    fit_images: int = 8000
    samples: int = 8

    def __post_init__(self) -> None:
        for name in ("steps", "queries", "query_images", "probes", "fit_images", "samples"):
            least = 2 if name == "steps" else 1
            if getattr(self, name) < least:
                raise ValueError(f"`{name}` (={getattr(self, name)}) must be at least {least}")
