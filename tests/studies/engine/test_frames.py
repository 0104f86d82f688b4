"""Frames that a training takes of a device that was given: as many as it is told to take."""

from typing import Any

import pytest
import torch

from groundglass.data import ImageSet
from groundglass.models import ModelSpec, build
from groundglass.optics import SimulatedOPU
from groundglass.optics.counted import counted
from groundglass.results.kinds.network import DeviceConfig, TrainConfig
from groundglass.studies.engine.frames import frames_of
from groundglass.studies.engine.plan import Plan, Unit
from groundglass.studies.recipe import described
from groundglass.training import TRADES, Freezing, Growing, HybridDFA, PGDTraining, TrainingConfig, train

SPEC = ModelSpec(width=0.05, classes=3, mean=(0.5,) * 3, std=(0.5,) * 3, dropout=0.1, device_in=32, device_out=64)
IMAGES = ImageSet(
    "noise", "train", torch.randint(0, 256, (40, 3, 32, 32), dtype=torch.uint8), torch.arange(40) % 3, ("r", "g", "b")
)
LATE: dict[str, Any] = {"growing": Growing(until=0.5), "freezing": Freezing(after=0.5)}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        LATE,
        {**LATE, "average": 0.5},
        {**LATE, "adversarial": PGDTraining(eps=0.1, steps=2, rule="dfa")},
        {"adversarial": TRADES(eps=0.1, steps=2, rule="dfa")},
    ],
    ids=("plain", "small and still", "averaged", "pgd", "trades"),
)
def test_a_training_takes_the_frames_that_were_told(settings: dict[str, Any]) -> None:
    """A small image takes one as a whole one does, whatever time it saves."""
    config = TrainingConfig(epochs=2, batch_size=20, learning_rate=0.001, **settings)
    device = counted(SimulatedOPU.create(32, 64, seed=1))
    train(build(SPEC, device=device, seed=2), IMAGES, config, credit=HybridDFA(), seed=0)
    camera: Any = None
    given = DeviceConfig(in_features=32, out_features=64, camera=camera, given="0" * 32)
    told = {**described(config), "credit": "hybrid-dfa"}
    network = TrainConfig(model={"width": 0.05, "classes": 3, "device_out": 64}, training=told, data="", seed=0)
    units = [Unit("device", "device", "", given, ()), Unit("network", "train", "", network, ("device",))]
    assert frames_of(Plan(units, train=len(IMAGES), test=7), "network") == device.frames + 7
