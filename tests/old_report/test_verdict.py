"""What is said about the claim follows from the records, and from nothing else."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from groundglass.old_report.answer import AnswerSection, headline
from groundglass.old_report.cells import AttackCell, curves
from groundglass.old_report.drawing import Folder
from groundglass.old_report.study import Study
from groundglass.old_report.threat_models import ATTACKERS
from groundglass.old_report.verdict import CLEAR, IDLE, MASKING, OPEN, judge
from groundglass.results.records import RecordStore
from tests.old_report import synthetic_study

WEAK = {"fa": 0.45, "bpda-drawn": 0.42, "bpda-fit-linear": 0.41, "bpda-fit-network": 0.4, "exact": 0.4}


def cell(rule: str, accuracy: float, model: str = "VGG-OPU", **more: Any) -> AttackCell:
    return AttackCell.from_record(synthetic_study.attack(model, rule, eps=0.02, accuracy=accuracy, **more)[0])


def cells(**changes: float) -> list[AttackCell]:
    """DFA leaves 40%, BP on the baseline 5%, the others what WEAK and `changes` say."""
    rules = {"dfa": 0.4, **WEAK, **{name.replace("_", "-"): value for name, value in changes.items()}}
    return [cell("bp", 0.05, model="VGG-16"), *(cell(rule, value) for rule, value in rules.items())]


def test_all_tried_and_none_better_is_no_sign_of_masking() -> None:
    verdict = judge(cells(), synthetic_study.checks())
    assert verdict.text == CLEAR
    assert [s for s in verdict.skipped if "retrieved" not in s] == []


@pytest.mark.parametrize("rule", ["fa", "bpda_drawn", "bpda_fit_linear", "bpda_fit_network", "exact"])
def test_any_adaptive_attacker_that_breaks_what_dfa_does_not_means_masking(rule: str) -> None:
    verdict = judge(cells(**{rule: 0.3}), synthetic_study.checks())
    assert verdict.text == MASKING
    (reason,) = verdict.reasons
    assert "leaves 30.0% where DFA leaves 40.0%" in reason
    assert "5.1/255" in reason


def test_a_difference_within_chance_is_no_break() -> None:
    assert judge(cells(exact=0.37), synthetic_study.checks()).text == CLEAR


@pytest.mark.parametrize(
    ("alone", "text"),
    [({0.02: 0.38}, IDLE), ({0.02: 0.2}, CLEAR), ({0.02: 0.38, 0.04: 0.01}, CLEAR), ({0.03: 0.4}, CLEAR)],
)
def test_a_layer_whose_features_keep_as_much_has_gained_nothing(alone: dict[float, float], text: str) -> None:
    further = AttackCell.from_record(synthetic_study.attack("VGG-OPU", "dfa", eps=0.04, accuracy=0.1)[0])
    features = []
    for eps, accuracy in alone.items():
        made, _ = synthetic_study.attack("VGG-16", "bp", eps=eps, accuracy=accuracy)
        features.append(AttackCell.from_record(replace(made, config={**made.config, "model": "VGG-DFA"})))
    verdict = judge([*cells(), further, *features], synthetic_study.checks())
    assert verdict.text == text
    assert ("VGG-DFA has the features" in " ".join(verdict.reasons)) == (text == IDLE)
    # What is masked stays masked.
    assert judge([*cells(exact=0.3), further, *features], synthetic_study.checks()).text == MASKING


@pytest.mark.parametrize("rule", ["none", "dfa-fresh", "bp"])
def test_what_is_not_adaptive_proves_nothing(rule: str) -> None:
    assert judge([*cells(), cell(rule, 0.1)], synthetic_study.checks()).text == CLEAR


def test_another_radius_or_norm_is_no_comparison() -> None:
    elsewhere = AttackCell.from_record(synthetic_study.attack("VGG-OPU", "exact", eps=0.03, accuracy=0.1)[0])
    in_l2 = AttackCell.from_record(synthetic_study.attack("VGG-OPU", "exact", eps=0.02, norm="l2", accuracy=0.1)[0])
    assert judge([*cells(), elsewhere, in_l2], synthetic_study.checks()).text == CLEAR


def test_a_failed_check_means_masking() -> None:
    verdict = judge(cells(), synthetic_study.checks("unbounded ball"))
    assert verdict.text == MASKING
    assert verdict.reasons == ("The check “unbounded ball” failed: ε = 1 in L∞.",)


@pytest.mark.parametrize("rule", ["dfa", "bpda-fit-linear", "bpda-fit-network", "exact"])
def test_without_an_attacker_that_counts_nothing_is_decided(rule: str) -> None:
    verdict = judge([c for c in cells() if c.rule != rule], synthetic_study.checks())
    assert verdict.text == OPEN
    label = next(a.label for a in ATTACKERS if a.rule == rule)
    assert label in verdict.reasons[0]


def test_without_checks_nothing_is_decided() -> None:
    verdict = judge(cells(), [])
    assert verdict.text == OPEN
    assert "the sanity checks" in verdict.skipped


def answer(folder: Path, everything: list[AttackCell], failing: str | None = None) -> str:
    with RecordStore.open(folder, synthetic_study.manifest()) as store:
        for name in synthetic_study.CLEAN:
            store.add(synthetic_study.training(name))
        for record in (*(c.record for c in everything), *synthetic_study.checks(failing)):
            store.add(record)
    section = AnswerSection().render(Study(RecordStore.read(folder), Folder(folder / "figures")))
    assert section is not None
    return " ".join(part.said for part in section.context["parts"])


def test_the_answer_names_the_numbers(tmp_path: Path) -> None:
    text = answer(tmp_path, cells(bpda_fit_network=0.12, exact=0.06))
    assert "VGG-OPU gets 82.7% of the untouched CIFAR-10 test images right, VGG-16 81.2%" in text
    assert "costs no clean accuracy" in text
    assert "5.1/255" in text
    assert "leaves VGG-16 right on 5.0%" in text
    assert "leaves VGG-OPU right on 40.0%, a gain of 35 points" in text
    assert "the strongest is BPDA (network fit), and leaves 12.0%" in text
    assert "only a simulator can give, leaves 6.0%" in text
    assert "the weakness of the attacker's gradient" in text
    assert "needs no secret 7 points" in text


def test_the_answer_says_what_is_left_when_something_is(tmp_path: Path) -> None:
    text = answer(tmp_path, cells(exact=0.25))
    assert "What is left above the undefended network, under the strongest attacker tried, is 20 points" in text
    assert "which gets no further" in text


@pytest.mark.parametrize(
    ("alone", "expected"),
    [
        (0.38, "what VGG-OPU gains is its features', as far as 1,000 images can tell, and not the layer's"),
        (0.2, "20 points are the layer's"),
    ],
)
def test_the_answer_tells_the_layer_from_its_features(tmp_path: Path, alone: float, expected: str) -> None:
    """VGG-DFA is VGG-OPU without the layer: what it keeps, the layer has not bought."""
    made, _ = synthetic_study.attack("VGG-16", "bp", eps=0.02, accuracy=alone, seed=1)
    made = replace(made, config={**made.config, "model": "VGG-DFA"}, key="d" * 12)
    text = answer(tmp_path, [*cells(dfa_fresh=0.6), AttackCell.from_record(made)])
    assert "no adaptive attacker got clearly further than DFA" in text
    assert "What weaker gradients report beyond it, DFA (fresh B) 60.0%, is their weakness." in text
    assert f"no layer, and keeps {100 * alone:.1f}% under backpropagation" in text
    assert "leaves VGG-OPU 40.0%: " + expected in text


def test_the_answer_believes_no_gain_when_a_check_failed(tmp_path: Path) -> None:
    assert "should not be believed" in answer(tmp_path, cells(), failing="unbounded ball")


def test_the_answer_does_not_cry_masking_without_a_reason(tmp_path: Path) -> None:
    text = answer(tmp_path, cells())
    assert "not just a bad gradient" in text
    assert "weakness" not in text


def test_the_headline_is_the_radius_where_the_layer_seems_to_help_most() -> None:
    def at(model: str, rule: str, eps: float, accuracy: float) -> AttackCell:
        return AttackCell.from_record(synthetic_study.attack(model, rule, eps=eps, accuracy=accuracy)[0])

    both = [
        *(at("VGG-16", "bp", eps, value) for eps, value in ((0.0, 0.8), (0.01, 0.4), (0.02, 0.1), (0.03, 0.0))),
        *(at("VGG-OPU", "dfa", eps, value) for eps, value in ((0.0, 0.8), (0.01, 0.7), (0.02, 0.5), (0.03, 0.2))),
    ]
    assert headline(curves(both, norm="linf")) == 0.02
    assert headline(curves([c for c in both if c.model == "VGG-16"], norm="linf")) == 0.03
    assert headline([]) is None


def test_of_two_attacks_at_a_radius_the_stronger_counts() -> None:
    weak = synthetic_study.attack("VGG-OPU", "dfa", eps=0.02, accuracy=0.5)[0]
    strong = synthetic_study.attack("VGG-OPU", "dfa", eps=0.02, accuracy=0.4)[0]
    for order in ((weak, strong), (strong, weak)):
        (curve,) = curves([AttackCell.from_record(r) for r in order], norm="linf")
        assert [p.robust.count for p in curve.points] == [400]


def test_the_answer_tells_the_price_in_clean_accuracy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(synthetic_study.CLEAN, "VGG-OPU", 0.772)
    assert "the layer costs 4.0 points" in answer(tmp_path, cells())


def test_a_gain_within_chance_is_said_to_be_so(tmp_path: Path) -> None:
    slight = [cell("bp", 0.385, model="VGG-16"), *(c for c in cells() if c.model == "VGG-OPU")]
    assert "1,000 images cannot tell from none" in answer(tmp_path / "slight", slight)
    assert "cannot tell" not in answer(tmp_path / "clear", cells())


def test_controls_are_no_evidence_of_masking() -> None:
    controls = [
        AttackCell.from_record(
            synthetic_study.attack("VGG-OPU", "exact", eps=0.02, accuracy=0.1, method=method, purpose="control")[0]
        )
        for method in ("PGD", "FGSM", "CW")
    ]
    assert judge([*cells(), *controls], synthetic_study.checks()).text == CLEAR
