"""The section on adversarial training: what it makes of audits whose answer is known."""

from pathlib import Path

import pytest

from groundglass.audit.findings import Finding as Found
from groundglass.report import build
from groundglass.report.section import Finding
from groundglass.results import Run
from groundglass.results.kinds import AUDIT
from groundglass.results.kinds.audit import AuditedConfig, AuditResult
from groundglass.studies.adversarial_training.report import section, tables
from groundglass.studies.registry import find_study
from tests.runs import Drawn, RunFolder

CLEAN = {"VGG-16": 0.8, "VGG-OPU": 0.79, "VGG-16 AT": 0.5, "VGG-OPU AT": 0.51}
#: In the worst case, at the paper's radius and at 8/255.
WORST = {"VGG-16": (0, 0), "VGG-OPU": (0, 0), "VGG-16 AT": (74, 62), "VGG-OPU AT": (78, 60)}
WIDE = {"eps": 8 / 255, "eps_paper": None}


def run(path: Path, worst: dict[str, tuple[int, int]] | None = None, *, of: int = 200, data: str = "a") -> Run:
    """Four networks, each audited in two balls. `worst` replaces the counts of a network."""
    folder = RunFolder(path / data, "adversarial-training")
    for name, counts in {**WORST, **(worst or {})}.items():
        inside = {"kind": "PGDTraining", "eps": 8 / 255, "steps": 7, "rule": "dfa" if "OPU" in name else "bp"}
        training = {"credit": "bp", "epochs": 2, **({"adversarial": inside} if "AT" in name else {})}
        key = folder.network(name, clean=CLEAN[name], training=training)
        for count, ball in zip(counts, ({}, WIDE), strict=True):
            claimed = 100 if name == "VGG-OPU" else count
            folder.audit(name, clean=max(120, claimed), claimed=claimed, worst=count, of=of, inputs=[key], **ball)
    return folder.run()


def judged(path: Path, *at: tuple[int, int], **more: int):
    """The verdict, where VGG-OPU AT keeps so many of 200, at both radii, beside VGG-16 AT's 74 and 62."""
    return section(run(path, {"VGG-OPU AT": at[0]} if at else None, **more), Drawn()).verdict


@pytest.mark.parametrize(
    ("kept", "finding"),
    [
        ((78, 60), Finding.NOTHING),
        ((110, 110), Finding.HOLDS),
        ((30, 30), Finding.FALLS),
        ((110, 20), Finding.PART),
        # Seven images, all won: p = 0.016, and 0.094 as one of twelve comparisons, of which six are clear.
        ((81, 62), Finding.NOTHING),
        ((88, 62), Finding.HOLDS),
    ],
)
def test_what_the_layer_adds_to_adversarial_training_by_the_same_images(tmp_path, kept, finding) -> None:
    assert judged(tmp_path, kept).finding is finding


def test_the_worst_case_is_compared_image_by_image(tmp_path: Path) -> None:
    """As many images in both, but others: no difference. Twelve points more on the same images: a clear one."""
    folder = RunFolder(tmp_path / "run", "adversarial-training")
    folder.audit("VGG-16 AT", clean=120, claimed=100, worst=60, of=200)
    folder.audit("VGG-OPU AT", clean=120, claimed=100, worst=72, of=200, first=60)
    found = section(folder.run(), Drawn())
    assert found.verdict.finding is Finding.NOTHING, "72 lost and won"
    assert found.verdict.reasons["layer"].paired
    assert judged(tmp_path, (74 + 24, 62)).finding is Finding.HOLDS


def test_the_verdict_says_what_training_gives_and_costs(tmp_path: Path) -> None:
    reasons = judged(tmp_path).reasons
    assert (reasons["hardens"], reasons["costs"], reasons["alone"]) == (True, True, False)
    assert (reasons["layer"].first.count, reasons["layer"].second.count) == (78, 74)


def test_a_training_that_gives_nothing_is_not_praised(tmp_path: Path) -> None:
    made = run(tmp_path, {"VGG-16 AT": (1, 0), "VGG-OPU AT": (1, 0)})
    assert not section(made, Drawn()).verdict.reasons["hardens"]


def test_few_images_are_too_few_to_judge(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run", "adversarial-training")
    for name, worst in (("VGG-16 AT", 0), ("VGG-OPU AT", 40)):
        folder.audit(name, clean=45, claimed=45, worst=worst, of=48)
    assert section(folder.run(), Drawn()).verdict.finding is Finding.FEW


def test_what_is_not_audited_is_named_and_nothing_is_said_of_it(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run", "adversarial-training")
    keys = {name: folder.network(name, clean=share) for name, share in CLEAN.items() if name != "VGG-OPU AT"}
    folder.audit("VGG-16", clean=80, claimed=0, worst=0, inputs=[keys["VGG-16"]])
    # Of a network that gets nothing right there is an audit without a figure.
    config = AuditedConfig(
        model="VGG-16 AT", norm="linf", eps=0.025, eps_per_channel=None, eps_paper=0.05, n_images=9, settings={}, seed=0
    )
    folder.add(AUDIT, "audit of VGG-16 AT", config, AuditResult(sentence="None."))
    made = folder.run()
    found = section(made, Drawn())
    assert found.verdict.finding is Finding.OPEN
    assert found.verdict.untried == ("an audit of VGG-OPU", "an audit of VGG-16 AT", "an audit of VGG-OPU AT")
    (table,) = tables(made)
    values = {row.name: row.values for row in table.rows}
    assert [v is None for v in values["VGG-16 AT"]] == [False, True, True]
    assert values["VGG-OPU AT"] == (None, None, None)


def test_every_number_is_that_of_an_audit(tmp_path: Path) -> None:
    made = run(tmp_path)
    table, changes, trainings = section(made, Drawn()).tables
    values = {row.name: [v.count for v in row.values[1:]] for row in table.rows}
    assert values["VGG-OPU"] == [100, 0, 100, 0]
    assert values["VGG-16 AT"] == [74, 74, 62, 62]
    points = {row.name: [v.value for v in row.values[1:]] for row in changes.rows}
    assert points["the layer, on top of adversarial training"] == pytest.approx([1, 2, -1])
    assert points["adversarial training, with the layer"] == pytest.approx([-28, 39, 30])
    attack = {row.name: row.values[0] for row in trainings.rows}
    assert attack["VGG-16"] == "none"
    assert attack["VGG-OPU AT"] == "7-step PGD within 8/255, gradients by DFA"


def test_a_claim_of_nothing_is_never_called_masking(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run", "adversarial-training")
    for name, claimed in (("VGG-16", 0), ("VGG-OPU", 30), ("VGG-16 AT", 30)):
        failed = () if name == "VGG-16 AT" else ("claim stands",)
        folder.audit(name, claimed=claimed, worst=0 if failed else 30, failed=failed)
    trainings = section(folder.run(), Drawn()).tables[2]
    verdicts = [f"dfa-fresh+fa: {found}" for found in (Found.NOTHING, Found.CONTRADICTED, Found.STANDS)]
    assert [row.values[1] for row in trainings.rows[:3]] == verdicts


def test_one_seed_never_makes_that_it_costs_no_accuracy(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run", "adversarial-training")
    for name in CLEAN:
        folder.audit(name, clean=80, claimed=30, worst=30, inputs=[folder.network(name, clean=0.8)])
    path = build(folder.run().folder, studies=[find_study("adversarial-training")])
    text = path.read_text(encoding="utf-8").partition('id="adversarial-training"')[2].partition("<figure>")[0]
    assert "trained once" in text
    assert "clean accuracy" not in text


def test_features_tell_the_attack_inside_their_training(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run", "adversarial-training")
    inside = {"kind": "TRADES", "eps": 8 / 255, "steps": 1, "rule": "bp"}
    features = folder.network("VGG-DFA AT", training={"credit": "bp", "epochs": 2, "adversarial": inside})
    folder.network("VGG-OPU AT", training={"credit": "classifier", "epochs": 2}, inputs=[features])
    trainings = section(folder.run(), Drawn()).tables[2]
    assert trainings.rows[3].values[0] == "1-step TRADES within 8/255, gradients by BP"


def test_other_studies_have_no_such_section(tmp_path: Path) -> None:
    assert section(RunFolder(tmp_path / "run").run(), Drawn()) is None


def test_a_folder_of_all_that_does_not_say_whose_cells_are_has_the_ordinary_networks_too(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run", "all")
    folder.network("VGG-16", clean=0.1)  # another one, that nobody audited
    for name in CLEAN:
        folder.audit(name, inputs=[folder.network(name, clean=0.8)])
    (table,) = tables(folder.run().of("adversarial-training"))
    assert [row.values[0].count for row in table.rows] == [800] * 4
