"""How much work each job of the benchmark is."""

from dataclasses import asdict, dataclass
from typing import Any

from groundglass.core.settings import Count, Positive, Settings


@dataclass(frozen=True, kw_only=True)
class Sizes(Settings):
    """With the defaults all jobs take about five minutes on two idle cores.

    Attributes:
        width: of VGG-16, as a share of the paper's.
        learned: images that the attacked network is trained on, three times each.
        images, batch, steps: of PGD.
        asked, queries: images, and queries for each, of attacks by queries.
        inputs, outputs, rows: N, M and batch of the device that is measured.
        secret_in, secret_out: N and M of the device in a network.
        stepped: images of a training step.
        epoch: images of an epoch.
        retrieved_in, retrieved_out: N and M of a retrieval, at 12 N frames.
        audited: images of an audit.
        audit_steps, audit_queries: of its attacks.
    """

    width: Positive = 0.25
    learned: Count = 800
    images: Count = 32
    batch: Count = 32
    steps: Count = 20
    asked: Count = 32
    queries: Count = 101
    inputs: Count = 1024
    outputs: Count = 8000
    rows: Count = 1024
    secret_in: Count = 512
    secret_out: Count = 8000
    stepped: Count = 128
    epoch: Count = 1280
    retrieved_in: Count = 128
    retrieved_out: Count = 256
    audited: Count = 16
    audit_steps: Count = 10
    audit_queries: Count = 50

    @property
    def named(self) -> dict[str, Any]:
        """Each by its name."""
        return asdict(self)


#: Those of the goals: an hour or so.
FULL = Sizes(
    images=512,
    batch=128,
    asked=64,
    queries=1001,
    epoch=12_800,
    retrieved_in=1024,
    retrieved_out=8000,
    audited=200,
    audit_steps=50,
    audit_queries=1000,
)
#: What `--size` takes.
SIZES = {"usual": Sizes(), "full": FULL}
