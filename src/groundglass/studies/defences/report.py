"""Defences side by side: what each keeps, what it proves, and what it costs."""

from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

from groundglass.core.phases import undisturbed
from groundglass.core.statistics import Proportion
from groundglass.core.text import duration, listed, percent, signed
from groundglass.report.drawing import Drawing, Folder
from groundglass.report.figure import Series, spoken
from groundglass.report.scatter import Group, Spot, scatter
from groundglass.report.section import Finding, Section, Verdict
from groundglass.report.style import BASELINE, DEFENDED, of_name
from groundglass.report.table import Amount, Row, Table, Value, over_repeats
from groundglass.report.words import chance, failed_checks, radius
from groundglass.results import Run
from groundglass.results.kinds import TRAIN
from groundglass.studies.defences.compared import AuditBall, Comparisons, Defence, Defences, Repeat

TITLE = "Defences side by side"
_ORDINARY = "ordinary training"
_WITHOUT, _WITH = of_name(BASELINE, hollow=True), of_name(DEFENDED)


def tables(run: Run) -> list[Table]:
    """Each defence; what the layer adds to each; and certificates by their radius."""
    found = Defences.of(run)
    return [table for table in _all(found, Comparisons.of(found, found.pairs, found.quantities)) if table.rows]


def _all(found: Defences, added: Comparisons) -> tuple[Table, ...]:
    return _main(found), _changes(found, added), _certificates(found), _transferred(found)


def section(run: Run, drawings: Folder) -> Section | None:
    """The section; None where there is no network of the study."""
    found = Defences.of(run)
    if not found.named:
        return None
    added = Comparisons.of(found, found.pairs, found.quantities)
    shown = _all(found, added)
    facts = {"failed": failed_checks(run), "repeats": len(found.numbers), "certificates": _attacked(found)}
    return Section(TITLE, _judge(found, added), (_figure(found, drawings),), shown, facts)


def _main(found: Defences) -> Table:
    """A row a defence: clean, in each ball claimed and in the worst case, certified, and its costs."""
    rows, most = [], len(found.numbers)
    votes = any(repeat.certificates for one in found.named.values() for repeat in one.repeats.values())
    trained = {one.key: one for one in found.run.entries(TRAIN)}
    for one in found.named.values():
        repeats = list(one.repeats.values())
        clean = one.each(lambda repeat: repeat.clean)
        values: list[Value] = [over_repeats(clean)]
        for ball in found.balls:
            values += [over_repeats(one.each(lambda r, b=ball: r.claimed(b)))]  # type: ignore[misc]
            values += [over_repeats(one.each(lambda r, b=ball: r.worst(b)))]  # type: ignore[misc]
        if found.certified in found.quantities:
            values.append(over_repeats(one.each(lambda repeat: repeat.certified(found.radius or 0))))
        seconds = [_seconds(repeat, trained) for repeat in repeats if repeat.trained]
        values.append(Amount(min(seconds), duration) if seconds else None)
        values += _answer(repeats)[: 3 if votes else 2]
        fewer = f"{len(clean)} of {most} repeats" if 0 < len(clean) < most else ""
        rows.append(Row(one.name, tuple(values), (fewer,)))
    columns = [
        "clean accuracy",
        *(f"{ball.name}: {what}" for ball in found.balls for what in ("claimed", "worst case")),
    ]
    if found.certified in found.quantities:
        columns.append(found.certified)
    columns += ["training", "passes an answer", "frames an answer", *(["passes, certified"] if votes else [])]
    of = f"the mean of {most} repeats, from the smallest to the largest" if most > 1 else "of one training"
    note = (
        f"Each value is {of}. Clean accuracy is on the whole test set, claimed and worst case on the audited images. Claimed: by "
        "the paper's attacks where there is a layer, else by PGD through the network's own gradient. Training: wall time if "
        "every epoch were as quick as the quickest, which other work on the machine delayed least; with that of features it "
        "takes over. A certified answer is a vote, with as many frames as passes where there is a layer."
    )
    return Table("", "defence", tuple(columns), tuple(rows), note)


def _seconds(one: Repeat, trained: dict[str, Any]) -> float:
    """Of a network's training at the speed of its quickest epoch, and of the networks that it was made of."""
    assert one.trained
    below = [trained[key] for key in one.trained.inputs if key in trained]
    epochs = [epoch.seconds for epoch in getattr(one.trained.result, "epochs", ())]
    own = (
        undisturbed(one.trained.config.training, epochs)
        if epochs
        else float(getattr(one.trained.result, "train_seconds", 0.0))
    )
    return own + sum(_seconds(Repeat(each), trained) for each in below)


def _answer(repeats: Sequence[Repeat]) -> tuple[Value, Value, Value]:
    """Passes through the network, frames of its devices, and passes of an answer with a certificate."""
    known = next((one for one in repeats if one.trained), None)
    votes = next((one.certificates[0].config for one in repeats if one.certificates), None)
    certified = Amount(votes.n0 + votes.n) if votes else None
    return (None, None, certified) if known is None else (Amount(1), Amount(known.parts * known.layered), certified)


def _changes(found: Defences, added: Comparisons) -> Table:
    """Points that the layer gives or takes, over the repeats; in words where it stands."""
    rows = []
    for one, alone in found.pairs:
        values, notes = [], []
        for quantity in found.quantities:
            values.append(over_repeats(Amount(each.points, signed) for each in added.known(one.name, quantity)))
            notes.append(_stands(added, one.name, quantity))
        if any(value is not None for value in values):
            rows.append(Row(f"{one.name} − {alone.name}", tuple(values), tuple(notes)))
    note = f"{added.note} The largest p of the repeats is told." if rows else ""
    title = "With the layer minus without, points"
    return Table(title, "networks", tuple(found.quantities), tuple(rows), note)


def _certificates(found: Defences) -> Table:
    """Certified accuracy by radius; how many certificates were attacked, and broken."""
    by_setting: dict[tuple[str, float], list[Any]] = {}
    for one in found.named.values():
        for certificate in (c for repeat in one.repeats.values() for c in repeat.certificates):
            by_setting.setdefault((one.name, certificate.config.sigma), []).append(certificate)
    every = [entry.result for entries in by_setting.values() for entry in entries]
    radii = sorted({r for result in every for r, _ in result.certified})
    rows = []
    for (name, sigma), entries in by_setting.items():
        results = [entry.result for entry in entries]
        shares = [over_repeats(result.at(at) for result in results) for at in radii]
        under_noise = (
            Amount(sigma, "{:g}".format),
            Amount(results[0].n_images),
            over_repeats(r.right for r in results),
        )
        of_attacks = [sum(getattr(r, what) for r in results) for what in ("attacked", "broken", "outside")]
        rows.append(Row(name, (*under_noise, *shares, *map(Amount, of_attacks))))
    shown = (radius("l2", r) for r in radii)
    columns = ("σ", "images", "right under noise", *shown, "attacked", "broken", "broken farther out")
    note = (
        "Of an image that is right with a certificate no change within the radius changes the vote, whatever the attacker knows. "
        "Attacked: certified images, within their own radius, of all repeats together. Broken farther out: by the same attack at "
        "a multiple of the radius, where no certificate holds."
    )
    return Table("Certified accuracy by L2 radius, %", "network", columns, tuple(rows), note)


def _transferred(found: Defences) -> Table:
    """What images made on another network leave; of a network with the layer, whether that is more than without."""
    columns, rows = found.transfers, []
    # VGG-16 is what the images were made on: the control of VGG-OPU are its own features without the layer.
    pairs = [(one, found.named.get(f"{one.name} without layer", alone)) for one, alone in found.pairs]
    without = {one.name: alone.name for one, alone in pairs}
    added = Comparisons.of(found, pairs, columns)
    for one in found.named.values():
        values = [
            over_repeats(r.transferred[at].result.robust for r in one.repeats.values() if at in r.transferred)
            for at in columns
        ]
        if any(value is not None for value in values):
            notes = [_stands(added, one.name, at) for at in columns]
            rows.append(Row(one.name, (without.get(one.name), *values), ("", *notes)))
    title = "Accuracy on images made on VGG-16, %"
    note = (
        "On images that all of them get right. Under a value: whether it is more than without the layer, where the same features "
        f"are under a linear classifier that was fitted anew. {added.note}"
    )
    return Table(title, "network", ("without the layer", *columns), tuple(rows), note)


def _stands(added: Comparisons, name: str, quantity: str) -> str:
    """A difference in words; nothing where none was compared."""
    if not added.known(name, quantity):
        return ""
    words = {1: "more", -1: "less"}.get(added.sign(name, quantity), "not clear")
    return f"{words}, {chance(added.p(name, quantity))}"


def _attacked(found: Defences) -> tuple[int, int]:
    """Certificates that were attacked, and those that were broken."""
    every = [c.result for one in found.named.values() for repeat in one.repeats.values() for c in repeat.certificates]
    return sum(result.attacked for result in every), sum(result.broken for result in every)


def _judge(found: Defences, added: Comparisons) -> Verdict:
    """Which defences keep most in the worst case, and whether the layer adds anything to any of them."""
    trained = [one for one in found.named.values() if any(repeat.trained for repeat in one.repeats.values())]
    missing = [one.name for one in trained if not any(repeat.audits for repeat in one.repeats.values())]
    untried = (f"an audit of {listed(missing)}",) if missing else ()
    best = [leader for ball in found.balls if (leader := _leaders(found, ball))]
    signs = {
        (one.name, ball.name): added.sign(one.name, ball.worst)
        for one, _ in found.pairs
        for ball in found.balls
        if added.known(one.name, ball.worst)
    }
    gains, losses = ({name for (name, _), sign in signs.items() if sign == wanted} for wanted in (1, -1))
    certified = [(one.name, share) for one in found.named.values() if (share := one.mean(_at(found))) is not None]
    reasons = {
        "best": best,
        "adds": [name for name in found.named if name in gains],
        "takes": [name for name in found.named if name in losses],
        "pairs": len({name for name, _ in signs}),
        "certified": max(certified, key=lambda one: one[1], default=None),
        "radius": found.certified.partition(", ")[2],
    }
    finding = {(True, True): Finding.PART, (True, False): Finding.HOLDS, (False, True): Finding.FALLS}
    images = [share.total for one in found.named.values() for ball in found.balls for share in one.each(_worst(ball))]
    what = finding.get((bool(gains), bool(losses)), Finding.NOTHING) if signs else Finding.OPEN
    return Verdict(what, reasons, untried, min(images, default=0))


def _worst(ball: AuditBall) -> Callable[[Repeat], Proportion | None]:
    return lambda repeat: repeat.worst(ball)


def _at(found: Defences) -> Callable[[Repeat], Proportion | None]:
    return lambda repeat: repeat.certified(found.radius or 0)


def _leaders(found: Defences, ball: AuditBall) -> dict[str, Any] | None:
    """The defence that keeps most in a ball, and those that are not clearly behind it; none where fewer than two were audited."""
    kept = {name: share for name, one in found.named.items() if (share := one.mean(_worst(ball))) is not None}
    if len(kept) < 2:
        return None
    first = max(kept, key=lambda name: kept[name])
    others = [found.named[name] for name in kept if name != first]
    # "the others minus the first": what is not clearly below it may be as good.
    behind = Comparisons.of(found, [(one, found.named[first]) for one in others], [ball.worst])
    near = [one.name for one in others if behind.sign(one.name, ball.worst) >= 0]
    return {
        "ball": ball.name,
        "names": [first, *sorted(near, key=lambda name: -kept[name])],
        "share": percent(kept[first]),
        "all": len(near) == len(others),
        "nothing": kept[first] == 0,
    }


def _figure(found: Defences, drawings: Folder) -> Drawing | None:
    """Worst case against clean accuracy, a panel a ball; a line from each network to the same with the layer."""
    paired = {name for one, alone in found.pairs for name in (one.name, alone.name)}
    together: list[tuple[str, tuple[Defence, ...]]] = [
        (_label(one.name, alone.name), (alone, one)) for one, alone in found.pairs
    ]
    together += [(_label(name), (one,)) for name, one in found.named.items() if name not in paired]
    panels = []
    for ball in found.balls:
        groups = [
            Group(name, spots)
            for name, members in together
            if (spots := tuple(spot for one in members if (spot := _spot(one, ball, found))))
        ]
        if groups:
            panels.append((ball.name, groups))
    if not panels:
        return None
    series = (Series("without the layer", _WITHOUT), Series("with the layer", _WITH))
    ticks = any(spot.tick is not None for _, groups in panels for group in groups for spot in group.spots)
    said = [
        (name, [("clean", 100 * (one.mean(lambda r: r.clean) or 0)), *((b.name, 100 * share) for b, share in kept)])
        for name, one in found.named.items()
        if (kept := [(b, share) for b in found.balls if (share := one.mean(_worst(b))) is not None])
    ]
    several = " Small: each repeat." if len(found.numbers) > 1 else " Bars: 95% Wilson intervals."
    tick = (
        f" Short lines: certified accuracy at {found.certified.partition(', ')[2]}, by a vote under noise."
        if ticks
        else ""
    )
    return drawings.save(
        "defences",
        lambda: scatter(
            panels,
            x="clean accuracy (%)",
            y="worst case (%)",
            series=series,
            tick="certified" if ticks else "",
        ),
        alt=spoken(said),
        caption=f"Clean accuracy and worst case of each defence; a line joins it without and with the layer.{several}{tick}",
    )


def _label(name: str, alone: str = "") -> str:
    """What sets a network apart from the ordinary ones; of one with the layer and the same without, what both have."""
    if alone and name.partition(" ")[2] == alone.partition(" ")[2]:
        name = alone
    if name in (BASELINE, DEFENDED):
        return _ORDINARY
    short = name.removeprefix(f"{BASELINE} ").removeprefix(f"{DEFENDED} ")
    return name if short == "without layer" else short


def _spot(one: Defence, ball: AuditBall, found: Defences) -> Spot | None:
    """The mean over repeats; None where one of its values is not known."""
    known = [(repeat.clean, repeat.worst(ball)) for repeat in one.repeats.values()]
    each = [(100 * clean.share, 100 * worst.share) for clean, worst in known if clean and worst]
    if not each:
        return None
    certified = one.mean(_at(found)) if ball.norm == "l2" and found.radius == ball.eps else None
    return Spot(
        fmean(x for x, _ in each),
        fmean(y for _, y in each),
        _WITH if one.layered else _WITHOUT,
        each if len(each) > 1 else (),
        [100 * end for end in one.each(_worst(ball))[0].interval] if len(each) == 1 else (),
        None if certified is None else 100 * certified,
    )
