"""Cells that audit a network: what is left of its robustness figure when the attacks are the strongest there are."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from groundglass.audit import Audit, AuditConfig, NothingToAuditError, audit
from groundglass.core import derive_seed
from groundglass.core.schema import written
from groundglass.core.sealed import Seed
from groundglass.core.settings import Count
from groundglass.models import Defended, devices_of
from groundglass.models.wrappers import unwrapped
from groundglass.optics import MovingDevice, steady
from groundglass.results import Record
from groundglass.results.kinds.audit import AuditResult, Timing
from groundglass.studies.cells.attack import BallCell, make_ball
from groundglass.studies.cells.network import NetworkCell
from groundglass.studies.engine.cell import Outcome, scratch_of
from groundglass.studies.engine.context import Context


@dataclass(frozen=True, kw_only=True)
class AuditCell(BallCell):
    """Audit one network on the first `n_images` of the test set, with such `settings`; see `groundglass.audit`.

    Attributes:
        claims: names of gradients, or shares as text; none for those of the network's kind.
    """

    target: NetworkCell
    n_images: Count
    settings: AuditConfig
    seed: int
    claims: tuple[str, ...] = ()

    kind = "audit"

    @property
    def name(self) -> str:
        return f"audit of {self.target.name} ({self.ball_name})"

    def described(self) -> dict[str, Any]:
        return {**super().described(), "model": self.target.name, "settings": written(self.settings)}

    def run(self, inputs: Sequence[Record], context: Context) -> Outcome:
        test = context.dataset.test.head(self.n_images)
        network = context.load(inputs[0])
        for number, part in enumerate(network.parts if isinstance(network, Defended) else ()):
            if isinstance(part.device, MovingDevice):
                # What is random in its device begins anew: the audit depends on nothing that ran before.
                seed = derive_seed(self.seed, "draws", *([number] if number else []))
                part.block.hold(part.device.with_draws(Seed.raw(seed)), part.block.encoding)
        checkpoint = scratch_of(self, context) if is_steady(network) else None
        try:
            found = audit(
                network,
                test.floats().to(context.where),
                test.labels.to(context.where),
                make_ball(self.norm, self.eps),
                claim=self.claims or None,
                natural=context.dataset.train,
                config=self.settings,
                seed=derive_seed(self.seed, "audit"),
                checkpoint=checkpoint,
                progress=context.progress,
            )
        except NothingToAuditError as error:
            # A study of many networks goes on, and its page says so.
            sentence = f"{str(error)[0].upper()}{str(error)[1:]}."
            return Outcome(AuditResult(sentence=sentence))
        arrays = {"broken_by": found.broken_by.numpy(), "label": test.labels.numpy()}
        return Outcome(audit_result(found), arrays, earlier_seconds=found.earlier_seconds, scratch=checkpoint)


def audit_result(found: Audit) -> AuditResult:
    """What a record keeps of an audit; what there is for each image goes into its arrays. Times stand apart from what a seed
    decides."""
    timing = Timing(seconds=round(found.seconds, 2), attempts=tuple(a.seconds for a in found.attempts))
    attempts = tuple(replace(attempt, seconds=0.0) for attempt in found.attempts)
    return AuditResult(
        ball=found.ball,
        clean=found.clean,
        worst=found.worst,
        claims=found.claims,
        randomised=found.randomised,
        attempts=attempts,
        checks=found.checks,
        timing=timing,
    )


def is_steady(network: nn.Module) -> bool:
    """Whether a network gives the same answers whatever it was asked before: its device has no noise and no lots, as is known of
    simulated ones, here or at a service."""
    return all(map(steady.is_steady, devices_of(unwrapped(network))))
