"""One look for every figure and for the page: a colour and a marker for each attacker, light and dark."""

import re
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Ink:
    """A colour by two names: on a light ground (also in the saved files) and on a dark one."""

    light: str
    dark: str


INK = Ink("#1d232b", "#e6e9ee")
FAINT = Ink("#5b6571", "#a2abb7")
GRID = Ink("#dde1e6", "#343b45")
GROUND = Ink("#ffffff", "#171b21")

# After Okabe and Ito, darkened or lightened where a thin line would be lost on its ground. No two attackers differ by
# colour alone: each has a marker of its own.
ATTACKER_INK = {
    "bp": Ink("#616a75", "#bdc4ce"),
    "ste": Ink("#4d7c0f", "#a3d14f"),
    "dfa": Ink("#0072b2", "#4aa9e9"),
    "dfa-fresh": Ink("#56b4e9", "#9dd6f9"),
    "fa": Ink("#e69f00", "#f0b840"),
    "bpda-drawn": Ink("#009e73", "#2fc79c"),
    "bpda-fit-linear": Ink("#cc79a7", "#e5a3c8"),
    "bpda-fit-network": Ink("#882255", "#c96a9f"),
    "exact": Ink("#d55e00", "#ff8c4d"),
    "none": Ink("#9aa2ad", "#737c88"),
}
# Query attackers share no figure with those, but they share the page's name space of colours: none is used twice.
QUERY_INK = {
    "NES": Ink("#3b4cc0", "#8f9dff"),
    "Bandits": Ink("#128a7d", "#3fcbb9"),
    "Parsimonious": Ink("#c8324f", "#ff7d92"),
    "Square": Ink("#8a7a00", "#d3c04a"),
    "RayS": Ink("#9440a8", "#d392e3"),
}
# Targets and attacks of the transfer study; `transfer_style` gives the key of a name.
TRANSFER_INK = {
    "vgg-16": Ink("#6d7178", "#b3b8c1"),
    "vgg-opu-higher": Ink("#0b5fa5", "#5aaef2"),
    "vgg-opu-lower": Ink("#b8560f", "#f59a55"),
    "pgd": Ink("#2a6fbb", "#6fb2ff"),
    "mi-fgsm": Ink("#b07d00", "#e3b445"),
    "mi-di": Ink("#c2410c", "#ff9a62"),
    "mi-di-ti": Ink("#a3322b", "#f0837c"),
    "ensemble": Ink("#5e3aa1", "#b69cf2"),
    "own-vgg-opu": Ink("#1f7a4d", "#5cc48f"),
    "own-vgg-dfa": Ink("#0e7490", "#4cc3dd"),
}
_UNKNOWN = Ink("#7a5c3a", "#c7a580")

_MARKERS = {
    "bp": "s",
    "ste": "p",
    "dfa": "o",
    "dfa-fresh": "v",
    "fa": "^",
    "bpda-drawn": "D",
    "bpda-fit-linear": "P",
    "bpda-fit-network": "X",
    "exact": "*",
    "none": ".",
    "NES": "o",
    "Bandits": "^",
    "Parsimonious": "s",
    "Square": "D",
    "RayS": "v",
    "vgg-16": "s",
    "vgg-opu-higher": "o",
    "vgg-opu-lower": "^",
    "pgd": "o",
    "mi-fgsm": "^",
    "mi-di": "P",
    "mi-di-ti": "s",
    "ensemble": "D",
    "own-vgg-opu": "v",
    "own-vgg-dfa": "X",
}

_LINES = {"PGD": "-", "FGSM": "-.", "CW": ":", "RandomNoise": (0, (1, 2))}


def ink(rule: str) -> Ink:
    """The colour of a rule, of a query attack, or of a transferred attack or its target by `transfer_style`."""
    return ATTACKER_INK.get(rule) or QUERY_INK.get(rule) or TRANSFER_INK.get(rule, _UNKNOWN)


def transfer_style(name: str) -> str:
    """The name of a target or a label for its colour, which goes into CSS: "VGG-OPU lower" -> "vgg-opu-lower"."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def marker(rule: str) -> str:
    return _MARKERS.get(rule, "h")


def line(attack: str, *, defended: bool) -> Any:
    """Solid for the defended network, dashed for the other; C&W and noise have lines of their own."""
    return _LINES.get(attack, "-") if defended or attack != "PGD" else (0, (5, 2))


def css_names() -> dict[str, tuple[str, Ink]]:
    """Colour in a saved figure -> (CSS variable, both colours): how a figure on the page follows the reader's theme."""
    named = {"ink": INK, "faint": FAINT, "grid": GRID, "ground": GROUND, "unknown": _UNKNOWN}
    named.update({f"rule-{rule}": colour for rule, colour in (ATTACKER_INK | QUERY_INK | TRANSFER_INK).items()})
    return {colour.light: (f"--{name}", colour) for name, colour in named.items()}


def rc_params() -> dict[str, Any]:
    """Settings of matplotlib, on top of its defaults (not of the user's)."""
    return {
        "svg.hashsalt": "groundglass",
        "svg.fonttype": "path",
        "font.family": "DejaVu Sans",
        "font.size": 9.5,
        "axes.edgecolor": FAINT.light,
        "axes.labelcolor": INK.light,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": GRID.light,
        "grid.linewidth": 0.8,
        "text.color": INK.light,
        "xtick.color": FAINT.light,
        "ytick.color": FAINT.light,
        "xtick.labelcolor": INK.light,
        "ytick.labelcolor": INK.light,
        "lines.linewidth": 1.8,
        "lines.markersize": 5,
        "figure.facecolor": GROUND.light,
        "axes.facecolor": GROUND.light,
        "savefig.facecolor": GROUND.light,
    }
