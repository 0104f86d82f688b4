"""The section of a guard: what it makes of records whose answer is known."""

from pathlib import Path

import pytest

from groundglass.report.section import Finding, Section
from groundglass.results.kinds import GUARD, RETRIEVE, WATCH
from groundglass.results.kinds.guard import Noticed
from groundglass.results.kinds.network import CameraSettings
from groundglass.results.kinds.retrieve import HeldOut, RowErrors
from groundglass.studies.service.report import section, tables
from tests.runs import Drawn, RunFolder
from tests.studies.pages import takeaway

LIMITS = (1e4, 1e8)


class Watched:
    """A run folder of this study."""

    def __init__(self, folder: Path, calibrated: int = 5000) -> None:
        self.made = RunFolder(folder, study="service", config={"periods": [1, 5]})
        self.folder = folder
        self.made.fill(GUARD, {"by_class": False}, {"calibrated": calibrated, "beyond_all": 0.001})

    def watch(self, traffic: str, *medians: float | None, share: float = 1.0, streams: int = 20) -> None:
        noticed = tuple(
            Noticed(
                limit=limit,
                found=0 if median is None else streams,
                watched=streams * int(median or 20_000),
                median=median,
                low=median,
                high=median,
                name="pairs",
            )
            for limit, median in zip(LIMITS, medians, strict=True)
        )
        config = {"traffic": traffic, "share": share, "by_class": False, "frames": 20_000, "limits": LIMITS}
        self.made.fill(WATCH, config, {"streams": streams, "noticed": noticed})

    def unseen(self, frames: int, lost: float, source: str = "natural") -> None:
        camera = CameraSettings(bits=8, saturation=0.01, read_noise=0.0, shot_noise=0.0, density=0.5)
        config = {"purpose": "guard", "settings": {"inputs": source}, "frames": frames, "per_input": frames / 512}
        result = {
            "frames": frames,
            "failed_share": lost,
            "device_seconds": frames / 2000,
            "error": RowErrors(median=0.01, q10=0.01, q90=0.01, max=0.1, mean=0.01),
            "held_out": HeldOut(median=0.3, chance=23.0, noise=0.0),
        }
        self.made.fill(RETRIEVE, {**config, "frame_rate": 2000.0, "camera": camera}, result)

    def section(self) -> Section:
        found = section(self.made.run(), Drawn())
        assert found is not None
        return found


def usual(folder: Path, **settings: int) -> Watched:
    one = Watched(folder, **settings)
    one.watch("images", None, None)
    for method in ("fixed-exposure", "multilateration", "closed-form"):
        one.watch(method, 3, 5)
    one.watch("pairs", 24, 39)
    one.watch("fixed-exposure", 500, None, share=0.01)
    return one


@pytest.mark.parametrize(
    ("lost", "finding"),
    [((0.9, 0.0), Finding.FALLS), ((0.9, 0.6), Finding.HOLDS), ((0.9, 0.2), Finding.PART), ((), Finding.OPEN)],
)
def test_the_verdict_is_whether_unseen_inputs_have_u(tmp_path: Path, lost: tuple[float, ...], finding: Finding) -> None:
    one = usual(tmp_path)
    for frames, share in zip((2560, 4096), lost, strict=False):
        one.unseen(frames, share)
    verdict = one.section().verdict
    assert verdict.finding is finding
    assert 20 < len(takeaway(one.folder, tmp_path / "page", "service")) < 400
    if finding is Finding.FALLS:
        assert (verdict.reasons["frames"], verdict.reasons["after"], verdict.reasons["matched"]) == (4096, 5, 39)


def test_a_guard_that_misses_a_method_holds_in_part(tmp_path: Path) -> None:
    one = Watched(tmp_path)
    one.watch("fixed-exposure", 3, 5)
    one.watch("multilateration", 3, None)
    one.unseen(4096, 1.0)
    assert one.section().verdict.finding is Finding.PART


def test_few_rows_to_calibrate_with_are_too_few_to_judge(tmp_path: Path) -> None:
    one = usual(tmp_path, calibrated=30)
    one.unseen(4096, 0.0)
    assert one.section().verdict.finding is Finding.FEW


def test_the_price_is_that_of_the_cheapest_retrieval_and_of_mixing_it_in(tmp_path: Path) -> None:
    one = usual(tmp_path)
    one.unseen(2560, 0.9)
    one.unseen(4096, 0.01)
    one.unseen(8192, 0.0)
    (price,) = (table for table in tables(one.made.run()) if table.title == "The price of U")
    totals = {row.name: (row.values[0].value, row.values[1].value) for row in price.rows}  # type: ignore[union-attr]
    assert totals["images' own rows"] == (4096, 2.048)
    assert totals["fixed exposure, 1% of the rows"] == (409_600, 204.8)
    (periods,) = (table for table in tables(one.made.run()) if "redraws" in table.title)
    assert [row.values[1] and row.values[1].value for row in periods.rows] == [None, 8192]  # type: ignore[union-attr]


def test_the_figure_has_what_is_seen_and_what_is_not(tmp_path: Path) -> None:
    one = usual(tmp_path)
    one.unseen(4096, 0.0)
    drawn = Drawn()
    found = section(one.made.run(), drawn)
    assert found is not None
    (figure,) = drawn.figures
    lines = {tuple(map(int, line.get_ydata())) for line in figure.axes[0].lines}
    assert {(3, 5), (24, 39), (4096, 4096), (500,)} <= lines


def test_nothing_watched_is_no_section(tmp_path: Path) -> None:
    assert section(RunFolder(tmp_path, study="service").run(), Drawn()) is None
