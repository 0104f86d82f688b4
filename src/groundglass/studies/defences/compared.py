"""What a run has of each defence, repeat by repeat, and how they compare."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Any

from groundglass.core.statistics import Difference, Family, Proportion, differs
from groundglass.report.audits import Audited, audits, where
from groundglass.report.style import BASELINE, DEFENDED
from groundglass.report.words import norm_name, radius
from groundglass.results import Run
from groundglass.results.kinds import CERTIFY, KINDS, TRAIN, TRANSFER, Entry
from groundglass.results.kinds.certify import CertifyConfig, CertifyResult
from groundglass.results.kinds.craft import TransferConfig, TransferResult
from groundglass.results.repeats import repeat_of

CLEAN, CERTIFIED = "clean accuracy", "certified"


@dataclass(frozen=True)
class AuditBall:
    """Where networks were audited."""

    norm: str
    eps: float
    name: str

    @property
    def worst(self) -> str:
        """Its column of the worst case."""
        return f"{self.name}: worst case"


@dataclass
class Repeat:
    """One network of a defence: what there is of it.

    Attributes:
        trained: a record whose result names its file.
        audits: by the name of the ball.
        certificates: in the order of the plan; the main table has the first.
        transferred: images made on another network that were tried on it, by attack and radius.
    """

    trained: Entry[Any, Any] | None = None
    audits: dict[str, Audited] = field(default_factory=dict)
    certificates: list[Entry[CertifyConfig, CertifyResult]] = field(default_factory=list)
    transferred: dict[str, Entry[TransferConfig, TransferResult]] = field(default_factory=dict)

    @property
    def clean(self) -> Proportion | None:
        """On the whole test set, or else on the audited images."""
        found = getattr(self.trained.result, "clean", None) if self.trained else None
        return found or next((one.result.clean for one in self.audits.values() if one.result.clean), None)

    @property
    def parts(self) -> int:
        """Of an ensemble; of any other network 1."""
        return int(getattr(self.trained.result, "parts", 1)) if self.trained else 1

    @property
    def layered(self) -> bool:
        """Whether it has the layer."""
        return getattr(self.trained.result, "device", None) is not None if self.trained else False

    def worst(self, ball: AuditBall) -> Proportion | None:
        one = self.audits.get(ball.name)
        return one.result.worst if one else None

    def claimed(self, ball: AuditBall) -> Proportion | None:
        one = self.audits.get(ball.name)
        return one.result.share_claimed if one else None

    def certified(self, at: float) -> Proportion | None:
        """Right with a certificate of this L2 radius or more."""
        return self.certificates[0].result.at(at) if self.certificates else None


@dataclass(frozen=True)
class Defence:
    """A network in all its repeats.

    Attributes:
        features: the name of the network whose features it has; empty where they are its own.
        alone: the name of the same network without the layer; empty where there is none.
    """

    name: str
    repeats: Mapping[int, Repeat]
    features: str = ""
    alone: str = ""

    @property
    def layered(self) -> bool:
        """Whether it has the layer; by its name where it was not trained yet."""
        trained = [one for one in self.repeats.values() if one.trained]
        return trained[0].layered if trained else "OPU" in self.name

    @property
    def built(self) -> Mapping[str, Any]:
        """What it was made of, but for what a layer is in place of; nothing where it was not trained yet."""
        trained = next((one.trained for one in self.repeats.values() if one.trained), None)
        model = getattr(trained.config, "model", {}) if trained else {}
        return {name: value for name, value in model.items() if name not in _HEAD} if isinstance(model, Mapping) else {}

    def each(self, read: Callable[[Repeat], Proportion | None]) -> list[Proportion]:
        """What is known of a share, in the order of the repeats."""
        return [share for one in self.repeats.values() if (share := read(one)) is not None]

    def mean(self, read: Callable[[Repeat], Proportion | None]) -> float | None:
        """The mean over repeats of what is known of a share."""
        found = [share.share for share in self.each(read)]
        return fmean(found) if found else None


@dataclass(frozen=True)
class Defences:
    """All of a run, by name in the order of its plan.

    Attributes:
        balls: in which there are audits, L-inf first, the smallest first.
        radius: L2, at which certificates are told beside the audits; None where there are none.
    """

    run: Run
    named: Mapping[str, Defence]
    balls: Sequence[AuditBall]
    radius: float | None

    @classmethod
    def of(cls, run: Run) -> "Defences":
        """A network is a defence that was audited or certified, or of which no other has the features."""
        own = [entry for kind in KINDS.values() if "checkpoint" in kind.files for entry in run.entries(kind)]
        below = {key for one in own for key in one.inputs}
        seen = audits(run)
        certified = run.entries(CERTIFY)
        models = [*(one.config.model for one in seen), *(one.config.model for one in certified)]
        order = [one.name for one in own if one.name in models or one.key not in below]
        order += sorted(models, key=lambda name: repeat_of(name)[1])
        found: dict[str, dict[int, Repeat]] = {}
        for name in order:
            plain, number = repeat_of(name)
            found.setdefault(plain, {}).setdefault(number, Repeat())
        for one in own:
            plain, number = repeat_of(one.name)
            if number in found.get(plain, {}):
                found[plain][number].trained = one
        balls: dict[tuple[str, float], AuditBall] = {}
        # Where one ball has two names, the paper's is told.
        for audit in sorted(
            seen, key=lambda one: (one.config.norm != "linf", one.config.eps, one.config.eps_paper is None)
        ):
            plain, number = repeat_of(audit.config.model)
            place = (audit.config.norm, round(audit.config.eps, 9))
            ball = balls.setdefault(place, AuditBall(*place, where(audit)))
            found[plain][number].audits[ball.name] = audit
        for certificate in certified:
            plain, number = repeat_of(certificate.config.model)
            found[plain][number].certificates.append(certificate)
        for transfer in run.entries(TRANSFER):
            plain, number = repeat_of(transfer.config.target)
            if number in found.get(plain, {}):
                at = f"{transfer.config.label}, {radius(transfer.config.norm, transfer.config.eps)}"
                found[plain][number].transferred[at] = transfer
        radii = [ball.eps for ball in balls.values() if ball.norm == "l2"]
        radii += [r for one in certified for r, _ in one.result.certified]
        told = next((r for r in radii if any(one.result.at(r) for one in certified)), None)
        features = {repeat_of(one.name)[0]: _features(one) for one in run.entries(TRAIN)}
        named = {
            name: Defence(name, dict(sorted(repeats.items())), features.get(name, ""))
            for name, repeats in found.items()
        }
        named = {name: replace(one, alone=_alone(one, named)) for name, one in named.items()}
        return cls(run, named, tuple(balls.values()), told)

    @property
    def pairs(self) -> list[tuple[Defence, Defence]]:
        """Each defence with the layer, and the same without."""
        return [(one, self.named[one.alone]) for one in self.named.values() if one.alone]

    @property
    def quantities(self) -> list[str]:
        """What defences are compared by, as columns are called."""
        there = any(one.each(lambda repeat: repeat.certified(self.radius or 0)) for one in self.named.values())
        return [CLEAN, *(ball.worst for ball in self.balls), *([self.certified] if there else ())]

    @property
    def transfers(self) -> list[str]:
        """Attacks and radii of images made on another network."""
        every = [at for one in self.named.values() for repeat in one.repeats.values() for at in repeat.transferred]
        return list(dict.fromkeys(every))

    @property
    def certified(self) -> str:
        """The column of certified accuracy."""
        return f"{CERTIFIED}, {norm_name('l2')} {radius('l2', self.radius or 0)}"

    @property
    def numbers(self) -> list[int]:
        """Of all repeats."""
        return sorted({number for one in self.named.values() for number in one.repeats})

    def difference(self, one: Repeat, other: Repeat, quantity: str) -> Difference | None:
        """On the same images, but for clean accuracies, of which records have the count alone; None where one is not known."""
        if quantity == CLEAN:
            return differs(one.clean, other.clean) if one.clean and other.clean else None
        if quantity in self.transfers:
            tried = [each.transferred.get(quantity) for each in (one, other)]
            outcomes = [self.run.right_under([found.key]) if found else {} for found in tried]
        elif quantity == self.certified:
            outcomes = [self._certified(each) for each in (one, other)]
        else:
            ball = next(ball for ball in self.balls if ball.worst == quantity)
            outcomes = [self._standing(each, ball) for each in (one, other)]
        return differs(*outcomes) if all(outcomes) else None

    def _standing(self, one: Repeat, ball: AuditBall) -> dict[int, bool]:
        audit = one.audits.get(ball.name)
        return self.run.right_under([audit.key]) if audit else {}

    def _certified(self, one: Repeat) -> dict[int, bool]:
        if not one.certificates or self.radius is None or one.certificates[0].record.arrays is None:
            return {}
        at = self.radius

        def read(a: Mapping[str, Any]) -> dict[int, bool]:
            right = (a["prediction"] == a["label"]) & (a["radius"] >= at)
            return dict(zip(a["index"].tolist() if "index" in a else range(len(right)), right.tolist(), strict=True))

        found: dict[int, bool] = self.run.per_image(one.certificates[0].key, read)
        return found


@dataclass(frozen=True)
class Comparisons:
    """Comparisons in every repeat, corrected together in each: a difference stands where it does so in all, with one sign.

    Attributes:
        families: by repeat.
    """

    families: Mapping[int, Family[tuple[str, str]]]

    @classmethod
    def of(
        cls, defences: Defences, pairs: Iterable[tuple[Defence, Defence]], quantities: Sequence[str]
    ) -> "Comparisons":
        """Of these pairs, by what they are called: the first minus the second."""
        found, pairs = {}, list(pairs)
        for number in defences.numbers:
            differences = {
                (one.name, quantity): defences.difference(one.repeats[number], other.repeats[number], quantity)
                for one, other in pairs
                if number in one.repeats and number in other.repeats
                for quantity in quantities
            }
            found[number] = Family("Pairs of networks in one repeat", differences)
        return cls(found)

    def known(self, name: str, quantity: str) -> list[Difference]:
        """In the order of the repeats."""
        found = (family.found.get((name, quantity)) for family in self.families.values())
        return [one for one in found if one is not None]

    def sign(self, name: str, quantity: str) -> int:
        """1 or -1 where the first is larger or smaller in every repeat, by more than chance; else 0."""
        key = (name, quantity)
        there = [family for family in self.families.values() if family.found.get(key) is not None]
        above, below = (bool(there) and all(way(family) for family in there) for way in (_above(key), _below(key)))
        return above - below

    def p(self, name: str, quantity: str) -> float | None:
        """The largest corrected p of the repeats."""
        found = [family.corrected.get((name, quantity)) for family in self.families.values()]
        return max((p for p in found if p is not None), default=None)

    @property
    def note(self) -> str:
        """How they were made, for the note under a table."""
        if not self.families:
            return ""
        several = (
            " A difference stands where it does so in every repeat, with one sign." if len(self.families) > 1 else ""
        )
        return f"{next(iter(self.families.values())).note}.{several}"


def _above(key: tuple[str, str]) -> Callable[[Family[tuple[str, str]]], bool]:
    return lambda family: family.above(key)


def _below(key: tuple[str, str]) -> Callable[[Family[tuple[str, str]]], bool]:
    return lambda family: family.below(key)


def _features(one: Entry[Any, Any]) -> str:
    features = one.result.features
    return repeat_of(features.name)[0] if features else ""


#: Settings of a network that a layer changes: its sizes, or those of the linear head in its place, and what enters either.
_HEAD = ("device_in", "device_out", "linear_hidden", "linear_out", "encoding")


def _alone(one: Defence, known: Mapping[str, Defence]) -> str:
    """The same network without the layer, by its name; or another that is built alike on the same features; or that which these
    are of."""
    if not one.layered:
        return ""
    names = [one.name.replace(DEFENDED, BASELINE, 1), one.name.replace("-OPU", "", 1), f"{one.name} without layer"]
    if one.features:
        names += [each.name for each in known.values() if (each.features, each.built) == (one.features, one.built)]
        names += [one.features]
    return next((name for name in names if name in known and not known[name].layered), "")
