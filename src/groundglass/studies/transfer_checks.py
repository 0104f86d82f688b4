"""Signs that a figure of transferred attacks is not what it seems, looked for in the records."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from groundglass.core.statistics import Proportion
from groundglass.results import Record
from groundglass.studies.check_results import Check, outcome

# Of the images, at the largest radius: fewer, and the attack is too weak on its own network to say anything of others.
_FOOLED = 0.9


def _of(records: Sequence[Record], kind: str) -> list[Record]:
    return [r for r in records if r.kind == kind]


def _sources_fooled(records: Sequence[Record]) -> dict[str, Any]:
    crafted = _of(records, "craft")
    largest = {r.config["label"]: max(c.config["eps"] for c in crafted if _line(c) == _line(r)) for r in crafted}
    found = {
        r.config["label"]: Proportion(r.result["fooled"], r.result["n_images"])
        for r in crafted
        if r.config["eps"] == largest[r.config["label"]]
    }
    weak = sorted(label for label, fooled in found.items() if fooled.interval[1] < _FOOLED)
    return outcome(
        not weak,
        {label: round(fooled.share, 4) for label, fooled in found.items()},
        f"at the largest radius at least {_FOOLED:.0%} of the images fool the network that they were made on",
        f"{', '.join(weak)}: too weak on the source itself to say anything of other networks"
        if weak
        else "every attack fools its own source",
    )


def _line(record: Record) -> str:
    return str(record.config["label"])


def _monotone(records: Sequence[Record]) -> dict[str, Any]:
    tried, rises = _of(records, "transfer"), {}
    for who in sorted({(_line(r), r.config["target"]) for r in tried}):
        curve = sorted((r for r in tried if (_line(r), r.config["target"]) == who), key=lambda r: r.config["eps"])
        for a, b in pairwise(curve):
            smaller, larger = (Proportion(r.result["correct"], r.result["n_images"]) for r in (a, b))
            if smaller.clearly_below(larger):
                rises[" -> ".join(who)] = round(larger.share - smaller.share, 4)
    return outcome(
        not rises,
        rises,
        "a larger ball leaves no more images right",
        "some curves rise with the radius: the attack does not use the room it has" if rises else "no curve rises",
    )


def _white_box_is_stronger(records: Sequence[Record]) -> dict[str, Any]:
    """Whoever holds the target's weights should fool more than who guesses at them."""
    masked: dict[str, list[float]] = {}
    for model, eps in sorted({(r.config["model"], r.config["eps"]) for r in _of(records, "attack")}):
        here = [r for r in _of(records, "attack") if (r.config["model"], r.config["eps"]) == (model, eps)]
        tried = [r for r in _of(records, "transfer") if (r.config["target"], r.config["eps"]) == (model, eps)]
        if not tried:
            continue
        left, best = (
            min((Proportion(r.result["correct"], r.result["n_images"]) for r in some), key=lambda p: p.share)
            for some in (here, tried)
        )
        if best.clearly_below(left):
            masked[f"{model}, {eps * 255:.3g}/255"] = [round(left.share, 4), round(best.share, 4)]
    return outcome(
        not masked,
        masked,
        "an attacker with the target's weights leaves no more images right than one without",
        f"{', '.join(masked)}: images made on another network fool more than the best gradient of this one: that "
        "gradient is masked"
        if masked
        else "nowhere does a transferred attack do clearly better than one with the target's weights",
    )


TRANSFER_CHECKS: dict[str, Check] = {
    "transferred images fool their source": _sources_fooled,
    "transfer does not weaken with the radius": _monotone,
    "white-box at least as strong as transfer": _white_box_is_stronger,
}
