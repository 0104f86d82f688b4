"""The study of adversarial training as the report reads it: four networks, untouched and in the worst case."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from groundglass.core import DamagedFileError
from groundglass.core.statistics import Proportion
from groundglass.old_report.audit_reading import Audited, Found, read_audits
from groundglass.old_report.cells import BASELINE, DEFENDED, radius
from groundglass.old_report.networks import read_network
from groundglass.old_report.study import Study
from groundglass.old_report.threat_models import attacker
from groundglass.results.records import Record

#: Trained on adversarial images: without the layer, and with it.
BASELINE_AT, DEFENDED_AT = "VGG-16 AT", "VGG-OPU AT"
NAMES = (BASELINE, DEFENDED, BASELINE_AT, DEFENDED_AT)

_KINDS = {"PGDTraining": "PGD"}


@dataclass(frozen=True)
class Ball:
    """A radius at which networks were audited. `name` is in words."""

    norm: str
    eps: float
    name: str


@dataclass(frozen=True)
class Network:
    """One of the four.

    Attributes:
        training: the attack inside its training, in words; an empty string while it is not trained.
        clean: right on the whole test set, or None while it is not trained.
        audits: those that were made; each in a ball of its own.
    """

    name: str
    training: str
    clean: Proportion | None
    audits: tuple[Audited, ...]

    def at(self, ball: Ball) -> Found | None:
        """What the audit in that ball measured; None while there is none, or where nothing could be audited."""
        one = self.audited(ball)
        return None if one is None else one.found

    def audited(self, ball: Ball) -> Audited | None:
        return next((one for one in self.audits if (one.norm, one.eps) == (ball.norm, ball.eps)), None)


@dataclass(frozen=True)
class Difference:
    """Two shares of the same images."""

    more: Proportion
    less: Proportion

    @property
    def points(self) -> float:
        """By which the first has more; negative where it has less."""
        return 100 * (self.more.share - self.less.share)

    @property
    def is_clear(self) -> bool:
        """The 95% intervals are apart."""
        return self.more.clearly_below(self.less) or self.less.clearly_below(self.more)


@dataclass(frozen=True)
class Comparison:
    """What one change of a network does. `clean` and `worst` hold None where a record is missing.

    Attributes:
        what: the change, in words.
        clean: on the whole test set.
        worst: in the order of the balls.
    """

    what: str
    more: Network
    less: Network
    clean: Difference | None
    worst: tuple[Difference | None, ...]

    @property
    def clear(self) -> list[float]:
        """Points at the radii where the intervals are apart."""
        return [one.points for one in self.worst if one is not None and one.is_clear]


@dataclass(frozen=True)
class Hardened:
    """The four networks, and the balls at which any of them was audited, the smallest first."""

    networks: tuple[Network, ...]
    balls: tuple[Ball, ...]

    def named(self, name: str) -> Network:
        return self.networks[NAMES.index(name)]

    def compare(self, what: str, more: str, less: str) -> Comparison:
        one, other = self.named(more), self.named(less)
        return Comparison(
            what,
            one,
            other,
            _difference(one.clean, other.clean),
            tuple(_difference(_worst(one, ball), _worst(other, ball)) for ball in self.balls),
        )

    @property
    def comparisons(self) -> tuple[Comparison, ...]:
        """The layer on top of nothing, on top of adversarial training; adversarial training without the layer, with it."""
        return (
            self.compare("the layer, on top of nothing", DEFENDED, BASELINE),
            self.compare("the layer, on top of adversarial training", DEFENDED_AT, BASELINE_AT),
            self.compare("adversarial training, without the layer", BASELINE_AT, BASELINE),
            self.compare("adversarial training, with the layer", DEFENDED_AT, DEFENDED),
        )


def read_hardened(study: Study) -> Hardened | None:
    """The study of adversarial training; None where no network was trained so.

    Raises:
        DamagedFileError: a record of a training or of an audit that cannot be read.
    """
    trained = [record for record in study.of_kind("train") if record.name in NAMES]
    audits = [one for one in read_audits(study) if one.model in NAMES]
    there = {record.name for record in trained} | {one.model for one in audits}
    if study.manifest["study"] != "adversarial-training" and not there & {BASELINE_AT, DEFENDED_AT}:
        return None
    if not there:
        return None
    networks = tuple(_network(study, name, trained, audits) for name in NAMES)
    balls = {(one.norm, one.eps): one for network in networks for one in network.audits}
    # Of one radius by two names the paper's is told.
    named = {(one.norm, one.eps): one for network in networks for one in network.audits if one.eps_paper is not None}
    return Hardened(networks, tuple(Ball(*key, (named.get(key) or balls[key]).ball) for key in sorted(balls)))


def _network(study: Study, name: str, trained: Sequence[Record], audits: Sequence[Audited]) -> Network:
    """Of several networks with the name the one that was audited most, the oldest first."""
    own = [one for one in audits if one.model == name]
    records = [record for record in trained if record.name == name]
    if not records:
        return Network(name, "", None, tuple(own))
    record = max(records, key=lambda r: sum(one.network == r.key for one in own))
    return Network(
        name,
        _training(study, record),
        read_network(record).clean,
        tuple(one for one in own if one.network == record.key),
    )


def _training(study: Study, record: Record) -> str:
    """The attack inside a training, or inside that of the features that were kept."""
    below = [made for key in record.inputs if (made := study.store.get(key)) is not None and made.kind == "train"]
    try:
        settings = [found for one in (record, *below) if (found := one.config["training"].get("adversarial"))]
        return _attack(settings[0]) if settings else "none"
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DamagedFileError(
            f"the record {record.key} ({record.name}) is no training as this version writes it: "
            f"{type(error).__name__} {error}. Rebuild the page with the version that ran the study"
        ) from error


def _attack(settings: dict[str, Any]) -> str:
    """ "PGD, 7 steps within 8/255, gradients by DFA"."""
    kind, steps = str(settings["kind"]), int(settings["steps"])
    return (
        f"{_KINDS.get(kind, kind)}, {steps} step{'s' if steps > 1 else ''} within {radius('linf', float(settings['eps']))}, "
        f"gradients by {attacker(str(settings['rule'])).label}"
    )


def _worst(network: Network, ball: Ball) -> Proportion | None:
    found = network.at(ball)
    return None if found is None else found.worst


def _difference(more: Proportion | None, less: Proportion | None) -> Difference | None:
    return None if more is None or less is None else Difference(more, less)
