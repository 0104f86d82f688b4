"""Figure 4 and what it leaves out: accuracy under attacks that were made on other networks."""

from groundglass.core.statistics import Proportion
from groundglass.old_report import transfer_tables, transfer_words
from groundglass.old_report.cells import norm_name
from groundglass.old_report.drawing import Drawing
from groundglass.old_report.sections import Rendered
from groundglass.old_report.study import Study
from groundglass.old_report.style import transfer_style
from groundglass.old_report.tables import channel_note
from groundglass.old_report.transfer_figures import Line, accuracy
from groundglass.old_report.transfer_trials import Trial, Yardstick, trials
from groundglass.old_report.transfers import PAPER, UNDEFENDED, TransferCurve, target_style
from groundglass.old_report.verdict import percent


class TransferSection:
    """The transfer study: words, figures, tables of every number, and what each attack took."""

    def render(self, study: Study) -> Rendered | None:
        found = trials(study)
        if not found:
            return None
        parts = []
        for trial in found:
            networks = transfer_tables.untouched(study, trial)
            clean = {network.name: network.clean for network in networks}
            # A study in one norm needs no suffix; the second norm's files must not overwrite the first's.
            suffix = "" if trial is found[0] else f"-{trial.norm}"
            parts.append(
                {
                    "name": norm_name(trial.norm),
                    "words": _words(study, trial, clean),
                    "paper": _paper_figure(study, trial, clean, suffix),
                    "drawings": [d for t in trial.targets if (d := _target_figure(study, trial, t, suffix))],
                    "table": transfer_tables.transfer_table(trial),
                    "networks": networks,
                    "common": trial.common,
                    "efforts": transfer_tables.efforts(trial),
                }
            )
        claim = transfer_words.PAPER_GAIN.get(study.manifest["data"])
        context = {"parts": parts, "claim": claim, "channels": channel_note(study.of_kind("craft"))}
        title = "Transferred attacks: the paper's Figure 4, and what it leaves out"
        return Rendered("transfer", title, "transfer.html.j2", context, study.progress("transfer"))


def _words(study: Study, trial: Trial, clean: dict[str, Proportion]) -> list[str]:
    """Paragraphs: what was done, what the layer gains, what stronger attacks leave of it, and what it is worth."""
    paragraphs = [
        transfer_words.set_words(trial),
        transfer_words.gain_words(trial, study.manifest["data"])
        + transfer_words.trade_words(trial, clean)
        + transfer_words.control_words(trial, clean)
        + transfer_words.feature_words(trial),
        transfer_words.strongest_words(trial),
        transfer_words.yardstick_words(trial, trial.targets),
        transfer_words.source_words(trial),
    ]
    return [" ".join(sentences) for sentences in paragraphs if sentences]


def _paper_figure(study: Study, trial: Trial, clean: dict[str, Proportion], suffix: str) -> Drawing | None:
    curves = [curve for curve in trial.curves if curve.label == PAPER]
    if not curves:
        return None
    lines = [_target_line(curve, clean) for curve in curves]
    return study.drawings.save(
        f"figure-4{suffix}",
        accuracy(lines, norm=trial.norm, paper=trial.paper_radii),
        alt=_told(trial, lines, "Accuracy on the common images under the paper's PGD from another network"),
        caption=(
            "The paper's Figure 4: PGD made on another VGG-16. Every curve starts at 100%, since only images that every "
            "network gets right are counted. Bands are 95% Wilson intervals. Below, the radius in pixels"
            + ("; above, in the paper's units." if trial.paper_radii else ".")
        ),
    )


def _target_figure(study: Study, trial: Trial, target: str, suffix: str) -> Drawing | None:
    """Every attack on a target, and the white-box attacks beside them; None where there is only the paper's PGD."""
    curves = [curve for curve in trial.curves if curve.target == target]
    yardsticks = [one for one in trial.yardsticks if one.target == target]
    if not yardsticks and all(curve.label == PAPER for curve in curves):
        return None
    lines = [Line(curve.label, transfer_style(curve.label), curve.series) for curve in curves]
    lines += _yardstick_lines(yardsticks)
    return study.drawings.save(
        f"transfer-{transfer_style(target)}{suffix}",
        accuracy(lines, norm=trial.norm, paper=trial.paper_radii),
        alt=_told(trial, lines, f"Accuracy of {target} on the common images under each attack"),
        caption=(
            f"Every attack on {target}, measured at the markers and straight between them. The lowest solid curve is what "
            "a defender has to reckon with"
            + ("; dotted, what is left when the attacker holds the weights." if yardsticks else ".")
        ),
    )


def _target_line(curve: TransferCurve, clean: dict[str, Proportion]) -> Line:
    known = f"\n{percent(clean[curve.target].share)} untouched" if curve.target in clean else ""
    role = "baseline" if curve.target in UNDEFENDED else "transfer"
    return Line(curve.target + known, target_style(curve.target), curve.series, role)


def _yardstick_lines(yardsticks: list[Yardstick]) -> list[Line]:
    lines = []
    for rule in dict.fromkeys(one.rule for one in yardsticks):
        ones = [one for one in yardsticks if one.rule == rule]
        total = ones[0].left.total
        points = [(one.eps, one.left) for one in ones]
        start = [] if points[0][0] == 0 else [(0.0, Proportion(total, total))]
        lines.append(Line(f"white-box:\n{ones[0].label}", rule, [*start, *points], "white-box"))
    return lines


def _told(trial: Trial, lines: list[Line], what: str) -> str:
    """A figure in words: where each curve ends."""
    ends = [
        f"{' '.join(line.name.split(chr(10)))} falls to {100 * line.points[-1][1].share:.0f}% at "
        f"{trial.written(line.points[-1][0])}"
        for line in lines
    ]
    return f"{what}, {norm_name(trial.norm)}. " + "; ".join(ends) + "."
