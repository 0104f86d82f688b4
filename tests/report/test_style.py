"""Colours that meet in a figure can be told apart, by the colour-blind too, and thin lines are seen on their ground."""

import itertools

import numpy as np
import pytest

from groundglass.adaptive.attackers import ATTACKERS, FURTHER_QUERIES, QUERIES, RULES, TRANSFERS
from groundglass.report.style import BAD, FAINT, GOOD, GROUND, INK, css_names, of_attacker, of_name

# Machado, Oliveira and Fernandes 2009, full severity; they act on linear RGB.
SEEN_BY = {
    "everyone": np.eye(3),
    "protanopia": np.array([[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]]),
    "deuteranopia": np.array([[0.3673, 0.8606, -0.2280], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]]),
    "tritanopia": np.array([[1.2555, -0.0767, -0.1788], [-0.0784, 0.9308, 0.1476], [0.0047, 0.6914, 0.3039]]),
}
WHITE_BOX = ("bp", "dfa", "bpda-fit-linear", "exact")  # what the transfer figures show beside transferred attacks


TOGETHER = {
    "rules": {one.name: of_attacker(one.name) for one in RULES},
    "queries": {one.name: of_attacker(one.name) for one in (*QUERIES, *FURTHER_QUERIES)},
    "transfers": {name: of_attacker(name) for name in (*WHITE_BOX, *(one.name for one in TRANSFERS))},
    "networks": {name: of_name(name) for name in ("VGG-16", "VGG-16 lower", "VGG-OPU higher", "VGG-OPU lower")},
    "devices": {name: of_name(name) for name in ("dense", "procedural", "structured")},
}


def linear(colour: str) -> np.ndarray:
    rgb = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIE L*a*b*, D65, of linear RGB."""
    to_xyz = np.array([[0.4125, 0.3576, 0.1804], [0.2127, 0.7152, 0.0722], [0.0193, 0.1192, 0.9503]])
    x, y, z = np.cbrt(np.maximum(to_xyz @ np.clip(rgb, 0, 1) / np.array([0.9505, 1, 1.0888]), 0.001))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def contrast(one: str, other: str) -> float:
    """As in WCAG 2."""
    low, high = sorted(float(np.array([0.2126, 0.7152, 0.0722]) @ linear(colour)) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("eyes", SEEN_BY)
@pytest.mark.parametrize("figure", TOGETHER)
def test_colours_of_a_figure_can_be_told_apart(figure: str, eyes: str, theme: str) -> None:
    seen = {name: lab(SEEN_BY[eyes] @ linear(getattr(one.ink, theme))) for name, one in TOGETHER[figure].items()}
    apart = {(a, b): float(np.linalg.norm(seen[a] - seen[b])) for a, b in itertools.combinations(seen, 2)}
    closest = min(apart, key=lambda pair: apart[pair])
    assert apart[closest] >= 8, f"{closest}: {apart[closest]:.1f}"


@pytest.mark.parametrize(
    "colour", [colour for colour in css_names() if css_names()[colour][0] not in ("--grid", "--ground")]
)
def test_a_line_or_word_is_seen_on_its_ground(colour: str) -> None:
    _, ink = css_names()[colour]
    least = 4.5 if ink in (INK, FAINT, GOOD, BAD) else 3
    assert min(contrast(ink.light, GROUND.light), contrast(ink.dark, GROUND.dark)) >= least


@pytest.mark.parametrize("figure", TOGETHER)
def test_no_two_things_of_a_figure_share_a_marker(figure: str) -> None:
    markers = [one.marker for name, one in TOGETHER[figure].items() if figure != "transfers" or name not in WHITE_BOX]
    assert len(set(markers)) == len(markers)


def test_colours_and_labels_mean_one_thing_on_a_page_and_attackers_say_what_they_do() -> None:
    found = css_names()
    assert len({ink.dark for _, ink in found.values()}) == len({name for name, _ in found.values()}) == len(found)
    assert {one.light for one in ATTACKERS} < found.keys()
    assert len({one.label for one in (*RULES, *QUERIES)}) == len(RULES) + len(QUERIES)
    assert all(one.says[-1] in ".?" and one.says.count(". ") == 0 and one.source for one in ATTACKERS)
