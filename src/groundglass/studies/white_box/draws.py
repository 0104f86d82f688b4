"""What more luck, and more labels, give an attacker: accuracy after fresh draws, and against the size of an own head's fit."""

from groundglass.adaptive.attackers import attacker, rank
from groundglass.core.statistics import Proportion
from groundglass.report import words
from groundglass.report.drawing import Drawing, Folder
from groundglass.report.figure import save_curves, shares
from groundglass.report.style import of_attacker
from groundglass.report.table import Amount, Row, Table, amount
from groundglass.results import Run
from groundglass.results.kinds import ATTACK, DRAWS

#: Draws at which accuracy is told.
_AT = (1, 5, 10, 20)


def redraws(run: Run) -> Table:
    """A row an attacker and a radius: accuracy after 1, 5, 10 and 20 draws of what it draws."""
    found = sorted(run.entries(DRAWS), key=lambda one: (rank(one.config.rule), one.config.norm, one.config.eps))
    at = sorted({min(k, len(one.result.left)) for one in found for k in _AT})
    rows = []
    for one in found:
        name = f"{one.config.model} ← `{one.config.rule}`, {words.radius(one.config.norm, one.config.eps)}"
        rows.append(Row(name, tuple(one.result.after(k) for k in at)))
    note = (
        "An image counts only when it was right before and no draw has fooled it, at this radius or a smaller one. What a "
        "later draw fooled at a smaller radius, earlier ones have not tried here: after few draws a little too much is left. "
        "Which draw fools is seen when the image is shown to the deployed network: so many tries are so many queries."
    )
    columns = tuple(f"{k} draw" + "s" * (k > 1) for k in at)
    return Table(
        "Fresh draws of what the attacker draws: accuracy under attack, %", "attack", columns, tuple(rows), note
    )


def redraw_curves(run: Run, drawings: Folder, eps: float | None) -> Drawing | None:
    """Accuracy against the number of draws, at one radius."""
    found = [one for one in run.entries(DRAWS) if round(one.config.eps, 9) == eps and len(one.result.left) > 1]
    lines = []
    for one in sorted(found, key=lambda one: rank(one.config.rule)):
        points = {float(k): Proportion(left, one.result.n_images) for k, left in enumerate(one.result.left, start=1)}
        lines.append(shares(attacker(one.config.rule).label, points, of_attacker(one.config.rule)))
    if not lines:
        return None
    caption = f"Every image against fresh draws of what the attacker draws, L∞ ε = {words.radius('linf', eps or 0)}."
    axes = {"x": "draws", "y": "accuracy under attack (%)"}
    return save_curves(drawings, "white-box-draws", lines, caption=caption, said="after {:.0f} draws", **axes)


def heads(run: Run) -> Table:
    """A row a number of labels that an attacker's own head was fitted to."""
    found = [one for one in run.entries(ATTACK) if one.config.rule == "own-head" and one.config.attack == "PGD"]
    swept = {(one.config.norm, one.config.eps) for one in found if one.config.purpose == "sweep"}
    found = [one for one in found if (one.config.norm, one.config.eps) in swept]
    rows = []
    for one in sorted(found, key=lambda one: one.config.labels or 0):
        fit = one.result.fit
        right = None if fit is None else amount(fit.held_out_accuracy, "{:.1%}".format)
        rows.append(Row(f"{one.config.labels or 0:,} labels", (one.result.robust, right, Amount(one.result.n_images))))
    at = {words.radius(norm, eps) for norm, eps in swept}
    columns = (f"accuracy under attack, {', '.join(sorted(at))}", "accuracy of the head", "images")
    note = "The attacker has the weights below the layer, and fits a linear head of its own to so many labelled images."
    return Table("Own head against the number of labels, %", "fitted to", columns, tuple(rows), note)
