"""Cells that hold a medium against the laws of an i.i.d. complex Gaussian matrix."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from groundglass.core import derive_seed
from groundglass.optics import Camera, SimulatedOPU, true_matrix
from groundglass.optics.fidelity import Light, device_light, fidelity
from groundglass.optics.fidelity.standins import STANDINS
from groundglass.results import Record
from groundglass.results.kinds.cost import FidelityConfig, FidelityResult, LawResult
from groundglass.studies.engine.cell import Cell, Outcome
from groundglass.studies.engine.context import Context


@dataclass(frozen=True, kw_only=True)
class FidelityCell:
    """The laws of one medium; see `groundglass.optics.fidelity`.

    Its media are nobody's defence, and come from the study's seed: the same study has the same table.

    Attributes:
        medium: "dense", "procedural" or "structured", or a stand-in of `STANDINS`.
        in_features, out_features: N and M.
        redraws: other media of the kind, for the laws over redraws.
        seed: of the media and the inputs.
    """

    medium: str
    in_features: int
    out_features: int
    redraws: int
    seed: int

    kind = "fidelity"

    @property
    def name(self) -> str:
        return f"laws of {self.medium} {self.in_features} -> {self.out_features}"

    @property
    def inputs(self) -> Sequence[Cell]:
        return ()

    def config(self) -> FidelityConfig:
        return FidelityConfig(**asdict(self), standin=self.medium in STANDINS)

    def run(self, inputs: Sequence[Record], context: Context) -> Outcome:
        sizes = (self.in_features, self.out_features)
        if self.medium in STANDINS:
            make = partial(STANDINS[self.medium], *sizes)
            light, matrix = make(self._secret(0)), None
        else:
            device = self._device(0)
            light, matrix = device_light(device), true_matrix(device)

        def redraw(number: int) -> Light:
            if self.medium in STANDINS:
                return make(self._secret(number + 1))
            return device_light(self._device(number + 1))

        laws = fidelity(light, *sizes, redraw=redraw, redraws=self.redraws, seed=self.seed, matrix=matrix)
        found = tuple(LawResult(**asdict(law), holds=law.holds) for law in laws)
        return Outcome(FidelityResult(laws=found, holding=sum(law.holds for law in laws), of=len(laws)))

    def _secret(self, number: int) -> int:
        return derive_seed(self.seed, "fidelity", self.medium, number)

    def _device(self, number: int) -> SimulatedOPU:
        kind: Any = self.medium
        return SimulatedOPU.create(
            self.in_features, self.out_features, seed=self._secret(number), camera=Camera(bits=None), kind=kind
        )
