"""Words that the page uses, each with its definition one hover or one fold away."""

import re

from markupsafe import Markup, escape

from groundglass.adaptive.attackers import attacker

WORDS: dict[str, str] = {
    "VGG-16": "An ordinary network: 13 convolutions, trained by backpropagation. The baseline.",
    "VGG-OPU": (
        "VGG-16 whose head is the secret optical layer and a linear readout; trained by backpropagation above the layer "
        "and by DFA below it."
    ),
    "VGG-DFA": "The features of a VGG-OPU under a linear head, without the layer.",
    "VGG-BP": "Features under a linear head, taught by backpropagation.",
    "ResNet-18": "An ordinary network of residual blocks; -OPU: with the layer in place of its head, as in VGG-OPU.",
    "ViT": "A small vision transformer; -OPU: with the layer in place of its head, as in VGG-OPU.",
    "clean accuracy": "Share of images classified right when nobody attacks.",
    "accuracy under attack": "Share of all images that are right before and after the attack.",
    "fooled": "Right before the attack, wrong after it.",
    "claimed": (
        "Accuracy under the attacks that a claim is made with. The first claim of an optical layer is made with those of the "
        "paper's published code, that of any other network with PGD through its own gradient."
    ),
    "worst case": (
        "Images that stay right whatever was tried, image by image. The attacks are the same whatever is claimed. A stronger "
        "attack may leave less."
    ),
    "contradicted": "Said of a claim: a check that a true claim passes has failed. Not contradicted: by what was tried.",
    "U": "The secret complex matrix of the device: it reads |Ux|² as bytes.",
    "B": "The fixed random matrix through which the output error teaches the layers below the device.",
    "DFA": "Direct feedback alignment: the error goes around the device through B.",
    "BPDA": "Backward pass differentiable approximation: a stand-in for what cannot be differentiated.",
    "N": "Bits that enter the device.",
    "M": "Readings that leave it.",
    "higher": "The VGG-OPU whose features were trained long, of higher clean accuracy (the paper's Figure 4).",
    "lower": "A network that was trained short, of lower clean accuracy (the paper's Figure 4).",
    "ε": "Radius of the ball of allowed changes; images are in [0, 1].",
    "95% Wilson interval": "The shares that are compatible with the images counted.",
    "Holm": "A correction that keeps a family of comparisons from erring by their number.",
}
_CODE = re.compile(r"`([^`]+)`")
_LONGEST_FIRST = sorted(WORDS, key=len, reverse=True)
_WORD = re.compile(r"(?<![\w-])(" + "|".join(map(re.escape, _LONGEST_FIRST)) + r")(?![\w-])")


def defined(text: str) -> Markup:
    """A table's words with their definitions, `code` as code, and arrows."""
    parts = []
    for i, part in enumerate(_CODE.split(text.replace(" <- ", " ← "))):
        if i % 2:
            parts.append(f'<code title="{escape(attacker(part).says)}">{escape(part)}</code>')
        else:
            parts.append(_WORD.sub(_explained, str(escape(part))))
    return Markup("".join(parts))


def plain(text: str) -> Markup:
    """Text as the page shows it: `code` as code, and arrows."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text.replace(" <- ", " ← ")))))


def _explained(found: re.Match[str]) -> str:
    return f'<abbr title="{escape(WORDS[found[1]])}">{found[1]}</abbr>'
