"""Everyone who attacks, in one registry: gradient rules, attacks by queries, transferred attacks. Imports no torch.

Sources: the paper, sections 2.2 and 3.1, and its published code, which differ (docs/theory.md); Athalye et al. 2018;
Tramèr et al. 2020; for the rest see each.
"""

from dataclasses import dataclass, replace
from typing import Literal

Needs = Literal[
    "nothing", "labels", "scores", "own network", "lower weights", "weights", "B", "bits and logits", "device", "U"
]


@dataclass(frozen=True)
class Attacker:
    """An attacker.

    Attributes:
        name: in records.
        label: a few characters, for a figure or a table.
        needs: the most that it must have: "lower weights", those below the layer ("own-head": and public images with
            labels); "weights" of all the digital part, the training feedback "B", "bits and logits" of natural images run
            through the deployed network, the "device" to measure inputs of its choice, "U"; or only "scores" or "labels" for
            images of its choice; or a network of its "own".
        source: where it is from.
        light, dark: its colour, on a light and on a dark ground.
        marker: of matplotlib. No two attackers in a figure differ by colour alone.
        adaptive: made to break this defence; the paper's own attack by DFA and the controls are not.
        draws: it draws something of its own (a matrix, labelled images): another draw is another attack, and one is luck.
    """

    name: str
    label: str
    needs: Needs
    source: str
    light: str
    dark: str
    marker: str
    adaptive: bool = False
    draws: bool = False

    @property
    def says(self) -> str:
        """What it does, in a sentence."""
        return _SAYS.get(self.name, "An attacker that this version does not know.")

    @property
    def is_control(self) -> bool:
        return self.needs == "nothing"

    @property
    def possible(self) -> bool:
        """Whether somebody who was not given the secret can be this attacker."""
        return self.needs != "U"


_SAYS = {
    "bp": "Backpropagation through an ordinary network: the standard white-box attack.",
    "ste": "Takes a binarisation for the identity and goes through the known linear layer behind it.",
    "dfa": "Goes around the device with the feedback matrix B of the training, as the paper's text says.",
    "dfa-fresh": "Goes around the device with a B of its own: what the paper's published code did, as it never saved B.",
    "own-head": "Fits a linear head of its own to the features below the layer of labelled images, and attacks that network.",
    "bit-flip": "Pushes the bits that enter the layer across their thresholds, whatever they mean: no label, no data, no query.",
    "fa": "Takes the device for an unrelated linear matrix: what the paper's code called BPDA, without the factor 2Ux.",
    "bpda-drawn": "Uses the law of the device, |Wx|², with a W of its own: the gradient of another device.",
    "bpda-fit-linear": "Fits a ridge regression to the bits and logits that the deployed network shows on natural images.",
    "bpda-fit-network": "Fits a small neural network to the same bits and logits.",
    "bpda-retrieved": "Has a U retrieved from readings of the device, and uses its derivative.",
    "exact-blurred": "Has a U between the true one and one drawn at random: how good must a retrieval be?",
    "exact": "Has the true U: an upper bound that only a simulator can give.",
    "none": "Adds noise of the allowed size without looking: a control that every attack must beat.",
    "NES": "Estimates the gradient from the loss at pairs of random points around the image, and steps along its sign.",
    "Bandits": "Estimates the gradient as NES does, but keeps a running guess of it on a coarse grid.",
    "Parsimonious": "Puts every block of pixels at one end of its range, and turns over those that raise the loss.",
    "Hierarchical": "The parsimonious attack with blocks that are halved whenever all of them have been searched.",
    "Square": "Puts random squares at the ends of their range and keeps those that raise the loss.",
    "RayS": "Sees the predicted class alone and searches for the direction in which it changes soonest.",
    "HopSkipJump": "Sees the predicted class alone and estimates from it, at the boundary, the direction that leads across.",
    "SurFree": "Sees the predicted class alone and follows circles in random planes to where the boundary is nearer.",
    "ZOO": "Carlini and Wagner's attack with differences of scores for a gradient, some pixels at a time.",
    "TiledES": "Moves the tiles of a coarse grid, as an evolution strategy chooses them.",
    "PGD": "PGD on a VGG-16 of the attacker's own: the paper's transfer attack.",
    "MI-FGSM": "The same with momentum.",
    "MI-DI": "With momentum and random views of the image.",
    "MI-DI-TI": "With momentum, random views and smoothed gradients.",
    "Own VGG-OPU": "MI-DI on a VGG-OPU of the attacker's own, with another U that it knows.",
    "Own VGG-DFA": "MI-DI on the features of that network, without the layer.",
    "Ensemble": "MI-DI on all three of these networks together.",
}
# Colours: near Okabe and Ito's, moved by a search: all that meet in a figure stay apart for the colour-blind too, and
# each has a contrast of 3 to its ground, as thin lines are drawn in it (tests/report/test_style.py).
_ADAPTIVE = (
    Attacker("own-head", "own head", "lower weights", "Wang et al. 2018", "#9833ff", "#8a4dff", "<", draws=True),
    Attacker("bit-flip", "bit flip", "lower weights", "Sabour et al. 2016", "#15156b", "#a05d35", ">"),
    Attacker("fa", "FA", "weights", "the paper's code", "#c78500", "#ffd88f", "^", draws=True),
    Attacker("bpda-drawn", "BPDA (drawn W)", "weights", "Athalye et al. 2018", "#0c936f", "#12b67d", "D", draws=True),
    Attacker(
        "bpda-fit-linear", "BPDA (linear fit)", "bits and logits", "Athalye et al. 2018", "#a94db0", "#ff5bae", "P"
    ),
    Attacker(
        "bpda-fit-network",
        "BPDA (network fit)",
        "bits and logits",
        "Athalye et al. 2018",
        "#73003a",
        "#bc68e6",
        "X",
        draws=True,
    ),
    Attacker("bpda-retrieved", "retrieved U", "device", "Gupta et al. 2019, 2020", "#147a84", "#4fd3c4", "h"),
    Attacker("exact-blurred", "blurred U", "U", "this project", "#7a5c3a", "#c8a78d", "d"),
    Attacker("exact", "exact U", "U", "Athalye et al. 2018", "#b4581d", "#ea772b", "*"),
)
RULES: tuple[Attacker, ...] = (
    Attacker("bp", "BP", "weights", "Madry et al. 2018", "#474e58", "#cdd3dc", "s"),
    Attacker("ste", "straight-through", "weights", "Bengio et al. 2013", "#2b4d00", "#a3d800", "p"),
    Attacker("dfa", "DFA", "B", "the paper, section 2.3", "#186381", "#7facca", "o"),
    Attacker("dfa-fresh", "DFA (fresh B)", "weights", "the paper's code", "#0a9de7", "#93dfff", "v", draws=True),
    *(replace(one, adaptive=True) for one in _ADAPTIVE),
    Attacker("none", "random noise", "nothing", "Carlini et al. 2019", "#8d949e", "#7f8894", "."),
)
QUERIES: tuple[Attacker, ...] = (
    Attacker("NES", "NES", "scores", "Ilyas et al. 2018", "#093fb0", "#798aff", "o"),
    Attacker("Bandits", "Bandits", "scores", "Ilyas et al. 2019", "#008a7c", "#13ccb6", "^"),
    Attacker("Parsimonious", "Parsimonious", "scores", "Moon et al. 2019", "#c33657", "#fc788f", "s"),
    Attacker("Hierarchical", "Hierarchical", "scores", "Moon et al. 2019", "#6b2a08", "#a56b26", "P"),
    Attacker("Square", "Square", "scores", "Andriushchenko et al. 2020", "#8f7c00", "#d0bd44", "D"),
    Attacker("RayS", "RayS", "labels", "Chen and Gu 2020", "#9f5cbc", "#e5acf2", "v"),
)
#: Asked for by name alone: a study has them where its `others` do.
FURTHER_QUERIES: tuple[Attacker, ...] = (
    Attacker("HopSkipJump", "HopSkipJump", "labels", "Chen et al. 2020", "#8305f6", "#cd0f50", "X"),
    Attacker("SurFree", "SurFree", "labels", "Maho et al. 2021", "#da45f9", "#9a14ff", "*"),
    Attacker("ZOO", "ZOO", "scores", "Chen et al. 2017", "#bd8552", "#c0d885", "h"),
    Attacker("TiledES", "tiled ES", "scores", "Meunier et al. 2019", "#543061", "#6e609c", "p"),
)
#: The paper's three, of Figure 3: of the parsimonious attack its text has one setting, its code and figure the other.
PAPER_QUERIES = ("NES", "Bandits", "Parsimonious", "Hierarchical")
TRANSFERS: tuple[Attacker, ...] = (
    Attacker("PGD", "PGD", "own network", "the paper, section 3.2.2", "#0469f5", "#1981ff", "o"),
    Attacker("MI-FGSM", "MI-FGSM", "own network", "Dong et al. 2018", "#ba8e06", "#f0c622", "^"),
    Attacker("MI-DI", "MI-DI", "own network", "Xie et al. 2019", "#df5377", "#ff2662", "P"),
    Attacker("MI-DI-TI", "MI-DI-TI", "own network", "Dong et al. 2019", "#940b28", "#b97574", "X"),
    Attacker("Own VGG-OPU", "own VGG-OPU", "own network", "this project", "#088466", "#52dba6", "v"),
    Attacker("Own VGG-DFA", "own VGG-DFA", "own network", "this project", "#459fac", "#2d999e", "h"),
    Attacker("Ensemble", "ensemble", "own network", "Liu et al. 2017", "#401ea5", "#ad99ff", "D"),
)
ATTACKERS: tuple[Attacker, ...] = (*RULES, *QUERIES, *TRANSFERS, *FURTHER_QUERIES)
_UNKNOWN = next(one for one in RULES if one.name == "exact-blurred")
_BY_NAME = {attacker.name: attacker for attacker in ATTACKERS}


def attacker(name: str) -> Attacker:
    """The attacker of that name; one of your own is shown by its name, in grey brown."""
    return _BY_NAME.get(name) or replace(_UNKNOWN, name=name, label=name, source="")


def rank(name: str) -> int:
    """Place in the order used everywhere: from the paper's attackers to the adaptive ones, the control last."""
    names = list(_BY_NAME)
    return names.index(name) if name in _BY_NAME else len(names)


@dataclass(frozen=True)
class Rung:
    """A rung of the access ladder: who stands on it has what it `needs`, and all that the rungs before it give.

    Attributes:
        label: in tables and figures.
        says: what such an attacker has, in a sentence.
    """

    needs: Needs
    label: str
    says: str


#: The access ladder, from who only asks to who has the secret.
RUNGS: tuple[Rung, ...] = (
    Rung("labels", "labels only", "the predicted labels alone"),
    Rung("scores", "scores", "the scores"),
    Rung("lower weights", "the lower weights", "the weights below the layer and public labelled images"),
    Rung("weights", "all weights", "all weights"),
    Rung("B", "+ B", "all weights and B"),
    Rung("bits and logits", "+ bits and logits", "all weights, B, and bits and logits of natural images"),
    Rung("device", "+ the device", "all weights, B and the device to measure"),
    Rung("U", "+ U", "everything, U too"),
)
