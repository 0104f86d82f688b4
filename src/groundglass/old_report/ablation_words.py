"""Which part of the defence brings which robustness, in sentences. None claims more than a paired test does.

Networks meet the same images, so a part is judged by the images that it changes, `Met.clearly_below`."""

from collections.abc import Sequence
from dataclasses import dataclass

from groundglass.old_report.ablation_reading import KNOWING, PAPER, REFERENCE, REFITTED, Met, Network, Threat
from groundglass.old_report.cells import BASELINE
from groundglass.old_report.verdict import listed, percent


@dataclass(frozen=True)
class Part:
    """What differs between two networks, in words."""

    name: str
    before: str
    after: str


@dataclass(frozen=True)
class Effect:
    """An attack on a network without a part, and on one with it."""

    part: Part
    before: Met
    after: Met

    @property
    def sign(self) -> int:
        """1: clearly more images stay right with the part; -1: clearly fewer; 0: not to be told."""
        if self.before.clearly_below(self.after):
            return 1
        return -1 if self.after.clearly_below(self.before) else 0

    @property
    def words(self) -> str:
        a, b = self.after, self.before
        return f"{self.part.name} ({percent(a.shown.share)} of {a.network}, {percent(b.shown.share)} of {b.network})"


def parts(networks: Sequence[Network]) -> list[Part]:
    """The steps from VGG-16 to OPU, and what each variant changes in OPU, or in OPU refitted as it was itself."""
    by_name = {network.name: network for network in networks}
    steps = [
        Part("DFA in training", BASELINE, "DFA"),
        Part("the binarisation", "DFA", "BIN"),
        Part("the random projection", "DFA", "RP"),
        Part("both together", "DFA", REFERENCE),
    ]
    steps = [part for part in steps if part.before in by_name and part.after in by_name]
    for one in networks:
        if one.name not in (BASELINE, *PAPER):
            refitted = REFITTED in by_name and one.name != REFITTED and one.in_two_stages
            reference = REFITTED if refitted else REFERENCE
            if reference in by_name:
                steps.append(Part(_change(by_name[reference], one), reference, one.name))
    return steps


def threat_words(threat: Threat, networks: Sequence[Network]) -> list[str]:
    """A paragraph an attacker: which parts change the outcome, at the largest radius where something is left."""
    said = [_attacker_words(threat, label, mets, parts(networks)) for label, mets in _attackers(threat)]
    if threat.name == "black-box":
        said.append(_blind_words(threat, parts(networks)))
    return [words for words in said if words]


def change_words(threats: Sequence[Threat], networks: Sequence[Network]) -> str:
    """The parts that change the outcome at all, by the last attacker of each kind, in one sentence; "" without any.

    In the white box that is the best gradient of each network, and nothing where none that fits was tried.
    """
    said = []
    for threat in threats:
        attackers = [(threat.label(s), threat.of(s)) for s in threat.series]
        if threat.name == "white-box":
            attackers = [("the best gradient of each network", best_gradients(threat))]
        for label, mets in [one for one in attackers if one[1]][-1:]:
            ball = judged_ball(mets)
            effects = _effects(mets, ball, parts(networks)) if ball else []
            found = [
                f"{listed(names)} ({word})"
                for word, sign in (("more stand", 1), ("fewer stand", -1))
                if (names := [effect.part.name for effect in effects if effect.sign == sign])
            ]
            if ball is None:
                said.append(f"{label} ({threat.name}) leaves next to nothing of any network")
            elif effects:
                said.append(f"under {label} ({threat.name}) {' and '.join(found) or 'nothing'}")
    return f"What clearly changes how many images stand: {'; '.join(said)}." if said else ""


def _attackers(threat: Threat) -> list[tuple[str, list[Met]]]:
    """(who attacks, in words; what they left of each network), the strongest last in the white box."""
    found = [(threat.label(series), threat.of(series)) for series in threat.series]
    if threat.name == "white-box":
        # A rule that fits one kind of head alone compares nothing; the best of each network does.
        found = [
            (f"the attacker {label}", mets)
            for (label, mets), s in zip(found, threat.series, strict=True)
            if s not in KNOWING
        ]
        found.append(("the best gradient of each network", best_gradients(threat)))
    return [(label, mets) for label, mets in found if mets]


def caution_words(threat: Threat, white: Threat | None, networks: Sequence[Network]) -> str | None:
    """Where the best gradient leaves nothing, what a part brings is obscurity."""
    if white is None:
        return None
    if threat.name == "white-box":
        return _obscurity_words(threat, networks)
    broken = _broken(threat, best_gradients(white))
    if not broken:
        return None
    groups: dict[tuple[str, str], list[Met]] = {}
    for met in broken:
        groups.setdefault((met.series, met.ball), []).append(met)
    left = "; ".join(
        f"{white.label(series)} at most {percent(max(met.kept.share for met in mets))} of "
        f"{listed([met.network for met in mets])}, at {ball}"
        for (series, ball), mets in groups.items()
    )
    asked = "queries" if threat.name == "black-box" else "transferred attacks"
    return (
        f"Obscurity, not robustness: within the radius of these attacks the best gradient leaves next to nothing ({left}). What "
        f"those networks keep under {asked} is owed to what the attacker does not know."
    )


def flat_words(threat: Threat) -> str | None:
    """Where estimates of the gradient were exactly zero."""
    flat = [met for network in threat.networks for met in threat.row(network) if met is not None and met.flat]
    if not flat:
        return None
    said = []
    for series in dict.fromkeys(met.series for met in flat):
        shares = {met.network: met.flat for met in flat if met.series == series and met.flat}
        worst = max(shares, key=lambda name: shares[name])
        share = percent(shares[worst]) if shares[worst] >= 0.0005 else "less than 0.1%"
        said.append(f"{series} on {listed(list(shares))} (most on {worst}, {share})")
    return (
        f"Some gradient estimates were exactly zero: {'; '.join(said)}. A loss that does not move when the image does "
        "stops who estimates gradients, and nobody else."
    )


def judged_ball(mets: Sequence[Met]) -> tuple[str, float] | None:
    """The largest radius where not all networks are at the floor, L∞ first; None where nothing is left anywhere."""
    balls = sorted(
        {(met.norm, met.eps) for met in mets if met.eps > 0}, key=lambda b: (b[0] == "linf", b), reverse=True
    )
    standing = {(met.norm, met.eps) for met in mets if not met.at_floor}
    return next((ball for ball in balls if ball in standing), None)


def best_gradients(threat: Threat) -> list[Met]:
    """For each network and radius the rule that leaves least, where one that fits the network's head was tried."""
    found: dict[tuple[str, str, float], list[Met]] = {}
    for met in threat.mets.values():
        found.setdefault((met.network, met.norm, met.eps), []).append(met)
    return [
        min(mets, key=lambda met: met.kept.share) for mets in found.values() if any(m.series in KNOWING for m in mets)
    ]


def _effects(mets: Sequence[Met], ball: tuple[str, float], steps: Sequence[Part]) -> list[Effect]:
    """With one budget on both networks. A network that met several budgets counts by the largest."""
    here: dict[str, Met] = {}
    for met in sorted(mets, key=lambda met: met.budget or 0):
        if (met.norm, met.eps) == ball:
            here[met.network] = met
    return [
        Effect(part, here[part.before], here[part.after])
        for part in steps
        if part.before in here and part.after in here and here[part.before].budget == here[part.after].budget
    ]


def _attacker_words(threat: Threat, label: str, mets: Sequence[Met], steps: Sequence[Part]) -> str | None:
    ball = judged_ball(mets)
    if ball is None:
        return f"{_upper(label)} leaves next to nothing of any network at any radius."
    effects = _effects(mets, ball, steps)
    if not effects:
        return None
    asked = threat.name == "black-box"
    groups = [
        ("clearly fewer images are fooled with" if asked else "clearly more images stay right with", 1),
        ("clearly more images are fooled with" if asked else "clearly fewer images stay right with", -1),
    ]
    said = [f"{words} {listed(chosen)}" for words, sign in groups if (chosen := _of(effects, sign))]
    open_ = [effect for effect in effects if effect.sign == 0]
    if open_:
        total = min(met.kept.total for effect in open_ for met in (effect.before, effect.after))
        said.append(f"{total:,} images cannot tell a difference for {listed([effect.part.name for effect in open_])}")
    return f"{_upper(label)}, {effects[0].before.ball}: {'; '.join(said)}."


def _blind_words(threat: Threat, steps: Sequence[Part]) -> str | None:
    """Parts that help against one query attack, while a stronger one on the same network does not notice them."""
    found = {}
    for series in threat.series:
        ball = judged_ball(threat.of(series))
        if ball is not None:
            found[series] = (ball, _effects(threat.of(series), ball, steps))
    said = []
    for series, (ball, effects) in found.items():
        for other, (there, others) in found.items():
            stronger = {
                e.part
                for e in others
                if e.sign <= 0 and there == ball and other != series
                for f in effects
                if f.part == e.part and e.after.budget == f.after.budget and e.after.clearly_below(f.after)
            }
            blind = [e.part.name for e in effects if e.sign > 0 and e.part in stronger]
            if blind:
                said.append(
                    f"The gain of {listed(blind)} against {series} is the weakness of {series}: {other} fools clearly "
                    "more of the same network, and is not clearly hindered."
                )
    return " ".join(said) or None


def _of(effects: Sequence[Effect], sign: int) -> list[str]:
    return [effect.words for effect in effects if effect.sign == sign]


def _obscurity_words(white: Threat, networks: Sequence[Network]) -> str | None:
    """For each part that helps against a weaker gradient: what the best gradient leaves at the same radius."""
    steps, best = parts(networks), best_gradients(white)
    gained: dict[Part, Effect] = {}
    for series in white.series:
        ball = judged_ball(white.of(series))
        if series not in KNOWING and ball is not None:
            for effect in _effects(white.of(series), ball, steps):
                if effect.sign > 0:
                    gained.setdefault(effect.part, effect)
    obscure, real, open_, unknown = [], [], [], []
    for part, effect in gained.items():
        at = [met for met in best if (met.norm, met.eps) == (effect.after.norm, effect.after.eps)]
        after = next((met for met in at if met.network == part.after), None)
        before = next((met for met in at if met.network == part.before), None)
        if after is None:
            unknown.append(f"{part.name} ({part.after})")
            continue
        left = (
            f"{part.name} ({white.label(after.series)} leaves {part.after} {percent(after.kept.share)} at {after.ball})"
        )
        if after.at_floor:
            obscure.append(left)
        elif before is not None and before.clearly_below(after):
            real.append(left)
        else:
            open_.append(left)
    said = []
    if obscure:
        said.append(
            f"Obscurity, not robustness: the best gradient leaves next to nothing of what was gained by {listed(obscure)}."
        )
    if open_:
        said.append(
            f"Not shown to be more than obscurity: under the best gradient no gain is clear for {listed(open_)}."
        )
    if real:
        said.append(f"Holds under the best gradient that was tried, too: {listed(real)}.")
    if unknown:
        said.append(
            f"Obscurity or robustness: these records cannot say for {listed(unknown)}, since no gradient that fits the "
            "head was tried there."
        )
    return " ".join(said) or None


def _broken(threat: Threat, best: Sequence[Met]) -> list[Met]:
    """Networks of which the best gradient leaves nothing within the radius of these attacks, each at its smallest."""
    reach = {
        (met.network, met.norm): max(
            m.eps for m in threat.mets.values() if (m.network, m.norm) == (met.network, met.norm)
        )
        for met in threat.mets.values()
        if not met.at_floor
    }
    found: dict[str, Met] = {}
    for met in sorted(best, key=lambda met: met.eps):
        if met.at_floor and met.network != BASELINE and met.eps <= reach.get((met.network, met.norm), -1):
            found.setdefault(met.network, met)
    return [found[name] for name in threat.networks if name in found]


def _change(reference: Network, variant: Network) -> str:
    """What a variant changes in OPU, by its record; by its name where the record does not tell."""
    changes = []
    if variant.clean is not None and reference.clean is not None:
        if variant.binarisation != reference.binarisation:
            lacks = variant.binarisation == "none"
            changes.append("no binarisation" if lacks else f"the {variant.binarisation}")
        if variant.camera != reference.camera:
            changes.append("float output" if variant.camera == "float" else f"a camera of {variant.camera}")
        if variant.projection != reference.projection:
            changes.append(f"a {variant.projection}")
        for letter, ours, theirs in (("N", variant.n, reference.n), ("M", variant.m, reference.m)):
            if ours is not None and ours != theirs:
                changes.append(f"{letter} = {ours:,}")
        if variant.in_two_stages != reference.in_two_stages:
            changes.append("training in two stages" if variant.in_two_stages else "training in one stage")
    return " and ".join(changes) or variant.name.removeprefix(REFERENCE).strip()


def _upper(label: str) -> str:
    return label[:1].upper() + label[1:]
