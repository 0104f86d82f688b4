"""Ridge regression on a device's features: accuracy on scikit-learn's digits against the number of features.

    python benchmarks/opu_map.py --figure docs/figures     # the table, and opu-map.svg and opu-map.png

Beside `OPUMap`: scikit-learn's `RBFSampler`, and both kernels without features, exact (`Nystroem` on all training images).

- 1,797 digits of 8 x 8, a third of them for the test, split by each seed; a fresh map for each seed as well.
- `RidgeClassifierCV` takes its penalty, and nothing else, from the training images. The width of RBFSampler's kernel (among
  0.0002, 0.0005 and 0.001) and OPUMap's levels (among 4, 8 and 16) were chosen by the exact kernels' accuracy on other splits of
  the same images, seeds 100 to 104: `--choose`.
"""

import argparse
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
from sklearn.datasets import load_digits
from sklearn.kernel_approximation import Nystroem, RBFSampler
from sklearn.linear_model import RidgeClassifierCV
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.model_selection import train_test_split

from groundglass.core.platform import machine, versions
from groundglass.features import OPUMap, Thermometer, optical_kernel
from groundglass.report.drawing import Folder, drawing_style
from groundglass.report.figure import Curve, save_curves
from groundglass.report.style import Ink, Style

COUNTS = (30, 100, 300, 1000, 3000)
PENALTIES = np.logspace(-5, 2, 8)
LEVELS, GAMMA = 16, 0.0005
LOOKS = {
    "OPUMap": Style(Ink("#0b5fa6", "#5aaef3"), "o"),
    "RBFSampler": Style(Ink("#b8560f", "#f59a55"), "^", hollow=True),
}


class Digits:
    """A split into training and test images."""

    def __init__(self, seed: int) -> None:
        images, labels = load_digits(return_X_y=True)
        self.train, self.test, self._train_labels, self._test_labels = train_test_split(
            images, labels, test_size=1 / 3, stratify=labels, random_state=seed
        )

    def accuracy(self, train: np.ndarray, test: np.ndarray) -> float:
        """Of ridge regression on these features."""
        model = RidgeClassifierCV(PENALTIES).fit(train, self._train_labels)
        return 100 * float(model.score(test, self._test_labels))

    def of_map(self, features: OPUMap | RBFSampler) -> float:
        return self.accuracy(features.fit_transform(self.train), features.transform(self.test))

    def of_kernel(self, inner: np.ndarray, outer: np.ndarray) -> float:
        """With the exact kernel among the training images, and of test images with them."""
        whole = Nystroem(kernel="precomputed", n_components=len(inner)).fit(inner)
        return self.accuracy(whole.transform(inner), whole.transform(outer))

    def of_optical_kernel(self, levels: int) -> float:
        encoder = Thermometer(levels, spaced="evenly").fit(self.train)
        train, test = encoder.encode(self.train), encoder.encode(self.test)
        return self.of_kernel(optical_kernel(train, train), optical_kernel(test, train))

    def of_rbf_kernel(self, gamma: float) -> float:
        return self.of_kernel(rbf_kernel(self.train, gamma=gamma), rbf_kernel(self.test, self.train, gamma=gamma))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--figure", type=Path, help="folder for the figure")
    parser.add_argument("--choose", action="store_true", help="how the kernel's width and the levels were chosen")
    args = parser.parse_args()
    print(machine(), versions())
    if args.choose:
        splits = [Digits(seed) for seed in range(100, 105)]
        for gamma in (0.0002, 0.0005, 0.001):
            print(f"gamma {gamma}: {fmean(one.of_rbf_kernel(gamma) for one in splits):.2f}")
        for levels in (4, 8, 16):
            print(f"{levels} levels: {fmean(one.of_optical_kernel(levels) for one in splits):.2f}")
        return

    splits = [Digits(seed) for seed in range(args.seeds)]
    found: dict[str, list[list[float]]] = {name: [] for name in LOOKS}
    print("\n| features | OPUMap | RBFSampler |\n|---|---|---|")
    for count in COUNTS:
        encoder = Thermometer(LEVELS, spaced="evenly")
        of = {
            "OPUMap": [one.of_map(OPUMap(count, encoder=encoder, random_state=i)) for i, one in enumerate(splits)],
            "RBFSampler": [
                one.of_map(RBFSampler(gamma=GAMMA, n_components=count, random_state=i)) for i, one in enumerate(splits)
            ],
        }
        for name, values in of.items():
            found[name].append(values)
        print(f"| {count:,} | {said(of['OPUMap'])} | {said(of['RBFSampler'])} |", flush=True)
    exact = [one.of_optical_kernel(LEVELS) for one in splits], [one.of_rbf_kernel(GAMMA) for one in splits]
    print(f"| exact kernel | {said(exact[0])} | {said(exact[1])} |")
    if args.figure:
        draw(args.figure, found, fmean(exact[0]))


def draw(folder: Path, found: dict[str, list[list[float]]], exact: float) -> None:
    """Means over the seeds, and the least and the largest as a band."""
    lines = [
        Curve(name, COUNTS, [fmean(v) for v in rows], LOOKS[name], [min(v) for v in rows], [max(v) for v in rows])
        for name, rows in found.items()
    ]
    with drawing_style():
        save_curves(
            Folder(folder),
            "opu-map",
            lines,
            caption="",
            x="features M",
            y="test accuracy, %",
            y_range=(70, 100),
            x_log=True,
            x_ticks={count: f"{count:,}" for count in COUNTS},
            level=("exact kernel of OPUMap", exact),
            right=0.72,
        )


def said(values: list[float]) -> str:
    """Mean and standard deviation over the seeds."""
    return f"{fmean(values):.1f} ± {stdev(values):.1f}"


if __name__ == "__main__":
    main()
