"""The noise section: what it makes of records whose answer is known."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from groundglass.core.statistics import Proportion
from groundglass.report.section import Finding
from groundglass.results.kinds import DEVICE, DISTIL, DRIFT, QUERY, RANDOMISE, RETRIEVE
from groundglass.results.kinds.network import CameraSettings
from groundglass.results.kinds.retrieve import HeldOut, RowErrors
from groundglass.studies.noise.report import section, tables
from tests.runs import Drawn, RunFolder, right
from tests.studies.pages import takeaway

N = 512
FRAMES = 12 * N


def query(
    folder: RunFolder, model: str, count: int, *, answers: int = 1, of: int = 200, lost: int = 0, **more: object
) -> None:
    ok = np.asarray(right(count, of))
    arrays = {"index": np.arange(of), "clean_correct": np.ones(of, bool), "success": ~ok}
    config = {"model": model, "answers": answers, "purpose": "noise", "budget": 100, "attack": "Square", **more}
    counts = {"n_images": of, "clean_correct": of, "fooled": of - count, "success_rate": 1 - count / of}
    told = {**counts, "unconfirmed": lost, "loss_queries": 900, "check_queries": 100}
    folder.fill(QUERY, config, told, f"{model} {answers} {more}", arrays=arrays)


def noisy(path: Path, left: Mapping[tuple[float, int], int], *, of: int = 200, dfa: int | None = None) -> RunFolder:
    """A network with and without noises. `left`: (noise, answers) -> images right under queries; noise 0 is none."""
    folder = RunFolder(path / "run", "noise")
    for noise in sorted({noise for noise, _ in left} - {0}):
        told = {"before": 0.8, "untuned": 0.7, "clean_accuracy": 0.79, "n_test": 1000}
        folder.fill(RANDOMISE, {"model": "VGG-OPU", "read_noise": noise, "same_matrix": True}, told, f"noise {noise:g}")
        if dfa is not None:
            folder.attack(f"noise {noise:g}", right(dfa, of), rule="dfa", eps=0.01, purpose="noise")
    if dfa is not None:
        folder.attack("VGG-OPU", right(dfa, of), rule="dfa", eps=0.01, purpose="noise")
    for (noise, answers), count in left.items():
        query(folder, f"noise {noise:g}" if noise else "VGG-OPU", count, answers=answers, of=of)
    return folder


@pytest.mark.parametrize(
    ("left", "finding"),
    [
        ({(0, 1): 20, (16, 1): 20}, Finding.FALLS),
        ({(0, 1): 20, (16, 1): 23}, Finding.FALLS),  # three images are chance
        ({(0, 1): 20, (16, 1): 120}, Finding.PART),
        ({(0, 1): 20, (16, 1): 200}, Finding.HOLDS),
        ({(0, 1): 20, (16, 1): 200, (16, 4): 20}, Finding.FALLS),  # the mean of four answers undoes it
        ({(0, 1): 20, (4, 1): 20, (16, 1): 120}, Finding.PART),
        ({(0, 1): 200, (16, 1): 200}, Finding.NOTHING),
        ({(16, 1): 200}, Finding.OPEN),
    ],
)
def test_the_verdict_is_about_the_best_number_of_answers(tmp_path: Path, left, finding: Finding) -> None:
    run = noisy(tmp_path, left).run()
    assert section(run, Drawn()).verdict.finding is finding
    if finding is Finding.HOLDS:
        assert 20 < len(takeaway(tmp_path / "run", tmp_path / "page", "noise")) < 300


def test_few_images_are_too_few_and_untried_answers_are_named(tmp_path: Path) -> None:
    verdict = section(noisy(tmp_path, {(0, 1): 2, (16, 1): 40}, of=48).run(), Drawn()).verdict
    assert (verdict.finding, verdict.n_images) == (Finding.FEW, 48)
    assert verdict.untried == ("the mean of several answers", "an attacker who confirms a success before it ends")


def test_numbers_of_noise(tmp_path: Path) -> None:
    run, drawn = noisy(tmp_path, {(0, 1): 20, (16, 1): 120, (16, 4): 100}, dfa=50).run(), Drawn()
    found = section(run, drawn)
    assert len(drawn.figures) == len(found.figures) > 0
    plain, under = found.tables[0].rows
    own, fooled = Proportion(800, 1000), Proportion(180, 200)
    assert plain.values == (own, own, fooled, None, fooled, "", Proportion(50, 200))
    assert under.values[:5] == (
        Proportion(700, 1000),
        Proportion(790, 1000),
        Proportion(80, 200),
        Proportion(100, 200),
        Proportion(100, 200),
    )
    assert under.values[5] == "yes"
    assert found.facts["unshaken"] == ["DFA"]
    assert found.facts["kept"].noise == 16


def camera_of(noise: float) -> CameraSettings:
    return CameraSettings(bits=8, saturation=0.01, read_noise=noise, shot_noise=0, density=0.5)


def retrieval(folder: RunFolder, error: float, **config: object) -> None:
    camera = camera_of(float(config.pop("noise", 0.0)))
    errors = RowErrors(median=error, q10=error, q90=error, max=error, mean=error)
    told = {"frames": FRAMES, "per_input": 12.0, "frame_rate": 2000.0, "camera": camera, "in_features": N, **config}
    folder.fill(
        RETRIEVE,
        told,
        {"error": errors, "held_out": HeldOut(median=1.0, chance=9.0, noise=0.0), "rows": 1},
        arrays={"error": [error]},
    )


def test_numbers_of_drift(tmp_path: Path) -> None:
    folder = noisy(tmp_path, {(0, 1): 20, (16, 1): 20})
    for noise, error in ((0.0, 0.003), (16.0, 0.3)):
        retrieval(folder, error, noise=noise, purpose="noise")
    for times, error, fitted in ((1.0, 1.1, 0.78), (10.0, 0.2, 0.8)):
        retrieval(folder, error, purpose="drift", correlation=times * FRAMES)
        config = {"model": "VGG-OPU", "correlation": times * FRAMES, "frames": FRAMES, "fit_images": 500}
        folder.fill(DRIFT, config, {"before": 0.8, "accuracies": ((0.0, fitted),), "n_test": 1000}, f"fitted {times}")
    ages = ((0.0, 0.8), (0.1, 0.79), (0.5, 0.76), (1.0, 0.6), (2.0, 0.77))
    alone = {"before": 0.8, "accuracies": ages, "n_test": 1000}
    folder.fill(DRIFT, {"model": "VGG-OPU", "correlation": 1e6, "frames": FRAMES}, alone, "alone")
    run = folder.run()
    by_title = {table.title: [row.values for row in table.rows] for table in tables(run)}
    assert [values[0].value for values in by_title["Retrieval of U against read noise"]] == [0.003, 0.3]
    fast, slow = by_title["Drift of U"]
    assert fast[1:3] == (Proportion(600, 1000), Proportion(780, 1000))
    # The classifier lasts half a correlation time: what it does later is no matter.
    assert (fast[3].value, slow[3].value) == (FRAMES / 2 / 2000, 10 * FRAMES / 2 / 2000)
    assert fast[4].value == 500 / 2000
    drawn = Drawn()
    found = section(run, drawn)
    assert len(drawn.figures) == len(found.figures) > 0
    # An error of 1.1 is a correlation of 1 - 1.1^2 / 2 = 39.5%.
    assert found.facts["drift"].agreement == pytest.approx(39.5)


def test_how_good_a_u_must_be(tmp_path: Path) -> None:
    folder = noisy(tmp_path, {(0, 1): 20, (16, 1): 20})
    for error, count in ((None, 5), (0.6, 8), (0.9, 14), (1.2, 8)):
        rule = "exact" if error is None else "exact-blurred"
        folder.attack("VGG-OPU", right(count, 200), rule=rule, eps=0.01, purpose="noise", matrix_error=error)
    # Three images more are surely less than five points, nine are not; nor is a larger error better because luck has it.
    assert section(folder.run(), Drawn()).facts["enough"] == 0.6


def test_what_few_images_do_not_show_is_not_called_as_good(tmp_path: Path) -> None:
    folder = noisy(tmp_path, {(0, 1): 20, (16, 1): 20})
    for error, first in ((None, 0), (0.6, 30)):  # of sixty images thirty right each, on others
        rule = "exact" if error is None else "exact-blurred"
        left = [i in range(first, first + 30) for i in range(60)]
        folder.attack("VGG-OPU", left, rule=rule, eps=0.01, purpose="noise", matrix_error=error)
    assert section(folder.run(), Drawn()).facts["enough"] is None


def test_a_redraw_is_needed_before_u_is_retrieved_well_enough(tmp_path: Path) -> None:
    folder = noisy(tmp_path, {(0, 1): 20, (16, 1): 20})
    for error, count in ((None, 5), (0.6, 8), (1.2, 60)):
        rule = "exact" if error is None else "exact-blurred"
        folder.attack("VGG-OPU", right(count, 200), rule=rule, eps=0.01, purpose="noise", matrix_error=error)
    folder.fill(DEVICE, {"in_features": 1024, "owner": "", "camera": camera_of(0.0)}, {}, "device")
    for noise, per_input, error in (
        (0.0, 6.0, 0.59),
        (0.0, 12.0, 0.1),
        (16.0, 6.0, 0.61),
        (16.0, 12.0, 0.5),
        (64.0, 6.0, 1.3),
        (64.0, 12.0, 0.7),
    ):
        retrieval(folder, error, noise=noise, per_input=per_input, purpose="noise")
    table = next(table for table in tables(folder.run()) if table.title == "Retrieval of U against read noise")
    told = [row.values[-2:] for row in table.rows]
    assert [said for said, _ in told] == ["by 6 N", "by 12 N", "none of these"]
    # For the network's own device, of twice the N of those that were retrieved.
    assert [time and time.value for _, time in told] == [6 * 1024 / 2000, 12 * 1024 / 2000, None]


def test_what_is_lost_while_u_drifts(tmp_path: Path) -> None:
    folder = noisy(tmp_path, {(0, 1): 20, (16, 1): 20})
    query(folder, "VGG-OPU", 120, lost=30, correlation=500.0)
    (table,) = (table for table in tables(folder.run()) if table.title.startswith("Attacks by queries"))
    moving, still = table.rows
    assert (moving.name, moving.values) == ("0.5 attacks", (Proportion(110, 200), Proportion(80, 200)))
    assert still.values == (Proportion(180, 200),) * 2
    # It is no attack on a network whose U stands still.
    assert tables(folder.run())[0].rows[0].values[2] == Proportion(180, 200)


def extracted(path: Path, left: Mapping[float, tuple[int, int]], *, of: int = 400) -> RunFolder:
    """`left`: noise -> images right that were made on the attacker's own network, and on that tuned on the answers."""
    folder = noisy(path, {(0, 1): 20, **{(noise, 1): 20 for noise in left if noise}})
    for noise, (own, tuned) in left.items():
        target = f"noise {noise:g}" if noise else "VGG-OPU"
        config = {"target": target, "answers": "scores", "queries": 5000, "begin": "VGG-16 source"}
        folder.fill(DISTIL, config, {"n_test": 100, "agreed": 90, "right": 80}, f"tuned on {target}")
        for source, count in (("VGG-16 source", own), (f"tuned on {target}", tuned)):
            folder.transfer(target, right(count, of), label="MI-DI", sources=(source,), purpose="noise")
    return folder


@pytest.mark.parametrize(
    ("left", "of", "outcome", "noise"),
    [
        ({0.0: (100, 40), 4.0: (100, 40), 16.0: (100, 42)}, 400, "none", 16.0),
        ({0.0: (100, 40), 4.0: (100, 50), 16.0: (100, 90)}, 400, "clear", 16.0),
        ({0.0: (100, 40), 4.0: (100, 90), 16.0: (100, 44)}, 400, "clear", 4.0),
        ({0.0: (20, 8), 16.0: (20, 10)}, 60, "open", 16.0),  # sixty images do not exclude five points
        ({0.0: (20, 8), 16.0: (20, 30)}, 48, "few", 16.0),
    ],
)
def test_what_noise_takes_from_extraction(tmp_path: Path, left, of: int, outcome: str, noise: float) -> None:
    folder = extracted(tmp_path, left, of=of)
    fact = section(folder.run(), Drawn()).facts["extracted"]
    assert (fact["outcome"], fact["noise"]) == (outcome, noise)
    assert (fact["own"], fact["plain"], fact["noisy"]) == tuple(
        Proportion(count, of) for count in (*left[0.0], left[noise][1])
    )
    assert fact["asking_helps"]
    assert len(takeaway(folder.folder, tmp_path / "page", "noise")) > 20


def test_numbers_of_extraction(tmp_path: Path) -> None:
    run = extracted(tmp_path, {0.0: (100, 99), 16.0: (110, 139)}).run()
    (table,) = (table for table in tables(run) if table.title.startswith("Extraction"))
    plain, under = table.rows
    assert plain.values[:4] == (Proportion(90, 100), Proportion(80, 100), Proportion(100, 400), Proportion(99, 400))
    assert under.values[2:4] == (Proportion(110, 400), Proportion(139, 400))
    assert [value and value.value for value in plain.values[4:]] == [None, None, pytest.approx(-0.25)]
    assert [value.value for value in under.values[4:]] == [pytest.approx(points) for points in (2.5, 10, 7.25)]
    # By hand: ten images all one way are 2 / 2**10; of four comparisons it has the second largest p: times two.
    assert under.values[4].of_one == " (p = 0.0039)"
    # The gain of one image is chance.
    assert not section(run, Drawn()).facts["extracted"]["asking_helps"]


def test_no_noise_no_section(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, "noise")
    folder.network()
    assert section(folder.run(), Drawn()) is None
