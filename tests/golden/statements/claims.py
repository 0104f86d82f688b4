"""docs/claims.md."""

from tests.golden.evidence import all_together, compared, features_differ, kept, p, seed_p
from tests.golden.prose import Statement, least, most, says, table
from tests.golden.statements.shared import LADDER, ON_AXIS, RADII, SMALL, WITHOUT, gains


def claims() -> list[Statement]:
    """docs/claims.md."""
    seeds, hundred, second = (table(f"white-box-{of}", ON_AXIS) for of in ("seeds", "cifar100", "seed-2"))
    wide, ladder = table("full-width", ON_AXIS), table("white-box-seeds", LADDER)
    draws = table("white-box-seeds", "Fresh draws")
    price, noisy = table("cifar10", "The price of U"), table("noise-cifar10", "Retrieval of U")
    redrawn, still = table("cifar10", "Clean accuracy of VGG-OPU"), table("cifar10", "Images made before")
    secret = table("secret-cifar10", "Accuracy under attack by what is known")
    both = table("black-box-cifar10", "Images fooled, of those")
    together, older = (table(of, "Images fooled by all attackers together") for of in ("black-box-cifar10", "cifar100"))
    moved, moved_100 = (table(of, "Accuracy under attack on the common") for of in ("cifar10", "cifar100"))
    extracted, defences = (
        table("extraction-cifar10", "Accuracy under attack, 12.8"),
        table("defences-cifar10", "## defences"),
    )
    small, near, far = RADII
    run = "white-box/cifar100"
    mid, mid_100 = "5.1/255 (ε 0.04): the paper's", "2.82/255 (ε 0.04): the paper's"
    both_rungs = f"{small} (ε 0.01): with all above"
    tuned = "own network tuned on 20,000 scores"
    fresh = f"VGG-OPU ← dfa-fresh, {near}"
    return [
        says("frames and {13} s of computing", price.cell("12 N, N = 512", "computing")),
        says("to {.32}%, and a U", price.cell("12 N, N = 512", "median")),
        says("makes it {21}% wrong", 100 * noisy.cell("16 grey levels", "12 N frames")),
        says(
            "all of U is worth {.8} points",
            secret.cell("no U, no B: own head", small) - secret.cell("U", small),
        ),
        says(
            "on CIFAR-100 {7.5} to {9.6} beyond an own head",
            *(hundred.cell("VGG-OPU ← own-head", eps) - hundred.cell("VGG-OPU ← exact", eps) for eps in SMALL[:2]),
        ),
        says("The fit takes {11} to {13} s", least(redrawn.column("drawing")), most(redrawn.column("drawing"))),
        says(
            "{100}% of those by gradients still fool, and {72.1}% ({68.5}–{75.5}) of those",
            least([still.cell(row, "of these") for row in ("DFA", "BPDA", "Exact U")]),
            *(still.cell("Square", "of these", place) for place in range(3)),
        ),
        says(
            "{82.3}% ({82.1}–{82.7}) without the layer, {81.7} ({81.2}–{81.9}) with it; at full width {86.5} and {86.4}",
            *(seeds.cell(row, "clean", place) for row in ("VGG-16 ← bp", "VGG-OPU ← dfa") for place in range(3)),
            *(wide.cell(row, "clean") for row in ("VGG-16 ← bp", "VGG-OPU ← dfa")),
        ),
        says(
            "They leave {26} to {39} points more than backpropagation leaves VGG-16; an own head below the layer leaves {28.4}% "
            "at 1.28/255, VGG-16 {28.6}",
            *(of(gains("white-box-seeds", RADII)) for of in (least, most)),
            *(seeds.cell(row, small) for row in ("VGG-OPU ← own-head", "VGG-16 ← bp")),
        ),
        says(
            "in seed 2 alone, {3.9} points (p = {.018})",
            second.cell("VGG-OPU ← own-head", small) - second.cell("VGG-16 ← bp", small),
            seed_p("white-box/seed-2")[0],
        ),
        says(
            "(p < {.001} against VGG-16",
            p(max(compared(all_together(run, eps), kept(run, "VGG-16", "bp", eps)).p for eps in (0.704, 3.52))),
        ),
        says(
            "of {64} comparisons with the features none stands on CIFAR-10, one on CIFAR-100 ({4.1} points;",
            features_differ("cifar10")[0],
            features_differ("cifar100")[1][0][0],
        ),
        says(
            "CIFAR-100: {7.4} points are left", hundred.cell(WITHOUT, SMALL[0]) - hundred.cell("VGG-16 ← bp", SMALL[0])
        ),
        says(
            "all together: {21.8}% of 200 images at 1.28/255, VGG-16 {26.3}",
            ladder.cell("+ U", both_rungs),
            ladder.cell("VGG-16, no layer", f"{small} (ε 0.01): alone"),
        ),
        says(
            "leaves {26.7}% at 1.28/255, the true U {27.9}",
            *(seeds.cell(f"VGG-OPU ← {rule}", small) for rule in ("bpda-fit-linear", "exact")),
        ),
        says(
            "{42.0}% are left at 2.55/255 after one draw, {10.0} after five, {1.8} after twenty; backpropagation leaves VGG-16 "
            "{1.2}, the B of the training VGG-OPU {1.5}",
            *(draws.cell(fresh, column) for column in ("1 draw", "5 draws", "20 draws")),
            *(ladder.cell(row, f"{near} (ε 0.02): alone") for row in ("VGG-16, no layer", "+ B")),
        ),
        says("{0.0}% of 1,000 images are left", seeds.cell(WITHOUT, far)),
        says(
            "fools {100}% of VGG-16's images and {74.0}% of VGG-OPU's",
            *(both.cell("Hierarchical", of) for of in ("VGG-16", "VGG-OPU")),
        ),
        says("as the text has it, {83.2} and {76.0}", *(both.cell("Parsimonious", of) for of in ("VGG-16", "VGG-OPU"))),
        says(
            "p < {.001} and p = {.14} ([queries]",
            *(both.cell(row, "p") for row in ("Hierarchical", "Parsimonious")),
        ),
        says("by labels alone: {100}% of either", least([both.cell("RayS", of) for of in ("VGG-16", "VGG-OPU")])),
        says("no fewer ({93.8} and {94.2}%)", *(both.cell("NES", of) for of in ("VGG-16", "VGG-OPU"))),
        says("Bandits: {5.8} fewer", both.cell("Bandits", "points fewer")),
        says("p = {1} and p = {.023}", *(both.cell(row, "p") for row in ("NES", "Bandits"))),
        says(
            "fool {8.7} points fewer after 1,000 each, {3.4} after 5,000",
            *(together.cell(row, "points fewer") for row in ("1,000", "5,000")),
        ),
        says(
            "Holm: p < {.001}, {.031}, {1}; CIFAR-100 (older) p = {.006} after 1,000, {.25} after 15,000",
            *(together.cell(row, "p") for row in ("1,000", "5,000", "15,000")),
            *(older.cell(row, "p") for row in ("1,000", "15,000")),
        ),
        says(
            "the lower VGG-OPU gains {21.9} points and its features {22.3}, the higher {.5}. On CIFAR-100 both gain {17.1}, "
            "their features {16.0} and {17.3}",
            *(
                moved.cell(f"points of {of} above VGG-16", mid)
                for of in ("VGG-OPU lower", "VGG-DFA lower", "VGG-OPU higher")
            ),
            *(
                moved_100.cell(f"points of {of} above VGG-16", mid_100)
                for of in ("VGG-OPU lower", "VGG-DFA", "VGG-DFA lower")
            ),
        ),
        says(
            "answers: {1.5} of {15.4} points are left at 12.8/255 (p = {1};",
            extracted.cell("points of VGG-OPU lower", tuned),
            extracted.cell("points of VGG-OPU lower", "own network: MI-DI"),
            extracted.cell("points of VGG-OPU lower", tuned, 1),
        ),
        says(
            "few epochs, {5.2} points less accurate, gains {6.4} points",
            moved.cell("VGG-16", "clean") - moved.cell("VGG-16 lower", "clean"),
            moved.cell("points of VGG-16 lower above VGG-16", mid),
        ),
        says("Holm: p = {.011}", moved.cell("points of VGG-16 lower above VGG-16", mid, 1)),
        says(
            "({−.7} points at 5.1/255, p = {1};",
            *(moved.cell("points of VGG-DFA above VGG-16", mid, k) for k in range(2)),
        ),
        says(
            "reaches {66.2}% clean, where hybrid DFA has {81.6}",
            *(defences.cell(row, "clean") for row in ("VGG-OPU direct-feedback", "VGG-OPU")),
        ),
    ]
