"""Signs that a study of the retrieval of U fools itself."""

from collections.abc import Sequence
from typing import Any

from groundglass.results import Record
from groundglass.studies.check_results import Check, outcome

# Between what the attacker can tell from held-out readings and the truth: a row at the border counts here or there.
_TOLD = 0.05


def _told_is_true(records: Sequence[Record]) -> dict[str, Any]:
    # Those that attacks use. Noise hides small errors from every reading, and the other methods err most along the field that
    # all inputs share, which spoils predictions beyond what it adds to the error.
    found = [r for r in records if r.kind == "retrieve" and r.config["purpose"] in ("price", "period")]
    gaps = {r.name: round(r.result["told_share"] - r.result["failed_share"], 4) for r in found}
    wrong = {name: gap for name, gap in gaps.items() if abs(gap) > _TOLD}
    return outcome(
        not wrong,
        wrong,
        f"held-out readings tell the share of failed rows to {_TOLD:.0%}",
        f"in {len(wrong)} of {len(found)} retrievals an attacker without U would misjudge how many rows are wrong"
        if wrong
        else "what an attacker can tell of his retrieval without U is true",
    )


def _beats_drawn(records: Sequence[Record]) -> dict[str, Any]:
    """A good retrieval must not be worth less than a matrix of one's own, or the attack does not use it."""
    attacks = [r for r in records if r.kind == "attack"]
    good = {r.key for r in records if r.kind == "retrieve" and r.result["failed_share"] < 0.01}
    weaker: dict[str, float] = {}
    for drawn in (r for r in attacks if r.config["rule"] == "bpda-drawn"):
        for r in attacks:
            if (
                r.config["rule"] != "bpda-retrieved"
                or r.config["eps"] != drawn.config["eps"]
                or not good & set(r.inputs)
            ):
                continue
            gap = r.result["robust_accuracy"] - drawn.result["robust_accuracy"]
            if gap > max(0.01, 2 / r.result["n_images"]):
                weaker[r.name] = round(gap, 4)
    return outcome(
        not weaker,
        weaker,
        "a retrieved U leaves no more right than one drawn at random",
        "some retrievals help less than a matrix of the attacker's own: the attack does not use them"
        if weaker
        else "every good retrieval is at least as strong as a matrix of the attacker's own",
    )


RETRIEVAL_CHECKS: dict[str, Check] = {
    "held-out readings tell the truth": _told_is_true,
    "a retrieved U beats a drawn one": _beats_drawn,
}
