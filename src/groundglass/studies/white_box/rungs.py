"""Cells of the rungs that gradients through the whole network do not stand on, and of what luck and labels give an attacker."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from groundglass.adaptive import check_rules
from groundglass.attacks import RayS, Square
from groundglass.core.settings import Count, Positive, Settings
from groundglass.data import Dataset
from groundglass.studies import kit
from groundglass.studies.cells.attack import AttackCell
from groundglass.studies.cells.draws import DrawsCell
from groundglass.studies.cells.network import DeviceCell, NetworkCell
from groundglass.studies.cells.query import QueryCell
from groundglass.studies.cells.retrieve import RetrieveCell
from groundglass.studies.engine.cell import Cell

_BELOW = ("own-head", "bit-flip")


@dataclass(frozen=True, kw_only=True)
class LadderConfig(Settings):
    """What the access ladder needs beside the attacks of the figure.

    Attributes:
        eps_paper: L-inf radii on the paper's axis, some of those of the figure.
        n_images: the first so many are attacked by queries, with fresh draws, and with a retrieved U.
        queries: for an image; of an attack that is made at each radius, at each.
        draws: of each attacker of `draw_rules`, the one of the figure included.
        labels: labelled images that the attacker's own head is fitted to; `other_labels`: at the smallest radius also to these.
        frames: that U is retrieved from, a multiple of N.
    """

    eps_paper: tuple[kit.PaperRadius, ...] = (0.01, 0.02, 0.05)
    n_images: Count = 200
    queries: Count = 1000
    draws: Count = 20
    draw_rules: tuple[str, ...] = ("dfa-fresh", "fa", "bpda-drawn")
    labels: Count = 1000
    other_labels: tuple[Count, ...] = (100, 10_000)
    frames: Positive = 12

    def __post_init__(self) -> None:
        super().__post_init__()
        check_rules(self.draw_rules)
        if not self.eps_paper:
            raise ValueError("`eps_paper` of the ladder is empty: it needs one radius at least")


def ladder_cells(config: Any, dataset: Dataset, defended: NetworkCell, figure: Sequence[AttackCell]) -> list[Cell]:
    """The cells of `config.ladder`, radius by radius where a larger ball leaves alone what a smaller one fooled."""
    ladder: LadderConfig = config.ladder
    balls = kit.on_paper_axis(dataset, *sorted(ladder.eps_paper))
    return [
        *_below_the_layer(config, defended, balls),
        *_asking(config, defended, balls),
        *_drawn_again(ladder, defended, figure, balls),
        *_with_the_device(config, defended, balls),
    ]


def _below_the_layer(config: Any, defended: NetworkCell, balls: Sequence[dict[str, Any]]) -> Iterator[AttackCell]:
    """Who has the weights below the layer alone; and their own head against the number of labels."""
    ladder: LadderConfig = config.ladder
    for ball in balls:
        for rule in _BELOW:
            yield kit.attack_cell(config, defended, rule, config.attack, labels=ladder.labels, **ball)
    for labels in ladder.other_labels:
        swept: dict[str, Any] = {**balls[0], "labels": labels, "purpose": "sweep"}
        yield kit.attack_cell(config, defended, "own-head", config.attack, **swept)


def _asking(config: Any, defended: NetworkCell, balls: Sequence[dict[str, Any]]) -> Iterator[QueryCell]:
    """Who sees labels, which one run tells of at all radii, or scores."""
    ladder: LadderConfig = config.ladder
    shared: dict[str, Any] = {
        "target": defended,
        "budget": ladder.queries,
        "n_images": ladder.n_images,
        "seed": config.seed,
        "purpose": "ladder",
    }
    yield QueryCell(attack=RayS(), nearest=True, **balls[0], **shared)
    smaller = None
    for ball in balls:
        smaller = QueryCell(attack=Square(), smaller=smaller, **ball, **shared)
        yield smaller


def _drawn_again(
    ladder: LadderConfig, defended: NetworkCell, figure: Sequence[AttackCell], balls: Sequence[dict[str, Any]]
) -> Iterator[DrawsCell]:
    """Who draws a matrix, and draws it again: one draw is luck."""
    for rule in ladder.draw_rules:
        smaller = None
        for ball in balls:
            (first,) = (c for c in figure if (c.target, c.rule, c.eps_paper) == (defended, rule, ball["eps_paper"]))
            smaller = DrawsCell(first=first, draws=ladder.draws, smaller=smaller, n_images=ladder.n_images)
            yield smaller


def _with_the_device(config: Any, defended: NetworkCell, balls: Sequence[dict[str, Any]]) -> Iterator[AttackCell]:
    """Who may measure the device, and has retrieved U from it."""
    ladder: LadderConfig = config.ladder
    device = next(cell for cell in defended.inputs if isinstance(cell, DeviceCell))
    frames = round(ladder.frames * device.in_features)
    # As the study of retrieval plans it: in a run of both it is made once.
    cell = RetrieveCell(device=device, frames=frames, kept=True, seed=config.seed, purpose="price")
    for ball in balls:
        changes: dict[str, Any] = {**ball, "n_images": ladder.n_images, "purpose": "ladder", "retrieved": cell}
        yield kit.attack_cell(config, defended, "bpda-retrieved", config.attack, **changes)
