"""Cells of an attacker who asks until they are sure: is a layer of bits there, and which of several devices?"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from groundglass.adaptive import OwnHead, Sign
from groundglass.adaptive.channel import blurred
from groundglass.adaptive.detection import agreements
from groundglass.adaptive.information import CHANCE
from groundglass.adaptive.signs import Events
from groundglass.adaptive.stand_ins import below, ridge_regression
from groundglass.attacks import LabelAccess, ScoreAccess
from groundglass.core import derive_seed, generator, permutation
from groundglass.core.modes import evaluating
from groundglass.core.sealed import without_locals
from groundglass.core.sequential import Error, SequentialTest, SingleOut
from groundglass.core.settings import Count, NotNegative, Positive
from groundglass.models import DefendedNetwork
from groundglass.optics import entry_size, true_matrix
from groundglass.optics.layer import encode
from groundglass.results import Record
from groundglass.results.kinds.detect import DetectResult
from groundglass.studies.cells.attack import rewind
from groundglass.studies.cells.network import NEEDS_U, NetworkCell, is_given
from groundglass.studies.engine.cell import BaseCell, Outcome
from groundglass.studies.engine.context import Context

#: A network itself; or an ordinary network, or bits under a linear head, with the same weights below the layer.
Subject = Literal["itself", "own-head", "bits-head"]
# Labelled images that such heads are fitted to: about as accurate as the network.
_LABELS = 3000
_RIDGE = 0.1
_AT_ONCE = 100


class BitsHead(nn.Module):
    """The bits of a network, and a linear head of them in place of the device: images -> logits."""

    def __init__(self, network: DefendedNetwork, images: Tensor, labels: Tensor) -> None:
        super().__init__()
        self.network = network
        with torch.no_grad(), evaluating(network):
            bits = torch.cat([self._bits(part) for part in images.split(500)])
        self.weights, self.mean = ridge_regression(bits, labels, network.classes, _RIDGE)

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = (self._bits(images) - self.mean) @ self.weights
        return found

    def _bits(self, images: Tensor) -> Tensor:
        return encode(below(self.network, images).float().relu(), "bits")


class Rounded(nn.Module):
    """A network whose scores are shown with so many decimals."""

    def __init__(self, network: nn.Module, digits: int) -> None:
        super().__init__()
        self.network, self.digits = network, digits

    def forward(self, images: Tensor) -> Tensor:
        return torch.round(self.network(images), decimals=self.digits)


@dataclass(frozen=True, kw_only=True)
class _StreamsCell(BaseCell):
    """Many streams of questions about the same points, each in an order of its own.

    Attributes:
        points: images, or groups of images, of the test set; all streams draw from them.
        budget: queries of a stream, at the most.
    """

    network: NetworkCell
    points: Count
    streams: Count
    budget: Count
    alpha: Error = 1e-3
    beta: Error = 1e-3
    seed: int

    kind = "detect"

    def _orders(self, points: int) -> list[npt.NDArray[np.int64]]:
        return [
            permutation(points, generator=generator(self.seed, "detect", stream)).numpy()
            for stream in range(self.streams)
        ]


@dataclass(frozen=True, kw_only=True)
class DetectCell(_StreamsCell):
    """Is the sign there? Of a network, or of another that has its weights below the layer.

    Attributes:
        there: whether it is, in truth.
    """

    sign: Sign
    subject: Subject = "itself"
    there: bool

    @property
    def name(self) -> str:
        subject = "" if self.subject == "itself" else f", {self.subject}"
        digits = getattr(self.sign, "digits", None)
        seen = self.sign.access if digits is None else f"{digits} digits"
        return f"{type(self.sign).__name__} of {self.network.name}{subject} ({seen})"

    def described(self) -> dict[str, Any]:
        return {
            "model": self.network.name,
            "question": self.sign.question,
            "sign": type(self.sign).__name__,
            "access": self.sign.access,
            "settings": asdict(self.sign),
        }

    def run(self, inputs: Sequence[Record], context: Context) -> Outcome:
        rewind(context.network(inputs[0]))
        subject = self._subject(inputs[0], context)
        takes = self.sign.takes
        images = _first(context, self.points * takes)
        groups = images[: len(images) // takes * takes].reshape(-1, takes, *images.shape[1:])
        found: list[Events] = []
        asked: list[int] = []
        digits = getattr(self.sign, "digits", None)
        access = LabelAccess(subject) if digits is None else ScoreAccess(Rounded(subject, digits))
        for begin in range(0, len(groups), _AT_ONCE):
            numbers = range(begin, min(begin + _AT_ONCE, len(groups)))
            found.append(self.sign.events(access, groups[begin : numbers.stop], numbers, self.seed).cpu())
            asked += access.asked(numbers)
            context.progress("points", numbers.stop, len(groups))
        events, each = torch.cat(found).numpy(), np.array(asked)
        test = SequentialTest(rare=self.sign.rare, often=self.sign.often, alpha=self.alpha, beta=self.beta)
        said: list[tuple[bool | None, int]] = []
        paths = []
        for order in self._orders(len(events)):
            spent = each[order].cumsum()
            known = (events[order] >= 0) & (spent <= self.budget)
            answer, used = test.decide(events[order][known] > 0)
            after = spent[known]
            said.append((answer, int(after[used - 1]) if used else self.budget))
            paths.append((after[:used], test.path(events[order][known] > 0)[:used] / np.log(10)))
        answers = [None if answer is None else answer == self.there for answer, _ in said]
        result = _result(
            answers,
            [queries for _, queries in said],
            paths,
            events=int((events > 0).sum()),
            learned=int((events >= 0).sum()),
            each=float(each.mean()),
        )
        return Outcome(result)

    def _subject(self, trained: Record, context: Context) -> nn.Module:
        target = context.target(trained)
        if self.subject == "itself":
            return target
        if not isinstance(target, DefendedNetwork):
            raise ValueError(f"{trained.name} has no optical layer: nothing lies below it")
        train = context.dataset.train
        train = train.head(min(_LABELS, len(train)))

        def make() -> nn.Module:
            if self.subject == "own-head":
                return OwnHead.fit(target, context.dataset.train, labels=_LABELS, seed=self.seed)
            return BitsHead(target, train.floats().to(context.where), train.labels.to(context.where))

        made: nn.Module = context.memo(f"{trained.key}/{self.subject}/{self.seed}", make)
        return made


@dataclass(frozen=True, kw_only=True)
class IdentifyCell(_StreamsCell):
    """Which of some devices is behind the network? The attacker has its weights, and a U for each.

    Attributes:
        candidates: K; one is that of the network, with this error, the others are drawn at random.
        matrix_error: relative, of the U that the attacker has of the true one.
        access: what the attacker sees.
        miss, within: see `identify`.
    """

    candidates: Count
    matrix_error: NotNegative = 0.0
    access: Literal["scores", "labels"] = "labels"
    miss: Error = 0.05
    within: Positive | None = None

    @property
    def name(self) -> str:
        return (
            f"which of {self.candidates} devices, error {self.matrix_error:g}, by {self.access} of {self.network.name}"
        )

    def described(self) -> dict[str, Any]:
        names = ("candidates", "matrix_error", "miss", "within")
        settings = {name: getattr(self, name) for name in names}
        return {
            "model": self.network.name,
            "subject": "itself",
            "question": "which",
            "sign": "candidates",
            "there": True,
            "settings": settings,
        }

    def needs(self) -> str:
        return NEEDS_U if is_given(self.network) else ""

    def run(self, inputs: Sequence[Record], context: Context) -> Outcome:
        rewind(context.network(inputs[0]))
        target = context.target(inputs[0])
        assert isinstance(target, DefendedNetwork)
        images = _first(context, self.points)
        labels = context.dataset.test.labels[: len(images)].to(context.where)
        own = self._logits(context.load(inputs[0]), images, context)
        access = LabelAccess(target) if self.access == "labels" else ScoreAccess(target)
        parts = zip(images.split(_AT_ONCE), own.split(_AT_ONCE), strict=True)
        found = torch.cat([agreements(access, *part, self.within) for part in parts]).cpu().numpy()
        test = SingleOut(miss=self.miss, alpha=self.alpha)
        answers: list[bool | None] = []
        asked, paths = [], []
        for order in self._orders(len(found)):
            mine = found[order][: self.budget]
            left, used = test.decide(mine)
            answers.append(left == (0,) if len(left) == 1 else None)
            asked.append(used)
            # Of the two that are rejected last, the first.
            nearest = np.sort(np.maximum.accumulate(test.paths(mine[:used])), axis=1)[:, 1]
            paths.append((np.arange(1, used + 1), nearest / np.log(10)))
        right = (own.argmax(2) == labels[:, None]).double().mean(0)
        result = _result(
            answers,
            asked,
            paths,
            events=int(found[:, 0].sum()),
            learned=len(found),
            each=1.0,
            accuracies=tuple(round(one, 6) for one in right.tolist()),
        )
        return Outcome(result)

    @without_locals
    def _logits(self, network: nn.Module, images: Tensor, context: Context) -> Tensor:
        """Of each candidate: [n, K, classes], the true one first."""
        assert isinstance(network, DefendedNetwork)
        assert network.device is not None
        assert network.block.optical is not None
        network.eval()
        true, device = true_matrix(network.device), network.device
        with torch.no_grad():
            bits = torch.cat([network.observe(part)[0] for part in images.split(_AT_ONCE)])
            found = []
            for k in range(self.candidates):
                error = CHANCE if k else self.matrix_error
                matrix = blurred(true, error, derive_seed(self.seed, "candidate", k), size=entry_size(device))
                network.block.optical.device = _Guessed(matrix, device.fingerprint, device.mean_reading)
                found.append(torch.cat([network.block.classify(part) for part in bits.split(_AT_ONCE)]))
                context.progress("candidates", k + 1, self.candidates)
        return torch.stack(found, 1)


class _Guessed:
    """|Mb|^2 of an attacker's own matrix, on the scale of the true device's readings, as eight bits have it."""

    def __init__(self, matrix: Tensor, fingerprint: str, mean_reading: float) -> None:
        self._planes = matrix.real.t().contiguous(), matrix.imag.t().contiguous()
        self.out_features, self.in_features = matrix.shape
        self.fingerprint, self.mean_reading = fingerprint, mean_reading

    def measure(self, bits: Tensor) -> Tensor:
        light = sum((bits.float() @ plane.to(bits.device)).square_() for plane in self._planes)
        assert isinstance(light, Tensor)
        return light.add_(0.5).floor_().clamp_(0, 255).to(torch.uint8)


def _first(context: Context, count: int) -> Tensor:
    """The first test images, all where there are fewer."""
    test = context.dataset.test
    return test.head(min(count, len(test))).floats().to(context.where)


_PATH = 200


def _result(
    answers: Sequence[bool | None], asked: Sequence[int], paths: Sequence[tuple[Any, Any]], **counts: Any
) -> DetectResult:
    """What streams say together. `answers`: whether each was right; None: it had no answer."""
    decided = sorted(
        (queries, i) for i, (answer, queries) in enumerate(zip(answers, asked, strict=True)) if answer is not None
    )
    ends = np.array([queries for queries, _ in decided])
    most = len(decided) > len(answers) / 2
    # Those without an answer took longer than all others.
    shown = decided[min(len(answers) // 2, len(decided) - 1)][1] if decided else 0
    at, ratio = paths[shown]
    some = np.unique(np.linspace(0, max(len(at) - 1, 0), min(len(at), _PATH)).round().astype(int))
    return DetectResult(
        right=sum(answer is True for answer in answers),
        wrong=sum(answer is False for answer in answers),
        undecided=len(answers) - len(decided),
        median=float(ends[(len(answers) - 1) // 2]) if most else None,
        low=float(np.quantile(ends, 0.05)) if decided else None,
        high=float(np.quantile(ends, 0.95)) if decided else None,
        path=tuple((float(at[i]), round(float(ratio[i]), 4)) for i in some),
        **counts,
    )
