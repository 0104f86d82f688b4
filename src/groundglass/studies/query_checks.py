"""Whether success rates of attacks by queries can be believed, looked for in the records."""

from collections.abc import Sequence
from typing import Any

from groundglass.core.statistics import Proportion
from groundglass.results import Record
from groundglass.studies.check_results import Check, outcome


def _queries(records: Sequence[Record]) -> list[Record]:
    return [r for r in records if r.kind == "query"]


def _who(record: Record) -> str:
    return f"{record.config['model']} <- {record.config['attack']}"


def _fooled(record: Record) -> Proportion | None:
    """Of the images that were right at first; None when none was."""
    right = int(record.result["clean_correct"])
    fooled = record.result.get("fooled")
    count = right - int(record.result["correct"]) if fooled is None else int(fooled)
    return Proportion(count, right) if right else None


def _counted(records: Sequence[Record]) -> dict[str, Any]:
    over = {
        _who(r): r.result["most_queries"] for r in _queries(records) if r.result["most_queries"] > r.config["budget"]
    }
    return outcome(
        not over,
        over,
        "no image took more queries than its budget, checks included",
        "a budget was exceeded: success rates are too high" if over else "every image kept to its budget",
    )


def _confirmed(records: Sequence[Record]) -> dict[str, Any]:
    withdrawn = sum(int(r.result["unconfirmed"]) for r in _queries(records))
    claims = withdrawn + sum(int(r.result["fooled"]) for r in _queries(records))
    share = withdrawn / claims if claims else 0.0
    return outcome(
        share <= 0.01,
        {"claims": claims, "withdrawn": withdrawn},
        "at least 99% of the adversarial images fool a fresh forward pass of the network itself",
        f"{withdrawn} of {claims} did not, and do not count: a value beside a threshold is rounded differently there",
    )


def _not_flat(records: Sequence[Record]) -> dict[str, Any]:
    chosen = {r.result["key"] for r in records if r.kind == "choice"}
    shown = [r for r in _queries(records) if r.config["purpose"] == "figure" or r.key in chosen]
    share = {_name(r): r.result["flat_share"] for r in shown if r.result["flat_share"] is not None}
    flat = {who: round(value, 4) for who, value in share.items() if value > 0.01}
    return outcome(
        not flat,
        flat,
        "at most 1% of the gradient estimates are zero everywhere, with the setting that is shown",
        "some estimates found no slope at all: the loss is flat at that distance, and a wider probe is needed"
        if flat
        else "every estimate found a slope",
    )


def _name(record: Record) -> str:
    sigma = record.config["settings"].get("sigma")
    return _who(record) + (f", sigma {sigma:g}" if sigma is not None else "")


def _beats_noise(records: Sequence[Record]) -> dict[str, Any]:
    """The strongest attack by queries on each network against random corners of the same ball."""
    weaker = {}
    for noise in [r for r in records if r.kind == "attack" and r.config["attack"] == "RandomNoise"]:
        by_chance = _fooled(noise)
        best = _strongest(records, noise.config["model"])
        if by_chance is not None and best is not None and best.share < by_chance.share:
            weaker[noise.config["model"]] = [round(best.share, 4), round(by_chance.share, 4)]
    return outcome(
        not weaker,
        weaker,
        "asking beats guessing",
        "random noise fools more images than the strongest attack by queries" if weaker else "asking beats guessing",
    )


def _gradients_beat_queries(records: Sequence[Record]) -> dict[str, Any]:
    """Whoever has the training signal's gradient should do better than who has none: if not, that gradient is bad."""
    masked = {}
    for model, rule in sorted({(r.config["model"], r.config["rule"]) for r in records if r.kind == "attack"}):
        if rule not in ("bp", "dfa"):
            continue
        (white,) = [r for r in records if r.kind == "attack" and (r.config["model"], r.config["rule"]) == (model, rule)]
        a, b = _fooled(white), _strongest(records, model)
        if a is not None and b is not None and a.clearly_below(b):
            masked[f"{model} <- {rule}"] = [round(a.share, 4), round(b.share, 4)]
    return outcome(
        not masked,
        masked,
        "an attacker with gradients fools as many images as one who only asks",
        f"{', '.join(masked)} fools fewer images than an attacker without any gradient: what its curve shows is a masked "
        "gradient, not robustness"
        if masked
        else "no attacker without gradients does clearly better than one with the training signal",
    )


def _strongest(records: Sequence[Record], model: str) -> Proportion | None:
    found = [p for r in _queries(records) if r.config["model"] == model and (p := _fooled(r)) is not None]
    return max(found, key=lambda p: p.share, default=None)


QUERY_CHECKS: dict[str, Check] = {
    "queries within budget": _counted,
    "query successes confirmed": _confirmed,
    "gradient estimates are not zero": _not_flat,
    "queries stronger than random noise": _beats_noise,
    "gradients at least as strong as queries": _gradients_beat_queries,
}
