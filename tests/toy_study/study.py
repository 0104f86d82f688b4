"""How bright the images of each class are: a study of one's own, with a kind of result of its own."""

from collections.abc import Sequence
from dataclasses import dataclass

from groundglass.results import Record
from groundglass.studies.engine.cell import Cell, Outcome
from groundglass.studies.engine.context import Context
from groundglass.studies.recipe import Recipe


@dataclass(frozen=True)
class BrightnessConfig:
    data: str
    seed: int
    classes: int = 3


@dataclass(frozen=True)
class BrightnessCell:
    label: int
    inputs: Sequence[Cell] = ()
    kind = "brightness"

    @property
    def name(self) -> str:
        return f"brightness of class {self.label}"

    def config(self) -> dict[str, int]:
        return {"label": self.label}

    def run(self, inputs: Sequence[Record], context: Context) -> Outcome:
        test = context.dataset.test
        images = test.floats()[test.labels == self.label]
        return Outcome({"brightness": float(images.mean()), "n_images": len(images)})


def cells(config: BrightnessConfig, dataset: object) -> list[Cell]:
    return [BrightnessCell(label) for label in range(config.classes)]


RECIPES = (
    Recipe("tiny", lambda data, seed, precision: BrightnessConfig(data, seed), ("shapes",), "a second", "brightness"),
)
