"""What an attack does to pictures: before, the change (amplified), after, and what the network says."""

import base64
import io
from dataclasses import dataclass
from typing import Any

import numpy as np

from groundglass.adaptive.attackers import attacker
from groundglass.core.plots import load_matplotlib
from groundglass.report.style import DEFENDED
from groundglass.report.words import method, norm_name, radius
from groundglass.results import Run
from groundglass.results.kinds import ATTACK

_FACTORS = (1, 2, 3, 4, 5, 8, 10, 15, 20, 25, 30, 40, 50, 60, 80, 100)


@dataclass(frozen=True)
class Picture:
    """One image under attack; the three pictures are data URIs of PNG."""

    original: str
    perturbation: str
    adversarial: str
    label: str
    before: str
    after: str
    outcome: str


@dataclass(frozen=True)
class Wall:
    """The pictures of one attack. `factor`: by how much the perturbations are amplified; grey is no change."""

    title: str
    defended: bool
    factor: int
    pictures: tuple[Picture, ...]


def walls(run: Run) -> list[Wall]:
    """Images from the attacks that kept any (arrays `original` and `adversarial` [k, 3, h, w] in [0, 1]).

    Those of the defended network come first.
    """
    found = []
    for entry in run.entries(ATTACK):
        if entry.config.gallery and entry.record.arrays is not None:
            config = entry.config
            how = "" if config.attack == "RandomNoise" else f", {method(config.attack)}"
            ball = f"{norm_name(config.norm)} ε = {radius(config.norm, config.eps)}"
            title = f"{config.model} ← {attacker(config.rule).label}{how}, {ball}"
            factor, pictures = run.per_image(entry.key, lambda arrays: _pictures(arrays, run.classes))
            found.append(Wall(title, config.model == DEFENDED, factor, pictures))
    return sorted(found, key=lambda wall: not wall.defended)


def _pictures(arrays: dict[str, np.ndarray], classes: tuple[str, ...]) -> tuple[int, tuple[Picture, ...]]:
    def name(index: int) -> str:
        return classes[index] if 0 <= index < len(classes) else f"class {index}"

    original, adversarial = (arrays[which].astype(np.float64) for which in ("original", "adversarial"))
    delta = adversarial - original
    factor = amplification(float(np.abs(delta).max(initial=0.0)))
    pictures = []
    for i in range(len(original)):
        label, after, before = (int(arrays[which][i]) for which in ("label", "prediction", "clean_prediction"))
        pictures.append(
            Picture(
                original=png_uri(original[i]),
                perturbation=png_uri(0.5 + factor * delta[i]),
                adversarial=png_uri(adversarial[i]),
                label=name(label),
                before=name(before),
                after=name(after),
                outcome="wrong before" if before != label else "fooled" if after != label else "not fooled",
            )
        )
    return factor, tuple(pictures)


def amplification(largest: float) -> int:
    """The largest round factor that keeps every change within the grey scale: half of it each way."""
    fitting = [factor for factor in _FACTORS if factor * largest <= 0.5 + 1e-6]
    return fitting[-1] if fitting else 1


def png_uri(image: np.ndarray) -> str:
    """An image [3, h, w], clipped to [0, 1], as a data URI of PNG. Of one with other channels the first is shown, in grey."""
    load_matplotlib()
    from matplotlib.image import imsave

    no_version: Any = {"Software": None}
    buffer, pixels = io.BytesIO(), np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8)
    if len(pixels) != 3:
        pixels = np.repeat(pixels[:1], 3, axis=0)
    imsave(buffer, pixels.transpose(1, 2, 0), format="png", metadata=no_version)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
