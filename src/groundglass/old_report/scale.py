"""The study of size: what devices cost as they grow, whether they are what they stand for, and what size buys."""

from typing import Any

from groundglass.old_report import scale_figures
from groundglass.old_report.cells import method
from groundglass.old_report.dot_rows import told
from groundglass.old_report.drawing import Drawing
from groundglass.old_report.scale_numbers import seconds, size, tick_seconds
from groundglass.old_report.scale_reading import KINDS, Cost, Scale, read_scale
from groundglass.old_report.scale_words import (
    clean_words,
    cost_words,
    failing_words,
    judgement,
    law_words,
    retrieval_words,
)
from groundglass.old_report.sections import Rendered, Told
from groundglass.old_report.study import Study
from groundglass.old_report.tables import channel_note
from groundglass.old_report.threat_models import attacker

_QUANTITIES = {
    "one_seconds": "one measurement",
    "each_seconds": "each of a batch",
    "peak_bytes": "peak memory",
    "held_bytes": "memory held",
}
_SWEEPS = {"square": "N = M", "outputs": "M", "inputs": "N"}


class ScaleSection:
    """Costs against N and M, the laws of media, and networks and retrievals at each size."""

    def render(self, study: Study) -> Rendered | None:
        found = read_scale(study)
        if found is None:
            return None
        attacks = [r for r in study.of_kind("attack") if r.config.get("purpose") == "scale"]
        context: dict[str, Any] = {
            "found": found,
            "judged": judgement(found),
            "clean": clean_words(found.networks),
            "costs": cost_words(found),
            "laws": law_words(found),
            "retrieval": retrieval_words(found),
            "cost_drawings": [one for one in _cost_drawings(study, found) if one is not None],
            "networks_drawing": _networks_drawing(study, found),
            "rows_drawing": _rows_drawing(study, found),
            "squares": [one for one in found.costs if one.sweep == "square"],
            "sides": [one for one in found.costs if one.sweep != "square"],
            "fits": fit_table(found),
            "law_names": list(dict.fromkeys(law.name for medium in found.media for law in medium.laws)),
            "failing": failing_words,
            "attacker": attacker,
            "attack": listed_attacks(attacks),
            "channels": channel_note(attacks),
            "seconds": seconds,
            "size": size,
        }
        title = "Size: what it costs, and what it buys"
        kinds = ("cost", "fidelity", "rows", "fit", "scale")
        return Rendered("scale", title, "scale.html.j2", context, study.progress(*kinds))


def scale_answer(study: Study) -> Told | None:
    """What size buys and costs, for the head of the page; None without such a study."""
    found = read_scale(study)
    if found is None:
        return None
    judged = judgement(found)
    said = [f"Verdict on size: {judged.text}.", judged.reasons[-1]] if judged else []
    said += [*retrieval_words(found)[1:3], *cost_words(found)[1:2]]
    return Told(lead=said[0], said=said) if said else None


def fit_table(found: Scale) -> list[tuple[str, str, list[str]]]:
    """(kind, what grows, the exponent of each quantity in words)."""
    rows = []
    for kind in KINDS:
        for sweep, grows in _SWEEPS.items():
            fits = [found.fit(kind, sweep, quantity) for quantity in _QUANTITIES]
            if any(fits):
                low = next(fit for fit in fits if fit is not None)
                cells = ["–" if fit is None else f"{fit.exponent:.2f}" for fit in fits]
                rows.append((kind, f"{grows}, {low.low:,} to {low.high:,}", cells))
    return rows


def listed_attacks(records: list[Any]) -> str:
    """ "PGD, 20 steps"; an empty string without attacks."""
    names = {f"{method(str(r.config['attack']))}, {r.config['steps']} steps" for r in records}
    return "; ".join(sorted(names))


def _cost_drawings(study: Study, found: Scale) -> list[Drawing | None]:
    one = scale_figures.costs(found, lambda c: c.one, label="one measurement (logarithmic)", write=tick_seconds)
    each = scale_figures.costs(found, lambda c: c.each, label="each of a batch (logarithmic)", write=tick_seconds)
    peak = scale_figures.costs(found, lambda c: c.peak, label="peak memory (logarithmic)", write=size, stored=True)
    return [
        _cost_drawing(
            study, found, "scale-one", one, "Time of one measurement against N = M", lambda c: seconds(c.one)
        ),
        _cost_drawing(
            study, found, "scale-each", each, "Time of each measurement of a batch", lambda c: seconds(c.each)
        ),
        _cost_drawing(
            study,
            found,
            "scale-memory",
            peak,
            "Peak memory of making a device and measuring a batch, above what the process had before",
            lambda c: "unknown" if c.peak is None else size(c.peak),
        ),
        _sides_drawing(study, found),
    ]


def _cost_drawing(study: Study, found: Scale, name: str, figure: Any, what: str, say: Any) -> Drawing | None:
    if figure is None:
        return None
    lines = "; ".join(f"{kind}: {_said(found.of('square', kind), say)}" for kind in KINDS if found.of("square", kind))
    return study.drawings.save(
        name,
        figure,
        alt=f"{what}. {lines}.",
        caption=f"{what}. Hollow points are projected from a block of outputs, not measured.",
    )


def _sides_drawing(study: Study, found: Scale) -> Drawing | None:
    figure = scale_figures.sides(found)
    if figure is None:
        return None
    lines = [
        f"{kind}, {_SWEEPS[sweep]} growing: {_said(found.of(sweep, kind), lambda c: seconds(c.each))}"
        for sweep in ("outputs", "inputs")
        for kind in KINDS
        if found.of(sweep, kind)
    ]
    what = "Time of each measurement of a batch, while M grows at one N, and while N grows at one M"
    return study.drawings.save("scale-sides", figure, alt=f"{what}. {'; '.join(lines)}.", caption=f"{what}.")


def _said(line: list[Cost], say: Any) -> str:
    return ", ".join(f"{one.size:,} {say(one)}{' (projected)' if one.projected else ''}" for one in line)


def _networks_drawing(study: Study, found: Scale) -> Drawing | None:
    figure = scale_figures.networks(found)
    if figure is None:
        return None
    rows, titles = scale_figures.network_rows(found), scale_figures.network_titles(found)
    return study.drawings.save(
        "scale-networks",
        figure,
        alt=f"Accuracy of each network untouched and by attacker. {told(rows, titles)}",
        caption="Accuracy under PGD, by the gradient that the attacker uses, and under all of them together, image by image. "
        "Lines are 95% Wilson intervals.",
    )


def _rows_drawing(study: Study, found: Scale) -> Drawing | None:
    figure = scale_figures.rows(found)
    if figure is None:
        return None
    said = ", ".join(f"{one.kind} N = {one.n:,} {seconds(one.row)}" for one in found.rows)
    return study.drawings.save(
        "scale-retrieval",
        figure,
        alt=f"Computing for a row of U against N: {said}.",
        caption="What retrieving a row of U takes, of computing, against N; the whole of U takes M times as much.",
    )
