"""docs/results/defences.md."""

from tests.golden.prose import Figure, Statement, least, most, says, table

HARD, SOFT = "L∞ ε = 8/255: worst case", "L2 ε = 0.25: worst case"
_CLAIMED, _CLEAN = "L∞ ε = 8/255: claimed", "clean accuracy"
_MADE = "PGD, 5.1/255"


def total(of: str, column: str) -> int:
    """Of all certificates."""
    return round(sum(one.value for one in table(f"defences-{of}", "Certified accuracy").column(column)))


def defences() -> list[Statement]:
    """docs/results/defences.md."""
    ten, hundred = (table(f"defences-{of}", "## defences") for of in ("cifar10", "cifar100"))
    moved = table("defences-cifar10", "Accuracy on images made")
    pairs = table("defences-cifar100", "With the layer minus")

    def over(row: str) -> Figure:
        return ten.cell(row, _CLAIMED) - ten.cell(row, HARD)

    signals = [moved.cell(row, _MADE) for row in ("VGG-OPU", "VGG-OPU estimated-derivative", "VGG-OPU bp")]
    slow = ("VGG-OPU direct-feedback", "VGG-OPU feedback-alignment")
    without = [
        Figure(abs(one.value), one.error)
        for row in moved.rows
        if not row[0].endswith("without layer")
        for one in (moved.cell(row[0], _MADE) - moved.cell(f"{row[0]} without layer", _MADE),)
    ]
    three = ("3 VGG-OPU, votes", "3 VGG-OPU, one classifier", "VGG-OPU at 3 depths")
    weak = [hundred.cell(f"VGG-{of}", _CLEAN) for of in ("16 AT", "OPU AT", "16 TRADES", "OPU TRADES")]
    hard = [hundred.cell(f"VGG-{of}", HARD) for of in ("16 AT", "OPU AT", "16 TRADES", "OPU TRADES")]
    return [
        says(
            "report {18} and {24} points more than the worst case at 8/255 of VGG-OPU AT and TRADES, and {31} more",
            *(over(f"VGG-OPU {of}") for of in ("AT", "TRADES", "smoothed")),
        ),
        says(
            "keeps {45.0}% under the attacks that it is shown with; in the worst case {23.2}, where VGG-16 AT keeps {31.2}. "
            "The same new head without a device has the same clean accuracy, and keeps {25.0}",
            ten.cell("ROPUST", _CLAIMED),
            *(ten.cell(row, HARD) for row in ("ROPUST", "VGG-16 AT", "VGG-16 AT, new head")),
        ),
        says(
            "keep {55} to {60}% of images made on VGG-16 at 5.1/255, sign-symmetry {72}, direct feedback at every layer {95}, "
            "feedback alignment {99}; without the layer the same, to {1.4} points. The last two pay for it with {66} and {36}% "
            "clean, and with their weights at most {3.5}% is left at 8/255",
            least(signals),
            most(signals),
            *(moved.cell(row, _MADE) for row in ("VGG-OPU sign-symmetry", *slow)),
            most(without),
            *(ten.cell(row, _CLEAN) for row in slow),
            most([ten.cell(row, HARD) for row in slow]),
        ),
        says(
            "of {2,176}, each attacked within its own radius. Farther out the same attack breaks {2,008}",
            total("cifar10", "attacked"),
            total("cifar10", "broken farther"),
        ),
        says(
            "{−1.0} to {1.5} points at 8/255, {−0.5} to {4.0} at L2",
            *(of(pairs.column(ball)) for ball in (HARD, SOFT) for of in (least, most)),
        ),
        says(
            "VGG-OPU AT and TRADES are {8} and {6} points more",
            *(pairs.cell(f"VGG-OPU {of} − VGG-16 {of}", _CLEAN) for of in ("AT", "TRADES")),
        ),
        says(
            "brings VGG-16 AT from {20.7} to {25.7}%",
            *(hundred.cell(row, _CLEAN) for row in ("VGG-16 AT", "VGG-16 AT, new head")),
        ),
        says(
            "12 epochs leave {21} to {32}% clean accuracy and {8} to {9}% in the worst case",
            *(of(some) for some in (weak, hard) for of in (least, most)),
        ),
        says(
            "accurate than one: {38.5} to {42.9}%",
            *(of([hundred.cell(row, _CLEAN) for row in three]) for of in (least, most)),
        ),
        says(
            "of {917}, each attacked within its own radius. Farther out the same attack breaks {745}",
            total("cifar100", "attacked"),
            total("cifar100", "broken farther"),
        ),
    ]
