"""Cells that look for signs of a claim that is not true, in the records of a study."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from groundglass.results import Record
from groundglass.studies.cells import Cell, Outcome
from groundglass.studies.context import Context
from groundglass.studies.query_checks import QUERY_CHECKS
from groundglass.studies.retrieval_checks import RETRIEVAL_CHECKS
from groundglass.studies.transfer_checks import TRANSFER_CHECKS
from groundglass.studies.white_box_checks import WHITE_BOX_CHECKS

__all__ = ["QUERY_CHECKS", "RETRIEVAL_CHECKS", "TRANSFER_CHECKS", "WHITE_BOX_CHECKS", "CheckCell"]

_CHECKS = WHITE_BOX_CHECKS | QUERY_CHECKS | TRANSFER_CHECKS | RETRIEVAL_CHECKS


@dataclass(frozen=True)
class CheckCell:
    """One check over the records of some attacks."""

    check: str
    attacks: tuple[Cell, ...]

    kind = "check"

    @property
    def name(self) -> str:
        return self.check

    @property
    def inputs(self) -> Sequence[Cell]:
        return self.attacks

    def config(self) -> dict[str, Any]:
        return {"check": self.check}

    def run(self, inputs: Sequence[Record], context: Context) -> Outcome:
        return Outcome(_CHECKS[self.check](inputs))
