"""What a run folder holds, sorted for the sections of the page."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from groundglass.evaluation.records import Record, RecordStore
from groundglass.report.cells import AttackCell
from groundglass.report.drawing import Folder


@dataclass(frozen=True)
class Progress:
    """How much of a plan is done."""

    done: int
    planned: int
    missing: tuple[str, ...]

    @property
    def is_complete(self) -> bool:
        return not self.missing


@dataclass(frozen=True)
class Study:
    """The records of a run folder, and where its figures go."""

    store: RecordStore
    drawings: Folder

    @property
    def manifest(self) -> dict[str, Any]:
        return self.store.manifest

    def of_kind(self, kind: str) -> list[Record]:
        """Records of a kind, oldest first."""
        return [record for record in self.store.records if record.kind == kind]

    @cached_property
    def attacks(self) -> list[AttackCell]:
        return [AttackCell.from_record(record) for record in self.of_kind("attack")]

    @property
    def compared(self) -> list[AttackCell]:
        """The attacks of the figures: each rule, at the same radii, on the same images."""
        return [cell for cell in self.attacks if not cell.is_control]

    @property
    def controls(self) -> list[AttackCell]:
        return [cell for cell in self.attacks if cell.is_control]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; empty when the manifest does not tell."""
        config = self.manifest["config"]
        return tuple(config.get("classes", ())) if isinstance(config, dict) else ()

    def class_name(self, index: int) -> str:
        return self.classes[index] if 0 <= index < len(self.classes) else f"class {index}"

    def progress(self, *kinds: str) -> Progress | None:
        """What of the plan is done, of the kinds given or of all; None when the manifest has no plan."""
        plan = self.manifest.get("cells")
        if not plan:
            return None
        cells = [cell for cell in plan if not kinds or cell["kind"] in kinds]
        missing = tuple(cell["name"] for cell in cells if cell["key"] not in self.store)
        return Progress(len(cells) - len(missing), len(cells), missing)
