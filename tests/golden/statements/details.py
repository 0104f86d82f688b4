"""The pages of docs/results, beside what their own tables show."""

from tests.golden.evidence import (
    FEATURES,
    all_together,
    asked,
    compared,
    features_differ,
    kept,
    layer_reach,
    p,
    rungs_p,
    secret_p,
    seed_p,
    transferred,
)
from tests.golden.prose import Figure, Statement, least, most, says, table
from tests.golden.statements.shared import METHODS, ON_AXIS, RADII, SMALL, WITHOUT, gains

_PAPERS = "L∞ ε up to 3.52/255 (the paper's 0.05)"


def white_box() -> list[Statement]:
    """docs/results/white-box.md."""
    second, hundred = (table(f"white-box-{of}", ON_AXIS) for of in ("seed-2", "cifar100"))
    flat, rungs = (
        table("white-box-seeds", "Accuracy under attack, L2"),
        table("white-box-cifar100", "The access ladder"),
    )
    drawn, heads = table("white-box-cifar100", "Fresh draws"), table("white-box-cifar100", "Own head against")
    audited, near = table("full-width", "## audit"), "1.41/255 (ε 0.02)"
    plain, features = (rungs.cell(f"{name}, no layer", f"{near}: alone") for name in ("VGG-16", "VGG-DFA"))
    rung = {row[0]: rungs.cell(row[0], f"{near}: with all above") for row in rungs.rows[3:7]}
    wide, seeds_p, run = gains("full-width", RADII), seed_p("white-box/seed-2"), "white-box/cifar100"
    first = table("white-box-seed-0", "Fresh draws")
    plain_left = {eps: kept(run, "VGG-16", "bp", eps) for eps in (0.704, 1.41, 2.11, 2.82, 3.52)}
    head = {eps: kept(run, "VGG-OPU", "own-head", eps) for eps in (0.704, 1.41)}
    return [
        says(
            "smallest p {.65} on that rung",
            min(rungs_p(f"white-box/seed-{seed}", 1.275)["the lower weights"] for seed in range(3)),
        ),
        says("(p = {.018} and < {.001}, Holm over the six", seeds_p[0], p(seeds_p[3])),
        says(
            "fall from {42.5} and {38.0}% to {2}% within ten to twenty draws, a drawn W to {12}%]",
            *(first.cell(f"VGG-OPU ← {rule}, 2.55/255", "1 draw") for rule in ("dfa-fresh", "fa")),
            most([first.cell(f"VGG-OPU ← {rule}, 2.55/255", "20 draws") for rule in ("dfa-fresh", "fa")]),
            first.cell("VGG-OPU ← bpda-drawn, 2.55/255", "20 draws"),
        ),
        says(
            "p < {.001} at each radius",
            p(max(compared(all_together(run, eps), plain_left[eps]).p for eps in plain_left)),
        ),
        says("Holm over eight, p ≤ {.008})", max(one for eps in (0.704, 1.41) for one in rungs_p(run, eps).values())),
        says(
            "p < {.001}, not corrected); a linear fit without either takes as much as U (p = {.58})",
            p(max(compared(head[eps], kept(run, "VGG-OPU", rule, eps)).p for rule in ("exact", "dfa") for eps in head)),
            max(
                compared(kept(run, "VGG-OPU", "bpda-fit-linear", eps), kept(run, "VGG-OPU", "exact", eps)).p
                for eps in head
            ),
        ),
        says(
            "leaves VGG-OPU {3.9} points more than backpropagation leaves VGG-16 at 1.28/255, `bit-flip` {6.6}",
            *(
                second.cell(f"VGG-OPU ← {rule}", RADII[0]) - second.cell("VGG-16 ← bp", RADII[0])
                for rule in ("own-head", "bit-flip")
            ),
        ),
        says(
            "leaves VGG-16 {13.2}% ({11.9}–{14.4}), `dfa-fresh` VGG-OPU {61.7} ({59.4}–{66.2}), all without U together {11.6} "
            "({10.8}–{12.1})",
            *(flat.cell(row, "0.25", k) for row in ("VGG-16 ← bp", "VGG-OPU ← dfa-fresh", WITHOUT) for k in range(3)),
        ),
        says("leave VGG-OPU {22} to {42} points more", least(wide), most(wide)),
        says("where {31.5}% ({25.5}–{38.2}) was claimed", *(audited.cell("VGG-OPU", "claimed", k) for k in range(3))),
        says("{45.7} and {45.5}% clean", *(hundred.cell(row, "clean") for row in ("VGG-16 ← bp", "VGG-OPU ← dfa"))),
        says(
            "leaves {7.4} points more at the smallest radius and {1.6} at the largest",
            *(hundred.cell(WITHOUT, eps) - hundred.cell("VGG-16 ← bp", eps) for eps in (SMALL[0], SMALL[2])),
        ),
        says(
            "within {1.6} points",
            most([hundred.cell("VGG-DFA ← bp", eps) - hundred.cell(WITHOUT, eps) for eps in hundred.header[2:]]),
        ),
        says(
            "leaves {17.5} points more than backpropagation leaves VGG-16, all weights and twenty draws {12}, B {9}, "
            "natural images {7.5}",
            *(one - plain for one in rung.values()),
        ),
        says(
            "(at 1.41/255 {5} points, with the lower weights alone {10.5})",
            rung["all weights"] - features,
            rung["the lower weights"] - features,
        ),
        says(
            "U takes {7.5} and {9.6} points more than an own head at the two smaller radii of the table, B {5.9} and {8.1}",
            *(
                hundred.cell("VGG-OPU ← own-head", eps) - hundred.cell(f"VGG-OPU ← {rule}", eps)
                for rule in ("exact", "dfa")
                for eps in SMALL[:2]
            ),
        ),
        says(
            "labels leave {31.0}% at .704/255, 1,000 {32.0}, 100 {36.4}",
            *(heads.cell(f"{count} labels", "accuracy under") for count in ("10,000", "1,000", "100")),
        ),
        says(
            "leaves {29.0}, {20.5} and {3.0}% at the three radii, the training's own {28.5}, {15.0} and {2.5}",
            *(drawn.cell(f"VGG-OPU ← dfa-fresh, {eps}", "20 draws") for eps in SMALL),
            *(
                rungs.cell("+ B", f"{eps} (ε {paper}): alone")
                for eps, paper in zip(SMALL, ("0.01", "0.02", "0.05"), strict=True)
            ),
        ),
    ]


def ablation() -> list[Statement]:
    """docs/results/ablation.md."""
    ten, hundred = (table(of, "Clean accuracy, accuracy under attack") for of in ("cifar10", "cifar100"))
    moved, best = "transfer, MI-DI, L∞ ε = 5.1/255", "best gradient, L∞ ε = 0.704/255"
    variants = [
        ten.cell(row[0], moved)
        for row in ten.rows
        if row[0].startswith("OPU ") and row[0] not in ("OPU N=64", "OPU N=512")
    ]
    fewest = [ten.cell(row, "best gradient, L∞ ε = 0.638/255") for row in ("OPU batch threshold", "OPU")]
    return [
        says("N = 64 has {41}%", ten.cell("OPU N=64", "fooled by Square")),
        says(
            "DFA keeps {35.2}%, BIN {36.1}, RP {35.8}, OPU {36.1}, its variants on these features {34.3} to {35.8}",
            *(ten.cell(row, moved) for row in ("DFA", "BIN", "RP", "OPU")),
            least(variants),
            most(variants),
        ),
        says("(RP {41.5}%, DFA {56.6}%)", *(ten.cell(row, "fooled by Bandits") for row in ("RP", "DFA"))),
        says("hinders Square most ({50.6}%)", ten.cell("OPU batch threshold", "fooled by Square")),
        says("best gradient, {5} points at 0.638/255", fewest[0] - fewest[1]),
        says(
            "VGG-16 {14.4}%, DFA {23.0}, OPU {25.6}, with a threshold over the batch {34.0}",
            *(hundred.cell(row, best) for row in ("VGG-16", "DFA", "OPU", "OPU batch threshold")),
        ),
    ]


def adversarial_training() -> list[Statement]:
    """docs/results/adversarial-training.md."""
    hundred = table("cifar100", "## adversarial-training")
    return [
        says("{10.4} and {13.6}% at", *(hundred.cell(row, f"{_PAPERS}: worst") for row in ("VGG-16 AT", "VGG-OPU AT")))
    ]


def audit() -> list[Statement]:
    """docs/results/audit.md."""
    ten, hundred = table("cifar10", "## audit"), table("cifar100", "## audit")
    at = "L∞ ε = 6.38/255 (the paper's 0.05)"
    opus = ("OPU", *(f"OPU {of}" for of in ("float output", "real U", "M=500", "M=2000", "N=64", "N=512")))

    def of(column: str, *, small: bool) -> list[Figure]:
        found, ball = (hundred, _PAPERS) if small else (ten, at)
        return [found.cell((f"{name}, {ball}", "dfa-fresh+fa"), column) for name in opus]

    plain = ("VGG-16", "VGG-16 lower", "VGG-DFA", "VGG-DFA lower", "BIN")
    undefended = [hundred.cell(f"{name}, {_PAPERS}", "worst") for name in plain]
    return [
        says(
            "and {0.0} to {2.8}% on CIFAR-100",
            least(undefended),
            most(undefended),
        ),
        says(
            "{5.4} to {18.6}% claimed, {0.0} left; on CIFAR-100 {9.8} to {18.4} and {0.6} to {2.0})",
            least(of("claimed", small=False)),
            most(of("claimed", small=False)),
            most(of("worst", small=False)),
            *(pick(of(column, small=True)) for column in ("claimed", "worst") for pick in (least, most)),
        ),
        says("and {3.2}% on CIFAR-100", hundred.cell(f"OPU batch threshold, {_PAPERS}", "worst")),
        says(
            "attacks {24.2}% where the plain device leaves {19.4}",
            *(ten.cell(f"{name}, {at}", "claimed") for name in ("VGG-OPU with 4 matrices", "VGG-OPU")),
        ),
        says("and {0.0}% in the worst case", ten.cell(f"VGG-OPU with 4 matrices, {at}", "worst")),
    ]


def black_box() -> list[Statement]:
    """docs/results/black-box.md."""
    both = table("black-box-cifar10", "Images fooled, of those")
    older = table("cifar10", "Images fooled, L∞")
    hundred = table("cifar100", "Images fooled, of those")
    four = [hundred.cell(row, "points fewer") for row in ("NES", "Bandits", "Parsimonious", "Square")]
    run, networks = "black-box/further", ("VGG-16", "VGG-OPU")
    every, pairs = (
        table("black-box-further", "Images fooled, L∞"),
        table("black-box-further", "Images fooled, of those"),
    )
    narrow, wide = ([asked(run, n, "ZOO", h=h) for n in networks] for h in (0.0001, 0.05))
    cma, one = ([asked(run, n, "TiledES", strategy=s).success_rate for n in networks] for s in ("cma", "(1+1)"))
    return [
        says(
            "it fools {66.5}% of VGG-16's images and {0.0}% of VGG-OPU's, where {75}% of its estimates are zero",
            *(100 * each.success_rate for each in narrow),
            100 * (narrow[1].flat_share or 0),
        ),
        says("With probes of .05 it fools {47.7}%", 100 * wide[1].success_rate),
        says("beyond chance (p = {.21} and {.72})", *(pairs.cell(row, "p") for row in ("HopSkipJump", "TiledES"))),
        says("CMA moves fool {83.0} and {81.5}%, (1+1) {58.0} and {66.2}%", *(100 * share for share in (*cma, *one))),
        says(
            "together fool {3.0} points fewer** after 5,000 queries (p = {.16})",
            *(pairs.cell("all together", of) for of in ("points fewer", "p")),
        ),
        says("only ZOO is far apart, {77} and {48}%", *(every.cell("ZOO", f"{n}: 5,000") for n in networks)),
        says("its code**: {100} and {74.0}%", *(both.cell("Hierarchical", of) for of in ("VGG-16", "VGG-OPU"))),
        says(
            "fools {83.2} and {76.0}%, which may be chance (p = {.14})",
            *(both.cell("Parsimonious", of) for of in ("VGG-16", "VGG-OPU", "p")),
        ),
        says(
            "and {5.8} points are left",
            both.cell("Bandits", "points fewer"),
        ),
        says("by {11} to {32} points", least(four), most(four)),
        says(
            "it looked {21} points worse",
            older.cell("Bandits", "VGG-16: 15,000") - older.cell("Bandits", "VGG-OPU: 15,000"),
        ),
    ]


def extraction() -> list[Statement]:
    """docs/results/extraction.md."""
    left, fitted = (table("extraction-cifar10", title) for title in ("Accuracy under attack", "Surrogates"))
    tuned, higher = "own network tuned on 20,000", "points of VGG-OPU higher"
    of = "VGG-16 from 20000 {} of VGG-OPU lower"
    return [
        says("leaves VGG-OPU lower {18}%]", left.cell("VGG-OPU lower", "own network: MI-DI")),
        says("keeps {5.0} points more than VGG-16", left.cell(higher, f"{tuned} labels")),
        says("labels (p = {.006})", left.cell(higher, f"{tuned} labels", 1)),
        says("scores (p = {.9})", left.cell(higher, f"{tuned} scores", 1)),
        says("on {83}% of", fitted.cell("VGG-16 source tuned from 20000 scores of VGG-OPU lower", "agreement")),
        says(
            "agree on {71}% and leaves {38.0}%",
            fitted.cell(of.format("scores"), "agreement"),
            left.cell("VGG-OPU lower", "20,000 scores"),
        ),
        says(
            "agrees on {79}% and leaves {3.3}%",
            fitted.cell(of.format("labels"), "agreement"),
            left.cell("VGG-OPU lower", "20,000 labels"),
        ),
    ]


def noise() -> list[Statement]:
    """docs/results/noise.md."""
    read, wrong = table("noise-cifar10", "Read noise, %"), table("noise-cifar10", "What a U is worth")
    drift, found = table("noise-cifar10", "Drift of U"), table("noise-cifar10", "Retrieval of U")
    return [
        says("stays at {82}%,", *read.column("clean, fitted")[:1]),
        says("alone fools {41}% at 4 levels", read.cell("4 grey levels", "fooled, mean of 16")),
        says("error of {.3}% belongs", 100 * found.cell("none", "12 N frames")),
        says(
            "leaves {24.0}% where the exact one leaves {23.0}",
            *(wrong.cell(row, "right under") for row in ("U with error 0.9", "exact U")),
        ),
        says("fitted to {250} ms", most(drift.column("frames for"))),
    ]


def retrieval() -> list[Statement]:
    """docs/results/retrieval.md."""
    redrawn, noisy = table("cifar10", "Clean accuracy of VGG-OPU"), table("noise-cifar10", "Retrieval of U")
    price, hundred = table("cifar100", "The price of U"), table("cifar100", "Accuracy under PGD")
    row = "12 N, N = 1,024"
    return [
        says("take [{11} to {13}]", *(of(redrawn.column("drawing")) for of in (least, most))),
        says(
            "wrong by {21}% in place of {.3} at",
            *(100 * noisy.cell(of, "12 N frames") for of in ("16 grey levels", "none")),
        ),
        says(
            "frames, {6} s of them, give U to {.31}%, in {86} s of one thread",
            *(price.cell(row, of) for of in ("at the device", "median", "computing")),
        ),
        says(
            "leaves VGG-OPU {27.0}% of 256 images at .704/255, the exact one {25.4}, a linear fit without any U {25.8}",
            *(hundred.cell(of, "ε = 0.704/255") for of in ("U wrong by 90%", "exact U", "BPDA (linear fit)")),
        ),
    ]


def secret() -> list[Statement]:
    """docs/results/secret.md."""
    known, soon = table("secret-cifar10", "Accuracy under attack by what is known"), table("secret-cifar10", "How soon")
    which, eps = table("secret-cifar10", "Which of several"), "1.28/255"
    head, u, b = (known.cell(row, eps) for row in ("no U, no B: own head", "U", "B"))
    scores = ("is a layer of bits there? VGG-OPU", "scores, 5 digits")
    noisy = ("is there noise? VGG-OPU noise 16", "yes")
    return [
        says("U leaves {0.8} points less than an own head (10,000 labels) without it, B {2.7}:", head - u, head - b),
        says(
            "tells {2.6} million bits of U (a million leave {3.5} points more at 1.28/255), or {≈1,600} of B "
            "({181} leave {3.1} points more",
            known.cell("U wrong by 0.9", "bits"),
            known.cell("U wrong by 1.1", eps) - u,
            1000 * known.cell("B wrong by 0.9", "bits"),
            known.cell("B wrong by 1.25", "bits"),
            known.cell("B wrong by 1.25", eps) - b,
        ),
        says("all one way; p = {.016}, {.063} after", *secret_p("B", 1.275)),
        says("at {85}% ({80}–{89}) of the points", *(soon.cell(scores, "seen at", k) for k in range(3))),
        says("seen after {4} queries", soon.cell(noisy, "queries until")),
        says(
            "with the true one {85.7}% of 300 test images are right, with the best other {15.0}%",
            *(which.cell("U, scores", of) for of in ("accuracy with", "with the best")),
        ),
    ]


def service() -> list[Statement]:
    """docs/results/service.md."""
    tables = [table("service-cifar10", f"Frames until the guard speaks{more}") for more in (":", ", if")]
    honest, natural = (table("service-cifar10", of) for of in ("Alarms that honest", "What inputs that look natural"))
    eight, rarest = ("images' own rows", "4,096 (8 N)"), "one false alarm in 100,000,000"
    return [
        says("within {5} frames**, within {8} by", *(most([of.cell(m, rarest) for m in METHODS]) for of in tables)),
        says("alarm in {400,000} frames", honest.cell("new images", "at most one in 10,000", 1)),
        says(
            "raised {2} in {362,884} frames",
            *(honest.cell("new images of one class", "at most one in 10,000", k) for k in range(2)),
        ),
        says(
            "in {8} frames an input: {3.1}% of the rows are lost at a median error of {2.8}%, none with {12}",
            natural.cell(eight, "frames", 1),
            natural.cell(eight, "rows lost"),
            natural.cell(eight, "median"),
            natural.cell(("images' own rows", "6,144 (12 N)"), "frames", 1),
        ),
    ]


def layer() -> list[Statement]:
    """docs/results/layer.md."""
    return [says("their upper ends reach {4.7} points", layer_reach("layer/cifar10"))]


def transfer() -> list[Statement]:
    """docs/results/transfer.md."""
    over = {pair: transferred("cifar10", *pair) for pair in (*((one, "VGG-16") for one, _ in FEATURES), *FEATURES)}
    (count, none), (as_many, stands) = features_differ("cifar10"), features_differ("cifar100")
    assert not none
    return [
        says(
            "VGG-OPU higher gains {−3.4} to {4.1} points and VGG-OPU lower {0.4} to {29.5}; the layer adds {−0.2} to {1.2} to "
            "the features of the first, {−0.5} to {0.5} to those of the second. Of {64} comparisons",
            *(of(points) for points in over.values() for of in (least, most)),
            count,
        ),
        says(
            "Of {64} comparisons with the features one stands: under MI-DI at the largest radius the higher "
            "network keeps {4.1} points",
            as_many,
            *(points for points, _ in stands),
        ),
    ]


DETAILS = {
    f"docs/results/{page.__name__.replace('_', '-')}.md": page
    for page in (
        white_box,
        ablation,
        adversarial_training,
        audit,
        black_box,
        extraction,
        layer,
        noise,
        retrieval,
        secret,
        service,
        transfer,
    )
}
