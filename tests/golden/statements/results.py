"""docs/results.md."""

from tests.golden.evidence import (
    all_together,
    clean_p,
    compared,
    features_differ,
    kept,
    layer_reach,
    p,
    rungs_p,
    secret_p,
    seed_p,
)
from tests.golden.prose import Figure, Statement, least, most, says, table, tables
from tests.golden.statements.shared import HARDENED, LADDER, METHODS, ON_AXIS, RADII, SMALL, WITHOUT, gains


def results() -> list[Statement]:
    """docs/results.md."""
    seeds, hundred, second = (table(f"white-box-{of}", ON_AXIS) for of in ("seeds", "cifar100", "seed-2"))
    wide = table("full-width", ON_AXIS)
    draws, ladder = table("white-box-seeds", "Fresh draws"), table("white-box-cifar100", LADDER)
    together = table("black-box-cifar10", "Images fooled by all attackers together")
    both = table("black-box-cifar10", "Images fooled, of those")
    further = table("black-box-further", "Images fooled, of those")
    secret = table("secret-cifar10", "Accuracy under attack by what is known")
    asked = table("secret-cifar10", "How soon")
    noise = table("noise-cifar10", "Read noise, %")
    ablation, scale, transfer = tables(
        "cifar10",
        "Clean accuracy, accuracy under attack",
        "Accuracy under attack, L∞ ε = 1.28",
        "Accuracy under attack on the common",
    )
    moved = table("cifar100", "Accuracy under attack on the common")
    price, found, redrawn, still = tables(
        "cifar10", "The price of U", "Accuracy under PGD", "Clean accuracy of VGG-OPU", "Images made before"
    )
    still_100 = table("cifar100", "Images made before")
    hardened, hardened_100 = table("cifar10", "## adversarial-training"), table("cifar100", "## adversarial-training")
    audited, all_audits = table("white-box-seeds", "## audit"), table("cifar10", "## audit")
    layer = table("layer-cifar10", "What each layer keeps")
    pairs, pairs_100 = (table(f"defences-{of}", "With the layer minus") for of in ("cifar10", "cifar100"))
    certified, certified_100 = (table(f"defences-{of}", "Certified accuracy") for of in ("cifar10", "cifar100"))
    defences_100 = table("defences-cifar100", "## defences")
    extracted = table("extraction-cifar10", "Accuracy under attack, 12.8")
    guard, free, natural, honest = tables(
        "service-cifar10",
        "Frames until the guard speaks:",
        "Frames until the guard speaks, if",
        "What inputs that look natural",
        "Alarms that honest",
    )
    asked_100, both_100 = tables("cifar100", "Images fooled by all attackers together", "Images fooled, of those")
    noisy_u = table("noise-cifar10", "Retrieval of U")
    work = {
        name: table(name, "## cost").hours(name.partition("-cifar")[0])
        for name in (
            "black-box-cifar10",
            "extraction-cifar10",
            "secret-cifar10",
            "service-cifar10",
            "noise-cifar10",
            "layer-cifar10",
        )
    }
    costs = table("cifar10", "## cost")
    hard_ball, fooled, rarest = "L∞ ε = 8/255: worst case", "fooled by any", "one false alarm in 100,000,000"
    ladder_10 = table("white-box-seeds", LADDER)
    of_paper = ("VGG-OPU, L∞ ε = 6.38/255 (the paper's 0.05)", "dfa-fresh+fa")

    def more(eps: str) -> Figure:
        """All without U together, above VGG-16, on CIFAR-100."""
        return hundred.cell(WITHOUT, eps) - hundred.cell("VGG-16 ← bp", eps)

    def beyond(eps: str, other: str, rule: str = "exact") -> Figure:
        """What this rule takes beyond another attacker on CIFAR-100."""
        return hundred.cell(f"VGG-OPU ← {other}", eps) - hundred.cell(f"VGG-OPU ← {rule}", eps)

    either = [beyond(eps, "own-head", rule) for rule in ("exact", "dfa") for eps in SMALL[:2]]
    run, (count, stands) = "white-box/cifar100", features_differ("cifar100")
    exact = {eps: kept(run, "VGG-OPU", "exact", eps) for eps in (0.704, 1.41)}
    own = "L∞ ε = 6.38/255 (the paper's 0.05): worst case"
    own_100 = "L∞ ε up to 3.52/255 (the paper's 0.05): worst case"
    above, only = "1.41/255 (ε 0.02): with all above", "1.41/255 (ε 0.02): alone"
    right = [
        noise.cell(row, of) - noise.cell("none", of)
        for row in ("4 grey levels", "16 grey levels", "64 grey levels")
        for of in ("right under DFA", "right under BPDA")
    ]
    laptop_gains, wide_gains, gains_100 = (
        gains("white-box-seeds", RADII),
        gains("full-width", RADII),
        gains("white-box-cifar100", SMALL),
    )
    head = secret.cell("no U, no B: own head", "1.28/255")
    u, b = head - secret.cell("U", "1.28/255"), head - secret.cell("B", "1.28/255")
    threshold = ablation.cell("OPU batch threshold", "best gradient, L∞ ε = 1.28/255") - ablation.cell(
        "OPU", "best gradient, L∞ ε = 1.28/255"
    )
    return [
        says("leave VGG-OPU {26} to {39} points more than backpropagation", least(laptop_gains), most(laptop_gains)),
        says(
            "keeps {7.4} points more than VGG-16 at the smallest radius, {1.6} at the largest",
            more(SMALL[0]),
            more(SMALL[2]),
        ),
        says("All attackers together fool {9} points fewer images", together.cell("1,000", "points fewer")),
        says("All of U takes {0.8} points more than an own head without it, all of B {2.7};", u, b),
        says("On CIFAR-100 either takes {6} to {10} points more", least(either), most(either)),
        says("nine layers, {13} defences", len(pairs.rows)),
        says("Adversarial training keeps {34}% without any optics", hardened.cell("VGG-16 AT", own)),
        says("({100} and {74}% fooled;", both.cell("Hierarchical", "VGG-16"), both.cell("Hierarchical", "VGG-OPU")),
        says(
            "In one seed of three VGG-OPU keeps {4} points more",
            second.cell("VGG-OPU ← own-head", RADII[0]) - second.cell("VGG-16 ← bp", RADII[0]),
        ),
        says("keeps {5} points more under the best gradient", threshold),
        says(
            "saves {9} points of what Square finds", noise.cell("none", fooled) - noise.cell("16 grey levels", fooled)
        ),
        says(
            "leaves {17.5} points more than backpropagation leaves of VGG-16, and {10.5} more than it leaves of the features",
            ladder.cell("the lower weights", above) - ladder.cell("VGG-16, no layer", only),
            ladder.cell("the lower weights", above) - ladder.cell("VGG-DFA, no layer", only),
        ),
        says(
            "{82}% on CIFAR-10, {46}% on CIFAR-100",
            seeds.cell("VGG-16 ← bp", "clean"),
            hundred.cell("VGG-16 ← bp", "clean"),
        ),
        says("({86}%, one seed)", wide.cell("VGG-OPU ← dfa", "clean")),
        says(
            "leaves {1.8}% ({1.5}–{2.0}) of 200 images at 2.55/255, after one draw {42.0}%",
            *(draws.cell("VGG-OPU ← dfa-fresh, 2.55/255", "20 draws", place) for place in range(3)),
            draws.cell("VGG-OPU ← dfa-fresh, 2.55/255", "1 draw"),
        ),
        says(
            "(smallest p {.65} at 1.28/255); on 1,000 images seed 2 does, by {3.9} points at 1.28/255 (p = {.018})",
            min(rungs_p(f"white-box/seed-{seed}", 1.275)["the lower weights"] for seed in range(3)),
            second.cell("VGG-OPU ← own-head", RADII[0]) - second.cell("VGG-16 ← bp", RADII[0]),
            seed_p("white-box/seed-2")[0],
        ),
        says(
            "; {1.3} to {2.3} h a seed",
            *(table("white-box-seeds", "## cost").hours("white-box", place=place) for place in (1, 2)),
        ),
        says(
            "Full-width VGG-16, {86.5} and {86.4}% clean: the paper's attacks leave VGG-OPU {22} to {42} points more",
            wide.cell("VGG-16 ← bp", "clean"),
            wide.cell("VGG-OPU ← dfa", "clean"),
            least(wide_gains),
            most(wide_gains),
        ),
        says(
            "all attackers without U {43.0}, {9.4} and {0.0}%, backpropagation of VGG-16 {43.8}, {10.9} and {0.0}.",
            *(wide.cell(row, eps) for row in (WITHOUT, "VGG-16 ← bp") for eps in RADII),
        ),
        says("; {3.9} h. A second machine", table("full-width", "## cost").hours("white-box")),
        says(
            "VGG-16 {82.3} ({82.1}–{82.7}), VGG-OPU {81.7} ({81.2}–{81.9}), three seeds",
            *(seeds.cell(row, "clean", place) for row in ("VGG-16 ← bp", "VGG-OPU ← dfa") for place in range(3)),
        ),
        says(
            "fools {100}% of VGG-16's images and {74.0}% ({67.7}–{79.5}) of VGG-OPU's, of 208 that",
            both.cell("Hierarchical", "VGG-16"),
            *(both.cell("Hierarchical", "VGG-OPU", place) for place in range(3)),
        ),
        says(
            "fool {8.7} points fewer after 1,000 queries each, {3.4} after 5,000",
            *(together.cell(row, "points fewer") for row in ("1,000", "5,000")),
        ),
        says("bandits {5.8} points fewer (p = {.023};", *(both.cell("Bandits", of) for of in ("points fewer", "p"))),
        says(
            "ZOO fools {32.0} points fewer (p < {.001})",
            further.cell("ZOO", "points fewer"),
            p(further.cell("ZOO", "p").value),
        ),
        says("strategies {1.5} (p = {.72})", *(further.cell("TiledES", of) for of in ("points fewer", "p"))),
        says("by labels, {4.1} (p = {.21})", *(further.cell("HopSkipJump", of) for of in ("points fewer", "p"))),
        says("; {1.2} h. [Details", work["black-box-cifar10"]),
        says(
            "VGG-16 keeps {54.0}%. A VGG-OPU {1.8} points less accurate keeps {54.5} (p = {1}). One {7} points "
            "less accurate keeps {75.9}",
            transfer.cell("VGG-16", "5.1/255 (ε 0.04): the paper's"),
            transfer.cell("VGG-16", "clean") - transfer.cell("VGG-OPU higher", "clean"),
            transfer.cell("VGG-OPU higher", "5.1/255 (ε 0.04): the paper's"),
            transfer.cell("points of VGG-OPU higher above VGG-16", "5.1/255 (ε 0.04): the paper's", 1),
            transfer.cell("VGG-16", "clean") - transfer.cell("VGG-OPU lower", "clean"),
            transfer.cell("VGG-OPU lower", "5.1/255 (ε 0.04): the paper's"),
        ),
        says(
            "(p < {.001}), and its features without the layer {76.3}.",
            transfer.cell("points of VGG-OPU lower above VGG-16", "5.1/255 (ε 0.04): the paper's", 1),
            transfer.cell("VGG-DFA lower", "5.1/255 (ε 0.04): the paper's"),
        ),
        says(
            "With the weights at most {0.4}% is left",
            most([transfer.cell(f"VGG-OPU {of}", "5.1/255 (ε 0.04): white-box") for of in ("higher", "lower")]),
        ),
        says("; {.7} h. [Details", costs.hours("transfer")),
        says(
            "VGG-OPU {2.8}% ({1.7}–{4.8}) at 12.8/255 and VGG-16 {1.3}% ({0.6}–{2.8}); untuned {18.5} and {3.0}. "
            "Of {15.4} points {1.5} are left (p = {1},",
            *(
                extracted.cell(row, "own network tuned on 20,000 scores", place)
                for row in ("VGG-OPU lower", "VGG-16")
                for place in range(3)
            ),
            *(extracted.cell(row, "own network: MI-DI") for row in ("VGG-OPU lower", "VGG-16")),
            extracted.cell("points of VGG-OPU lower", "own network: MI-DI"),
            *(
                extracted.cell("points of VGG-OPU lower", "own network tuned on 20,000 scores", place)
                for place in range(2)
            ),
        ),
        says(
            "labels {2.2} (p = {1}). One seed",
            *(
                extracted.cell("points of VGG-OPU lower", "own network tuned on 20,000 labels", place)
                for place in range(2)
            ),
        ),
        says("; {2.1} h. [Details", work["extraction-cifar10"]),
        says(
            "frames, {3.1} s of them, and {13} s of computing",
            *(price.cell("12 N, N = 512", of) for of in ("at the device", "computing")),
        ),
        says("matrix to {.32}% in the median", price.cell("12 N, N = 512", "median")),
        says(
            "wrong by 90% attacks as the true one does: {25.8}% ({20.8}–{31.5}) left at 1.28/255 against "
            "{25.0} ({20.1}–{30.6})",
            *(found.cell(row, "ε = 1.28/255", place) for row in ("U wrong by 90%", "exact U") for place in range(3)),
        ),
        says("; {.2} h. [Details", costs.hours("retrieval")),
        says("takes {11} to {13} s", least(redrawn.column("drawing")), most(redrawn.column("drawing"))),
        says(
            "({81.9}% before, {81.7} to {82.0} after)",
            redrawn.cell("VGG-OPU redraw 1", "before"),
            least(redrawn.column("tuned")),
            most(redrawn.column("tuned")),
        ),
        says(
            "{100}% of those by gradients, {99.1}% ({98.1}–{99.6}) of those from another network, and {72.1}% "
            "({68.5}–{75.5}) of those",
            least([still.cell(row, "of these") for row in ("DFA", "BPDA", "Exact U")]),
            *(still.cell(row, "of these", place) for row in ("VGG-16 transfer", "Square") for place in range(3)),
        ),
        says("; {.1} h. [Details", costs.hours("redraw")),
        says(
            "together leave {12.7}% ({4.0}–{19.4}), the worst case is {0.0}",
            *(audited.cell(of_paper, "claimed", place) for place in range(3)),
            audited.cell(of_paper, "worst"),
        ),
        says(
            "four matrices: {24.2}% claimed, {0.0} left",
            *(all_audits.cell("VGG-OPU with 4 matrices", of) for of in ("claimed", "worst")),
        ),
        says("All of U leaves {0.8} points less than an own head without it at 1.28/255, all of B {2.7}", u, b),
        says(
            "tells {2.6} million bits of U, or {≈1,600} of B",
            secret.cell("U wrong by 0.9", "bits"),
            1000 * secret.cell("B wrong by 0.9", "bits"),
        ),
        says(
            "some {14} queries ({9} to {22} in nine of ten streams), in classes alone within some {≈970}",
            *(
                asked.cell(("is a layer of bits there? VGG-OPU", "scores, 5 digits"), "queries until", k)
                for k in range(3)
            ),
            asked.cell(("is a layer of bits there? VGG-OPU", "classes"), "queries until"),
        ),
        says("(p = {.016}, {.063} corrected;", *secret_p("B", 1.275)),
        says("; {.9} h. [Details", work["secret-cifar10"]),
        says(
            "within {5} frames ({8}, if clients", *(most([of.cell(m, rarest) for m in METHODS]) for of in (guard, free))
        ),
        says(
            "in {20,000} frames (in {2} of {20} streams at most)",
            *(guard.cell("fixed exposure, 0.1% of the rows", "one false alarm in 10,000", place) for place in range(3)),
        ),
        says(
            "in {8} frames an input ({3.1}% of the rows lost; none with {12})",
            natural.cell(("images' own rows", "4,096 (8 N)"), "frames", 1),
            natural.cell(("images' own rows", "4,096 (8 N)"), "rows lost"),
            natural.cell(("images' own rows", "6,144 (12 N)"), "frames", 1),
        ),
        says("No false alarm on new images in {400,000} frames", honest.cell("new images", "at most one in 10,000", 1)),
        says("{20} streams a line", guard.cell("fixed exposure, 0.1% of the rows", "one false alarm in 10,000", 2)),
        says("; {.6} h. [Details](results/service.md)", work["service-cifar10"]),
        says(
            "fool {86.0}% of 86 images without noise, {82.6} at 4 grey levels, {76.7} at 16, {54.7} at 64",
            noise.cell("none", fooled),
            *(noise.cell(f"{levels} grey levels", fooled) for levels in (4, 16, 64)),
        ),
        says("clean accuracy stays at {82}%,", *noise.column("clean, fitted")[:1]),
        says("Gradients leave {1.5} to {6.0} points more", least(right), most(right)),
        says(
            "retrieved to {.3}% without noise, to {21}% at 16 levels",
            *(100 * noisy_u.cell(row, "12 N frames") for row in ("none", "16 grey levels")),
        ),
        says("; {.8} h. [Details](results/noise.md)", work["noise-cifar10"]),
        says(
            "fools {89.4}% of VGG-16's images in 500 queries, {72.0}% of a plain linear layer's on the same "
            "bits, {80.5}% of OPU's",
            *(ablation.cell(row, "fooled by Square") for row in ("VGG-16", "BIN", "OPU")),
        ),
        says("; {.6} h. [Details](results/ablation.md)", costs.hours("ablation")),
        says(
            "all attackers together leave {22.3} to {23.4}% at 1.28/255, VGG-16 {26.6}",
            least(scale.column("all of them")[1:]),
            most(scale.column("all of them")[1:]),
            scale.cell("VGG-16", "all of them"),
        ),
        says("; {.4} h. [Details](results/scale.md)", costs.hours("scale")),
        says(
            "keeps {33.8}% ({29.8}–{38.1}) in the worst case at 6.38/255, for {31} points",
            *(hardened.cell("VGG-16 AT", own, place) for place in range(3)),
            hardened.cell("VGG-16", "clean") - hardened.cell("VGG-16 AT", "clean"),
        ),
        says(
            "it is {28.2}% ({24.4}–{32.3}), clearly less (p = .002",
            *(hardened.cell("VGG-OPU AT", own, place) for place in range(3)),
        ),
        says("report {36.8}", hardened.cell("VGG-OPU AT", "L∞ ε = 6.38/255 (the paper's 0.05): claimed")),
        says("; {.9} h. [Details](results/adversarial-training.md)", costs.hours("adversarial-training")),
        says(
            "gain {−1.8} to {1.8} points at 1.28/255",
            *(of(layer.column("L∞ ε = 1.28/255 (the paper's 0.01): gain, U secret")) for of in (least, most)),
        ),
        says("hold zero and end at {4.7}", layer_reach("layer/cifar10")),
        says("; {1.9} h. [Details](results/layer.md)", work["layer-cifar10"]),
        says(
            "in two balls: {−3.0} to {1.5} points at 8/255, {−4.8} to {4.5} at L2",
            *(of(pairs.column(ball)) for ball in (hard_ball, "L2 ε") for of in (least, most)),
        ),
        says("{13} pairs, adversarial", len(pairs.rows)),
        says("one of {2,176} certificates", sum(f.value for f in certified.column("attacked"))),
        says("; {13.1} h. [Details](results/defences.md)", table("defences-cifar10", "## cost").hours("defences")),
        says("at {46}% clean accuracy", hundred.cell("VGG-16 ← bp", "clean")),
        says(
            "leave VGG-OPU above VGG-16 | {26} to {39} points | {20} to {28} |",
            *(of(some) for some in (laptop_gains, gains_100) for of in (least, most)),
        ),
        says(
            "largest radius | {2.9} points below, and {0.0} | {7.4} and {1.6} above (p < {.001})",
            seeds.cell("VGG-16 ← bp", RADII[0]) - seeds.cell(WITHOUT, RADII[0]),
            seeds.cell(WITHOUT, RADII[2]),
            more(SMALL[0]),
            more(SMALL[2]),
            p(max(compared(all_together(run, eps), kept(run, "VGG-16", "bp", eps)).p for eps in (0.704, 3.52))),
        ),
        says(
            "with what costs less | {0.5} points above (mean) | {17.5} above VGG-16 (p < {.001}), {10.5} above the features",
            ladder_10.cell("the lower weights", "2.55/255 (ε 0.02): with all above")
            - ladder_10.cell("VGG-16, no layer", "2.55/255 (ε 0.02): alone"),
            ladder.cell("the lower weights", above) - ladder.cell("VGG-16, no layer", only),
            p(rungs_p(run, 1.41)["the lower weights"]),
            ladder.cell("the lower weights", above) - ladder.cell("VGG-DFA, no layer", only),
        ),
        says(
            "a linear fit without U | {0.5} and {−0.2} points (mean); no more | {7.5} and {9.6} (p < {.001}); "
            "{−0.3} and {−0.3} (p = {.58})",
            *(seeds.cell("VGG-OPU ← own-head", eps) - seeds.cell("VGG-OPU ← exact", eps) for eps in RADII[:2]),
            *(beyond(eps, "own-head") for eps in SMALL[:2]),
            p(max(compared(kept(run, "VGG-OPU", "own-head", eps), exact[eps]).p for eps in exact)),
            *(beyond(eps, "bpda-fit-linear") for eps in SMALL[:2]),
            max(compared(kept(run, "VGG-OPU", "bpda-fit-linear", eps), exact[eps]).p for eps in exact),
        ),
        says(
            "1,000 and 15,000 queries | {8.7} and {0.0} points fewer | {9.1} (p = {.006}) and {2.3} (p = {.25}) fewer",
            *(together.cell(row, "points fewer") for row in ("1,000", "15,000")),
            *(asked_100.cell(row, of) for row in ("1,000", "15,000") for of in ("points fewer", "p")),
        ),
        says(
            "| {100}% of both | {100} and {97.7}% |",
            least([both.cell("RayS", of) for of in ("VGG-16", "VGG-OPU")]),
            *(both_100.cell("RayS", of) for of in ("VGG-16", "VGG-OPU")),
        ),
        says(
            "of its features | {3.6} and {2.9} points | {45.1} and {43.0};",
            *(
                of.cell(f"points of {network} above VGG-16", f"{eps} (ε 0.1): the paper's")
                for of, eps in ((transfer, "12.8/255"), (moved, "7.04/255"))
                for network in ("VGG-OPU higher", "VGG-DFA")
            ),
        ),
        says(
            "one of {64} comparisons with the features stands | none | {4.1} points, MI-DI, the largest radius (p = {.04})",
            *(count, *stands[0]),
        ),
        says("Of {64} comparisons of a VGG-OPU", features_differ("cifar10")[0]),
        says(
            "still fool | {72.1}% | {68.6}% |", still.cell("Square", "of these"), still_100.cell("Square", "of these")
        ),
        says(
            "without and with the layer | {33.8} and {28.2}% | {10.4} and {13.6}% (p",
            *(hardened.cell(row, own) for row in ("VGG-16 AT", "VGG-OPU AT")),
            *(hardened_100.cell(row, own_100) for row in ("VGG-16 AT", "VGG-OPU AT")),
        ),
        says(
            "5.9 and {1.6} h. [Defences]",
            table("white-box-cifar100", "## cost").hours("white-box"),
        ),
        says("one repeat, {6.0} h:", table("defences-cifar100", "## cost").hours("defences")),
        says(
            "({−1.0} to {1.5} points at 8/255), and no attack broke one of {917} certificates",
            *(of(pairs_100.column(hard_ball)) for of in (least, most)),
            sum(f.value for f in certified_100.column("attacked")),
        ),
        says(
            "VGG-OPU AT and TRADES are {8} and {6} points more accurate",
            *(pairs_100.cell(f"VGG-OPU {of} − VGG-16 {of}", "clean") for of in ("AT", "TRADES")),
        ),
        says("than without the layer (p < {.001})", p(clean_p("defences/cifar100", HARDENED))),
        says(
            "a new head alone brings {5}; at {21} to {32}% clean",
            defences_100.cell("VGG-16 AT, new head", "clean") - defences_100.cell("VGG-16 AT", "clean"),
            defences_100.cell("VGG-16 AT", "clean"),
            defences_100.cell("VGG-OPU TRADES", "clean"),
        ),
    ]
