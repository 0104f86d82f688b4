"""Is it the teaching signal? Networks below whose device other signals teach, each with the layer and without, under images that
were made on an ordinary network."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from groundglass.attacks import InputDiversity, TransferPGD
from groundglass.core.settings import Count, Positive
from groundglass.data import Dataset
from groundglass.results import Record
from groundglass.results.kinds import CRAFT
from groundglass.studies import kit
from groundglass.studies.cells.check import Check, CheckCell, Found, check_cells, entries
from groundglass.studies.cells.craft import CommonCell, CraftCell, TransferCell
from groundglass.studies.cells.network import NetworkCell, PlaceCell, TrainCell
from groundglass.studies.engine.cell import Cell, key_of
from groundglass.training import Credit
from groundglass.training.classifier import FINE_TUNING

#: The teaching signals beside hybrid DFA and backpropagation.
SIGNALS: tuple[Credit, ...] = ("feedback-alignment", "sign-symmetry", "direct-feedback", "estimated-derivative")
_STEPS = 20


@dataclass(frozen=True)
class Taught:
    """A network with the layer, and its features under a linear classifier of the same bits."""

    defended: NetworkCell
    without: PlaceCell

    @property
    def both(self) -> tuple[NetworkCell, NetworkCell]:
        return self.defended, self.without


def taught(config: kit.TargetsConfig, dataset: Dataset) -> list[Taught]:
    """VGG-OPU by each signal: by hybrid DFA first, by the four others, and on features that backpropagation taught.

    In two stages the signal teaches the features under their linear head. Two are the exceptions: an estimated derivative is that
    of the device, which is there from the start; and backpropagation cannot pass a device, so that its features are always
    taught under a linear head.
    """
    device, own = kit.device_cell(config), kit.targets(config, dataset)[1]
    found = [_without(config, own, own.features if isinstance(own, PlaceCell) else own)]
    for signal in SIGNALS:
        name = f"VGG-OPU {signal}"
        if config.classifier is None or signal == "estimated-derivative":
            whole = kit.hybrid_network(config, dataset, name, device, credit=signal)
            found.append(_without(config, whole, whole))
        else:
            below = kit.hybrid_network(config, dataset, f"VGG-DFA {signal}", credit=signal)
            found.append(_without(config, kit.placed_network(config, name, below, device), below))
    below = kit.hybrid_network(config, dataset, "VGG-BP", encoding="float", credit="bp")
    placed = kit.placed_network(config, "VGG-OPU bp", below, device, **_FITTED)
    return [*found, _without(config, placed, below)]


# Of features that are there only the classifier is new: with more, another signal would teach what is compared.
_FITTED: dict[str, Any] = {"training": FINE_TUNING, "frozen": "below device"}


def _without(config: kit.TargetsConfig, defended: NetworkCell, below: TrainCell) -> Taught:
    return Taught(defended, kit.placed_network(config, f"{defended.name} without layer", below, None, **_FITTED))


def transferred(
    config: kit.TargetsConfig, dataset: Dataset, n_images: Count, radii: tuple[Positive, ...]
) -> Iterator[TransferCell]:
    """Images made on VGG-16 and tried on each network, with the layer and without: those that all get right.

    Args:
        radii: L-inf, pixel units.
    """
    source = kit.baseline_network(config, dataset)
    targets = [one for pair in taught(config, dataset) for one in pair.both]
    common = CommonCell((source, *targets), n_images)
    attacks = {
        "PGD": TransferPGD(random_start=False, keep="last"),
        "MI-DI": TransferPGD(momentum=1.0, diversity=InputDiversity()),
    }
    shared: dict[str, Any] = {
        "common": common,
        "sources": ((source, "bp"),),
        "seed": config.seed,
        "purpose": "defences",
    }
    for eps in radii:
        for label, attack in attacks.items():
            steps = replace(attack, steps=_STEPS, step_size=2.5 * eps / _STEPS)
            made = CraftCell(label=label, attack=steps, eps=eps, **shared)
            yield from (TransferCell(made, target) for target in targets)


#: Of the images, at the largest radius: fewer, and an attack is too weak on its own network to say anything of others.
_FOOLED = 0.9


def _source_fooled(records: Sequence[Record]) -> Found:
    made = entries(records, CRAFT)
    largest = max(one.config.eps for one in made)
    shares: dict[str, list[float]] = {}
    for one in made:
        if one.config.eps == largest:
            shares.setdefault(one.config.label, []).append(one.result.success.share)
    fewest = {label: min(each) for label, each in shares.items()}
    return Found(
        all(share >= _FOOLED for share in fewest.values()), {label: round(share, 4) for label, share in fewest.items()}
    )


#: A sign that a figure of transferred attacks is not what it seems.
CHECKS = (
    Check(
        "images made on VGG-16 fool it",
        f"at the largest radius at least {_FOOLED:.0%} of the images fool the network that they were made on",
        _source_fooled,
    ),
)


def checks(cells: Iterable[Cell]) -> list[CheckCell]:
    """Of the images that were made, over all repeats; none where none were."""
    made = {key_of(cell.crafted): cell.crafted for cell in cells if isinstance(cell, TransferCell)}
    return check_cells(CHECKS, tuple(made.values())) if made else []
