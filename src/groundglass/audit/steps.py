"""The steps of an audit, in the order of their strength, each on what the last ones left."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from groundglass.attacks import (
    APGD,
    FGSM,
    PGD,
    Averaged,
    Ball,
    GradientAccess,
    LabelAttack,
    NonFiniteError,
    RandomNoise,
    RayS,
    ScoreAttack,
    Square,
    TransferPGD,
)
from groundglass.attacks.access import Model
from groundglass.attacks.balls import L2, Linf
from groundglass.attacks.losses import margin
from groundglass.audit.checks import SLACK, Findings
from groundglass.audit.config import AuditConfig, NothingToAuditError
from groundglass.audit.ledger import GivenAttack, Ledger
from groundglass.audit.probes import Climb, agreement, answers, bad_gradients, climb, slopes
from groundglass.audit.subject import Mode, Subject, as_module
from groundglass.core import Progress, derive_seed

# A move of random pixels over which the loss of a trained network is nearly straight.
_REACH = 1 / 255
# Other classes that a targeted attack aims at.
_TARGETS = 2


class AuditSteps:
    """One audit under way."""

    def __init__(
        self,
        who: Subject,
        images: Tensor,
        labels: Tensor,
        ball: Ball,
        config: AuditConfig,
        seed: int,
        progress: Progress,
    ) -> None:
        self.who, self.ball, self.config, self.seed = who, ball, config, seed
        self.ledger = Ledger(who.itself, images, labels, ball, seed=seed, progress=progress)
        self.findings = Findings()
        self.modes: dict[str, Mode] = {}
        self.dead_margin: dict[str, float] = {}

    def run(self, surrogates: Mapping[str, Model], given: Mapping[str, GivenAttack], training: bool) -> "AuditSteps":
        self._probe(training)
        self._claim()
        self._controls()
        self._settling()
        self._adaptive()
        self._stronger()
        self._queries()
        self._transfer(surrogates)
        for name, attack in given.items():
            self.ledger.given(name, attack, self.who.claims[0].model)
        return self

    def _right(self, most: int) -> Tensor:
        right = (self.ledger.broken_by != -2).nonzero().squeeze(1)
        return right[:most]

    def _probe(self, training: bool) -> None:
        """Is it a function of the image, and are its gradients those of its loss?"""
        ledger, findings, few = self.ledger, self.findings, self.config.probes
        access = GradientAccess(self.who.itself)
        some = ledger.images[: 2 * few]
        findings.answers = answers(access, some, alone=few // 2, training=training, seed=self.seed)
        if findings.answers.again > 0:
            ledger.settle(randomised=True)
        right = self._right(max(1, few // 3))
        if not len(right):
            raise NothingToAuditError(
                f"the model gets none of {len(ledger.images)} images right: there is nothing to audit. Look at the weights, at "
                "the labels' order and at the images' scale: [0, 1], normalised inside"
            )
        x, y = ledger.images[right], ledger.labels[right]
        reach = min(_REACH, self.ball.radius) if isinstance(self.ball, Linf) else _REACH
        seen = slopes(access, x, y, reach=reach, directions=32, seed=derive_seed(self.seed, "slopes"))
        findings.flat, findings.probed = float(seen.flat.double().mean()), len(x)
        self.seen = seen
        for mode in self.who.claims:
            self._meet(mode)

    def _meet(self, mode: Mode) -> Mode:
        """See how well a gradient agrees with the loss."""
        findings, seen, access = self.findings, self.seen, GradientAccess(mode.model)
        self.modes[mode.name] = mode
        findings.dead[mode.name] = bad_gradients(access, seen.images, seen.labels)
        findings.agreement[mode.name] = agreement(access, seen) if self._alive(mode) else 0.0
        # The margin of the logits has a gradient where the cross-entropy is flat to the last bit.
        self.dead_margin[mode.name] = bad_gradients(access, seen.images, seen.labels, margin)
        return mode

    def _alive(self, mode: Mode, loss: str = "ce") -> bool:
        """A gradient that is zero at every natural image, or is not there at all, moves no attack."""
        return (self.findings.dead if loss == "ce" else self.dead_margin)[mode.name] < 1

    def _claim(self) -> None:
        """The claim's attack, on every image that is right."""
        ledger, findings = self.ledger, self.findings
        attack = PGD(steps=self.config.steps, step_size=None)
        for mode in filter(self._alive, self.who.claims):
            ledger.climb(f"PGD, {mode.name}", attack, mode, "claim")
        findings.after_claim = len(ledger.standing)
        findings.claim_zeros = max((a.zero_gradient_share for a in ledger.attempts), default=0.0)
        findings.unbounded, findings.unbounded_of = self._elsewhere(self._ball(math.inf))
        findings.at_twice, findings.twice_of = self._elsewhere(self._ball(2 * self.ball.radius))
        rows = self._right(self.config.probes)
        findings.at_once = int(torch.isin(rows, ledger.standing).sum())

    def _ball(self, radius: float) -> Ball:
        """A ball of this radius, or as large as there is: that one leaves every image free."""
        if isinstance(self.ball, L2):
            return L2(min(radius, self.ledger.images[0].numel() ** 0.5))
        return Linf(min(radius, 1.0))

    def _elsewhere(self, ball: Ball) -> tuple[int, int]:
        """How many of a few images the claim's attack leaves in another ball."""
        ledger = self.ledger
        rows = self._right(self.config.probes)
        attack = PGD(steps=self.config.steps, step_size=None)
        left, asked = rows, len(rows)
        for mode in filter(self._alive, self.who.claims):
            if not len(left):
                break
            images, labels = ledger.images[left], ledger.labels[left]
            try:
                made = attack(GradientAccess(mode.model), images, labels, ball, seed=self.seed, indices=left.tolist())
            except NonFiniteError:
                continue
            fooled = made.success.cpu()
            at = fooled.nonzero().squeeze(1)
            if len(at):
                fooled[at] = ledger.wrong(made.adversarial[at], labels[at]).cpu()
            left = left[~fooled]
        return len(left), asked

    def _controls(self) -> None:
        """What should break nothing that the claim's attack leaves: chance, and its own first step."""
        control = Mode("none", self.who.claims[0].model)
        self.ledger.climb("random noise", RandomNoise(points=10), control, "control")
        for mode in filter(self._alive, self.who.claims):
            self.ledger.climb(f"FGSM, {mode.name}", FGSM(), mode, "control")

    def _settling(self) -> None:
        """Every step of the claim's attack on a few images: does it settle, and where are its best iterates?"""
        ledger, findings = self.ledger, self.findings
        mode = max(self.who.claims, key=lambda m: findings.agreement[m.name])
        if not self._alive(mode):
            return
        standing = ledger.standing[: self.config.probes // 2]
        broken = (ledger.broken_by >= 0).nonzero().squeeze(1)[: self.config.probes // 6]
        findings.standing, findings.broken = self._climb(mode, standing), self._climb(mode, broken)

    def _climb(self, mode: Mode, rows: Tensor) -> Climb | None:
        """Every step of the claim's attack on some rows; None if there are none, or a gradient on the way is NaN."""
        if not len(rows):
            return None
        images, labels = self.ledger.images[rows], self.ledger.labels[rows]
        try:
            return climb(GradientAccess(mode.model), images, labels, self.ball, steps=self.config.steps)
        except NonFiniteError:
            return None

    def _adaptive(self) -> None:
        """Every gradient that knows the defence; and averaged ones, for a model that draws lots."""
        attack = PGD(steps=self.config.steps, step_size=None)
        for name, make in self.who.adaptive.items():
            if isinstance(make, str):
                self.findings.skipped[name] = make
            elif not len(self.ledger.standing):
                self.findings.unneeded.append(name)
            elif self._alive(mode := self._meet(make())):
                self.ledger.climb(f"PGD, {mode.name}", attack, mode, "adaptive")
            else:
                self.findings.skipped[name] = "its gradient is zero, NaN or not there"
        if self.ledger.randomised:
            for mode in map(self._averaged, self._best(2)):
                self.ledger.climb(f"PGD, {mode.name}", attack, mode, "adaptive")

    def _averaged(self, mode: Mode) -> Mode:
        """Over several passes (expectation over transformation), where the model draws lots."""
        samples = self.config.samples
        if not self.ledger.randomised:
            return mode
        return Mode(f"{mode.name}, EOT {samples}", Averaged(as_module(mode.model), samples))

    def _best(self, most: int) -> list[Mode]:
        """The gradients that agree best with the loss."""
        alive = [mode for mode in self.modes.values() if self._alive(mode) or self._alive(mode, "margin")]
        return sorted(alive, key=lambda mode: -self.findings.agreement[mode.name])[:most]

    def _stronger(self) -> None:
        """The best of the gradients with other losses, steps that adapt, and random starts."""
        for mode in self._best(1):
            seen, steps = self._averaged(mode), self.config.steps
            for loss in ("ce", "dlr" if self.ledger.classes > 2 else "margin"):
                if self._alive(mode, loss):
                    attack: Any = APGD(steps=steps, loss=loss)
                    self.ledger.climb(f"APGD-{loss.upper()}, {seen.name}", attack, seen, "stronger")
            # Towards each of the nearest other classes: what takes most off honest claims.
            if self.ledger.classes > 3 and self._alive(mode, "margin"):
                targeted = APGD(steps=steps, loss="dlr", targets=min(_TARGETS, self.ledger.classes - 1))
                self.ledger.climb(f"APGD-DLR targeted, {seen.name}", targeted, seen, "stronger")

    def _queries(self) -> None:
        """Attacks that only ask, on some of what stands; on all of it, if they break clearly more than gradients did."""
        ledger, most = self.ledger, self.config.query_images
        standing = ledger.standing
        self.findings.before_queries = len(standing)
        self._ask(Square(), standing, most)
        if isinstance(self.ball, Linf):
            self._ask(RayS(), standing, max(1, most // 8))
        else:
            self.findings.skipped["labels alone"] = "RayS is for L-inf"

    def _ask(self, attack: ScoreAttack | LabelAttack, standing: Tensor, most: int) -> None:
        ledger, model = self.ledger, self.who.claims[0].model
        still = standing[torch.isin(standing, ledger.standing)]
        first = ledger.ask(attack, model, still[:most], self.config.queries)
        if first.broke > SLACK * first.tried and len(still) > most:
            ledger.ask(attack, model, still[most:], self.config.queries)

    def _transfer(self, surrogates: Mapping[str, Model]) -> None:
        if not surrogates:
            self.findings.skipped["transfer"] = "no other model was given (`surrogates`)"
        for name, source in surrogates.items():
            attack = TransferPGD(
                steps=self.config.steps, step_size=2.5 * self.ball.radius / self.config.steps, momentum=1
            )
            self.ledger.carry(f"MI-FGSM on {name}", attack, source)
