"""One look for every figure and for the page: colours, light and dark, and markers. Attackers have theirs in the registry."""

from dataclasses import dataclass
from typing import Any

from groundglass.adaptive.attackers import ATTACKERS, attacker


@dataclass(frozen=True)
class Ink:
    """A colour by two names: on a light ground (also in the saved files) and on a dark one."""

    light: str
    dark: str


INK = Ink("#1d232b", "#e6e9ee")
FAINT = Ink("#5b6571", "#a2abb7")
GRID = Ink("#dde1e6", "#343b45")
GROUND = Ink("#ffffff", "#171b21")
GOOD = Ink("#0b6b46", "#6fd6a9")
BAD = Ink("#9c2f0a", "#ffb08a")
_OTHER = Ink("#7a5c3b", "#c7a581")

BASELINE, DEFENDED = "VGG-16", "VGG-OPU"
#: All of a VGG-OPU in two stages but the layer: the network that its features were trained in.
UNLAYERED = "VGG-DFA"

#: Networks, where colours tell them apart; and kinds of simulated device.
_NAMED = {
    "VGG-16": (Ink("#6d7178", "#b3b8c1"), "s"),
    "VGG-16 lower": (Ink("#5a1846", "#c77fb0"), "D"),
    "VGG-DFA": (Ink("#1b7f5c", "#5fd0a5"), "P"),
    "VGG-DFA lower": (Ink("#7a6a00", "#d8c44a"), "X"),
    "VGG-OPU": (Ink("#0b5fa6", "#5aaef3"), "o"),
    "VGG-OPU higher": (Ink("#0b5fa5", "#5aaef2"), "o"),
    "VGG-OPU lower": (Ink("#b8560f", "#f59a55"), "^"),
    "dense": (Ink("#14508f", "#62a8f0"), "o"),
    "procedural": (Ink("#d97a06", "#f2a63c"), "s"),
    "structured": (Ink("#0f8f7c", "#45d0b8"), "^"),
}
_DASHED, _DOTTED = (0, (5, 2)), (0, (1.2, 1.6))


@dataclass(frozen=True)
class Style:
    """How a series is drawn: hollow markers and dashes are a second sign beside the colour."""

    ink: Ink
    marker: str
    hollow: bool = False
    dash: Any = "-"

    @property
    def marked(self) -> dict[str, Any]:
        """Colour and marker, as matplotlib has them."""
        colour = self.ink.light
        return {"color": colour, "marker": self.marker, "markerfacecolor": "white" if self.hollow else colour}


def of_attacker(name: str, *, hollow: bool = False, dotted: bool = False) -> Style:
    """An attacker's. Hollow and dashed on a network without the layer."""
    one = attacker(name)
    return Style(Ink(one.light, one.dark), one.marker, hollow, _DOTTED if dotted else _DASHED if hollow else "-")


def of_name(name: str, *, hollow: bool = False) -> Style:
    """A network's, or a kind of device's."""
    return Style(*_NAMED.get(name, (_OTHER, "h")), hollow, _DASHED if hollow else "-")


PLAIN = Style(INK, "o")
OPEN = Style(INK, "o", hollow=True)
QUIET = Style(FAINT, "s", hollow=True)


def css_names() -> dict[str, tuple[str, Ink]]:
    """Colour in a saved figure -> (CSS variable, both colours): how a figure on the page follows the reader's theme."""
    named = {"ink": INK, "faint": FAINT, "grid": GRID, "ground": GROUND, "good": GOOD, "bad": BAD, "other": _OTHER}
    named |= {f"attacker-{i}": Ink(one.light, one.dark) for i, one in enumerate(ATTACKERS)}
    named |= {f"series-{i}": ink for i, (ink, _) in enumerate(_NAMED.values())}
    return {ink.light: (f"--{name}", ink) for name, ink in named.items()}


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
        "axes.spines.top": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.formatter.min_exponent": 4,
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
