"""Where the numbers in the sentences of README.md, docs/claims.md and the pages of results come from.

A page's words with each number in braces, then one figure for each. Add a line when you add a number; a test says which
number has none, and which is not what the tables say.
"""

import re
from collections.abc import Callable

from tests.golden.prose import Statement
from tests.golden.statements.claims import claims
from tests.golden.statements.defences import defences
from tests.golden.statements.details import DETAILS
from tests.golden.statements.readme import readme
from tests.golden.statements.results import results

#: What a number beside it is no result: sizes, settings, names, radii.
SETTINGS = tuple(
    re.compile(pattern.replace(" ", r"\s+"))
    for pattern in (
        r"[\d.]+/25[56]|L2 \.25|ε 0?\.\d+",
        r"CIFAR-100?|VGG-16|ResNet-18|VGG-OPU|Zen 4|AVX-512|bfloat16|float32|24 GiB|8 bits|Python 3\.11",
        r"Figures? [234]|\b[Ss]eeds? \d(?:, \d)*(?: and \d)?|device seed \d|[SD] = \d(?:, \d)*(?: \+ S)?",
        r"[NM] = [\d,]+(?: and [\d,]+)?|M = 500|Zen 1|L2 (?:at |says the same: at )0?\.\d+",
        r"8,000 unless stated|\d+(?: and \d+)? N\b|[\d,]+ × [\d,]+",
        r"first \d+|first \d+ test|Holm at 5%|[\d,]+ comparisons|fresh draws are 20|probe of \.1|At \.1, where|wrong by 90%",
        r"[\d,]+ (?:public labels|noisy scores|grey levels|levels|rows a line|mean of|of 100 images)|of 500 is left|up to 20,000",
        r"at 16(?: and 64)?|at 64|1,000 and 15,000 queries",
        r"\d+ N frames|[\d,]+ (?:test )?images|[\d,]+ (?:queries|scores|labels|answers|epochs|redraws|streams)",
        r"95% \(Wilson\)|\[0, 1\]",
        r"\(the paper:? (?:100 and 70|5 points|72)\)|the paper: 10\b|the paper has (?:85 and 72|3 to 10)|the paper's \.\d+",
        r"8 to 12 epochs|(?:after|on) (?:1,000|5,000|15,000)",
        r"read noise of 16|16 levels|4 grey levels",
    )
)
#: More that is no result, on one page: what the paper says there.
QUOTED = {"docs/claims.md": (re.compile(r"^\*\*.*?\*\*|\(the paper: 100 and 70\)", re.MULTILINE),)}
#: Numbers of no table of tests/golden: what they are of. Words as the page has them.
ELSEWHERE = {
    "docs/results.md": {
        "without the networks that they share (.7 h)": "the trainings that studies of cifar10 share",
        "training takes some 7 times as long there": "docs/results/speed.md",
        "takes 1.07 times the step of backpropagation at quarter width, 0.98 times (0.94–1.00)": "benchmarks/hybrid_cost.py",
        "222 comparisons, Holm": "the family on the page of ablation",
        "100 minutes of frames and 19 to 60 days of one thread": "benchmarks/scaling.py, extrapolated",
        "10.4 and 13.6% (p = .08)": "its p: the page of adversarial-training",
        "5.9 and 1.6 h. [Defences]": "all work of cifar100, networks that are shared once",
        "The device is 12 times as fast": "docs/results/speed.md",
        "PGD 2.5 to 8.6 times the fastest peer": "the same",
        "query attacks 1.3 to 10.4 times the paper's port": "the same",
        "and 8 to 12 epochs": "recipe laptop",
        "trained for 3 epochs": "recipe laptop",
        "of 208 that both get right": "the images of black-box/cifar10",
        "of 86 images": "the images of noise/cifar10",
        "wrong by 90%": "a row of the retrieval's table",
        "clearly less (p = .002": "the page of adversarial-training",
        "the paper 100 and 70)": "the paper's Figure 3",
    },
    "docs/claims.md": {
        "leaves 15.7% in the median where ours leaves .26%": "benchmarks/retrieval_peers.py --published",
        "Holm over 222": "the family on the page of ablation",
        "takes 1.07 times the step of backpropagation at quarter width, .98 times (.94 to 1.00)": "benchmarks/hybrid_cost.py",
        "7 and 4 repeats in one run": "the same",
        "networks of 8 epochs": "recipe laptop",
        "a U wrong by 90%": "a row of the retrieval's table",
    },
    "docs/results/white-box.md": {
        "they leave 8 to 21, 6 to 14 and 21 to 26 of 100 images right": "the control without a ball, on the same pages",
        "`--precision float32`, 56.6 minutes": "the manifest of white-box/float32",
        "15.2 and 15.1 million weights, 14 to 16 times as many": "the networks' parameters",
        "where the paper has 72": "the paper",
        "leave 31.0% at .704/255, 1,000 32.0, 100 36.4": "the numbers of labels",
    },
    "docs/results/ablation.md": {
        "Queries: 500, 8/256": "recipe laptop",
        "hinders it clearly more than 8,000": "the device's usual M",
        "With 42 to 52 images a network": "those that each gets right of the first 100",
    },
    "docs/results/adversarial-training.md": {
        "3 steps in L∞ 8/255, 6 epochs": "the recipe then",
        "(p = .002, exact McNemar": "the page of cifar10",
        "(p = .08 after correction)": "the page of cifar100",
    },
    "docs/results/audit.md": {
        "which keep 0.0% in the worst case on CIFAR-10": "the same table, of the networks that are not shown"
    },
    "docs/results/black-box.md": {
        "(221 each)": "images that each gets right",
        "(82.2 and 81.8% clean); of the first 260": "the trainings of black-box/further",
        "212 and 216 are right, and 197 of both": "images that each gets right, and both",
        "again NES, bandits, Square and RayS, with 5,000 queries": "a setting",
        "(probes of .0001, its paper's, and of .05) and of tiled ES ((1+1) and CMA)": "settings",
        "(Zen 3, AVX2 alone)": "a machine",
        "all**: at .0001 it": "a setting",
        "With probes of .05 it": "a setting",
        "%, (1+1) ": "a strategy",
        "(182 and 179)": "the same on CIFAR-100",
        "where it has 100 and 70": "the paper's Figure 3",
        "chosen, it is 1 for both": "the settings that the run chose",
        "The paper has 1, 1 and 24 points fewer": "the paper's Figure 3",
        "fools 65% of VGG-16's images and 34% of VGG-OPU's": "a control on the page of cifar100",
    },
    "docs/results/defences.md": {
        "of the first 100, or 300 for networks": "recipe laptop",
        "any of the 13 that were tried": "the rows of the second table",
        "(p < .001), and it is not shown": "McNemar's tests on the page of defences/cifar100",
    },
    "docs/results/layer.md": {"all 95% intervals": "the usual confidence"},
    "docs/results/redraw.md": {"on 50,000 cached feature vectors": "the training images"},
    "docs/results/noise.md": {
        "about the 86 of 100 images": "images that are right",
        "a sum of 8,000 readings": "the device's M",
        "means of 4 or 16": "settings",
        "the mean of 16 alone": "a setting",
        "so 64 levels call": "a setting",
        "alone fools 41% at 4 levels": "a setting",
    },
    "docs/results/retrieval.md": {
        "flat up to 90%, then": "a row of the second table",
        "(141% away)": "the square root of two",
        "the 32% of the paper's 72 minutes": "the paper",
        "at 2 kHz": "the paper's device",
        "has a median error of .26% and no row above 10%; our multilateration 2.2% and 5.0%": "benchmarks/retrieval_peers.py",
        "15.7% and 66.6% (2e-6 from float readings). They take 4.8, 1.0 and 1.0 s": "the same",
    },
    "docs/results/secret.md": {
        "wrong by √2": "two independent draws",
        "7 images of 256, all one way": "the page",
        "95% interval 0.7 to 4.9": "the page",
        "p = .008, not corrected": "the page",
        "(220 of 259; 41 of 300 teach nothing)": "the record of the probe",
        "none of 300 points of VGG-16": "a trial, as the sentence says",
        "at most .1% where": "the test's setting",
        "the streams are 100 orders": "a setting",
    },
    "docs/results/service.md": {
        "U is retrieved for 64 of the rows": "a setting",
        "where 40 would have been allowed": "400,000 frames at one in 10,000",
        "with fewer than 4 frames an input": "the least of the retrieval methods",
    },
    "docs/results/transfer.md": {
        "160 comparisons with VGG-16, 64 with the features": "the families on the page",
        "the 1,026 that": "the common images",
        "every curve starts at 100%": "what common images are",
        "The paper has gains of 15 to 45 points": "the paper's Figure 4",
        "The paper has gains of 3 to 10 points": "the same",
        "The 738 of": "the common images",
        'for 8 epochs ("higher") and 3 ("lower")': "recipe laptop",
        "trained for 3 epochs": "the same",
    },
    "README.md": {"2 min 50 s from an empty environment": "one run of `make quick`"},
}

PAGES: dict[str, Callable[[], list[Statement]]] = {
    "README.md": readme,
    "docs/results.md": results,
    "docs/claims.md": claims,
    "docs/results/defences.md": defences,
    "docs/results/redraw.md": list,
    **DETAILS,
}
#: Pages whose sentences nothing holds, and why.
UNHELD = {
    "docs/results/scale.md": "costs and extrapolations of a benchmark, laws of a page",
    "docs/results/speed.md": "times of benchmarks",
}
