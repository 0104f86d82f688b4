"""Ensembles, which the paper leaves to future work: layers with different U, one classifier or votes, at several depths."""

from dataclasses import replace
from typing import Any

from groundglass.core.settings import Count
from groundglass.data import Dataset
from groundglass.studies import kit
from groundglass.studies.adversarial_training.study import AdversarialTrainingConfig, hardened
from groundglass.studies.cells.ensemble import EnsembleCell

#: Parts of an ensemble of one depth.
PARTS = 4
#: Max-pools of VGG-16 after which the parts of the other one take their features.
DEPTHS = (3, 4, 5)


def ensembles(config: AdversarialTrainingConfig, dataset: Dataset, epochs: Count) -> tuple[EnsembleCell, ...]:
    """The cells that train them on the convolutions of VGG-OPU, and of VGG-OPU AT; beside votes of linear heads, the control.

    Args:
        epochs: of their heads; else they are trained as VGG-OPU is.
    """
    shared: dict[str, Any] = {
        "hidden": config.device_in,
        "training": replace(config.hybrid, epochs=epochs),
        "data": config.data,
        "seed": config.seed,
    }
    plain, (_, robust) = kit.targets(config, dataset)[1], hardened(config, dataset)
    # The first is the device of VGG-OPU itself.
    owners = ["", *(f"part {number}" for number in range(2, PARTS + 1))]
    devices = tuple(kit.device_cell(config, owner=owner) for owner in owners)
    four: dict[str, Any] = {**shared, "parts": PARTS}
    return (
        EnsembleCell(name="4 VGG-OPU, votes", features=plain, devices=devices, votes=True, **four),
        EnsembleCell(name="4 VGG-OPU, one classifier", features=plain, devices=devices, votes=False, **four),
        EnsembleCell(
            name="VGG-OPU at 3 depths",
            features=plain,
            devices=devices[: len(DEPTHS)],
            depths=DEPTHS,
            parts=len(DEPTHS),
            votes=False,
            **shared,
        ),
        EnsembleCell(name="4 linear heads, votes", features=plain, votes=True, **four),
        EnsembleCell(name="4 VGG-OPU AT, votes", features=robust, devices=devices, votes=True, **four),
    )
