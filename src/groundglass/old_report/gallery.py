"""What an attack does to pictures: before, the change (amplified), after, and what the network says."""

import base64
import struct
import zlib
from dataclasses import dataclass

import numpy as np

from groundglass.core import DamagedFileError
from groundglass.old_report.cells import AttackCell, method, norm_name
from groundglass.old_report.sections import Rendered
from groundglass.old_report.study import Study
from groundglass.old_report.threat_models import attacker

_NICE_FACTORS = (1, 2, 3, 4, 5, 8, 10, 15, 20, 25, 30, 40, 50, 60, 80, 100)


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
    """The pictures of one attack.

    Attributes:
        factor: by how much the perturbations are amplified; grey is no change.
    """

    title: str
    rule: str
    factor: int
    pictures: tuple[Picture, ...]


class GallerySection:
    """Images from the records that have any: arrays `original` and `adversarial` [k, 3, h, w] in [0, 1]."""

    def render(self, study: Study) -> Rendered | None:
        walls = [wall for cell in study.attacks if (wall := _wall(study, cell)) is not None]
        if not walls:
            return None
        return Rendered("gallery", "What the attacks look like", "gallery.html.j2", {"walls": walls})


def _wall(study: Study, cell: AttackCell) -> Wall | None:
    if cell.record.arrays is None:
        return None
    arrays = study.store.arrays(cell.record)
    if "original" not in arrays:
        return None
    missing = sorted({"adversarial", "clean_prediction", "label", "prediction"} - set(arrays))
    if missing:
        raise DamagedFileError(
            f"{cell.record.arrays} ({cell.record.name}) has pictures but lacks {', '.join(missing)}: "
            "rebuild the page with the version that ran the study"
        )
    original = arrays["original"].astype(np.float64)
    adversarial = arrays["adversarial"].astype(np.float64)
    delta = adversarial - original
    factor = amplification(float(np.abs(delta).max(initial=0.0)))
    # The pictures are the first of the record's images, unless it says which.
    rows = arrays.get("gallery", np.arange(len(original)))
    pictures = []
    for i, row in enumerate(rows.tolist()):
        label, after = int(arrays["label"][row]), int(arrays["prediction"][row])
        before = int(arrays["clean_prediction"][i])
        pictures.append(
            Picture(
                original=png_uri(original[i]),
                perturbation=png_uri(0.5 + factor * delta[i]),
                adversarial=png_uri(adversarial[i]),
                label=study.class_name(label),
                before=study.class_name(before),
                after=study.class_name(after),
                outcome="wrong before" if before != label else "fooled" if after != label else "withstood",
            )
        )
    how = "" if cell.attack == "RandomNoise" else f", {method(cell.attack)}"
    title = f"{cell.model} ← {attacker(cell.rule).label}{how}, {norm_name(cell.norm)} ε = {cell.radius}"
    return Wall(title, cell.rule, factor, tuple(pictures))


def amplification(largest: float) -> int:
    """The largest round factor that keeps every change within the grey scale: half of it each way."""
    fitting = [factor for factor in _NICE_FACTORS if factor * largest <= 0.5 + 1e-6]
    return fitting[-1] if fitting else 1


def png_uri(image: np.ndarray) -> str:
    """An image [3, h, w], clipped to [0, 1], as a data URI of PNG: 8-bit RGB, no filter."""
    pixels = np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8).transpose(1, 2, 0)
    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    parts = (
        b"\x89PNG\r\n\x1a\n",
        _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        _chunk(b"IDAT", zlib.compress(rows, 9)),
        _chunk(b"IEND", b""),
    )
    return "data:image/png;base64," + base64.b64encode(b"".join(parts)).decode()


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
