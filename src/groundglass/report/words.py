"""How radii, balls, attacks and networks are named, and how shares are read from frames: everywhere alike."""

from collections.abc import Hashable, Iterable
from typing import Any, TypeVar

import pandas as pd

from groundglass.adaptive.attackers import rank
from groundglass.core.statistics import Family, Proportion
from groundglass.report.style import BASELINE
from groundglass.results import Run
from groundglass.results.kinds import CHECK, TRAIN

K = TypeVar("K", bound=Hashable)
_ATTACKS = ("PGD", "CW", "FGSM", "RandomNoise")


def norm_name(norm: str) -> str:
    """ "L∞"."""
    return {"linf": "L∞", "l2": "L2"}.get(norm, norm)


def radius(norm: str, eps: float) -> str:
    """ "6.38/255", or "0.5" for L2."""
    if norm == "linf" and eps >= 1:
        return "any image"
    return f"{eps * 255:.3g}/255" if norm == "linf" else f"{eps:.3g}"


def ball(norm: str, eps: float) -> str:
    """ "L∞ ε = 8/256": the paper's radius in the paper's words, others as everywhere."""
    whole = eps * 256
    written = f"{whole:.0f}/256" if norm == "linf" and eps < 1 and whole == round(whole) else radius(norm, eps)
    return f"{norm_name(norm)} ε = {written}"


def radius_axis(norm: str) -> tuple[str, float]:
    """Label of an axis of radii, and what radii are multiplied by on it."""
    unit = "pixel levels of 255" if norm == "linf" else "pixel units"
    return f"radius ε, {norm_name(norm)} ({unit})", 255.0 if norm == "linf" else 1.0


def paper_axis(frame: pd.DataFrame, scale: float) -> tuple[str, dict[float, str]] | None:
    """The axis above a figure: the paper's radii where they were measured; None where there are none."""
    told = frame.dropna(subset=["radius_paper"]).drop_duplicates("radius")
    ticks = {float(r) * scale: f"{p:.3g}" for r, p in zip(told["radius"], told["radius_paper"], strict=True)}
    return ("ε in the paper's units (normalised)", {0.0: "0", **ticks}) if ticks else None


def method(attack: str) -> str:
    """An attack by its usual name."""
    return {"CW": "C&W", "RandomNoise": "random noise"}.get(attack, attack)


def channel_note(frame: pd.DataFrame) -> str:
    """What a reader must know about radii that differ by channel; an empty string where none does."""
    differ = "per_channel" in frame and bool(frame["per_channel"].any())
    return "The paper's radius is another in each colour channel: the largest is given." if differ else ""


def each(frame: pd.DataFrame) -> list[Any]:
    """The rows of a frame, with its columns as attributes; `Index` is the key."""
    return list(frame.itertuples())


def left(row: Any) -> Proportion:
    """Accuracy under attack of a row of `attacks` or `transfers`."""
    return Proportion(int(row.correct), int(row.n_images))


def chance(p: float | None) -> str:
    """ "p = 0.012"; an empty string where nothing was compared."""
    return "" if p is None else f"p = {p:.2g}" if p >= 0.001 else "p < 0.001"


def corrected_p(family: Family[K], key: K) -> str:
    """The Holm-corrected p of one comparison, in words."""
    return chance(family.corrected.get(key))


def failed_checks(run: Run) -> list[str]:
    """The checks of a study that found a sign of a claim that is not true."""
    return [one.config.check for one in run.entries(CHECK) if not one.result.passed]


def clean_accuracies(run: Run) -> dict[str, Proportion]:
    """Clean accuracy on all test images, by network."""
    return {entry.name: entry.result.clean for entry in run.entries(TRAIN)}


def in_order(frame: pd.DataFrame) -> pd.DataFrame:
    """Attacks in the order used everywhere: VGG-16 first, then by network, attacker, attack and radius."""
    attacks = [_ATTACKS.index(a) if a in _ATTACKS else len(_ATTACKS) for a in frame["attack"]]
    return (
        frame.assign(_first=frame["network"] != BASELINE, _rank=[rank(rule) for rule in frame["rule"]], _attack=attacks)
        .sort_values(["norm", "_first", "network", "_rank", "_attack", "radius"], kind="stable")
        .drop(columns=["_first", "_rank", "_attack"])
    )


def strongest(frame: pd.DataFrame, by: Iterable[str] = ("norm", "network", "rule", "attack", "radius")) -> pd.DataFrame:
    """Where one thing was attacked twice (more steps, say) the stronger attack counts: accuracy under attack is a worst case."""
    if frame.empty:
        return frame
    return frame.loc[frame.groupby(list(by), sort=False)["accuracy_under_attack"].idxmin()]
