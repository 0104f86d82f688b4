"""The recipe `workstation`, for networks meant to be as good as the paper's. Its widths and schedules are here and nowhere else.

They are what `groundglass run frontier` is for: change them here, and every study of the recipe has them.
"""

from dataclasses import replace
from typing import Any

from groundglass.data import Augment
from groundglass.training import Freezing, Growing, PGDTraining, Precision, TrainingConfig
from groundglass.training.classifier import FINE_TUNING

#: Of both VGG-16s. On CIFAR-10 this reaches 87.4% in its epochs (docs/log.md), where 88 is wanted; of a hundred classes a
#: narrow network learns too little.
WIDTH = {"cifar10": 0.25, "cifar100": 0.5}
EPOCHS = {"cifar10": 30, "cifar100": 50}
#: Of the networks of lower accuracy, five points or so below, as in the paper's Figure 4.
LOWER_EPOCHS = {"cifar10": 5, "cifar100": 15}
#: Of adversarial training, each of whose steps takes three times as long.
HARD_EPOCHS = 12
#: What steps down through a fixed random matrix takes less of.
RATE, HYBRID_RATE = 0.1, 0.05
#: Studies that are repeated with other seeds and other matrices, and how often they are made in all.
REPEATED, SEEDS = ("white-box", "transfer"), 3
#: That all records together may take, of both data sets and all seeds.
CORE_HOURS = 40


def training(data: str, precision: Precision) -> TrainingConfig:
    """How VGG-16 is trained."""
    return TrainingConfig(
        epochs=EPOCHS[data],
        learning_rate=RATE,
        weight_decay=5e-4,
        label_smoothing=0.1,
        augment=Augment(crop=4, flip=True, rotation=0.0),
        growing=Growing(start=0.5, until=0.6),
        freezing=Freezing(layers=4, after=0.75),
        precision=precision,
    )


def networks(data: str, seed: int, precision: Precision) -> dict[str, Any]:
    """The settings of `kit.TargetsConfig`. CIFAR-10 is trained whole, as the paper's white-box networks are; CIFAR-100 in two
    stages."""
    baseline = training(data, precision)
    shared = {
        "data": data,
        "width": WIDTH[data],
        "device_in": 512,
        "device_out": 8000,
        "baseline": baseline,
        "hybrid": replace(baseline, learning_rate=HYBRID_RATE),
        "seed": seed,
        "audit_images": 500,
    }
    return {**shared, "device_in": 1024, "classifier": FINE_TUNING} if data == "cifar100" else shared


def lower(usual: TrainingConfig, data: str) -> TrainingConfig:
    """The training of a network of lower accuracy."""
    return replace(usual, epochs=LOWER_EPOCHS[data])


def hardened_networks(data: str, seed: int, precision: Precision) -> dict[str, Any]:
    """The settings of `AdversarialTrainingConfig`."""
    return {
        **networks(data, seed, precision),
        "adversarial": PGDTraining(eps=8 / 255, steps=2),
        "epochs": HARD_EPOCHS,
    }
