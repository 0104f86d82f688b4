"""The price of the secret: what retrieving U takes, what it brings an attacker, and what keeps it from them."""

from collections.abc import Sequence
from typing import Any

from groundglass.old_report import retrieval_figures, retrieval_price_figure
from groundglass.old_report.drawing import Drawing
from groundglass.old_report.retrieval_attacks import Radius, read_radii
from groundglass.old_report.retrieval_judging import headline
from groundglass.old_report.retrieval_more_words import note_words, period_words, precision_words, told_words
from groundglass.old_report.retrieval_numbers import error_percent
from groundglass.old_report.retrieval_reading import Retrieval, read_retrievals, retrieval_checks
from groundglass.old_report.retrieval_tables import TOO_FEW, left_rows, period_rows
from groundglass.old_report.retrieval_words import attack_words, device_words, need_words
from groundglass.old_report.sections import Rendered, Told
from groundglass.old_report.study import Study


class RetrievalSection:
    """The retrieval study: the price curve, error against effort, and the redraw periods."""

    def render(self, study: Study) -> Rendered | None:
        retrievals = read_retrievals(study)
        if not retrievals:
            return None
        radii = read_radii(study, retrievals)
        at = headline(radii)
        periods = period_rows(study, retrievals, radii)
        methods = _of(retrievals, "method")
        too_few = [row.period for row in periods if row.lacks == TOO_FEW]
        context: dict[str, Any] = {
            "answer": [" ".join(words) for words in _answer(retrievals, radii)],
            "precision": " ".join(precision_words(at)) if at else "",
            "kept": " ".join(period_words(at, retrievals, too_few)),
            "told": " ".join(told_words(retrievals)),
            "notes": note_words(retrievals, retrieval_checks(study)),
            "radii": radii,
            "curves": [drawing for i, radius in enumerate(radii, start=1) if (drawing := _curve(study, radius, i))],
            "frames": _frames(study, retrievals),
            "sweeps": _sweeps(study, retrievals),
            "left": left_rows(radii),
            "periods": periods,
            "methods": methods,
            "by_exposure": list(dict.fromkeys(one.method for one in methods if one.exposure_control)),
            "prices": _of(retrievals, "price"),
            "error": error_percent,
        }
        title = "The price of the secret"
        return Rendered("retrieval", title, "retrieval.html.j2", context, study.progress("retrieve", "retrieval"))


def retrieval_answer(study: Study) -> Told | None:
    """The price of the secret in sentences, for the head of the page; None while there is no retrieval."""
    retrievals = read_retrievals(study)
    if not retrievals:
        return None
    radii = read_radii(study, retrievals)
    price, worth = _answer(retrievals, radii)
    return Told(lead=f"{price[0]} {need_words(headline(radii), radii)[0]}", said=[*price, *worth])


def _answer(retrievals: Sequence[Retrieval], radii: Sequence[Radius]) -> list[list[str]]:
    """A paragraph each: what the device gives away, and what that brings an attacker."""
    at = headline(radii)
    attacked = attack_words(at, retrievals) if at else []
    return [device_words(retrievals), [*attacked, *need_words(at, radii)]]


def _of(retrievals: Sequence[Retrieval], purpose: str) -> list[Retrieval]:
    return [one for one in retrievals if one.purpose == purpose]


def _curve(study: Study, radius: Radius, number: int) -> Drawing | None:
    figure = retrieval_price_figure.price_curve(radius)
    if figure is None:
        return None
    marks = [one for one in (radius.exact, *radius.without, radius.baseline) if one is not None]
    said = [f"{one.label} {100 * one.robust.share:.0f}%" for one in marks]
    said += [
        f"{one.label}, error {error_percent(one.matrix_error or 0.0)}, {100 * one.robust.share:.0f}%"
        for one in (*radius.blurred, *radius.retrieved)
    ]
    purposes = {one.retrieval.purpose for one in radius.retrieved if one.retrieval is not None}
    dots = " Diamonds: retrieved, with their frames." if "price" in purposes else ""
    dots += " Hollow diamonds: retrieved from as many frames as a redraw period allows." if "period" in purposes else ""
    return study.drawings.save(
        f"retrieval-price-{number}",
        figure,
        alt=f"Accuracy under PGD against the error of U, {radius.name}. {'; '.join(said)}.",
        caption=f"{radius.name}: what PGD leaves with a U that is wrong by so much."
        + dots
        + " Bars and the band are 95% Wilson intervals.",
    )


def _frames(study: Study, retrievals: Sequence[Retrieval]) -> list[Drawing]:
    lines = retrieval_figures.lines_of(retrievals)
    if not lines:
        return []
    made = []
    for failed, name, what in (
        (False, "retrieval-error", "Median error of a row"),
        (True, "retrieval-failed", "Share of the rows that fail (an error above 10%)"),
    ):
        said = [
            f"{label.replace(chr(10), ', ')}: "
            + ", ".join(f"{one.times_n} {error_percent((one.failed if failed else one.median) or 0.0)}" for one in line)
            for label, line in lines.items()
        ]
        made.append(
            study.drawings.save(
                name,
                retrieval_figures.against_frames(lines, failed=failed),
                alt=f"{what} against frames for each input bit. {'. '.join(said)}.",
                caption=f"{what}, against the frames for each input bit.",
            )
        )
    return made


def _sweeps(study: Study, retrievals: Sequence[Retrieval]) -> Drawing | None:
    lines = retrieval_figures.sweep_lines(retrievals)
    if not lines:
        return None
    said = [
        f"{title.replace(chr(10), ' ')}: "
        + ", ".join(f"{value} gives {error_percent(one.median or 0.0)}" for value, one in line)
        for title, line in lines
    ]
    one = lines[0][1][0][1]
    return study.drawings.save(
        "retrieval-camera",
        retrieval_figures.sweeps(lines),
        alt=f"Median error of a row against what the camera does. {'. '.join(said)}.",
        caption=f"One property of the camera changed at a time, N = {one.n:,}, {one.times_n} frames: the median error of "
        "a row. Numbers at the dots: the share of rows that fail (an error above the dotted line), where some do.",
    )
