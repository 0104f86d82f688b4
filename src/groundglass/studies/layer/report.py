"""What a layer would have to be to help: what each gains over no layer, on the images that both get right."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from groundglass.core.statistics import Family, Outcomes, differs, gain
from groundglass.core.text import signed
from groundglass.report.audits import audits, where
from groundglass.report.drawing import Drawing, Folder
from groundglass.report.figure import DotRow, Series, save_dots
from groundglass.report.section import Finding, Section, Verdict
from groundglass.report.style import OPEN, PLAIN
from groundglass.report.table import Amount, Row, Table
from groundglass.report.words import corrected_p, failed_checks
from groundglass.results import Run
from groundglass.results.kinds import ATTACK, CERTIFY, DEVICE, TRAIN, Entry
from groundglass.results.kinds.network import DeviceConfig, TrainConfig, TrainResult

TITLE = "What a layer would have to be"
STANDARD = "standard"
_LAYER, _NONE = "layer ", "no layer, "
#: What the attacker knows.
SECRET, KNOWN = "U secret", "U known"
#: In its place where no attack is: a certificate holds whatever is known.
CERTIFIED = "certified"
#: A layer, a ball and what the attacker knows.
Key = tuple[str, str, str]
_WRONG = -2
_AXES = ("power of |Ux|", "bits out", "noise", "what enters", "N", "M")


@dataclass(frozen=True)
class Layer:
    """A layer, and what is left of the images that it and its control get right.

    Attributes:
        name: what is other than in the standard one.
        axes: what of it that is.
        network, control: the one with the layer, and the one without.
        left: by ball and what the attacker knows, which images the layer keeps; beside it those that the control keeps, which has
            no secret.
    """

    name: str
    axes: tuple[str, ...]
    network: Entry[TrainConfig, TrainResult]
    control: Entry[TrainConfig, TrainResult] | None
    left: Mapping[tuple[str, str], tuple[Outcomes, Outcomes]] = field(default_factory=dict)

    @property
    def group(self) -> str:
        return "the study's own" if not self.axes else self.axes[0] if len(self.axes) == 1 else "several"


def layers(run: Run) -> list[Layer]:
    """Every layer of a run, the standard one first, then axis by axis as they were planned."""
    trained = run.entries(TRAIN)
    devices = {one.key: one.config for one in run.entries(DEVICE)}
    controls = {_enters(one): one for one in trained if one.name.startswith(_NONE)}
    own = {one.name.removeprefix(_LAYER): one for one in trained if one.name.startswith(_LAYER)}
    usual = _facts(own[STANDARD], devices) if STANDARD in own else None
    found = []
    for name, one in own.items():
        facts = _facts(one, devices)
        axes = tuple(
            axis for axis, a, b in zip(_AXES, facts or (), usual or (), strict=False) if name != STANDARD and a != b
        )
        control = controls.get(_enters(one))
        found.append(Layer(name, axes, one, control, _left(run, one.name, control.name) if control else {}))
    order = ["the study's own", *_AXES, "several"]
    return sorted(found, key=lambda layer: (layer.name != STANDARD, order.index(layer.group)))


def _enters(one: Entry[TrainConfig, TrainResult]) -> tuple[str, str]:
    """The features that a network has, and what of them enters its layer: what it shares with its control."""
    return str(one.config.model["features"]), str(one.config.model["encoding"])


def _facts(one: Entry[TrainConfig, TrainResult], devices: Mapping[str, DeviceConfig]) -> tuple[Any, ...] | None:
    """In the order of `_AXES`."""
    device = next((devices[key] for key in one.inputs if key in devices), None)
    if device is None:
        return None
    seen = device.camera
    sizes = (device.in_features, device.out_features)
    return (seen.power, seen.bits, seen.read_noise, one.config.model["encoding"], *sizes)


def _left(run: Run, network: str, control: str) -> dict[tuple[str, str], tuple[Outcomes, Outcomes]]:
    judged = {(one.config.model, where(one)): one.key for one in audits(run) if one.result.worst is not None}
    attacked: dict[tuple[str, float], list[str]] = {}
    for made in run.entries(ATTACK):
        if made.config.model == network and made.config.rule == "exact":
            attacked.setdefault((made.config.norm, round(made.config.eps, 9)), []).append(made.key)
    found = {}
    for one in audits(run):
        ball = where(one)
        beside = judged.get((control, ball))
        if one.config.model != network or (network, ball) not in judged or beside is None:
            continue
        before = [run.per_image(key, _before) for key in (one.key, beside)]
        both = [i for i, right in before[0].items() if right and before[1].get(i)]
        knowing = attacked.get((one.config.norm, round(one.config.eps, 9)), [])
        for who, keys in ((SECRET, [one.key]), (KNOWN, [one.key, *knowing] if knowing else [])):
            if keys:
                here, there = run.right_under(keys), run.right(beside)
                found[ball, who] = {i: here[i] for i in both if i in here}, {i: there[i] for i in both}
    return found | _certified(run, network, control)


def _certified(run: Run, network: str, control: str) -> dict[tuple[str, str], tuple[Outcomes, Outcomes]]:
    """Which images are right with a certificate, of all that were certified."""
    made = {one.config.model: one for one in run.entries(CERTIFY)}
    if not {network, control} <= made.keys():
        return {}
    here, there = made[network], made[control]
    return {
        (f"certified, L2 {radius:g}", CERTIFIED): (_sure(run, here.key, radius), _sure(run, there.key, radius))
        for radius in here.config.radii
        if radius in there.config.radii
    }


def _sure(run: Run, key: str, radius: float) -> Outcomes:
    def read(arrays: Mapping[str, np.ndarray]) -> dict[int, bool]:
        sure = (arrays["prediction"] == arrays["label"]) & (arrays["radius"] >= radius)
        return dict(zip(arrays["index"].tolist(), sure.tolist(), strict=True))

    outcomes: dict[int, bool] = run.per_image(key, read)
    return outcomes


def _before(arrays: Mapping[str, np.ndarray]) -> dict[int, bool]:
    """Which audited images were right at first."""
    return dict(enumerate((arrays["broken_by"] != _WRONG).tolist()))


def _family(found: list[Layer]) -> Family[Key]:
    tests = {(one.name, *at): differs(*pair) for one in found for at, pair in one.left.items()}
    return Family("What each layer gains over none, with U secret, with U known, and certified", tests)


def tables(run: Run) -> list[Table]:
    """A row a layer: clean accuracy, and what it and its control keep of the images that both get right."""
    found = layers(run)
    if not any(one.left for one in found):
        return []
    family = _family(found)
    return [_table(found, family), *_certificates(found, family)]


def _table(found: list[Layer], family: Family[Key]) -> Table:
    balls = _balls(found)
    rows = []
    for one in found:
        values: list[Any] = [one.network.result.clean, one.control.result.clean if one.control else None]
        notes = ["", ""]
        for ball in balls:
            tests = [family.found.get((one.name, ball, who)) for who in (SECRET, KNOWN)]
            first = tests[0]
            values += [first.second if first else None, first.first if first else None]
            values += [Amount(test.points, signed) if test else None for test in tests]
            notes += ["", "", *(corrected_p(family, (one.name, ball, who)) for who in (SECRET, KNOWN))]
        rows.append(Row(f"{one.group}: {one.name}" if one.axes else one.name, tuple(values), tuple(notes)))
    heads = ("right without the layer", "right with it", "gain, U secret", "gain, U known")
    columns = ("clean accuracy", "without the layer", *(f"{ball}: {head}" for ball in balls for head in heads))
    note = (
        "Clean accuracy is on the whole test set. The rest is the worst case on the images that both networks get right, so at "
        f"equal clean accuracy; gains in points. {family.note}."
    )
    return Table(
        "What each layer keeps, beside a linear classifier on what enters it", "layer", columns, tuple(rows), note
    )


def _balls(found: list[Layer]) -> list[str]:
    return list(dict.fromkeys(ball for one in found for ball, who in one.left if who != CERTIFIED))


def _certificates(found: list[Layer], family: Family[Key]) -> list[Table]:
    """Of the layers that were certified, if any."""
    balls = list(dict.fromkeys(ball for one in found for ball, who in one.left if who == CERTIFIED))
    rows = []
    for one in found:
        tests = [family.found.get((one.name, ball, CERTIFIED)) for ball in balls]
        shown = [(test.second, test.first, Amount(test.points, signed)) if test else (None,) * 3 for test in tests]
        ps = [corrected_p(family, (one.name, ball, CERTIFIED)) for ball in balls]
        if any(tests):
            values = tuple(value for three in shown for value in three)
            rows.append(Row(one.name, values, tuple(note for p in ps for note in ("", "", p))))
    if not rows:
        return []
    columns = tuple(f"{ball}: {head}" for ball in balls for head in ("without the layer", "with it", "gain"))
    note = "Right with a certificate of that radius, of all images tried; by randomised smoothing, whatever the attacker knows."
    return [Table("Certified accuracy, beside a linear classifier on what enters", "layer", columns, tuple(rows), note)]


def _judge(run: Run, found: list[Layer], family: Family[Key]) -> Verdict:
    """Whether a layer keeps more than none, and whether it does so for who knows U."""
    known = {key: test for key, test in family.found.items() if test is not None}
    secret = {key: test for key, test in known.items() if key[2] == SECRET}
    if not secret:
        return Verdict(Finding.OPEN)
    gains = {key: gain(*one.left[key[1:]]) for one in found for key in secret if key[0] == one.name}
    standing = [key for key in secret if family.above(key)]
    staying = [key for key in standing if family.above((*key[:2], KNOWN))]
    # Of those that stand, the one that gains most; else what comes nearest to a gain.
    best = max(standing or secret, key=lambda key: secret[key].points)
    known_too = known.get((*best[:2], KNOWN))
    far = max((one.interval[1] for one in gains.values() if one is not None), default=0.0)
    reasons = {
        "layers": len({key[0] for key in secret}),
        "standing": list(dict.fromkeys(key[0] for key in standing)),
        "staying": list(dict.fromkeys(key[0] for key in staying)),
        "worse": list(dict.fromkeys(key[0] for key in secret if family.below(key))),
        "best": best,
        "test": secret[best],
        "gain": gains[best],
        "known": known_too,
        "most": far,
        "certified": list(dict.fromkeys(key[0] for key in known if key[2] == CERTIFIED)),
        "surer": list(dict.fromkeys(key[0] for key in known if key[2] == CERTIFIED and family.above(key))),
        "failed": failed_checks(run),
    }
    # That a gain goes once U is known can be said where that was tried for each that stands.
    known_for_all = all((*key[:2], KNOWN) in known for key in standing)
    lost = Finding.PART if known_for_all else Finding.OPEN
    finding = Finding.HOLDS if staying else lost if standing else Finding.FALLS
    untried = tuple(
        f"{one.name} with U known" for one in found if one.left and not any(who == KNOWN for _, who in one.left)
    )
    return Verdict(finding, reasons, untried, min(test.first.total for test in secret.values()))


def section(run: Run, drawings: Folder) -> Section | None:
    """The section; None where no layer was judged."""
    found = [one for one in layers(run) if one.left]
    if not found:
        return None
    family = _family(found)
    return Section(TITLE, _judge(run, found, family), (_figure(found, drawings),), tables(run))


def _figure(found: list[Layer], drawings: Folder) -> Drawing:
    """A row a layer, a panel a ball: the gain over no layer, with U secret and with U known."""
    balls = _balls(found)
    rows: list[DotRow] = []
    group = ""
    for one in found:
        panels = []
        for ball in balls:
            gains = ((who, gain(*one.left[ball, who])) for who in (SECRET, KNOWN) if (ball, who) in one.left)
            panels.append(tuple((who, found_) for who, found_ in gains if found_ is not None))
        rows.append(DotRow(one.name, tuple(panels), rule_above=one.group != group))
        group = one.group
    series = (Series(SECRET, PLAIN), Series(KNOWN, OPEN))
    caption = (
        "What each layer keeps in the worst case beyond what a linear classifier on the same features keeps, of the images "
        "that both get right, with 95% intervals. Lines part power, bits, noise, what enters, N, M, and several at once."
    )
    titles = [ball.partition(" (")[0] for ball in balls]
    return save_dots(
        drawings, "layer", rows, series, x="gain (points)", titles=titles, caption=caption, around_zero=True
    )
