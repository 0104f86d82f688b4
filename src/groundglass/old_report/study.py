"""What a run folder holds, sorted for the sections of the page."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from groundglass.old_report.cells import AttackCell
from groundglass.old_report.drawing import Folder
from groundglass.old_report.queries import Choice, QueryCell, ordered
from groundglass.results.records import Record, RecordStore


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
    def _attacks(self) -> list[AttackCell]:
        return [AttackCell.from_record(record) for record in self.of_kind("attack")]

    @property
    def attacks(self) -> list[AttackCell]:
        """The attacks of the white-box study."""
        return [cell for cell in self._attacks if cell.purpose in ("figure", "control")]

    @property
    def references(self) -> list[AttackCell]:
        """White-box attacks at the radius of the query attacks, on the same images: a yardstick, no study."""
        return [cell for cell in self._attacks if cell.purpose == "reference"]

    @property
    def compared(self) -> list[AttackCell]:
        """The attacks of the figures: each rule, at the same radii, on the same images."""
        return [cell for cell in self.attacks if not cell.is_control]

    @property
    def controls(self) -> list[AttackCell]:
        return [cell for cell in self.attacks if cell.is_control]

    def networks_of(self, records: Iterable[Record]) -> list[Record]:
        """The trainings that these records were made from. A study of both parts may have two networks of a name."""
        keys = {key for record in records for key in record.inputs}
        return [record for record in self.of_kind("train") if record.key in keys]

    @cached_property
    def queries(self) -> list[QueryCell]:
        """Every query attack of the black-box study, those of a sweep too."""
        records = [record for record in self.of_kind("query") if record.config.get("purpose") != "ablation"]
        return ordered(QueryCell.from_record(record) for record in records)

    @cached_property
    def choices(self) -> list[Choice]:
        return [Choice.from_record(record) for record in self.of_kind("choice")]

    @cached_property
    def asked(self) -> list[QueryCell]:
        """The query attacks of the figures: of a sweep the chosen one alone, and none while nothing is chosen."""
        chosen = {choice.key for choice in self.choices}
        return [cell for cell in self.queries if cell.purpose == "figure" or cell.record.key in chosen]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; empty when the manifest does not tell."""
        config = self.manifest["config"]
        return tuple(config.get("classes", ())) if isinstance(config, dict) else ()

    def class_name(self, index: int) -> str:
        return self.classes[index] if 0 <= index < len(self.classes) else f"class {index}"

    def progress(self, *kinds: str) -> Progress | None:
        """What of the plan is done, of the kinds given or of all; None when the manifest has no plan.

        Reference attacks are of the kind "reference" here.
        """
        plan = self.manifest.get("cells")
        if not plan:
            return None
        cells = [cell for cell in plan if not kinds or self._kind(cell) in kinds]
        missing = tuple(cell["name"] for cell in cells if cell["key"] not in self.store)
        return Progress(len(cells) - len(missing), len(cells), missing)

    def _kind(self, planned: dict[str, Any]) -> str:
        """The kind of a planned cell; what another study asked for is of that study's kind."""
        kind = str(planned["kind"])
        if kind not in ("attack", "query", "craft", "transfer"):
            return kind
        record = self.store.get(planned["key"])
        purpose = record.config.get("purpose") if record else planned.get("purpose")
        # All the attacks with gradients of a black-box study are references, recorded or not.
        if kind == "attack" and (purpose == "reference" or self.manifest["study"] == "black-box"):
            return "reference"
        return str(purpose) if purpose in ("transfer", "redraw", "retrieval", "ablation", "scale") else kind
