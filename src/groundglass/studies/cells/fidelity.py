"""Cells that hold a medium against the laws of an i.i.d. complex Gaussian matrix."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from groundglass.core import derive_seed
from groundglass.core.sealed import Seed
from groundglass.core.settings import Count, Tally
from groundglass.optics import Camera, SimulatedOPU, true_matrix
from groundglass.optics.fidelity import Light, device_light, fidelity
from groundglass.optics.fidelity.standins import STANDINS
from groundglass.optics.medium import DeviceKind
from groundglass.results import Record
from groundglass.results.kinds.cost import FidelityResult, LawResult
from groundglass.studies.engine.cell import BaseCell, Outcome, filled
from groundglass.studies.engine.context import Context


@dataclass(frozen=True, kw_only=True)
class FidelityCell(BaseCell):
    """The laws of one medium; see `groundglass.optics.fidelity`.

    Its media are nobody's defence, and come from the study's seed: the same study has the same table.

    Attributes:
        medium: "dense", "procedural" or "structured", or a stand-in of `STANDINS`.
        redraws: other media of the kind, for the laws over redraws.
    """

    medium: str
    in_features: Count
    out_features: Count
    redraws: Tally
    seed: int

    kind = "fidelity"

    @property
    def name(self) -> str:
        return f"laws of {self.medium} {self.in_features} -> {self.out_features}"

    @property
    def standin(self) -> bool:
        return self.medium in STANDINS

    def run(self, inputs: Sequence[Record], context: Context) -> Outcome:
        laws = fidelity(
            self._light(0),
            self.in_features,
            self.out_features,
            redraw=lambda number: self._light(number + 1),
            redraws=self.redraws,
            seed=self.seed,
            matrix=None if self.standin else true_matrix(self._device(0)),
        )
        found = tuple(filled(LawResult, law) for law in laws)
        return Outcome(FidelityResult(laws=found, holding=sum(law.holds for law in laws), of=len(laws)))

    def _secret(self, number: int) -> int:
        return derive_seed(self.seed, "fidelity", self.medium, number)

    def _device(self, number: int) -> SimulatedOPU:
        sizes, kind = (self.in_features, self.out_features), cast("DeviceKind", self.medium)
        # No secret: nothing but its laws is looked at.
        seed = Seed.raw(self._secret(number))
        return SimulatedOPU.create(*sizes, seed=seed, camera=Camera(bits=None), kind=kind)

    def _light(self, number: int) -> Light:
        if self.standin:
            return STANDINS[self.medium](self.in_features, self.out_features, self._secret(number))
        return device_light(self._device(number))
