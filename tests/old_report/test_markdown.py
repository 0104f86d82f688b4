"""Markdown tables: the numbers of the records, with intervals of one folder, with the extremes of several."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from groundglass.core.statistics import Proportion, wilson
from groundglass.old_report.cells import radius
from groundglass.old_report.markdown import Amount, Row, Table, written
from groundglass.old_report.markdown_blocks import tables
from groundglass.results.records import RecordStore
from tests.old_report import (
    synthetic_queries,
    synthetic_redraw,
    synthetic_retrieval,
    synthetic_scale,
    synthetic_study,
    synthetic_transfers,
)


def cells(text: str) -> dict[str, dict[str, str]]:
    """Row -> column -> cell of the first table in a text."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    head, ruler, *rows = lines
    assert set("".join(ruler)) == {"-"}
    found = {}
    for row in rows:
        if len(row) != len(head):
            break
        found[row[0]] = dict(zip(head[1:], row[1:], strict=True))
    return found


def one(value: object, *, row: str = "a", column: str = "x") -> list[Table]:
    return [Table("", "what", (column,), (Row(row, (value,)),))]  # type: ignore[arg-type]


def test_one_folder_has_wilson_intervals() -> None:
    assert written([one(Proportion(150, 256))]).endswith("| a | 58.6 (52.5–64.5) |")
    low, high = wilson(150, 256)
    assert (f"{100 * low:.1f}", f"{100 * high:.1f}") == ("52.5", "64.5")
    assert "0.0 (0–1.5)" in written([one(Proportion(0, 256))])
    assert "100.0 (98.5–100.0)" in written([one(Proportion(256, 256))])


def test_several_folders_have_mean_smallest_and_largest() -> None:
    runs = [one(Proportion(count, 1000)) for count in (539, 571, 648)]
    assert written(runs).endswith("| a | 58.6 (53.9–64.8) |")
    amounts = [one(Amount(value, "{:.0f} s".format)) for value in (2.0, 6.0, 1.0)]
    assert written(amounts).endswith("| a | 3 s (1 s to 6 s) |")
    assert written([one("masking"), one("none"), one("masking")]).endswith("| a | masking; none |")


def test_what_one_folder_lacks_has_no_mean() -> None:
    assert written([one(Proportion(1, 2)), one(None)]).endswith("| a |  |")
    assert "| a |" not in written([one(Proportion(1, 2)), one(Proportion(1, 2), row="b")])
    assert "| x |" not in written([one(Proportion(1, 2)), one(Proportion(1, 2), column="y")])
    assert written([one(Proportion(1, 2)), []]) == ""


def test_rows_of_one_name_keep_their_own_numbers() -> None:
    (table,) = one(Proportion(1, 2))
    both = replace(table, rows=(table.rows[0], Row("a", (Proportion(2, 2),))))
    assert [line.split()[3] for line in written([[both]]).splitlines()[2:]] == ["50.0", "100.0"]


def test_a_bar_in_a_name_splits_no_cell() -> None:
    assert "\\|Wx\\|²" in written([one("", row="|Wx|²")])


def test_white_box(complete: Path) -> None:
    text = tables([complete])["white-box"]
    found = cells(text)
    assert found["VGG-OPU ← `dfa`"]["5.1/255 (ε 0.04)"].split()[0] == f"{100 * right('dfa', 0.04):.1f}"
    assert found["VGG-16 ← `bp`"]["untouched"].startswith("81.2 (")
    assert found["VGG-OPU ← `dfa`"]["untouched"].startswith("82.7 (")
    assert found["VGG-OPU ← `exact`"]["untouched"] == "", "a network's is told once"
    assert "VGG-OPU: all, with exact U" in found
    assert "Right under attack, L2, %:" in text


def right(rule: str, eps: float) -> float:
    made = [r for r, _ in synthetic_study.attacks() if (r.config["model"], r.config["rule"]) == ("VGG-OPU", rule)]
    (at,) = (r for r in made if r.config.get("eps_paper") == eps and r.config["attack"] == "PGD")
    return float(at.result["correct"]) / float(at.result["n_images"])


def test_black_box(tmp_path: Path) -> None:
    found = cells(tables([synthetic_queries.write(tmp_path / "run")])["black-box"])
    assert found["`Bandits`"]["VGG-OPU: 1,000 queries"] == "31.7 (22.6–42.4)"
    assert found["`Bandits`"]["VGG-OPU: 15,000 queries"] == "84.1 (74.7–90.5)"
    assert found["`Bandits`"]["VGG-16: median queries"] == "664"


def test_transfer(tmp_path: Path) -> None:
    folder = synthetic_transfers.write(tmp_path / "run")
    found = cells(tables([folder])["transfer"])
    paper = next(column for column in found["VGG-16"] if column.endswith("the paper's PGD"))
    low, high = (float(found[name][paper].split()[0]) for name in ("VGG-16", "VGG-OPU higher"))
    gain = found["points of VGG-OPU higher above VGG-16"][paper]
    points, chance = gain.split(" ", 1)
    assert float(points.replace("−", "-")) == pytest.approx(high - low, abs=0.11)
    assert chance == "(p < 0.001)"
    peers = {name for name in found if name.startswith("points of") and name.split(" above ")[1] != "VGG-16"}
    assert not peers, "nothing stands nearer to them than VGG-16 here"
    made = [r for r in RecordStore.read(folder).records if r.kind == "transfer" and r.config["target"] == "VGG-16"]
    largest = max(column for column in found["VGG-16"] if column.endswith("strongest transfer"))
    left = [r.result["correct"] / r.result["n_images"] for r in made if radius("linf", r.config["eps"]) in largest]
    assert len(left) > 1
    assert found["VGG-16"][largest].split()[0] == f"{100 * min(left):.1f}"


def test_a_gain_is_told_beside_the_features_too_with_its_chance(tmp_path: Path) -> None:
    made = synthetic_transfers.everything(synthetic_transfers.with_features(less=0.1))
    found = cells(tables([synthetic_transfers.write(tmp_path / "run", made)])["transfer"])
    for name in ("higher", "lower"):
        features = {"higher": "VGG-DFA", "lower": "VGG-DFA lower"}[name]
        gains = [gain for gain in found[f"points of VGG-OPU {name} above {features}"].values() if gain]
        assert all(gain.startswith("+") and gain.endswith("(p < 0.001)") for gain in gains)
        assert "+10.0 (p < 0.001)" in gains
    same = synthetic_transfers.everything(synthetic_transfers.with_features())
    found = cells(tables([synthetic_transfers.write(tmp_path / "same", same)])["transfer"])
    assert set(found["points of VGG-OPU lower above VGG-DFA lower"].values()) == {"", "+0.0 (p = 1)"}


@pytest.mark.parametrize(
    ("write", "section", "words"),
    [
        (synthetic_redraw.write, "redraw", ["redraw 1", "of these still fool"]),
        (synthetic_retrieval.write, "retrieval", ["12 N, N = 512, M = 8,000 | 0.31%", "exact U | 21.0 (18.6–23.6)"]),
        (synthetic_scale.write, "scale", ["structured", "| VGG-16 |", "all of them"]),
    ],
)
def test_other_parts(tmp_path: Path, write: Callable[[Path], Path], section: str, words: list[str]) -> None:
    text = tables([write(tmp_path / "run")], [section])[section]
    for said in words:
        assert said in text


def test_sections_without_records_are_left_out_or_refused(complete: Path) -> None:
    assert list(tables([complete])) == ["white-box", "cost"]
    with pytest.raises(ValueError, match="no records for the section 'transfer'"):
        tables([complete], ["transfer"])
    with pytest.raises(ValueError, match="did you mean 'white-box'"):
        tables([complete], ["whitebox"])


def test_folders_must_differ_in_their_seed_alone(complete: Path, tmp_path: Path) -> None:
    second = synthetic_study.write(tmp_path / "second", seed=1)
    found = cells(tables([complete, second])["white-box"])
    same = cells(tables([complete])["white-box"])["VGG-OPU ← `dfa`"]["5.1/255 (ε 0.04)"].split()[0]
    assert found["VGG-OPU ← `dfa`"]["5.1/255 (ε 0.04)"] == f"{same} ({same}–{same})"
    other = synthetic_study.write(tmp_path / "other", seed=2, recipe="paper")
    with pytest.raises(ValueError, match="another recipe"):
        tables([complete, other])
    with pytest.raises(ValueError, match="same seed twice"):
        tables([complete, complete])
