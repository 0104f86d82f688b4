"""The attacks of an audit, in the order of their strength, each on what the last ones left, whatever is claimed."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from groundglass.attacks import (
    APGD,
    FGSM,
    PGD,
    Averaged,
    AveragedAccess,
    GradientAccess,
    LabelAttack,
    RandomNoise,
    RayS,
    ScoreAttack,
    Square,
    SurFree,
    Targeted,
    TransferPGD,
)
from groundglass.attacks.access import Model
from groundglass.attacks.balls import Ball, Linf
from groundglass.attacks.losses import margin
from groundglass.audit.config import AuditConfig, NothingToAuditError
from groundglass.audit.ledger import GivenAttack, Ledger
from groundglass.audit.probes import agreement, answers, bad_gradients, slopes
from groundglass.audit.signs import SLACK, Findings
from groundglass.audit.subject import OWN, Mode, Subject, as_module
from groundglass.core import derive_seed
from groundglass.models.rescaled import rescaled

# A move of random pixels over which the loss of a trained network is nearly straight.
_REACH = 1 / 255
NOISE = "random noise"
# Queries by which an attack by labels alone shows whether it gets anywhere: few images are a small batch, and dear.
_LABELS_ALONE = 1000


class Battery:
    """The attacks of one audit.

    Attributes:
        findings: what was seen of the network on the way.
        modes: the gradients that were met, by name.
    """

    def __init__(self, who: Subject, ledger: Ledger, ball: Ball, config: AuditConfig, seed: int) -> None:
        self.who, self.ledger, self.ball, self.config, self.seed = who, ledger, ball, config, seed
        self.findings = Findings()
        self.modes: dict[str, Mode] = {}
        #: Which of the first images a gradient leaves in a ball of another radius, by its name and that radius.
        self.elsewhere: dict[tuple[str, float], Tensor] = {}
        self._dead_margin: dict[str, float] = {}

    @property
    def attack(self) -> PGD:
        """What every gradient is followed by."""
        return PGD(steps=self.config.steps, step_size=None, loss=self.who.loss)

    def run(self, surrogates: Mapping[str, Model], given: Mapping[str, GivenAttack]) -> None:
        self._base()
        self._controls()
        self._adaptive()
        self._redrawn()
        self._averages()
        self._stronger()
        self._queries()
        self._transfer(surrogates)
        for name, attack in given.items():
            self.ledger.given(name, attack, self.own, self.config.queries)

    @property
    def model(self) -> Model:
        """To be asked for its answers alone."""
        return self.who.base[0].model

    @property
    def own(self) -> Model:
        """As it was given, with its own gradient."""
        make = self.who.mode(OWN)
        assert callable(make)
        return make().model

    def probe(self, *, training: bool) -> None:
        """Is it a function of the image, and are its gradients those of its loss?"""
        ledger, findings, few = self.ledger, self.findings, self.config.probes
        access = GradientAccess(self.who.itself)
        some = ledger.images[: 2 * few]
        findings.answers = answers(access, some, alone=few // 2, training=training, seed=self.seed)
        if findings.answers.again > 0:
            ledger.settle(randomised=True)
        right = ledger.right[: max(1, few // 3)]
        if not len(right):
            raise NothingToAuditError(
                f"the model gets none of {len(ledger.images)} images right: there is nothing to audit. Look at the weights, at "
                "the labels' order and at the images' scale: [0, 1], normalised inside"
            )
        x, y = ledger.images[right], ledger.labels[right]
        reach = min(_REACH, self.ball.radius) if isinstance(self.ball, Linf) else _REACH
        self.seen = slopes(access, x, y, reach=reach, directions=32, seed=derive_seed(self.seed, "slopes"))
        findings.flat, findings.probed = float(self.seen.flat.double().mean()), len(x)
        for mode in self.who.base:
            self.meet(mode)

    def meet(self, mode: Mode) -> Mode:
        """See how well a gradient agrees with the loss."""
        findings, seen, access = self.findings, self.seen, GradientAccess(mode.model)
        findings.dead[mode.name] = bad_gradients(access, seen.images, seen.labels)
        findings.agreement[mode.name] = agreement(access, seen) if self.alive(mode) else 0.0
        # The margin of the logits has a gradient where the cross-entropy is flat to the last bit.
        self._dead_margin[mode.name] = bad_gradients(access, seen.images, seen.labels, margin)
        return mode

    def alive(self, mode: Mode, loss: str = "ce") -> bool:
        """A gradient that is zero at every natural image, or is not there at all, moves no attack."""
        return (self.findings.dead if loss == "ce" else self._dead_margin)[mode.name] < 1

    def _known(self, mode: Mode) -> Mode:
        self.modes[mode.name] = self.meet(mode)
        return mode

    def _base(self) -> None:
        """The gradients that every such network is attacked with, each on every image that is right: claims rest on them."""
        for mode in self.who.base:
            self.modes[mode.name] = mode
            if self.alive(mode):
                self.ledger.climb(f"PGD, {mode.name}", self.attack, mode, "base", self.ledger.right)

    def left(self, mode: Mode) -> Tensor:
        """Which images a gradient of the base leaves, of those that are right; all, if it moves nothing. [n]"""
        return self.ledger.left(
            [i for i, a in enumerate(self.ledger.attempts) if (a.mode, a.role) == (mode.name, "base")]
        )

    def _controls(self) -> None:
        """What should break nothing that a gradient leaves: chance, and its own first step."""
        left = [self.left(mode) for mode in self.who.base]
        rows = torch.stack(left).any(0).nonzero().squeeze(1)
        self.ledger.climb(NOISE, RandomNoise(points=10), Mode("none", self.model), "control", rows)
        for mode, stands in zip(self.who.base, left, strict=True):
            if self.alive(mode):
                self.ledger.climb(f"FGSM, {mode.name}", FGSM(), mode, "control", stands.nonzero().squeeze(1))

    def _adaptive(self) -> None:
        """Every gradient that knows the defence."""
        for name, make in self.who.adaptive.items():
            if isinstance(make, str):
                self.findings.skipped[name] = make
            elif not len(self.ledger.standing):
                self.findings.unneeded.append(name)
            elif not (mode := make()).asks or self.alive(self._known(mode)):
                self.ledger.climb(f"PGD, {mode.name}", mode.follow(self.attack), mode, "adaptive")
            else:
                self.findings.skipped[name] = "its gradient is zero, NaN or not there"

    def _redrawn(self) -> None:
        """What an attacker draws, drawn again and again."""
        for name, draw in self.who.draws.items():
            first = 0 if name not in self.modes else 1
            for number in range(first, self.config.draws):
                if len(self.ledger.standing):
                    mode = draw(number)
                    self.ledger.climb(f"PGD, {mode.name}", self.attack, mode, "adaptive")

    def _averages(self) -> None:
        """Gradients over several passes, for a model that draws lots."""
        if self.ledger.randomised:
            for mode in self._best(2):
                for each in self._averaged(mode):
                    self.ledger.climb(f"PGD, {each.name}", self.attack, each, "adaptive")

    def _averaged(self, mode: Mode) -> tuple[Mode, ...]:
        """Over several passes (expectation over transformation), where the model draws lots: of the mean logits' loss, and the
        mean of the losses."""
        samples = self.config.samples
        if not self.ledger.randomised:
            return (mode,)
        model = as_module(mode.model)

        def access(model: Model) -> GradientAccess:
            return AveragedAccess(model, samples)

        return (
            Mode(f"{mode.name}, EOT {samples}", Averaged(model, samples)),
            Mode(f"{mode.name}, EOT {samples} of losses", model, access=access),
        )

    def _best(self, most: int) -> list[Mode]:
        """The gradients that agree best with the loss."""
        alive = [mode for mode in self.modes.values() if self.alive(mode) or self.alive(mode, "margin")]
        return sorted(alive, key=lambda mode: -self.findings.agreement[mode.name])[:most]

    def _stronger(self) -> None:
        """The best of the gradients with other losses, steps that adapt, and random starts."""
        config, classes = self.config, self.ledger.classes
        for mode in self._best(1):
            seen = self._averaged(mode)[0]
            attacks: list[tuple[str, str, APGD]] = [
                (f"APGD-{loss.upper()}", loss, APGD(steps=config.steps, loss=loss, restarts=config.restarts))
                for loss in ("ce", "dlr" if classes > 2 else "margin")
            ]
            # Towards each of the nearest other classes: what takes most off honest claims.
            if classes > 3 and not isinstance(self.ledger.criterion, Targeted):
                aims = min(config.targets, classes - 1)
                targeted = APGD(steps=config.steps, loss="dlr", targets=aims, restarts=config.restarts)
                attacks.append(("APGD-DLR targeted", "margin", targeted))
            for name, loss, attack in attacks:
                if self.alive(mode, "ce" if loss == "ce" else "margin"):
                    self.ledger.climb(f"{name}, {seen.name}", attack, seen, "stronger")

    def _queries(self) -> None:
        """Attacks that only ask, on some of what stands; on all of it, if they break clearly more than gradients did."""
        ledger, standing = self.ledger, self.ledger.standing
        most = min(self.config.query_images, len(standing))
        self.findings.before_queries = ledger.broken_by == -1
        self._ask(Square(), standing, most, self.config.queries)
        alone = next((one for one in (RayS(), SurFree()) if self.ball.kind in one.kinds), None)
        if alone is not None:
            self._ask(alone, standing, max(1, most // 8), min(self.config.queries, _LABELS_ALONE))
        else:
            self.findings.skipped["labels alone"] = "RayS is for L-inf, SurFree for L2"

    def _ask(self, attack: ScoreAttack | LabelAttack, standing: Tensor, most: int, first: int) -> None:
        """So many queries on some images; where that breaks more than a few, all of them on all that stands."""
        ledger, queries = self.ledger, self.config.queries
        still = standing[torch.isin(standing, ledger.standing)]
        found = ledger.ask(attack, self.model, still[:most], first)
        if found.broke > SLACK * found.tried:
            rest = still[most:] if first == queries else still[torch.isin(still, ledger.standing)]
            if len(rest):
                ledger.ask(attack, self.model, rest, queries)

    def _transfer(self, surrogates: Mapping[str, Model]) -> None:
        if not surrogates:
            self.findings.skipped["transfer"] = "no other model was given (`surrogates`)"
        for name, source in surrogates.items():
            attack: Any = TransferPGD(
                steps=self.config.steps, step_size=2.5 * self.ball.radius / self.config.steps, momentum=1
            )
            theirs = rescaled(as_module(source), self.ledger.units.bounds)
            self.ledger.carry(f"MI-FGSM on {name}", attack, theirs)
