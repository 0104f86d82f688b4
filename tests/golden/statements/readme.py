"""README.md."""

from tests.golden.prose import Statement, most, says, table
from tests.golden.statements.shared import METHODS, ON_AXIS, RADII


def readme() -> list[Statement]:
    """README.md."""
    seeds, draws = table("white-box-seeds", ON_AXIS), table("white-box-seeds", "Fresh draws")
    guard = table("service-cifar10", "Frames until the guard speaks:")
    natural = table("service-cifar10", "What inputs that look natural")
    return [
        says(
            "leaves {3} points more at the smallest radius",
            seeds.cell("VGG-OPU ← bit-flip", RADII[0]) - seeds.cell("VGG-16 ← bp", RADII[0]),
        ),
        says(
            "one fresh B leaves {42}% at 2.55/255, twenty leave {2}%",
            *(draws.cell("VGG-OPU ← dfa-fresh, 2.55/255", of) for of in ("1 draw", "20 draws")),
        ),
        says(
            "within {5} frames",
            most([guard.cell(m, "one false alarm in 100,000,000") for m in METHODS]),
        ),
        says("{8} frames an input", natural.cell(("images' own rows", "4,096 (8 N)"), "frames", 1)),
    ]
