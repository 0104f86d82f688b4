"""Signs of a robustness claim that is not true, looked for in the records (Athalye et al. 2018; Carlini et al. 2019)."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from groundglass.results import Record
from groundglass.studies.check_results import Check, outcome

# Two images of slack, or one point: differences of this size are chance.
_SLACK = 0.01


def _who(record: Record) -> str:
    return f"{record.config['model']} <- {record.config['rule']}"


def _robust(record: Record) -> float:
    return float(record.result["robust_accuracy"])


def _slack(record: Record) -> float:
    return max(_SLACK, 2 / int(record.result["n_images"]))


def _of(records: Sequence[Record], attack: str, *, purpose: str | None = None, norm: str = "linf") -> list[Record]:
    return [
        r
        for r in records
        if r.config["attack"] == attack
        and r.config["norm"] == norm
        and (purpose is None or r.config["purpose"] == purpose)
    ]


def _unbounded(records: Sequence[Record]) -> dict[str, Any]:
    found = [r for r in _of(records, "PGD", purpose="control") if r.config["eps"] >= 1]
    left = {_who(r): round(_robust(r), 4) for r in found}
    stuck = [who for who, value in left.items() if value > 0.05]
    return outcome(
        not stuck,
        left,
        "at most 5% right when any image in [0, 1] is allowed",
        f"{', '.join(stuck)} cannot fool every image even without a bound: "
        f"{'this gradient is' if len(stuck) == 1 else 'these gradients are'} bad, and the robust accuracies under "
        f"{'it' if len(stuck) == 1 else 'them'} say little about the network"
        if stuck
        else "without a bound every attacker fools nearly every image",
    )


def _monotone(records: Sequence[Record]) -> dict[str, Any]:
    rises: dict[str, float] = {}
    figure = [r for r in records if r.config["attack"] == "PGD" and r.config["purpose"] == "figure"]
    for norm in ("linf", "l2"):
        for who in {_who(r) for r in figure}:
            curve = sorted(
                (r for r in figure if _who(r) == who and r.config["norm"] == norm),
                key=lambda r: r.config["eps"],
            )
            for a, b in pairwise(curve):
                if _robust(b) > _robust(a) + _slack(a):
                    rises[f"{who} {norm}"] = round(_robust(b) - _robust(a), 4)
    return outcome(
        not rises,
        dict(sorted(rises.items())),
        "a larger ball leaves no more images right",
        "some curves rise with the radius: the attacker does not use the room it has" if rises else "no curve rises",
    )


def _beats(records: Sequence[Record], attack: str, expected: str) -> dict[str, Any]:
    """Every PGD of the figure against the control `attack` at the same radius."""
    weaker: dict[str, float] = {}
    figure = [r for r in records if r.config["attack"] == "PGD" and r.config["purpose"] == "figure"]
    for control in _of(records, attack):
        for record in figure:
            same = all(record.config[k] == control.config[k] for k in ("model", "norm", "eps", "n_images"))
            if (
                same
                and control.config["rule"] in ("none", record.config["rule"])
                and _robust(record) > _robust(control) + _slack(record)
            ):
                weaker[_who(record)] = round(_robust(record) - _robust(control), 4)
    return outcome(
        not weaker,
        dict(sorted(weaker.items())),
        expected,
        f"{', '.join(sorted(weaker))}: weaker than {attack}" if weaker else f"PGD is nowhere weaker than {attack}",
    )


def _training_signal_is_best(records: Sequence[Record]) -> dict[str, Any]:
    # Backpropagation is the gradient of networks without the layer, and of none with it.
    figure = [r for r in _of(records, "PGD", purpose="figure") if r.config["rule"] != "bp"]
    if not figure:
        return outcome(True, {}, "", "no defended network was attacked")
    largest = max(r.config["eps"] for r in figure)
    at = {r.config["rule"]: _robust(r) for r in figure if r.config["eps"] == largest}
    best = min(at, key=lambda rule: at[rule])
    gap = at.get("dfa", 1.0) - at[best]
    return outcome(
        gap <= 0.05,
        {rule: round(value, 4) for rule, value in sorted(at.items(), key=lambda item: item[1])},
        "no attacker leaves over 5 points less than the training feedback does",
        f"{best!r} leaves {at[best]:.1%} right where 'dfa' leaves {at.get('dfa', 1.0):.1%}: the difference was the "
        "attacker's gradient, not the network"
        if gap > 0.05
        else "no attacker that was tried does much better than the training feedback",
    )


def _gradients_are_there(records: Sequence[Record]) -> dict[str, Any]:
    share = {_who(r): r.result["zero_gradient_share"] for r in records if r.config["rule"] != "none"}
    dead = {who: round(value, 4) for who, value in share.items() if value > 0.01}
    return outcome(
        not dead,
        dead,
        "at most 1% of input gradients are all zero",
        "some attackers met zero gradients" if dead else "no attacker met zero gradients",
    )


def _confirmed(records: Sequence[Record]) -> dict[str, Any]:
    unconfirmed = sum(int(r.result["unconfirmed"]) for r in records)
    claims = unconfirmed + sum(r.result["clean_correct"] - r.result["correct"] for r in records)
    share = unconfirmed / claims if claims else 0.0
    return outcome(
        share <= 0.01,
        {"claims": claims, "withdrawn": unconfirmed},
        "at least 99% of the adversarial images fool a fresh forward pass of the network itself",
        f"{unconfirmed} of {claims} did not, and do not count: a value beside a threshold is rounded differently there",
    )


WHITE_BOX_CHECKS: dict[str, Check] = {
    "unbounded ball": _unbounded,
    "accuracy never rises with eps": _monotone,
    "PGD at least as strong as FGSM": lambda r: _beats(r, "FGSM", "many steps do what one step does"),
    "stronger than random noise": lambda r: _beats(r, "RandomNoise", "a gradient beats guessing"),
    "no better attacker than the training feedback": _training_signal_is_best,
    "gradients are not zero": _gradients_are_there,
    "successes confirmed": _confirmed,
}
