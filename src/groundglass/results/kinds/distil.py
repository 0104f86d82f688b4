"""Surrogates: networks of an attacker's own, distilled from the answers of a deployed one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from groundglass.core.statistics import Proportion
from groundglass.results.kinds.base import Kind, column, derives


@dataclass(frozen=True, kw_only=True)
class DistilConfig:
    """What was asked of which network, and how the surrogate learned from the answers."""

    target: str = column("the network that was asked", "of_network")
    answers: str = column("what it answers: scores or labels")
    queries: int = column("images that it was asked about, each once")
    temperature: float | None = column("its scores are divided by before they are learned; none for labels")
    model: Mapping[str, Any]
    training: Mapping[str, Any]
    data: str
    seed: int
    begin: str | None = column(
        "the attacker's network that it was before; none: untrained", default=None, left_out=True
    )


@dataclass(frozen=True, kw_only=True)
class DistilResult:
    """A surrogate. `checkpoint`: path of its file within the run folder."""

    checkpoint: str
    n_test: int = column("test images")
    right: int
    agreed: int
    parameters: int = column("trained numbers")
    train_seconds: float = column("of training, all sessions")
    precision: str

    @derives("share of all test images right without an attack", "clean_accuracy")
    def clean(self) -> Proportion:
        return Proportion(self.right, self.n_test)

    @derives("share of all test images on which it says the class that the network says")
    def agreement(self) -> Proportion:
        return Proportion(self.agreed, self.n_test)


#: Surrogates that learned from the answers of a network: `DistilConfig`, `DistilResult`.
DISTIL = Kind(
    "distil",
    DistilConfig,
    DistilResult,
    "surrogates",
    lambda r: f"agrees on {r.agreement.share:.1%}, clean accuracy {r.clean.share:.1%}",
    named="network",
    files=("checkpoint",),
    holds={"right and agreed are at most n_test, and 1 <= n_test": lambda r: max(1, r.right, r.agreed) <= r.n_test},
)
