"""Cells that audit a network: what is left of its robustness figure when the attacks are the strongest there are."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

from torch import nn

from groundglass.attacks import paper_eps_to_pixels
from groundglass.audit import Audit, AuditConfig, NothingToAuditError, audit
from groundglass.core import derive_seed
from groundglass.data import Dataset
from groundglass.models import DefendedNetwork, load_model
from groundglass.optics import MovingDevice, SimulatedOPU
from groundglass.results import Record
from groundglass.results.kinds.audit import NOT_AUDITED, AuditedConfig, AuditResult, Timing
from groundglass.studies.cells.attack import make_ball
from groundglass.studies.cells.network import NetworkCell
from groundglass.studies.engine.cell import Outcome, scratch_of
from groundglass.studies.engine.context import Context
from groundglass.studies.targets import TargetsConfig


@dataclass(frozen=True, kw_only=True)
class AuditCell:
    """Audit one network on the first `n_images` of the test set; see `groundglass.audit`.

    Attributes:
        target: the network.
        norm, eps: the ball, in pixel units.
        eps_paper: the same radius on the paper's axis, where it has one.
        settings: how much is tried.
    """

    target: NetworkCell
    norm: Literal["linf", "l2"] = "linf"
    eps: float | tuple[float, ...]
    eps_paper: float | None = None
    n_images: int
    settings: AuditConfig
    seed: int

    kind = "audit"

    @property
    def radius(self) -> float:
        """One number for the ball: where channels differ, the largest."""
        return max(self.eps) if isinstance(self.eps, tuple) else self.eps

    @property
    def name(self) -> str:
        at = f"L-inf {self.radius * 255:.4g}/255" if self.norm == "linf" else f"L2 {self.radius:g}"
        return f"audit of {self.target.name} ({at})"

    @property
    def inputs(self) -> Sequence[NetworkCell]:
        return (self.target,)

    def config(self) -> AuditedConfig:
        return AuditedConfig(
            model=self.target.name,
            norm=self.norm,
            eps=self.radius,
            eps_per_channel=self.eps if isinstance(self.eps, tuple) else None,
            eps_paper=self.eps_paper,
            n_images=self.n_images,
            settings=asdict(self.settings),
            seed=self.seed,
        )

    def run(self, inputs: Sequence[Record], context: Context) -> Outcome:
        test = context.dataset.test.head(self.n_images)
        network = self._network(inputs[0], context)
        checkpoint = scratch_of(self, context) if is_steady(network) else None
        try:
            found = audit(
                network,
                test.floats().to(context.where),
                test.labels.to(context.where),
                make_ball(self.norm, self.eps),
                natural=context.dataset.train,
                config=self.settings,
                seed=derive_seed(self.seed, "audit"),
                checkpoint=checkpoint,
                progress=context.progress,
            )
        except NothingToAuditError as error:
            # A study of many networks goes on, and its page says so.
            sentence = f"{str(error)[0].upper()}{str(error)[1:]}."
            return Outcome(AuditResult(verdict=NOT_AUDITED, sentence=sentence))
        arrays = {"broken_by": found.broken_by.numpy(), "label": test.labels.numpy()}
        return Outcome(audit_result(found), arrays, earlier_seconds=found.earlier_seconds, scratch=checkpoint)

    def _network(self, trained: Record, context: Context) -> nn.Module:
        """The network from its file. What is random in its device begins anew: the audit hangs on nothing that ran before."""
        network = load_model(context.network_file(trained), find_device=context.devices.find)
        if isinstance(network, DefendedNetwork) and isinstance(network.device, MovingDevice):
            network.block.hold(network.device.with_draws(derive_seed(self.seed, "draws")), network.block.encoding)
        return network.to(context.where)


def audit_result(found: Audit) -> AuditResult:
    """What a record keeps of an audit; what there is for each image goes into its arrays."""
    return AuditResult(
        verdict=found.verdict,
        sentence=found.sentence,
        ball=found.ball,
        claimed_by=found.claimed_by,
        stated=found.stated,
        clean=found.clean,
        claimed=found.claimed,
        worst=found.worst,
        randomised=found.randomised,
        attempts=tuple(replace(attempt, seconds=0.0) for attempt in found.attempts),
        checks=found.checks,
        # Apart from what a seed decides.
        timing=Timing(seconds=round(found.seconds, 2), attempts=tuple(a.seconds for a in found.attempts)),
    )


def is_steady(network: nn.Module) -> bool:
    """Whether a network with a simulated device gives the same answers whatever it was asked before: no noise, no lots."""
    device = network.device if isinstance(network, DefendedNetwork) else None
    if isinstance(device, SimulatedOPU):
        return not device.camera.noisy
    return device is None


def audits(config: TargetsConfig, dataset: Dataset, networks: Iterable[NetworkCell]) -> list[AuditCell]:
    """The audit of each network at the end of the paper's axis: no page shows the paper's figure without it."""
    return [
        AuditCell(
            target=network,
            eps=paper_eps_to_pixels(config.audit_eps_paper, dataset.std),
            eps_paper=config.audit_eps_paper,
            n_images=config.audit_images,
            settings=config.audit,
            seed=config.seed,
        )
        for network in networks
    ]
