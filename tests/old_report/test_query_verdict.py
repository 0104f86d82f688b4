"""What is said of the query attacks follows from intervals that are apart, and from nothing else."""

from pathlib import Path

import pytest

from groundglass.old_report.answer import AnswerSection
from groundglass.old_report.contests import contests
from groundglass.old_report.drawing import Folder
from groundglass.old_report.query_verdict import BROKEN, BUDGET, EASIER, HARDER, UNSOUND, Judged, verdicts
from groundglass.old_report.query_words import difference_words
from groundglass.old_report.study import Study
from groundglass.old_report.verdict import MASKING, OPEN, Verdict
from groundglass.results.records import RecordStore
from tests.old_report import synthetic_queries
from tests.old_report.synthetic_queries import Made, query, reference

PAPER = "The paper reports"


def made(before: int, after: int, **gradients: float) -> list[Made]:
    """Square on both networks, so many of 80 fooled, and white-box references."""
    references = [
        reference("VGG-16" if rule == "bp" else "VGG-OPU", rule, share, right=80) for rule, share in gradients.items()
    ]
    return [
        query("VGG-16", "Square", fooled=before, right=80),
        query("VGG-OPU", "Square", fooled=after, right=80),
        *references,
    ]


def study(folder: Path, records: list[Made], **more: object) -> Study:
    synthetic_queries.write(folder, records, **more)  # type: ignore[arg-type]
    return Study(RecordStore.read(folder), Folder(folder / "figures"))


def verdict(folder: Path, records: list[Made], **more: object) -> Verdict:
    (judged,) = verdicts(study(folder, records, **more))
    assert judged.part == "black-box"
    return judged.verdict


def answer(folder: Path, records: list[Made], **more: object) -> str:
    section = AnswerSection().render(study(folder, records, **more))
    assert section is not None
    said = [
        text
        for part in section.context["parts"]
        for text in (part.said, *(part.judged.verdict.reasons if part.judged else ()))
    ]
    return " ".join(said)


def test_asking_that_beats_dfa_is_masking(tmp_path: Path) -> None:
    found = verdict(tmp_path, made(80, 60, dfa=0.3, exact=0.75))
    assert found.text == MASKING
    (reason,) = found.reasons
    assert "Square fools 75.0% of VGG-OPU's images and white-box PGD with DFA's gradient 30.0%" in reason
    assert "gradient masking (Athalye et al. 2018)" in reason


def test_a_true_matrix_that_beats_all_asking_means_a_budget(tmp_path: Path) -> None:
    found = verdict(tmp_path, made(80, 20, dfa=0.3, exact=1.0))
    assert found.text == BUDGET
    (reason,) = found.reasons
    assert "with the true U 100.0%" in reason
    assert "budget of 15,000 queries, not robustness" in reason


def test_asking_that_beats_the_true_matrix_is_masking_too(tmp_path: Path) -> None:
    found = verdict(tmp_path, made(80, 60, dfa=0.75, exact=0.2))
    assert found.text == MASKING
    assert "the slope of the binarisation is a guess" in found.reasons[0]


def test_a_difference_within_chance_proves_nothing(tmp_path: Path) -> None:
    """60 of 80 against 54 of 80: the intervals overlap, whatever the points."""
    found = verdict(tmp_path, made(60, 54, dfa=0.7, exact=0.7))
    assert found.text == OPEN
    assert found.reasons == ("Strongest against strongest, 80 images cannot tell the defended network from the other.",)


@pytest.mark.parametrize(("before", "after", "expected"), [(80, 40, HARDER), (30, 65, EASIER)])
def test_a_clear_difference_is_called_one(tmp_path: Path, before: int, after: int, expected: str) -> None:
    found = verdict(tmp_path, made(before, after, dfa=after / 80, exact=after / 80))
    assert found.text == expected
    assert f"by {round(100 * abs(after - before) / 80)} points" in found.reasons[0]
    assert Judged("black-box", found).tone == {HARDER: "good", EASIER: "bad"}[expected]


def test_a_failed_check_comes_before_everything(tmp_path: Path) -> None:
    found = verdict(tmp_path, made(80, 40, exact=0.5), failing="queries within budget")
    assert found.text == UNSOUND
    assert "queries within budget" in found.reasons[0]


def test_what_is_missing_leaves_it_open(tmp_path: Path) -> None:
    assert verdict(tmp_path / "checks", made(80, 40, exact=0.5), with_checks=False).text == OPEN
    no_exact = verdict(tmp_path / "exact", made(80, 40))
    assert no_exact.text == OPEN
    assert "the true U" in no_exact.reasons[0]
    only = verdict(tmp_path / "one", made(80, 40, exact=0.5)[1:])
    assert "images that VGG-16 gets right" in only.reasons[0]
    assert verdict(tmp_path / "none", []).text == OPEN


def test_a_reference_at_another_radius_is_no_comparison(tmp_path: Path) -> None:
    records = [*made(80, 60, exact=0.75), reference("VGG-OPU", "dfa", 0.1, eps=4 / 256, right=80)]
    assert verdict(tmp_path, records).text == HARDER
    assert "DFA" not in answer(tmp_path / "answer", records)


def test_the_baselines_gradient_says_nothing_of_the_defence(tmp_path: Path) -> None:
    assert verdict(tmp_path, made(80, 60, bp=0.2, exact=0.75)).text == HARDER


def test_the_answer_names_the_numbers(tmp_path: Path) -> None:
    records = [*made(80, 60, dfa=0.3, exact=1.0), query("VGG-OPU", "Bandits", fooled=20, right=80)]
    words = answer(tmp_path, records)
    assert "VGG-OPU gets 82.7% of the untouched CIFAR-10 test images right" in words
    assert "may ask 15,000 times an image and move every pixel within L∞ ε = 8/256" in words
    assert "On VGG-16 the strongest query attack is Square: it fools 100.0% (95.4–100.0) of the 80 images" in words
    assert "On VGG-OPU the strongest query attack is Square: it fools 75.0% (64.5–83.2) of the 80 images" in words
    median = records[1][0].result["median_queries"]
    assert f"with a median of {median:,.0f} queries" in words
    assert "lowers the success of query attacks by 25 points" in words
    assert words.count("Athalye") == 1, "what the verdict says is not said twice"


def test_of_equals_the_cheaper_attack_is_the_stronger(tmp_path: Path) -> None:
    records = [query("VGG-OPU", name, fooled=80, right=80, median=m) for name, m in (("NES", 3000), ("RayS", 400))]
    assert "strongest query attack is RayS" in answer(tmp_path, records)


def difference(folder: Path, records: list[Made], data: str = "cifar10") -> str:
    (contest,) = contests(study(folder, records))
    return " ".join(difference_words(contest, data))


def test_the_layer_is_compared_attack_by_attack(tmp_path: Path) -> None:
    outcomes = {"NES": (60, 56), "Bandits": (64, 66), "Parsimonious": (80, 56), "Square": (20, 70)}
    records = [
        query(model, name, fooled=counts[i], right=80)
        for name, counts in outcomes.items()
        for i, model in enumerate(("VGG-16", "VGG-OPU"))
    ]
    words = difference(tmp_path, records)
    assert "makes it harder for Parsimonious (70.0% against 100.0%): VGG-OPU against VGG-16." in words
    assert "makes it easier for Square (87.5% against 25.0%): VGG-OPU against VGG-16." in words
    assert "For NES (−5 points) and Bandits (+2 points) the sample of 80 images cannot tell" in words
    assert PAPER in words


def test_the_papers_claims_are_for_its_data_and_its_attacks_alone(tmp_path: Path) -> None:
    assert PAPER not in difference(tmp_path / "square", made(80, 60))
    nes = [query(model, "NES", fooled=40, right=80) for model in ("VGG-16", "VGG-OPU")]
    assert PAPER in difference(tmp_path / "nes", nes)
    for data in ("cifar100", "shapes"):
        assert PAPER not in difference(tmp_path / data, nes, data)


def test_attacks_with_other_budgets_are_not_compared(tmp_path: Path) -> None:
    records = [query("VGG-16", "NES", fooled=80, right=80), query("VGG-OPU", "NES", fooled=2, right=80, budget=500)]
    assert difference(tmp_path, records) == ""


def test_checks_count_for_the_part_that_they_looked_at(tmp_path: Path) -> None:
    both = study(tmp_path, synthetic_queries.everything(), white_box=True, failing="queries within budget")
    white, black = verdicts(both)
    assert (white.part, black.part) == ("white-box", "black-box")
    assert not any("queries within budget" in reason for reason in white.verdict.reasons)
    assert black.verdict.text == UNSOUND


def test_networks_of_the_queries_alone_are_told(tmp_path: Path) -> None:
    """A study of both parts whose query attacks met other networks of the same names."""
    from dataclasses import replace

    from tests.old_report import synthetic_study

    other = replace(synthetic_study.training("VGG-OPU"), key="0123456789cc")
    other = replace(other, result={**other.result, "clean_accuracy": 0.7})
    asked, arrays = query("VGG-OPU", "Square", fooled=40)
    asked = replace(asked, inputs=("0123456789cc",))
    words = answer(tmp_path, [(other, None), (asked, arrays)], white_box=True)
    assert "VGG-OPU gets 82.7% of the untouched" in words
    assert "The query attacks met networks of their own, VGG-OPU with 70.0% right untouched." in words


@pytest.mark.parametrize("failing", [None, "gradient estimates are not zero"])
def test_nearly_all_fooled_is_broken_whatever_other_attacks_failed_at(tmp_path: Path, failing: str | None) -> None:
    found = verdict(tmp_path, made(40, 80, dfa=1.0, exact=1.0), failing=failing)
    assert found.text == BROKEN
    assert "fools 100.0% (95.4–100.0) of the 80 images that VGG-OPU gets right" in found.reasons[0]
    assert len(found.reasons) == (1 if failing is None else 2)


def test_success_that_was_not_counted_right_breaks_nothing(tmp_path: Path) -> None:
    assert verdict(tmp_path, made(40, 80, exact=1.0), failing="queries within budget").text == UNSOUND


def test_most_is_not_nearly_all(tmp_path: Path) -> None:
    assert verdict(tmp_path, made(40, 74, dfa=74 / 80, exact=74 / 80)).text == EASIER
