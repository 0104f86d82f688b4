"""Names of rows, columns and tables that several pages speak of."""

from collections.abc import Sequence

from tests.golden.prose import Figure, table

RADII = ("1.28/255", "2.55/255", "6.38/255")
SMALL = ("0.704/255", "1.41/255", "3.52/255")
ON_AXIS = "Accuracy under attack, L∞, in brackets"
LADDER = "The access ladder"
METHODS = ("fixed exposure", "multilateration", "closed form")
#: Adversarially trained, with the layer and without.
HARDENED = (("VGG-OPU AT", "VGG-16 AT"), ("VGG-OPU TRADES", "VGG-16 TRADES"))
WITHOUT = "VGG-OPU: all without U, together"


def gains(file: str, radii: Sequence[str]) -> list[Figure]:
    """What the paper's attacks, with one draw, leave VGG-OPU more than backpropagation leaves VGG-16."""
    found = table(file, ON_AXIS)
    return [
        found.cell(f"VGG-OPU ← {rule}", eps) - found.cell("VGG-16 ← bp", eps)
        for rule in ("dfa-fresh", "fa")
        for eps in radii
    ]
