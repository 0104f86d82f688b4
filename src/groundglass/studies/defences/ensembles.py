"""Ensembles, which the paper leaves to future work: layers with different U, one classifier or votes, at several depths."""

from dataclasses import replace
from typing import Any

from groundglass.core.settings import Count
from groundglass.data import Dataset
from groundglass.studies import kit
from groundglass.studies.adversarial_training.study import AdversarialTrainingConfig, hardened
from groundglass.studies.cells.ensemble import EnsembleCell

#: Max-pools of VGG-16 after which the parts of one of the ensembles take their features.
DEPTHS = (3, 4, 5)
#: Parts of every ensemble. An odd number: few votes are equal.
PARTS = len(DEPTHS)


def ensembles(config: AdversarialTrainingConfig, dataset: Dataset, epochs: Count) -> tuple[EnsembleCell, ...]:
    """The cells that train them on the convolutions of VGG-OPU, and of VGG-OPU AT; beside votes of linear heads, the control.

    Args:
        epochs: of their heads; else they are trained as VGG-OPU is.
    """
    shared: dict[str, Any] = {
        "hidden": config.device_in,
        "parts": PARTS,
        "training": replace(config.hybrid, epochs=epochs),
        "data": config.data,
        "seed": config.seed,
    }
    plain, (_, robust) = kit.targets(config, dataset)[1], hardened(config, dataset)
    # The first is the device of VGG-OPU itself.
    owners = ["", *(f"part {number}" for number in range(2, PARTS + 1))]
    devices = tuple(kit.device_cell(config, owner=owner) for owner in owners)
    return (
        EnsembleCell(name="3 VGG-OPU, votes", features=plain, devices=devices, votes=True, **shared),
        EnsembleCell(name="3 VGG-OPU, one classifier", features=plain, devices=devices, votes=False, **shared),
        EnsembleCell(name="VGG-OPU at 3 depths", features=plain, devices=devices, depths=DEPTHS, votes=False, **shared),
        EnsembleCell(name="3 linear heads, votes", features=plain, votes=True, **shared),
        EnsembleCell(name="3 VGG-OPU AT, votes", features=robust, devices=devices, votes=True, **shared),
    )
