"""Run folders of the retrieval study, built from its Configs and Results."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from groundglass.report.section import Section
from groundglass.results.kinds import RETRIEVE
from groundglass.results.kinds.network import CameraSettings
from groundglass.results.kinds.retrieve import HeldOut, RowErrors
from groundglass.studies.retrieval.report import section
from tests.runs import Drawn, RunFolder, right

#: Radius in pixel units -> images left right.
Left = Mapping[float, int]
RATE = 2000.0


class Attacked(RunFolder):
    """Retrievals, and PGD on VGG-OPU with each U, all on the same images."""

    def __init__(self, path: Path, *, of: int = 200, **manifest: Any) -> None:
        super().__init__(path / "run", "retrieval", **manifest)
        self.path, self.of = path, of

    def retrieval(
        self,
        purpose: str,
        per_input: float,
        *,
        error: float = 0.003,
        failed: float = 0.0,
        complete: bool = True,
        period: float | None = None,
        **camera: Any,
    ) -> str:
        """A retrieval of U from so many frames an input, of a device of 512 inputs and 8,000 readings."""
        seen = {"bits": 8, "saturation": 0.01, "read_noise": 0.0, "shot_noise": 0.0, "density": 0.5, **camera}
        frames, per_row = round(512 * per_input), {"failed_share": failed, "told_share": failed}
        made = {
            "method": "fixed-exposure",
            "frames": frames,
            "per_input": per_input,
            "in_features": 512,
            "out_features": 8000,
            "camera": CameraSettings(**seen),
            "frame_rate": RATE,
            "purpose": purpose,
            "period": period,
        }
        result = {
            "frames": frames,
            "complete": complete,
            "note": "" if complete else "no time",
            "error": RowErrors(median=error, q10=error, q90=error, max=1.4, mean=error),
            "held_out": HeldOut(median=0.3, chance=23.0, noise=0.0),
            "compute_seconds": 81.0,
            "device_seconds": frames / RATE,
        }
        return self.fill(RETRIEVE, made, {**result, **per_row}, f"U from {per_input:.3g} N frames, {purpose}")

    def pgd(
        self, rule: str, left: int | Left, *, network: str = "VGG-OPU", inputs: Sequence[str] = (), **config: Any
    ) -> None:
        """PGD by a rule: how many of the images it leaves right, at one radius or at several."""
        for eps, count in ({0.005: left} if isinstance(left, int) else left).items():
            self.attack(network, right(count, self.of), rule=rule, eps=eps, eps_paper=None, inputs=inputs, **config)

    def with_u(self, per_input: float, left: int | Left, purpose: str = "price", **more: Any) -> None:
        """A retrieval, and PGD with its U."""
        self.pgd("bpda-retrieved", left, inputs=[self.retrieval(purpose, per_input, **more)])

    def section(self) -> Section:
        found = section(self.run(), Drawn())
        assert found is not None
        return found
