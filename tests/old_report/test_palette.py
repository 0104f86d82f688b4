"""Colours that meet in a figure can be told apart, by the colour-blind too, and thin lines are seen on their ground."""

import itertools

import numpy as np
import pytest

from groundglass.old_report.style import (
    ATTACKER_INK,
    FAINT,
    GROUND,
    INK,
    KIND_INK,
    QUERY_INK,
    TRANSFER_INK,
    Ink,
    marker,
)

# Machado, Oliveira and Fernandes 2009, full severity; they act on linear RGB.
SEEN_BY = {
    "everyone": np.eye(3),
    "protanopia": np.array([[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]]),
    "deuteranopia": np.array([[0.3673, 0.8606, -0.2280], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]]),
    "tritanopia": np.array([[1.2555, -0.0767, -0.1788], [-0.0784, 0.9308, 0.1476], [0.0047, 0.6914, 0.3039]]),
}
_TARGETS = {"vgg-16", "vgg-16-lower", "vgg-opu-higher", "vgg-opu-lower"}
_WHITE_BOX = ("bp", "dfa", "bpda-fit-linear", "exact")  # what the transfer figures show beside transferred attacks
TOGETHER = {
    "attackers": ATTACKER_INK,
    "query attackers": QUERY_INK,
    "targets": {name: TRANSFER_INK[name] for name in sorted(_TARGETS)},
    "transferred": {name: colour for name, colour in TRANSFER_INK.items() if name not in _TARGETS}
    | {name: ATTACKER_INK[name] for name in _WHITE_BOX},
    "kinds of device": KIND_INK,
}
ALL = ATTACKER_INK | QUERY_INK | TRANSFER_INK | KIND_INK


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
    seen = {name: lab(SEEN_BY[eyes] @ linear(getattr(ink, theme))) for name, ink in TOGETHER[figure].items()}
    apart = {(a, b): float(np.linalg.norm(seen[a] - seen[b])) for a, b in itertools.combinations(seen, 2)}
    closest = min(apart, key=lambda pair: apart[pair])
    assert apart[closest] >= 8, f"{closest}: {apart[closest]:.1f}"


@pytest.mark.parametrize("name", ALL)
def test_a_thin_line_is_seen_on_its_ground(name: str) -> None:
    ink: Ink = ALL[name]
    assert contrast(ink.light, GROUND.light) >= 3
    assert contrast(ink.dark, GROUND.dark) >= 3


def test_words_are_read_on_their_ground() -> None:
    for ink in (INK, FAINT):
        assert contrast(ink.light, GROUND.light) >= 4.5
        assert contrast(ink.dark, GROUND.dark) >= 4.5


def test_no_two_things_of_one_figure_share_a_marker() -> None:
    for names in (ATTACKER_INK, QUERY_INK, TOGETHER["targets"], KIND_INK):
        assert len({marker(name) for name in names}) == len(names)


def test_a_colour_means_one_thing_on_a_page() -> None:
    assert len({ink.light for ink in ALL.values()}) == len({ink.dark for ink in ALL.values()}) == len(ALL)
