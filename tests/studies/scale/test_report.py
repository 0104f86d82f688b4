"""The section on size: what it makes of records whose answer is known."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from groundglass.report.section import Finding
from groundglass.report.table import Table
from groundglass.results.kinds import ATTACK, COST, FIDELITY, FIT, ROWS, TRAIN
from groundglass.results.kinds.cost import LawResult, PowerLaw
from groundglass.studies.scale.report import section
from tests.runs import Drawn, RunFolder, filled, right

RULES = ("dfa", "dfa-fresh", "bpda-fit-linear")
Left = Mapping[tuple[int, int], Mapping[str, list[bool]]]
SMALL, WIDE, LONG = (512, 8000), (2048, 8000), (512, 128_000)


def attacked(path: Path, left: Left, plain: list[bool] | None = None) -> RunFolder:
    """Networks by (N, M), and which images stay right by rule; VGG-16 where `plain` is given."""
    folder = RunFolder(path / "run", "scale")
    if plain is not None:
        folder.attack("VGG-16", plain, inputs=[folder.network("VGG-16", credit="bp")], purpose="scale")
    for size, by in left.items():
        name = f"VGG-OPU {size[0]}x{size[1]}"
        key = folder.network(name, size=size, credit="classifier")
        for rule, after in by.items():
            folder.attack(name, after, rule=rule, inputs=[key], purpose="scale")
    return folder


def cost(folder: RunFolder, kind: str, n: int, seconds: float, *, peak: int | None = 10**8, block: int = 0) -> None:
    config = {"device_kind": kind, "in_features": n, "out_features": n, "sweep": "square", "block": block or n}
    times = {"one": (2 * seconds,), "one_seconds": 2 * seconds, "each_seconds": seconds, "projected": bool(block)}
    held = {"dense": 2 * n * n, "procedural": 0}[kind]
    folder.fill(COST, config, {"held_bytes": held, "peak_bytes": peak, **times})


def laws(folder: RunFolder, medium: str, *, standin: bool = False, fails: tuple[str, ...] = ()) -> None:
    found = tuple(filled(LawResult, name=name, holds=name not in fails) for name in ("contrast", "total"))
    folder.fill(FIDELITY, {"medium": medium, "standin": standin}, {"laws": found, "holding": 2 - len(fails), "of": 2})


def rows(folder: RunFolder, n: int, seconds: float) -> None:
    found = {"rows": 64, "median_error": 0.0035, "failed": 1, "device_seconds": 12 * n / 2e3, "row_seconds": seconds}
    folder.fill(ROWS, {"device_kind": "dense", "in_features": n}, {"frames": 12 * n, **found})


def shown(folder: RunFolder) -> Any:
    return section(folder.run(), Drawn())


def table(found: Any, title: str) -> Table:
    return next(one for one in found.tables if title in one.title)


def same(count: int, of: int = 200, *, first: int = 0) -> dict[str, list[bool]]:
    return dict.fromkeys(RULES, right(count, of, first=first))


# Two images are chance.
@pytest.mark.parametrize(
    ("n", "m", "finding"), [(60, 120, "holds"), (120, 0, "part"), (62, 60, "falls"), (60, 0, "falls")]
)
def test_what_size_buys_is_what_all_attackers_together_leave(tmp_path: Path, n: int, m: int, finding: str) -> None:
    folder = attacked(tmp_path, {SMALL: same(60), WIDE: same(n), LONG: same(m)})
    verdict = shown(folder).verdict
    assert verdict.finding.value == finding
    assert verdict.reasons["spans"] == {"inputs": (512, 2048), "outputs": (8000, 128_000)}
    assert verdict.reasons["less"] == (["512 × 128,000"] if m == 0 else [])


def test_nothing_is_no_section_and_few_images_or_one_size_decide_nothing(tmp_path: Path) -> None:
    assert shown(attacked(tmp_path / "none", {})) is None
    few = attacked(tmp_path / "few", {SMALL: same(0, 48), WIDE: same(48, 48)})
    assert shown(few).verdict.finding is Finding.FEW
    one = shown(attacked(tmp_path / "one", {SMALL: {"dfa-fresh": right(60)}}))
    assert one.verdict.finding is Finding.OPEN
    assert one.verdict.untried == ("DFA", "BPDA (linear fit)")


def test_a_gain_that_another_attack_takes_away_image_by_image_is_none(tmp_path: Path) -> None:
    both = {"dfa": right(120, 200), "dfa-fresh": right(200, 200), "bpda-fit-linear": right(120, 200, first=60)}
    found = shown(attacked(tmp_path, {SMALL: same(60), WIDE: both}))
    assert found.verdict.finding is Finding.FALLS
    assert found.verdict.reasons["published"] == ["2,048 × 8,000"], "the paper's attack takes size for robustness"
    assert table(found, "ccuracy under attack").rows[-1].values[-1].count == 60


def test_a_network_that_fewer_rules_attacked_is_no_end_of_the_comparison(tmp_path: Path) -> None:
    verdict = shown(attacked(tmp_path, {SMALL: same(60), WIDE: same(60), LONG: {"dfa-fresh": right(180, 200)}})).verdict
    assert verdict.finding is Finding.FALLS
    assert list(verdict.reasons["spans"]) == ["inputs"]


def test_a_difference_among_many_comparisons_is_corrected(tmp_path: Path) -> None:
    """Seven images of seven: p = .016 alone, more than .05 of the comparisons that are made."""
    pair = {SMALL: {"dfa": right(60)}, WIDE: {"dfa": right(67)}}
    alone = shown(attacked(tmp_path / "alone", pair))
    assert alone.verdict.finding is Finding.HOLDS
    assert table(alone, "What differs").rows[0].values[-1].value == pytest.approx(2 / 2**7)
    many = {SMALL: same(60, 100), WIDE: same(67, 100), LONG: same(60, 100)}
    found = shown(attacked(tmp_path / "many", many, right(60)))
    assert found.verdict.finding is Finding.FALLS
    assert "7 comparisons, exact McNemar test, Holm" in table(found, "What differs").note
    assert found.verdict.reasons["above"] == [False, False, False]


@pytest.mark.parametrize(("of", "ruled_out"), [(100, False), (1000, True)])
def test_a_gain_is_ruled_out_only_where_the_images_can(tmp_path: Path, of: int, ruled_out: bool) -> None:
    found = shown(attacked(tmp_path, {SMALL: same(30, of), WIDE: same(31, of, first=15)}))
    assert found.verdict.reasons["within"] is ruled_out


def test_costs_are_those_of_the_records_and_projections_say_so(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run", "scale")
    for n in (2**10, 2**12):
        cost(folder, "dense", n, 1e-9 * n * n)
    cost(folder, "procedural", 2**14, 0.5)
    cost(folder, "procedural", 2**20, 650.0, peak=None, block=4096)
    found = shown(folder)
    assert found.verdict.finding is Finding.OPEN
    values = {row.name: [v and v.write(v.value) for v in row.values] for row in found.tables[0].rows}
    assert values == {
        "4,096 dense": ["33.6 ms", "16.8 ms", "33.6 MB", "100 MB"],
        "1,048,576 procedural, projected": ["21.7 min", "10.8 min", "nothing", None],
    }
    assert [row.name for row in table(found, "each device").rows][-1].endswith("from 4,096 outputs")


def test_laws_name_what_fails_and_a_stand_in_that_passes(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run", "scale")
    laws(folder, "structured", fails=("total",))
    laws(folder, "H D", standin=True, fails=("contrast",))
    laws(folder, "low rank", standin=True)
    found = shown(folder)
    assert found.facts == {"passing": ["low rank"], "naive": 2}
    holding, contrast, total = table(found, "Laws").rows
    assert holding.values == ("1 of 2", "1 of 2", "2 of 2")
    assert ["fails" in str(value) for value in (*contrast.values, *total.values)] == [0, 1, 0, 1, 0, 0]


def test_the_price_of_U_is_projected_from_its_rows_and_extrapolated(tmp_path: Path) -> None:
    folder = attacked(tmp_path, {SMALL: same(60), LONG: same(60)})
    rows(folder, 512, 0.005)
    rows(folder, 4096, 0.05)
    law = filled(PowerLaw, exponent=1.25, factor=2e-6, sweep="inputs", quantity="row_seconds")
    folder.fill(FIT, {}, {"fits": (law,)})
    found = shown(folder)
    price = {row.name: [v and v.write(v.value) for v in row.values] for row in table(found, "Retrieving").rows}
    assert price["512 × 128,000"] == ["6,144", "3.07 s", "786 MB", "5 ms", "10.7 min", "524 MB", "0.35%", "1"]
    assert price["4,096"][4] is None, "no network has it"
    years = 2e-6 * 10**7.5 * 1e6 / 31_557_600
    assert list(price.values())[-1][:5] == ["12,000,000", "100 min", "12 TB", "63.2 s", f"{years:.3g} years"]
    assert table(found, "exponents").rows[0].values[-1].value == 1.25


def test_without_the_images_the_least_single_attack_counts(tmp_path: Path) -> None:
    left = {SMALL: {"dfa": right(40), "dfa-fresh": right(60)}, WIDE: {"dfa": right(90), "dfa-fresh": right(95)}}
    whole, bare = attacked(tmp_path, left).run(), RunFolder(tmp_path / "bare", "scale")
    for kind in (TRAIN, ATTACK):
        for entry in whole.entries(kind):
            bare.add(kind, entry.name, entry.config, entry.result)
    found = shown(bare)
    assert [row.values[-1].count for row in table(found, "ccuracy under attack").rows] == [40, 90]
    assert found.verdict.finding is Finding.OPEN, "no paired test without the images"
