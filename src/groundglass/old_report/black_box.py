"""Figure 3 and what it leaves out: success against queries, for every query attack, beside what gradients do."""

from collections.abc import Sequence

from groundglass.core import DamagedFileError
from groundglass.old_report import query_tables, success_figures
from groundglass.old_report.cells import DEFENDED
from groundglass.old_report.contests import Contest, contests
from groundglass.old_report.drawing import Drawing
from groundglass.old_report.queries import QueryCell, SuccessCurve, ball_name, success_curve
from groundglass.old_report.query_attackers import query_attacker
from groundglass.old_report.query_words import (
    difference_words,
    flat_words,
    layer_words,
    reference_words,
    strongest_words,
)
from groundglass.old_report.sections import Rendered
from groundglass.old_report.study import Study

_Line = tuple[QueryCell, SuccessCurve]


class BlackBoxSection:
    """The black-box study: figures, words, tables of every number, and what each attack took."""

    def render(self, study: Study) -> Rendered | None:
        if not study.queries:
            return None
        found = contests(study)
        parts = [
            {
                "contest": contest,
                "drawings": _drawings(study, contest, suffix="" if contest is found[0] else f"-{i}"),
                # The head of the page tells who is strongest in the first ball.
                "words": _words(study, contest, strongest=contest is not found[0]),
                "table": query_tables.success_table(contest),
                "sweeps": query_tables.sweeps(study, contest),
                "references": [(model, x) for model, entries in contest.yardsticks.items() for x in entries],
            }
            for i, contest in enumerate(found, start=1)
        ]
        context = {
            "parts": parts,
            # Before anything is chosen there is no figure, but what was tried can be seen.
            "unchosen": [] if found else query_tables.sweeps(study, None),
            "flat": flat_words(study.asked),
            "efforts": [query_tables.effort(cell) for cell in study.queries],
        }
        title = "Black-box attacks: the paper's Figure 3, and what it leaves out"
        progress = study.progress("query", "choice", "reference")
        return Rendered("black-box", title, "black_box.html.j2", context, progress)


def _words(study: Study, contest: Contest, *, strongest: bool) -> list[str]:
    """Paragraphs: who is strongest, what the layer does, what gradients do."""
    layer = layer_words(contest)
    paragraphs = [
        strongest_words(contest) if strongest else [],
        [*([layer] if layer else []), *difference_words(contest, study.manifest["data"])],
        [sentence for model in contest.models for sentence in reference_words(contest, model)],
    ]
    return [" ".join(sentences) for sentences in paragraphs if sentences]


def _drawings(study: Study, contest: Contest, *, suffix: str) -> list[Drawing]:
    lines = [(cell, curve) for cell in contest.cells if (curve := read_curve(study, cell)) is not None]
    paper = [line for line in lines if query_attacker(line[0].attack).in_paper]
    drawings = []
    if paper:
        drawings.append(
            study.drawings.save(
                f"figure-3{suffix}",
                _figure(paper, logarithmic=False),
                alt=_told(paper),
                caption=(
                    f"The paper's Figure 3: {contest.ball}, the share of the images that were right at first which an "
                    "attack has fooled. Bands are 95% Wilson intervals."
                ),
            )
        )
    if lines:
        drawings.append(
            study.drawings.save(
                f"black-box{suffix}",
                _figure(lines, logarithmic=True),
                alt=_told(lines),
                caption=(
                    "Every query attack, on a logarithmic axis: here the first hundred queries can be seen. The highest "
                    "solid curve is what a defender has to reckon with; intervals are in the table."
                ),
            )
        )
    return drawings


def _figure(lines: Sequence[_Line], *, logarithmic: bool) -> object:
    cells, curves = [cell for cell, _ in lines], [curve for _, curve in lines]
    names = [cell.attack if cell.model == DEFENDED else f"{cell.attack} ({cell.model})" for cell in cells]
    # Ten bands would hide the curves, and below ten successes a band is most of what can be seen on that axis.
    return success_figures.successes(cells, curves, names, bands=not logarithmic, logarithmic=logarithmic)


def read_curve(study: Study, cell: QueryCell) -> SuccessCurve | None:
    """The curve of an attack, from its arrays; None without arrays, or without images that were right at first.

    Raises:
        DamagedFileError: arrays that lack a field, or that tell other numbers than their record.
    """
    arrays = study.store.arrays(cell.record)
    if not arrays or not cell.attacked:
        return None
    where = f"{cell.record.arrays} ({cell.record.name})"
    advice = "rebuild the page with the version that ran the study"
    try:
        curve = success_curve(arrays, cell.budget)
    except KeyError as error:
        raise DamagedFileError(f"{where} lacks {error}: {advice}") from error
    counts = {at: success.count for at, success in cell.success_at if success is not None}
    told = {at: curve.at(at) for at in counts}
    if curve.total != cell.attacked or told != counts:
        raise DamagedFileError(
            f"{where} tells {told} fooled of {curve.total}, its record {counts} of {cell.attacked}: {advice}"
        )
    return curve


def _told(lines: Sequence[_Line]) -> str:
    """A figure in words: where each curve ends, and how soon."""
    ball = ball_name(lines[0][0].norm, lines[0][0].eps)
    ends = []
    for cell, curve in lines:
        share = 100 * curve.fooled[-1] / curve.total
        soon = "" if cell.median is None else f", half of them within {cell.median:,.0f}"
        ends.append(f"{cell.name} fools {share:.0f}% of {curve.total:,} images within {cell.budget:,} queries{soon}")
    return f"Images fooled against queries per image, {ball}. " + "; ".join(ends) + "."
