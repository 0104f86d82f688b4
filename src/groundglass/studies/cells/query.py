"""Cells that attack a trained network by queries alone, and that choose among settings of such an attack."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from groundglass.attacks import AttackResult, LabelAccess, LabelAttack, QueryAttack, ScoreAccess, frozen_for_attack
from groundglass.attacks.averaged import Averaged
from groundglass.attacks.query_access import QueryAccess
from groundglass.attacks.scheduler import earlier_seconds
from groundglass.core import derive_seed
from groundglass.core.accelerator import finish
from groundglass.core.settings import Count, Positive, Tally, settings_of
from groundglass.models import DefendedNetwork, predict_logits
from groundglass.optics import DriftingDevice, SimulatedOPU
from groundglass.results import Record
from groundglass.results.kinds.query import CHOICE, QUERY, ChoiceResult, QueryResult, best_setting
from groundglass.studies.cells.attack import BallCell, Purpose, make_ball, nested, rewind
from groundglass.studies.cells.craft import CraftCell, load_crafted
from groundglass.studies.cells.nearest import NearestAccess
from groundglass.studies.cells.network import NEEDS_U, NetworkCell, is_given
from groundglass.studies.engine.cell import BaseCell, Cell, Outcome, scratch_of
from groundglass.studies.engine.context import Context
from groundglass.training.classifier import place_device

# The budgets at which success is told, beside the whole one.
_MARKS = (1_000, 5_000, 15_000)
# Settings that a sweep names its cells by.
_SWEPT = ("sigma", "fd_eta")


def predicted_classes(network: nn.Module, images: Tensor) -> np.ndarray:
    """The class that the network puts each image into."""
    found: np.ndarray = predict_logits(network, images).argmax(1).numpy() if len(images) else np.zeros(0, np.int64)
    return found


class Stopwatch:
    """A model that knows how long it was asked, and about how many images.

    Args:
        answers: of the model, the mean of which is given.
    """

    def __init__(self, model: nn.Module, answers: int = 1) -> None:
        self._model = model if answers == 1 else Averaged(model, answers)
        self._answers = answers
        self.seconds = 0.0
        self.rows = 0

    def __call__(self, images: Tensor) -> Tensor:
        started = time.perf_counter()
        logits: Tensor = self._model(images)
        finish(images.device)
        self.seconds += time.perf_counter() - started
        self.rows += len(images) * self._answers
        return logits


@dataclass(frozen=True, kw_only=True)
class QueryCell(BallCell):
    """Attack by queries those of `n_images` test images that the network gets right.

    Attributes:
        target: the network. Who attacks it sees what it answers, and nothing else.
        budget: images that may go through the model for each image.
        smaller: the same attack in a smaller ball: only what it left right is attacked, as what it fooled is fooled here too.
        nearest: of an attack that sees labels, also keep how near to each image the nearest point was that fooled the network:
            one run then tells of every larger ball. Such a cell that is interrupted starts again.
        start: adversarial images, made on networks of the attacker's own, that the search starts from. Only those of the
            `n_images` that it has are attacked.
        answers: of a network with noise: the attacker asks every question so often and takes the mean; each answer is a query.
        rechecks: of a network with noise: how often the attacker asks again about a success before the attack ends, see
            `QueryAccess`; each answer is a query.
        confirmations: how often the network is asked in the end whether an image fools it; more than half must say so.
        correlation: correlation time of the network's U, frames, one a query: it drifts from the first question on, and a success
            is what fools the network as it is in the end. Such a cell that is interrupted starts again. None: U stands still.
        first: number of the first image.
        choice: found, on other images, the value that one setting of the attack then has.
    """

    target: NetworkCell
    attack: QueryAttack
    budget: Count
    n_images: Count
    seed: int
    smaller: "QueryCell | None" = None
    nearest: bool = False
    purpose: Purpose = "figure"
    start: CraftCell | None = None
    answers: Count = 1
    rechecks: Tally = 0
    confirmations: Count = 1
    correlation: Positive | None = None
    first: Tally = 0
    choice: "ChoiceCell | None" = None

    kind = "query"

    def __post_init__(self) -> None:
        super().__post_init__()
        # Known before anything is trained.
        if self.budget < (least := self.answers * (self.attack.cost() + self.rechecks + 1)):
            raise ValueError(
                f"`budget` (={self.budget}) must be at least {least} queries an image: {type(self.attack).__name__} needs "
                "them for one step and a check of the image"
            )
        if self.smaller is not None:
            nested(
                self,
                self.smaller,
                (
                    "target",
                    "attack",
                    "norm",
                    "n_images",
                    "first",
                    "seed",
                    "confirmations",
                    "answers",
                    "rechecks",
                    "correlation",
                ),
            )

    @property
    def inputs(self) -> Sequence[Cell]:
        others = tuple(one for one in (self.smaller, self.choice) if one is not None)
        return (self.target, *others, *(() if self.start is None else (self.start, *self.start.inputs)))

    @property
    def name(self) -> str:
        swept = [name for name in _SWEPT if self.purpose == "sweep" and hasattr(self.attack, name)]
        setting = "".join(f", {name} {getattr(self.attack, name):g}" for name in swept)
        if self.purpose == "ladder":
            setting = f", {self.ball_name}"
        if self.purpose == "noise":
            setting = f", {getattr(self.attack, 'loss', 'labels')}"
            setting += f", mean of {self.answers} answers" if self.answers > 1 else ""
            setting += f", confirms by {self.rechecks}" if self.rechecks else ""
            setting += f", U drifts, correlation time {self.correlation:g} frames" if self.correlation else ""
        start = "" if self.start is None else f" from {self.start.name}"
        return f"{self.target.name} <- {self.attack.title}{setting}{start}"

    def described(self) -> dict[str, Any]:
        left = None if self.choice is None else self.choice.parameter
        return {
            **super().described(),
            "model": self.target.name,
            "attack": self.attack.title,
            "settings": {name: value for name, value in settings_of(self.attack).items() if name != left},
            "access": "labels" if isinstance(self.attack, LabelAttack) else "scores",
            "start": None if self.start is None else " + ".join(network.name for network, _ in self.start.sources),
            "choice": left,
        }

    def swept(self, parameter: str, values: Sequence[float], **elsewhere: Any) -> "ChoiceCell":
        """The best of these values, found on the same images, or where `elsewhere` says (`first`, `n_images`, `budget`)."""
        settings = (replace(self.attack, **{parameter: value}) for value in values)
        return ChoiceCell(parameter, tuple(replace(self, attack=one, purpose="sweep", **elsewhere) for one in settings))

    def run(self, inputs: Sequence[Record], context: Context) -> Outcome:
        trained, attack, chosen, start = inputs[0], self.attack, None, None
        if self.choice is not None:
            chosen = CHOICE.result_of(inputs[2 if self.smaller else 1]).chosen
            attack = replace(attack, **{self.choice.parameter: chosen})
        test = context.dataset.test.head(self.first + self.n_images)
        index = np.arange(self.first, len(test))
        if self.smaller is not None:
            before = context.arrays(inputs[1])
            index = before["index"][before["clean_correct"] & ~before["success"]]
        if self.start is not None:
            begun = load_crafted(self.start, inputs[-1 - len(self.start.inputs) :], context)
            here = torch.isin(begun.indices.cpu(), torch.from_numpy(index))
            index, start = begun.indices.cpu()[here].numpy(), begun.adversarial[here.to(context.where)]
        images, labels = test.floats(torch.from_numpy(index)).to(context.where), test.labels[index].to(context.where)
        itself, copy = self._asked(trained, context)
        model, ball = Stopwatch(copy, self.answers), make_ball(self.norm, self.eps)
        budget = self.budget // self.answers
        access: QueryAccess = ScoreAccess(model, per_image=budget, confirm=self.rechecks)
        if self.nearest:
            access = NearestAccess(model, images, labels, numbers=index.tolist(), ball=ball, per_image=budget)
        elif isinstance(attack, LabelAttack):
            access = LabelAccess(model, per_image=budget, confirm=self.rechecks)
        checkpoint = None if self.nearest or self.correlation is not None else scratch_of(self, context)
        earlier = 0.0 if checkpoint is None else earlier_seconds(checkpoint)
        started = time.perf_counter()
        claimed = attack(
            access,
            images,
            labels,
            ball,
            seed=derive_seed(self.seed, "query", type(attack).__name__),
            indices=index.tolist(),
            start=start,
            checkpoint=checkpoint,
            progress=context.progress,
        )
        seconds = time.perf_counter() - started
        # A question was as many queries as it had answers.
        counts = {name: getattr(claimed, name) * self.answers for name in ("loss_queries", "check_queries")}
        claimed = replace(claimed, **counts)
        # The attack ran on a copy arranged for speed: what counts is what fools the network itself.
        result = claimed.confirmed(ScoreAccess(itself), labels, votes=self.confirmations)
        arrays = {
            "index": index,
            "label": labels.cpu().numpy(),
            "clean_correct": result.clean_correct.cpu().numpy(),
            "success": result.success.cpu().numpy(),
            "loss_queries": claimed.loss_queries.to(torch.int32).cpu().numpy(),
            "check_queries": claimed.check_queries.to(torch.int32).cpu().numpy(),
            "norm": result.norm.float().cpu().numpy(),
            "prediction": predicted_classes(itself, result.adversarial),
        }
        if isinstance(access, NearestAccess):
            fooled = predicted_classes(itself, access.points) != arrays["label"]
            arrays["nearest"] = np.where(fooled, access.distance.cpu().numpy(), np.float32(np.inf))
        found = replace(self._result(claimed, result, model, seconds), chosen=chosen, reach=self._reach)
        return Outcome(found, arrays, earlier_seconds=earlier, scratch=checkpoint)

    def needs(self) -> str:
        return NEEDS_U if self.correlation is not None and is_given(self.target) else ""

    def _asked(self, trained: Record, context: Context) -> tuple[nn.Module, nn.Module]:
        """The network, and a copy of it that is faster to attack."""
        if self.correlation is None:
            rewind(context.network(trained))
            return context.network(trained), context.target(trained)
        network = context.load(trained)
        assert isinstance(network, DefendedNetwork)
        assert isinstance(network.device, SimulatedOPU)
        place_device(network, DriftingDevice(network.device, correlation=self.correlation))
        copy = frozen_for_attack(network, context.few_images)
        return network, copy if copy.verified else network

    @property
    def _reach(self) -> float | None:
        reach = self.attack.reach(self.budget // self.answers, make_ball(self.norm, self.eps))
        return None if math.isinf(reach) else reach

    def _result(self, claimed: AttackResult, result: AttackResult, model: Stopwatch, seconds: float) -> QueryResult:
        queries, fooled = claimed.queries, result.success
        marks = sorted({mark for mark in _MARKS if mark < self.budget} | {self.budget})

        def mean_and_median(name: str, counts: Tensor) -> dict[str, float | None]:
            spent = counts[fooled].double()
            found = (float(spent.mean()), float(spent.quantile(0.5))) if len(spent) else (None, None)
            return dict(zip((f"mean_{name}", f"median_{name}"), found, strict=True))

        return QueryResult(
            n_images=len(result),
            clean_correct=int(result.clean_correct.sum()),
            fooled=int(fooled.sum()),
            success_rate=result.success_rate,
            success_at=tuple((mark, int((fooled & (queries <= mark)).sum())) for mark in marks),
            **mean_and_median("queries", queries),
            **mean_and_median("loss_queries", claimed.loss_queries),
            loss_queries=int(claimed.loss_queries.sum()),
            check_queries=int(claimed.check_queries.sum()),
            most_queries=max(queries.tolist(), default=0),
            flat_share=claimed.zero_gradient_share if int(claimed.gradients.sum()) else None,
            unconfirmed=int(claimed.success.sum() - fooled.sum()),
            forwards_per_second=round(model.rows / model.seconds, 1) if model.seconds else None,
            model_share=round(model.seconds / seconds, 4) if model.rows else None,
        )


@dataclass(frozen=True)
class ChoiceCell(BaseCell):
    """The best of several settings of one attack on one network, as the paper chooses NES's sigma.

    That is the highest success rate at the whole budget; among equals see `best_setting`. The paper chooses on the images
    that it reports, which makes the best of several look better than it is; here it may be on others: see `QueryCell.swept`.
    """

    parameter: str
    candidates: tuple[QueryCell, ...]

    kind = "choice"

    @property
    def name(self) -> str:
        return f"{self.target.name} <- {self.attack.title}: best {self.parameter}"

    @property
    def target(self) -> NetworkCell:
        return self.candidates[0].target

    @property
    def attack(self) -> QueryAttack:
        """With one of the settings."""
        return self.candidates[0].attack

    def described(self) -> dict[str, Any]:
        return {
            "model": self.target.name,
            "attack": self.attack.title,
            "values": tuple(getattr(c.attack, self.parameter) for c in self.candidates),
        }

    def run(self, inputs: Sequence[Record], context: Context) -> Outcome:
        tried = [(QUERY.config_of(r).settings[self.parameter], QUERY.result_of(r)) for r in inputs]
        table = tuple((value, result.success_rate, result.mean_queries) for value, result in tried)
        best = best_setting([result for _, result in tried])
        return Outcome(ChoiceResult(chosen=table[best][0], key=inputs[best].key, table=table))
