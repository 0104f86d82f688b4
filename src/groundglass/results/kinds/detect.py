"""How many queries it takes until an attacker is sure of what stands behind an access."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from groundglass.core.schema import left_out
from groundglass.core.statistics import Proportion
from groundglass.results.kinds.base import Kind, column, derives


@dataclass(frozen=True, kw_only=True)
class DetectConfig:
    """Streams of questions to one network. `settings`: of the sign, or of the candidates."""

    model: str = column("the network that stands behind the access", "network")
    subject: str = column("itself, or what was put on its lower weights: own-head or bits-head")
    question: str = column("layer: are there bits? linear: is what is above them? noise: is there? which: of K devices")
    sign: str = column("what was looked at")
    access: str = column("scores or labels")
    there: bool = column("whether the answer is yes")
    settings: Mapping[str, Any]
    points: int
    streams: int = column("all of the same points, each in another order: no independent samples")
    budget: int = column("queries of a stream, at the most")
    alpha: float = column("bound of the chance of a wrong yes; of a wrong candidate")
    beta: float = column("bound of the chance of a wrong no")
    seed: int

    @property
    def digits(self) -> int | None:
        """Decimals of the scores; None: of labels, or of scores as they are."""
        found = self.settings.get("digits")
        return None if found is None else int(found)


@dataclass(frozen=True, kw_only=True)
class DetectResult:
    """What the streams said.

    Attributes:
        events: of the `learned` points, those with the event; of candidates, answers that agree with the true one.
        learned: points from which something was learned.
        each: queries of a point.
        median, low, high: queries until it was sure; the last two hold nine of ten streams in which it was. None where it was in
            none, and the median too where it was in fewer than half.
        path: of the median stream: queries, and the decimal logarithm of the likelihood ratio then.
        accuracies: of the network with each candidate's device, the true one first, on the points: it takes no query.
    """

    right: int = column("streams with the right answer")
    wrong: int = column("streams with the wrong answer")
    undecided: int = column("streams that had none within their budget")
    events: int
    learned: int
    each: float
    median: float | None = column("queries until it was sure, median of all streams", "queries_until_sure")
    low: float | None
    high: float | None
    path: tuple[tuple[float, float], ...]
    accuracies: tuple[float, ...] | None = left_out()

    @property
    def streams(self) -> int:
        return self.right + self.wrong + self.undecided

    @derives("streams that were wrong", "wrong_share")
    def mistaken(self) -> Proportion:
        return Proportion(self.wrong, self.streams)

    @derives("events among the points that tell something", "event_share")
    def event(self) -> Proportion | None:
        return Proportion(self.events, self.learned) if self.learned else None


#: Sequential tests of what stands behind an access: `DetectConfig`, `DetectResult`.
DETECT = Kind(
    "detect",
    DetectConfig,
    DetectResult,
    "detections",
    lambda r: (
        f"right in {r.right} of {r.streams} streams" + ("" if r.median is None else f", after {r.median:.0f} queries")
    ),
    holds={
        "there is a stream": lambda r: r.streams >= 1,
        "events are of the points that tell something": lambda r: r.events <= r.learned,
    },
)
