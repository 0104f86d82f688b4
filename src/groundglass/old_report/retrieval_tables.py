"""The tables of the retrieval section: redraw periods, methods, prices, and what PGD leaves."""

from collections.abc import Sequence
from dataclasses import dataclass

from groundglass.core.statistics import Proportion
from groundglass.old_report.cells import DEFENDED
from groundglass.old_report.retrieval_attacks import EXACT, Attacked, Radius
from groundglass.old_report.retrieval_numbers import error_percent
from groundglass.old_report.retrieval_reading import Retrieval
from groundglass.old_report.study import Study
from groundglass.old_report.style import ATTACKER_INK

TOO_FEW, NOT_YET = "too few frames", "not done yet"


@dataclass(frozen=True)
class PeriodRow:
    """A redraw period. `lacks`: why there is no retrieval. `left`: at each radius, or None."""

    period: float
    frames: int
    times_n: str
    lacks: str
    retrieval: Retrieval | None
    left: tuple[Proportion | None, ...]

    @property
    def error(self) -> str:
        one = self.retrieval
        return "–" if one is None or one.median is None else error_percent(one.median)


@dataclass(frozen=True)
class LeftRow:
    """What an attack leaves at each radius. `colour`: the name of the page's variable for it."""

    name: str
    colour: str
    left: tuple[Proportion | None, ...]


def period_rows(study: Study, retrievals: Sequence[Retrieval], radii: Sequence[Radius]) -> list[PeriodRow]:
    """A row a period, shortest first: those of the records, and those that the config names without a record."""
    tried = {one.period: one for one in retrievals if one.purpose == "period" and one.period is not None}
    own = [one for one in retrievals if one.purpose in ("period", "price")]
    rows = []
    for period in sorted({*tried, *_planned(study)}):
        one = tried.get(period)
        if one is not None:
            left = tuple(_robust(radius.of(one)) for radius in radii)
            rows.append(PeriodRow(period, one.frames, one.times_n, "", one, left))
        elif own:
            frames = round(own[0].frame_rate * period)
            lacks = _why(study, period, frames, own)
            rows.append(PeriodRow(period, frames, f"{frames / own[0].n:.3g} N", lacks, None, (None,) * len(radii)))
    return rows


def _planned(study: Study) -> list[float]:
    """The periods that the config names; in a folder of several studies they stand in this study's part."""
    config = study.manifest["config"]
    if not isinstance(config, dict):
        return []
    part = config.get("retrieval") if isinstance(config.get("retrieval"), dict) else config
    return [float(period) for period in (part or {}).get("periods") or ()]


def _why(study: Study, period: float, frames: int, own: Sequence[Retrieval]) -> str:
    """A period that allows too few frames is in no plan. One that is planned, or that has enough, is still to come."""
    progress = study.progress("retrieve")
    planned = progress is not None and any(name.endswith(f"redrawn every {period:g} s") for name in progress.missing)
    return NOT_YET if planned or frames >= min(one.frames for one in own) else TOO_FEW


def left_rows(radii: Sequence[Radius]) -> list[LeftRow]:
    """What PGD leaves with each U, and without any: the numbers behind the price curves."""
    names: dict[str, str] = {}
    by_radius: list[dict[str, Attacked]] = []
    for radius in radii:
        here = {_name(one): one for one in _in_order(radius)}
        by_radius.append(here)
        names |= {name: _colour(one) for name, one in here.items()}
    order = sorted(names, key=lambda name: _rank(name, by_radius))
    return [LeftRow(name, names[name], tuple(_robust(here.get(name)) for here in by_radius)) for name in order]


def _colour(one: Attacked) -> str:
    """That of the figure: a blurred U has the exact one's, a retrieved one the ink."""
    if one.retrieval is not None:
        return "ink"
    rule = EXACT if one.matrix_error is not None else one.cell.rule
    return f"rule-{rule}" if rule in ATTACKER_INK else "unknown"


def _in_order(radius: Radius) -> list[Attacked]:
    there = (radius.baseline, *radius.without, radius.exact, *radius.blurred, *radius.retrieved)
    return [one for one in there if one is not None]


def _rank(name: str, by_radius: Sequence[dict[str, Attacked]]) -> tuple[float, ...]:
    """The networks' own attackers first, then the blurred by their error, then the retrieved by their frames."""
    one = next(here[name] for here in by_radius if name in here)
    if one.retrieval is not None:
        return (2, one.retrieval.frames, float(one.retrieval.purpose == "period"))
    if one.matrix_error is not None:
        return (1, one.matrix_error)
    first = next(i for here in by_radius for i, k in enumerate(here) if k == name)
    return (0, float(first))


def _name(one: Attacked) -> str:
    if one.retrieval is not None:
        why = "" if one.retrieval.period is None else f", redraw every {one.retrieval.period:g} s"
        return f"retrieved from {one.retrieval.times_n} frames{why}"
    if one.matrix_error is not None:
        return f"U wrong by {error_percent(one.matrix_error)}"
    return f"{one.cell.model} ← {one.label}" if one.cell.model != DEFENDED else one.label


def _robust(one: Attacked | None) -> Proportion | None:
    return None if one is None else one.robust
