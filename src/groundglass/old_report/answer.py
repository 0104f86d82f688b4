"""The answer in plain words, drawn from the records: what the layer buys, and what is left of it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from groundglass.old_report.ablation import ablation_answer
from groundglass.old_report.bars import Bar, Chart
from groundglass.old_report.cells import BASELINE, DEFENDED, UNLAYERED, AttackCell, Curve, curves, data_name, method
from groundglass.old_report.hardened_reading import read_hardened
from groundglass.old_report.hardened_words import hardened_answer
from groundglass.old_report.networks import read_network
from groundglass.old_report.query_answer import query_answer
from groundglass.old_report.query_verdict import Judged, has_black_box, has_white_box, verdicts
from groundglass.old_report.redraw import redraw_answer
from groundglass.old_report.retrieval import retrieval_answer
from groundglass.old_report.scale import scale_answer
from groundglass.old_report.sections import Rendered, Told
from groundglass.old_report.study import Study
from groundglass.old_report.threat_models import attacker
from groundglass.old_report.transfer_answer import transfer_answer
from groundglass.old_report.verdict import CLEAR, IDLE, MASKING, Verdict, percent


@dataclass(frozen=True)
class Part:
    """One study's share of the answer, and what to remember of it: its verdict, a lead, or both."""

    name: str
    said: str
    lead: str = ""
    judged: Judged | None = None
    chart: Chart | None = None


class AnswerSection:
    """The head of the page: what each part of the study says, its verdict, and bars.

    Up to three parts are paragraphs. More are a box each, with what to remember, that opens for the rest.
    """

    def render(self, study: Study) -> Rendered | None:
        if not study.of_kind("train") and not study.attacks and not study.queries:
            return None
        parts = _parts(study)
        boxes = len(parts) > 3
        clean = " ".join(_clean(study))
        if not any(part.said for part in parts):
            nothing = f"No {'query ' if study.references else ''}attack has been recorded yet."
            clean = f"{clean} {nothing}".strip()
        if not boxes:
            first = parts[0] if parts else Part("", "")
            parts = [replace(first, said=f"{clean} {first.said}".strip()), *parts[1:]]
        context = {"parts": parts, "clean": clean if boxes else "", "boxes": boxes}
        return Rendered("answer", "The answer", "answer.html.j2", context)


def _parts(study: Study) -> list[Part]:
    answers = {"white-box": _white_box, "black-box": query_answer, "transfer": transfer_answer}
    parts = []
    for judged in verdicts(study):
        said, chart = answers[judged.part](study, judged.verdict)
        # The other two are told by their verdicts.
        lines = curves(study.compared, norm="linf") if judged.part == "white-box" else []
        eps = headline(lines)
        lead = " ".join(_meaning(lines, eps, judged.verdict)) if eps is not None else ""
        parts.append(Part(judged.part.capitalize(), " ".join(said), lead, judged, chart))
    hardened = read_hardened(study)
    further = {
        "A new matrix": redraw_answer(study),
        "The price of the secret": retrieval_answer(study),
        "The ablation": ablation_answer(study),
        "Adversarial training": Told(hardened_answer(hardened), [hardened_answer(hardened)]) if hardened else None,
        "Size": scale_answer(study),
    }
    return parts + [Part(name, " ".join(told.said), lead=told.lead) for name, told in further.items() if told]


def _white_box(study: Study, verdict: Verdict) -> tuple[list[str], Chart | None]:
    """Sentences, and a bar for each attacker at the headline radius."""
    lines = curves(study.compared, norm="linf")
    eps = headline(lines)
    if eps is None:
        return [], None
    noise = curves([cell for cell in study.controls if cell.attack == "RandomNoise"], norm="linf")
    at = next(p for line in lines if (p := line.at(eps)))
    paper = f" (the paper's {at.eps_paper:.3g})" if at.eps_paper is not None else ""
    chart = Chart(
        title=f"What each attacker leaves, L∞ ε = {at.radius}{paper}",
        bars=tuple(_bars([*lines, *noise], eps)),
        note=(
            f"Accuracy over {at.robust.total:,} images, those that were wrong before the attack counted as wrong; the "
            "thin line is the 95% Wilson interval."
        ),
    )
    return _under_attack(study, lines, eps, verdict), chart


def headline(lines: Sequence[Curve]) -> float | None:
    """The radius to speak about: where the layer seems to help most, under the paper's own attacker.

    That is the claim at its strongest. Without both of the paper's curves it is the largest radius there is.
    """
    gains = _gains(lines)
    if gains:
        return max(gains, key=lambda eps: (gains[eps], eps))
    return max((p.eps for line in lines for p in line.points if p.eps > 0), default=None)


def _gains(lines: Sequence[Curve]) -> dict[float, float]:
    """At each radius, the points by which the defended network under DFA beats the baseline under BP."""
    baseline, paper = _find(lines, BASELINE, "bp"), _find(lines, DEFENDED, "dfa")
    if baseline is None or paper is None:
        return {}
    return {
        point.eps: 100 * (point.robust.share - other.robust.share)
        for point in paper.points
        if point.eps > 0 and (other := baseline.at(point.eps)) is not None
    }


def _find(lines: Sequence[Curve], model: str, rule: str) -> Curve | None:
    return next((x for x in lines if (x.model, x.rule, x.attack) == (model, rule, "PGD")), None)


def _clean(study: Study) -> list[str]:
    """How the two networks do when nobody attacks."""
    attacked = [cell.record for cell in study.attacks] or [cell.record for cell in study.queries]
    if not attacked and not has_white_box(study) and not has_black_box(study):
        return []  # the other studies tell of their networks with what they do to them
    records = study.networks_of(attacked) or study.of_kind("train")
    trained = {record.name: read_network(record).clean for record in records}
    data = data_name(study.manifest["data"])
    known = [name for name in (DEFENDED, BASELINE) if name in trained]
    if not known:
        return []
    start = f"{known[0]} gets {percent(trained[known[0]].share)} of the untouched {data} test images right"
    if len(known) == 1:
        return [f"{start}."]
    gap = trained[DEFENDED].share - trained[BASELINE].share
    cost = "the secret layer costs no clean accuracy" if gap >= 0 else f"the layer costs {-100 * gap:.1f} points"
    return [f"{start}, {BASELINE} {percent(trained[BASELINE].share)}: {cost}."]


def _under_attack(study: Study, lines: Sequence[Curve], eps: float, verdict: Verdict) -> list[str]:
    cells = {(x.model, x.rule, x.attack): p for x in lines if (p := x.at(eps)) is not None}
    baseline, paper = cells.get((BASELINE, "bp", "PGD")), cells.get((DEFENDED, "dfa", "PGD"))
    said = []
    if baseline:
        said.append(
            f"An attacker who may move every pixel by {baseline.radius} of its range and has the true gradient "
            f"leaves {BASELINE} right on {_of(baseline)} of the images."
        )
    if paper and baseline:
        gain = 100 * (paper.robust.share - baseline.robust.share)
        less = "a gain of" if gain >= 0 else "a loss of"
        said.append(
            f"The same attack through DFA, with the B that trained the network, leaves {DEFENDED} right on {_of(paper)}, "
            f"{less} {abs(gain):.0f} points{_beside(lines, study)}{_chance(paper, baseline)}."
        )
    fresh = cells.get((DEFENDED, "dfa-fresh", "PGD"))
    if fresh and paper and paper.robust.clearly_below(fresh.robust):
        said.append(
            f"With a B of the attacker's own, which is what the paper's published code attacked with, it leaves {_of(fresh)}: "
            "that difference is the attacker's gradient, not the network."
        )
    adaptive = [c for c in cells.values() if c.model == DEFENDED and attacker(c.rule).adaptive]
    could_be = [c for c in adaptive if attacker(c.rule).realistic == "yes"]
    exact = min((c for c in adaptive if c.rule == "exact"), key=_share, default=None)
    if could_be:
        worst = min(could_be, key=_share)
        further = paper is not None and worst.robust.clearly_below(paper.robust)
        said.append(
            ("But DFA is no measure of the worst case: of" if further else "Of")
            + f" the adaptive attackers that need no secret, the strongest is {attacker(worst.rule).label}, "
            + (f"and leaves {_of(worst)}" if further else f"which gets no further: it leaves {_of(worst)}")
            + (f"; the true matrix, which only a simulator can give, leaves {_of(exact)}." if exact else ".")
        )
    elif exact:
        said.append(f"The true matrix, which only a simulator can give, leaves {_of(exact)}.")
    return [*said, *_meaning(lines, eps, verdict)]


def _meaning(lines: Sequence[Curve], eps: float, verdict: Verdict) -> list[str]:
    """The last word on the gradients, which stands alone; nothing while the paper's attacker was not tried."""
    here = [cell for line in lines if (cell := line.at(eps)) is not None]
    paper, baseline = (
        next((cell for cell in here if (cell.model, cell.rule, cell.attack) == (*who, "PGD")), None)
        for who in ((DEFENDED, "dfa"), (BASELINE, "bp"))
    )
    adaptive = [cell for cell in here if cell.model == DEFENDED and attacker(cell.rule).adaptive]
    if not paper:
        return []
    said = [_judged(verdict, paper, baseline, adaptive)]
    if verdict.text in (CLEAR, IDLE):
        weak = [cell for cell in here if cell.model == DEFENDED and paper.robust.clearly_below(cell.robust)]
        if weak:
            most = max(weak, key=_share)
            said.append(
                f"What weaker gradients report beyond it, {attacker(most.rule).label} {_of(most)}, is their weakness."
            )
    return said + _without_layer(here, [paper, *adaptive])


def _without_layer(here: Sequence[AttackCell], defended: Sequence[AttackCell]) -> list[str]:
    """What the features keep without the layer, beside what they keep with it; nothing where that was not tried."""
    alone = next((cell for cell in here if (cell.model, cell.rule, cell.attack) == (UNLAYERED, "bp", "PGD")), None)
    if alone is None:
        return []
    worst = min(defended, key=_share)
    said = f"{UNLAYERED} has the features of {DEFENDED} and no layer, and keeps {_of(alone)} under backpropagation, "
    said += f"where the strongest attacker tried leaves {DEFENDED} {_of(worst)}: "
    if alone.robust.clearly_below(worst.robust):
        return [f"{said}{100 * (worst.robust.share - alone.robust.share):.0f} points are the layer's."]
    return [
        f"{said}what {DEFENDED} gains is its features', as far as {worst.robust.total:,} images can tell, and not the layer's."
    ]


def _beside(lines: Sequence[Curve], study: Study) -> str:
    """The gain at the other radii, beside the paper's own."""
    gains = _gains(lines)
    if len(gains) < 2:
        return ""
    theirs = "; the paper reports 20 to 40" if study.manifest["data"].startswith("cifar") else ""
    least = f"{min(gains.values()):.0f}".replace("-", "−")
    return f" (the most at any radius; the least is {least}{theirs})"


def _chance(one: AttackCell, other: AttackCell) -> str:
    if one.robust.clearly_below(other.robust) or other.robust.clearly_below(one.robust):
        return ""
    return f", which {one.robust.total:,} images cannot tell from none"


def _judged(verdict: Verdict, paper: AttackCell, baseline: AttackCell | None, adaptive: Sequence[AttackCell]) -> str:
    """Whether the defence stands, and on what."""
    if verdict.text in (CLEAR, IDLE):
        return "So far the robustness is not just a bad gradient: no adaptive attacker got clearly further than DFA."
    if verdict.text != MASKING:
        return (
            f"Whether what {DEFENDED} keeps under DFA is robustness or only the attacker's bad gradient cannot be said from "
            "these records yet."
        )
    if baseline is not None and not baseline.robust.clearly_below(paper.robust):
        return (
            "So here the layer bought nothing against an attacker who holds the weights: whatever robustness a weaker "
            "gradient reports is that gradient's weakness."
        )
    worst = min(adaptive, key=_share, default=None)
    if worst is None or not worst.robust.clearly_below(paper.robust):
        return f"What {DEFENDED} gains under DFA should not be believed as it stands: the verdict says why."
    if baseline is not None and baseline.robust.clearly_below(worst.robust):
        points = 100 * (worst.robust.share - baseline.robust.share)
        return (
            f"So a part of what {DEFENDED} gains under DFA was only the attacker's bad gradient. What is left above the "
            f"undefended network, under the strongest attacker tried, is {points:.0f} points."
        )
    could_be = min((c for c in adaptive if attacker(c.rule).realistic == "yes"), key=_share, default=None)
    held_off = ""
    if baseline is not None and could_be is not None and baseline.robust.clearly_below(could_be.robust):
        points = 100 * (could_be.robust.share - baseline.robust.share)
        held_off = f", and against the best one that needs no secret {points:.0f} points"
    return (
        "So the gain was the weakness of the attacker's gradient, not the strength of the network: against the best "
        f"gradient nothing clear is left of it at this radius{held_off}."
    )


def _bars(lines: Sequence[Curve], eps: float) -> list[Bar]:
    """The best result of each attacker on each network, whatever the method; the order is that of the page."""
    best: dict[tuple[str, str], tuple[Curve, AttackCell]] = {}
    for line in lines:
        cell = line.at(eps)
        if cell and ((line.model, line.rule) not in best or _share(cell) < _share(best[line.model, line.rule][1])):
            best[line.model, line.rule] = (line, cell)
    notes = {"no": "only in a simulator", "control": "control"}
    return [
        Bar(
            f"{line.model} ← {attacker(line.rule).label}",
            line.rule,
            cell.robust,
            ", ".join(
                note
                for note in (
                    notes.get(attacker(line.rule).realistic, ""),
                    method(cell.attack) if cell.attack not in ("PGD", "RandomNoise") else "",
                )
                if note
            ),
        )
        for line, cell in best.values()
    ]


def _share(cell: AttackCell) -> float:
    return cell.robust.share


def _of(cell: AttackCell) -> str:
    return percent(cell.robust.share)
