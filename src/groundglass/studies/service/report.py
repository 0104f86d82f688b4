"""What the study of a watched device says: how soon a guard sees a retrieval, and what it costs not to be seen."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from groundglass.adaptive.attackers import attacker
from groundglass.core.statistics import Proportion
from groundglass.core.text import duration
from groundglass.report.drawing import Drawing, Folder
from groundglass.report.figure import Curve, curves
from groundglass.report.section import Finding, Section, Verdict
from groundglass.report.style import FAINT, PLAIN, Style, of_attacker
from groundglass.report.table import Amount, Row, Table, Value
from groundglass.report.words import failed_checks
from groundglass.results import Run
from groundglass.results.kinds import ATTACK, GUARD, RETRIEVE, WATCH, Entry
from groundglass.results.kinds.guard import Noticed, WatchConfig, WatchResult
from groundglass.results.kinds.retrieve import RetrieveConfig, RetrieveResult

TITLE = "A guard at the device"
#: Rows of a U that may be lost to whoever is said to have it.
LOST = 0.05
# With fewer of them lost a part of it is had.
_MOST = 0.5
_HONEST = {
    "images": "new images",
    "one class": "new images of one class",
    "noisy images": "the same under noise",
    "attacked images": "the same, attacked",
}
_OWN = {"fixed-exposure": "fixed exposure", "multilateration": "multilateration", "closed-form": "closed form"}
_X = "frames between false alarms (logarithmic)"
_ALIKE = {"shares": "bits on as often as natural ones", "pairs": "bits that also correlate in pairs as they do"}

Watch = Entry[WatchConfig, WatchResult]
Retrieval = Entry[RetrieveConfig, RetrieveResult]


def _watches(run: Run, *, by_class: bool) -> list[Watch]:
    return [one for one in run.entries(WATCH) if one.config.by_class == by_class]


def _said(one: Watch) -> str:
    """What the rows are, in words."""
    named = {**_HONEST, **_OWN, **_ALIKE}[one.config.traffic]
    return named if one.config.share == 1 else f"{named}, {100 * one.config.share:g}% of the rows"


def _unseen(run: Run, source: str = "natural") -> list[Retrieval]:
    """Retrievals with inputs that look natural, or are; frames rising."""
    found = [one for one in run.entries(RETRIEVE) if one.config.purpose == "guard"]
    found = [one for one in found if one.config.settings.get("inputs") == source]
    return sorted(found, key=lambda one: one.result.frames)


def _lost(one: Retrieval) -> float:
    """The share of rows that are wrong: in truth, or where nobody has the true ones as the attacker sees it."""
    return one.result.told_share if one.result.failed_share is None else one.result.failed_share


def _error(one: Retrieval) -> Amount | None:
    return None if one.result.error is None else Amount(one.result.error.median, _percent)


def _enough(run: Run, source: str = "natural") -> Retrieval | None:
    """The cheapest that has next to all rows."""
    return next((one for one in _unseen(run, source) if _lost(one) <= LOST), None)


def tables(run: Run) -> list[Table]:
    """When the guard speaks, how often it is wrong, what unseen inputs retrieve, and what fits between two redraws."""
    found = [
        _seen(run, by_class=False),
        _price(run),
        _false(run),
        _seen(run, by_class=True),
        _retrieved(run),
        _periods(run),
        _worth(run),
    ]
    return [table for table in found if table.rows]


def _limits(watches: Sequence[Watch]) -> list[float]:
    return sorted({noticed.limit for one in watches for noticed in one.result.noticed})


def _at(one: Watch, limit: float) -> Noticed | None:
    return next((noticed for noticed in one.result.noticed if noticed.limit == limit), None)


def _frames(one: Watch, limit: float) -> Value:
    """Frames until the guard speaks, of half of the streams."""
    noticed = _at(one, limit)
    if noticed is None:
        return None
    if noticed.median is None:
        seen = f", in {noticed.found} of {one.result.streams} streams" if noticed.found else ""
        return f"not in {one.config.frames:,}{seen}"
    return Amount(noticed.median, "{:,.0f}".format, f" (up to {noticed.high:,.0f})" if noticed.high else "")


def _seen(run: Run, *, by_class: bool) -> Table:
    watches = [one for one in _watches(run, by_class=by_class) if one.config.traffic not in _HONEST]
    limits = _limits(watches)
    rows = tuple(
        Row(_said(one), (*(_frames(one, limit) for limit in limits), one.result.last.name or None)) for one in watches
    )
    note = (
        "Median of the streams; in brackets the frames by which 95% of those that were seen had been. Each stream begins "
        "anew. Last column: the score that gave most of them away at the highest limit."
    )
    title = "Frames until the guard speaks" + (", if clients may send classes in any order" if by_class else "")
    heads = (*(f"one false alarm in {limit:,.0f}" for limit in limits), "by")
    return Table(title, "rows that come in", heads, rows, note)


def _false(run: Run) -> Table:
    rows = []
    for by_class in (False, True):
        for one in _watches(run, by_class=by_class):
            if one.config.traffic in _HONEST:
                name = f"{_said(one)}{', guard by class' if by_class else ''}"
                values = []
                for noticed in one.result.noticed:
                    values.append(f"{noticed.found} in {noticed.watched:,} frames")
                rows.append(Row(name, tuple(values)))
    limits = _limits(run.entries(WATCH))
    heads = tuple(f"at most one in {limit:,.0f}" for limit in limits)
    note = (
        "Streams in which the guard spoke, and all frames until then. What it says of natural rows it says of new images in "
        "their own mixture; of one class alone only the guard by class; of noisy and attacked images no guard."
    )
    return Table("Alarms that honest clients raise", "what they send", heads, tuple(rows), note)


def _price(run: Run) -> Table:
    """Frames in all until U is had: of every way, and where the guard speaks before that."""
    enough, watches = _enough(run), _watches(run, by_class=False)
    if enough is None or not watches:
        return Table("The price of U", "", (), ())
    frames = enough.result.frames
    rate, limit = enough.config.frame_rate, _limits(watches)[-1]

    def row(name: str, total: float, seen: Value) -> Row:
        return Row(name, (Amount(total), Amount(total / rate, duration), seen))

    rows = [row("images' own rows", frames, "as little as honest clients")]
    for one in watches:
        if one.config.traffic not in _HONEST:
            source = one.config.traffic if one.config.traffic in _ALIKE else "natural"
            needed = (_enough(run, source) or enough).result.frames if one.config.share == 1 else frames
            rows.append(row(_said(one), needed / one.config.share, _frames(one, limit)))
    note = (
        f"Frames in all, natural ones among them included, for a retrieval that takes {frames:,}, and with rows that match "
        f"shares or pairs for theirs; at {rate:,.0f} frames a second. Seen after: at one false alarm in {limit:,.0f} frames."
    )
    return Table(
        "The price of U", "the attacker sends", ("frames in all", "at the device", "seen after"), tuple(rows), note
    )


def _percent(share: float) -> str:
    return f"{100 * share:.2g}%" if share < 0.0995 else f"{100 * share:.0f}%"


def _retrieved(run: Run) -> Table:
    columns: dict[str, Callable[[Retrieval], Value]] = {
        "frames": lambda r: Amount(r.result.frames, "{:,.0f}".format, f" ({r.config.per_input:.3g} N)"),
        "median error of a row": _error,
        "rows lost": lambda r: Amount(_lost(r), "{:.1%}".format),
        "rows the attacker finds wrong": lambda r: Amount(r.result.told_share, "{:.1%}".format),
        "readings of such inputs off by": lambda r: Amount(
            r.result.held_out.median / max(r.result.held_out.chance, 1e-9), _percent
        ),
        "at the device": lambda r: Amount(r.result.device_seconds, duration),
        "rows": lambda r: Amount(r.result.rows),
    }
    named = {"natural": "images' own rows", **_ALIKE}
    each = [(named[source], one) for source in named for one in _unseen(run, source)]
    note = "Lost: an error above 10%. Readings: of what chance is off by."
    return Table.of("What inputs that look natural retrieve", "inputs", columns, each, note)


def _periods(run: Run) -> Table:
    """What an attacker whom no look at bits can see gets between two redraws."""
    found = _unseen(run)
    config = run.manifest["config"]
    periods: Iterable[Any] = config.get("service", config).get("periods", ()) if isinstance(config, dict) else ()
    rows = []
    for period in sorted(periods) if found else ():
        frames = round(period * found[0].config.frame_rate)
        best = next((one for one in reversed(found) if one.result.frames <= frames), None)
        values: tuple[Value, ...] = (None, None, None)
        if best is not None:
            values = (Amount(best.result.frames), _error(best), Amount(_lost(best), "{:.1%}".format))
        rows.append(Row(f"{period:g} s", (Amount(frames), *values)))
    heads = ("frames that fit", "of the retrievals above", "median error of a row", "rows lost")
    note = "With images' own rows, from one redraw to the next. No retrieval where none that was tried fits."
    return Table("What fits between two redraws, unseen", "redraw every", heads, tuple(rows), note)


def _worth(run: Run) -> Table:
    rows = []
    for one in run.entries(ATTACK):
        if one.config.rule in ("bpda-drawn", "exact", "exact-blurred"):
            name = attacker(one.config.rule).label
            name = name if one.config.matrix_error is None else f"U wrong by {100 * one.config.matrix_error:.0f}%"
            left = Proportion(one.result.correct, one.result.n_images)
            rows.append(Row(f"{name}, {255 * one.config.eps:.3g}/255", (left,)))
    note = "A retrieved U is worth what one is that is as far off: the study of retrieval attacks with retrieved ones."
    return Table("What a U of that error is worth", "PGD with", ("accuracy under attack, %",), tuple(rows), note)


def section(run: Run, drawings: Folder) -> Section | None:
    """The section; None where nothing came to a guard."""
    watches = _watches(run, by_class=False)
    if not watches:
        return None
    honest = next((one for one in watches if one.config.traffic == "images"), None)
    facts = {
        "failed": failed_checks(run),
        "false": None if honest is None else honest.result.noticed,
        "mixed": [(100 * one.config.share, one.result.last) for one in watches if one.config.share < 1],
        "lost": 100 * LOST,
    }
    return Section(TITLE, _judge(run, watches), (_curve(run, watches, drawings),), tables(run), facts, open_tables=2)


def _judge(run: Run, watches: Sequence[Watch]) -> Verdict:
    """Whether looking at bits protects U: from inputs of a retrieval's own, and from images' own."""
    own = [one for one in watches if one.config.traffic in _OWN and one.config.share == 1]
    alike = [one for one in watches if one.config.traffic in _ALIKE]
    natural, enough = _unseen(run), _enough(run)
    guards = run.entries(GUARD)
    tested = guards[0].result.calibrated if guards else 0
    untried = tuple(
        name for name, there in (("images' own rows", natural), ("inputs of a method's own", own)) if not there
    )
    if not own or not natural:
        return Verdict(Finding.OPEN, {}, untried, tested)
    late = [one.result.last.median for one in own]
    seen = [frames for frames in late if frames is not None]
    matched = [one.result.last.median for one in alike]
    reasons: dict[str, Any] = {
        "limit": own[0].result.last.limit,
        "all": len(seen) == len(own),
        "after": max(seen, default=None),
        "matched": None if None in matched or not matched else max(frames for frames in matched if frames is not None),
        "frames": enough.result.frames if enough else natural[-1].result.frames,
        "per_input": enough.config.per_input if enough else natural[-1].config.per_input,
        "seconds": enough.result.device_seconds if enough else natural[-1].result.device_seconds,
        "error": None if (error := _error(enough or natural[-1])) is None else _percent(error.value),
    }
    reasons["lost"] = Proportion(round(1000 * _lost(enough or natural[-1])), 1000)
    if enough is not None or not seen:
        finding = Finding.FALLS
    elif len(seen) == len(own) and None not in matched and _lost(natural[-1]) > _MOST:
        finding = Finding.HOLDS
    else:
        finding = Finding.PART
    return Verdict(finding, reasons, untried, tested)


def _curve(run: Run, watches: Sequence[Watch], drawings: Folder) -> Drawing | None:
    """Frames until the guard speaks, against the frames between two false alarms; and frames that a retrieval takes."""
    limits = _limits(watches)
    if len(limits) < 2:
        return None
    own = [one for one in watches if one.config.traffic in _OWN and one.config.share == 1]
    lines = []
    slowest = {limit: [noticed.median for one in own if (noticed := _at(one, limit))] for limit in limits}
    points = {
        limit: max(f for f in found if f is not None) for limit, found in slowest.items() if found and None not in found
    }
    if points:
        lines.append(Curve("seen: a method's own\ninputs (the slowest)", list(points), list(points.values()), PLAIN))
    for one, mark in zip(
        (w for w in watches if w.config.traffic == "pairs" or w.config.share < 1), "s^DvPX", strict=False
    ):
        known = [noticed for noticed in one.result.noticed if noticed.median is not None]
        if known:
            mixed = f"seen: {100 * one.config.share:g}% among natural ones"
            name = "seen: pairs as natural ones" if one.config.share == 1 else mixed
            at = [noticed.limit for noticed in known]
            low, high = ([float(getattr(n, side) or n.median or 0) for n in known] for side in ("low", "high"))
            lines.append(
                Curve(name, at, [float(n.median or 0) for n in known], Style(FAINT, mark, hollow=True), low, high)
            )
    enough = _enough(run)
    if enough is not None:
        ends = (limits[0], limits[-1])
        style = of_attacker("bpda-retrieved")
        lines.append(Curve("not seen, and has U:\nimages' own rows", ends, (enough.result.frames,) * 2, style))
    if not lines:
        return None
    told = [f"{one.name}: {one.y[-1]:,.0f} frames at {one.x[-1]:.0e}" for one in lines]
    return drawings.save(
        "service-price",
        lambda: curves(
            lines,
            x=_X,
            y="frames (logarithmic)",
            x_log=True,
            y_log=True,
            y_range=None,
            y_write="{:,.0f}".format,
            left=0.2,
        ),
        alt="; ".join(told).replace("\n", " ") + ".",
        caption="Frames until the guard speaks, medians with nine of ten streams, and the frames that a retrieval takes.",
    )
