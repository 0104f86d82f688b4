"""The cells of a study, or what has been run, with what lies below each: for estimates of time and memory."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from groundglass.models import ARCHITECTURES
from groundglass.models.architectures import ArchitectureName
from groundglass.results import Record
from groundglass.results.kinds import KINDS
from groundglass.studies.engine.cell import Cell, key_of

# So many times as long a multiplication takes as in VGG-16, about, on a processor: in a training step; and in an attack, for
# which VGG-16's convolutions have kernels of their own.
_SLOWER: dict[ArchitectureName, tuple[float, float]] = {"vgg16": (1.0, 1.0), "resnet18": (1.1, 2.4), "vit": (1.7, 5.5)}
_WITH_A_MATRIX = ("attack", "draws", "craft", "audit")


@dataclass(frozen=True)
class Unit:
    """A cell, or its record: what an estimate needs of it. `config`: of its kind, or plain JSON."""

    key: str
    kind: str
    name: str
    config: Any
    inputs: tuple[str, ...]
    alone: bool = False


class Plan:
    """Cells with what lies below them.

    Args:
        units: inputs first.
        train, test: images of each split.
    """

    def __init__(self, units: Iterable[Unit], *, train: int = 50_000, test: int = 10_000) -> None:
        self.units = {unit.key: unit for unit in units}
        self.train, self.test = train, test

    @classmethod
    def of(cls, cells: Iterable[Cell], *, train: int = 50_000, test: int = 10_000) -> "Plan":
        """The plan of a study."""
        units = (
            Unit(
                key_of(cell),
                cell.kind,
                cell.name,
                cell.config(),
                tuple(map(key_of, cell.inputs)),
                bool(getattr(cell, "alone", False)),
            )
            for cell in cells
        )
        return cls(units, train=train, test=test)

    @classmethod
    def of_records(cls, records: Iterable[Record], *, train: int = 50_000, test: int = 10_000) -> "Plan":
        """What has been run."""
        units = (
            Unit(
                one.key,
                one.kind,
                one.name,
                KINDS[one.kind].config_of(one) if one.kind in KINDS else one.config,
                tuple(one.inputs),
                one.kind in ("cost", "rows"),
            )
            for one in records
        )
        return cls(units, train=train, test=test)

    def width(self, key: str) -> float:
        """Of the convolutions that a cell is about."""
        return Below(self, self.units[key]).width

    def memory(self, key: str) -> int:
        """Bytes that its process holds, about: Python with torch, the images, a batch within the network, and the device."""
        unit = self.units[key]
        on, c = Below(self, unit), unit.config
        held = 7e8 + 3072 * (self.train + self.test)
        if unit.kind == "cost":
            return round(held + (4 * c.in_features * c.block if c.device_kind == "dense" else 0))
        if unit.kind in ("retrieve", "rows", "device", "fidelity"):
            read = getattr(c, "rows", None) or c.out_features
            frames = getattr(c, "frames", 0)
            structured = getattr(c, "device_kind", "") == "structured"
            matrix = 0 if structured else (16 if frames else 3) * c.in_features * read
            return round(held + matrix + frames * (c.in_features / 8 + read))
        # 2 bytes an entry, and 8 of a matrix that an attacker puts in its place.
        return round(held + 1e9 * on.width + (10 if unit.kind in _WITH_A_MATRIX else 3) * on.device)


@dataclass(frozen=True)
class Below:
    """What a cell's work is done on.

    Attributes:
        plan: with the numbers of images.
    """

    plan: Plan
    unit: Unit

    @cached_property
    def _network(self) -> Unit | None:
        """The nearest network below."""
        level = list(self.unit.inputs)
        while level:
            found = [self.plan.units[key] for key in level if key in self.plan.units]
            networks = [one for one in found if one.kind == "train"]
            if networks:
                return networks[0]
            level = [key for one in found for key in one.inputs]
        return None

    @cached_property
    def _model(self) -> Mapping[str, Any]:
        """The settings of the network itself, or of the one below; without one, of a VGG-16."""
        if self.unit.kind in ("train", "distil"):
            return self.unit.config.model
        return {"width": 1.0} if self._network is None else self._network.config.model

    @property
    def width(self) -> float:
        """Of the convolutions, which a network may have of another."""
        own = self._model.get("width")
        if own is not None:
            return float(own)
        return 1.0 if self._network is None else Below(self.plan, self._network).width

    @property
    def architecture(self) -> ArchitectureName:
        """Of the network: where it has another's features, of that one."""
        if self._model.get("width") is None and self._network is not None:
            return Below(self.plan, self._network).architecture
        found: ArchitectureName = self._model.get("architecture", "vgg16")
        return found

    @property
    def pixels(self) -> tuple[int, int] | None:
        """Height and width of its images; None: 32 x 32. Where it has another's features, of that one."""
        if self._model.get("width") is None and self._network is not None:
            return Below(self.plan, self._network).pixels
        found = self._model.get("size")
        return None if found is None else (found[0], found[1])

    @property
    def device(self) -> int:
        """Entries that its optical layers multiply by; 0 for none."""
        return sum(self._devices)

    @cached_property
    def _devices(self) -> tuple[int, ...]:
        """Those of each layer. A structured one does some dozen butterflies instead."""
        network = self.unit if self.unit.kind in ("train", "distil") else self._network
        found = [self.plan.units[key] for key in (network.inputs if network else ()) if key in self.plan.units]
        return tuple(
            int(
                50 * max(one.in_features, one.out_features)
                if one.device_kind == "structured"
                else one.in_features * one.out_features
            )
            for one in (each.config for each in found if each.kind == "device")
        )

    @property
    def head(self) -> int:
        """Entries of what is fitted above the device, or above the features alone."""
        features = self._model.get("device_out") or self._model.get("linear_hidden") or 512
        return int(features * self.classes)

    @property
    def classes(self) -> int:
        """Logits."""
        own = self._model.get("classes")
        if own is not None:
            return int(own)
        return 10 if self._network is None else Below(self.plan, self._network).classes

    @property
    def size(self) -> float:
        """Multiplications of a forward pass, as if all took as long as those of a VGG-16. An entry of the device, of bits alone,
        counts half; of one that is larger than the processor's cache it waits for the memory."""
        return self._size(_SLOWER[self.architecture][1])

    @property
    def trained_size(self) -> float:
        """The same, in a training step."""
        return self._size(_SLOWER[self.architecture][0])

    def _size(self, slower: float) -> float:
        depths = self._model.get("depths")
        # Parts that take features on the way are built without what is behind the deepest.
        deepest = {"depth": max(depths)} if depths else {}
        counted = ARCHITECTURES[self.architecture].multiplications(self.width, size=self.pixels, **deepest)
        return slower * counted + sum(one / 2 + 8 * max(0, one - 10**7) for one in self._devices)

    @property
    def defended(self) -> bool:
        return bool(self.device or self._model.get("linear_hidden") or self._model.get("features"))

    @property
    def hardened(self) -> bool:
        """Whether it, or the network that its features are of, was trained on adversarial images."""
        if self._network is None:
            return False
        return bool(self._network.config.training.get("adversarial")) or Below(self.plan, self._network).hardened

    @property
    def right(self) -> float:
        """The share of images that are right at first, and so attacked: of many classes fewer."""
        return 0.85 if self.classes <= 20 else 0.5

    def stands(self, c: Any) -> float:
        """The share of an attack's steps that are made before an image is fooled, or they are over. In a larger ball it is fooled
        sooner: half of the images at 1.5/255. Some attackers of a defended network never get there."""
        levels = c.eps * 255 if c.norm == "linf" else 4 * c.eps
        most, least = (self.right, 0.12 if self.defended else 0.04)
        return min(most, max(least, 0.8 * self.right / max(levels, 0.01) * (4 if self.hardened else 1)))
