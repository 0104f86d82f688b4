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

# Near Okabe and Ito's, then moved by a search: all that meet in a figure stay apart for the colour-blind too, and each
# has a contrast of 3 to its ground, since thin lines are drawn in it (tests/report/test_palette.py). No two attackers
# differ by colour alone: each has a marker of its own.
ATTACKER_INK = {
    "bp": Ink("#474e58", "#cdd3dc"),
    "ste": Ink("#2b4d00", "#a3d800"),
    "dfa": Ink("#186381", "#7facca"),
    "dfa-fresh": Ink("#0a9de7", "#93dfff"),
    "fa": Ink("#c78500", "#ffd88f"),
    "bpda-drawn": Ink("#0c936f", "#12b67d"),
    "bpda-fit-linear": Ink("#a94db0", "#ff5bae"),
    "bpda-fit-network": Ink("#73003a", "#bc68e6"),
    "exact": Ink("#b4581d", "#ea772b"),
    "none": Ink("#8d949e", "#7f8894"),
}
# Query attackers share no figure with those, but they share the page's name space of colours: none is used twice.
QUERY_INK = {
    "NES": Ink("#093fb0", "#798aff"),
    "Bandits": Ink("#008a7c", "#13ccb6"),
    "Parsimonious": Ink("#c33657", "#fc788f"),
    "Square": Ink("#8f7c00", "#d0bd44"),
    "RayS": Ink("#9f5cbc", "#e5acf2"),
}
# Targets and attacks of the transfer study; `transfer_style` gives the key of a name.
TRANSFER_INK = {
    "vgg-16": Ink("#6d7178", "#b3b8c1"),
    "vgg-16-lower": Ink("#5a1846", "#c77fb0"),
    "vgg-opu-higher": Ink("#0b5fa5", "#5aaef2"),
    "vgg-opu-lower": Ink("#b8560f", "#f59a55"),
    "pgd": Ink("#0469f5", "#1981ff"),
    "mi-fgsm": Ink("#ba8e06", "#f0c622"),
    "mi-di": Ink("#df5377", "#ff2662"),
    "mi-di-ti": Ink("#940b28", "#b97574"),
    "ensemble": Ink("#401ea5", "#ad99ff"),
    "own-vgg-opu": Ink("#088466", "#52dba6"),
    "own-vgg-dfa": Ink("#459fac", "#2d999e"),
}
# Kinds of simulated device: apart in lightness too, and each with a marker.
KIND_INK = {
    "dense": Ink("#14508f", "#62a8f0"),
    "procedural": Ink("#d97a06", "#f2a63c"),
    "structured": Ink("#0f8f7c", "#45d0b8"),
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
    "vgg-16-lower": "D",
    "vgg-opu-higher": "o",
    "vgg-opu-lower": "^",
    "pgd": "o",
    "mi-fgsm": "^",
    "mi-di": "P",
    "mi-di-ti": "s",
    "ensemble": "D",
    "own-vgg-opu": "v",
    "own-vgg-dfa": "X",
    "dense": "o",
    "procedural": "s",
    "structured": "^",
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
    named.update({f"kind-{kind}": colour for kind, colour in KIND_INK.items()})
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
