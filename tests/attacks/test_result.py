from dataclasses import replace

import pytest
import torch

from groundglass.attacks import (
    L2,
    PGD,
    AttackResult,
    GradientAccess,
    LabelAccess,
    Linf,
    ScoreAccess,
    Square,
    Sweep,
    Targeted,
    worst_case,
)
from groundglass.core import DamagedFileError
from groundglass.data import given
from tests.attacks.toy import RowModel, assert_same


@pytest.fixture(scope="module")
def result():
    images = torch.rand(20, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    labels = RowModel()(images).argmax(1)
    labels[3] = (labels[3] + 1) % 3
    found = PGD(steps=5, step_size=None)(GradientAccess(RowModel()), images, labels, Linf(0.03), seed=0)
    return found, images, labels


def test_accuracies(result):
    found, _, _ = result
    fooled = int(found.success.sum())
    assert 2 <= fooled <= 17
    assert len(found) == 20
    assert found.clean_accuracy == 19 / 20
    assert found.robust_accuracy == (19 - fooled) / 20
    assert found.success_rate == fooled / 19
    assert not bool(found.success[3])


def test_a_misclassified_image_is_not_passed_off_as_adversarial(result):
    found, images, _ = result
    assert torch.equal(found.adversarial[3], images[3])
    assert (float(found.norm[3]), bool(found.robust[3])) == (0, False)


def test_parts_put_together_are_the_whole(result):
    found, _, _ = result
    again = AttackResult.concat([found.subset(slice(0, 7)), found.subset([7]), found.subset(torch.arange(8, 20))])
    for field in ("adversarial", "success", "gradients", "norm"):
        assert torch.equal(getattr(found, field), getattr(again, field))
    with pytest.raises(ValueError, match="no results"):
        AttackResult.concat([])


@pytest.mark.parametrize("kind", [GradientAccess, ScoreAccess, LabelAccess])
def test_successes_are_confirmed_by_a_fresh_pass(result, kind):
    found, _, labels = result
    access = kind(RowModel())
    confirmed = found.confirmed(access, labels, batch_size=3)
    assert torch.equal(confirmed.success, found.success)
    assert torch.equal(confirmed.check_queries, found.check_queries + found.success)
    assert access.rows == int(found.success.sum())

    other = found.confirmed(kind(RowModel(seed=8)), labels)
    assert int(other.success.sum()) < int(found.success.sum())
    assert bool((found.success | ~other.success).all())


class Flickering(RowModel):
    """Answers row i of every call wrongly in these calls, rightly in the others."""

    def __init__(self, wrong):
        super().__init__()
        self.wrong, self.call = wrong, 0

    def forward(self, x):
        told = super().forward(x)
        flip = torch.tensor([self.call in calls for calls in self.wrong])
        self.call += 1
        right = torch.nn.functional.one_hot(torch.zeros(len(x), dtype=torch.int64), told.shape[1]) * 9.0
        return torch.where(flip[:, None], right.roll(1, 1), right)


def test_success_under_noise_is_by_majority(result):
    found, _, _ = result
    claimed = found.subset(found.success.nonzero()[:2, 0])
    labels = torch.zeros(2, dtype=torch.int64)
    # The first image fools in 2 of 5 measurements, the second in 3.
    calls = ({0, 1}, {0, 2, 3})
    for votes, success in ((1, [True, True]), (5, [False, True]), (4, [False, True]), (2, [True, False])):
        access = ScoreAccess(Flickering(calls))
        confirmed = claimed.confirmed(access, labels, votes=votes)
        assert confirmed.success.tolist() == success, votes
        assert access.rows == 2 * votes
        assert torch.equal(confirmed.check_queries, claimed.check_queries + votes)
    with pytest.raises(ValueError, match="votes"):
        claimed.confirmed(ScoreAccess(Flickering(calls)), labels, votes=0)


def test_the_worst_case_is_image_by_image(result):
    found, _, _ = result
    robust = found.robust.nonzero().squeeze(1)
    success = found.success.clone()
    success[robust[0]] = True
    turned = replace(found, success=success)
    assert int(worst_case([found, turned]).sum()) == len(robust) - 1
    assert bool((worst_case([found]) == found.robust).all())


def counted(rows):
    """A result with these rows: right at first, fooled, loss queries, check queries."""
    clean, success, losses, checks = (torch.tensor(column) for column in zip(*rows, strict=True))
    count, zero = len(rows), torch.zeros(len(rows), dtype=torch.int64)
    return AttackResult(
        adversarial=torch.zeros(count, 3, 2, 2),
        success=success,
        clean_correct=clean,
        iterations=zero,
        gradients=zero,
        loss_queries=losses,
        check_queries=checks,
        zero_gradients=zero,
        norm=torch.zeros(count),
        loss=torch.zeros(count),
    )


QUERIED = [
    (True, True, 8, 3),
    (True, False, 90, 10),
    (False, False, 0, 1),
    (True, True, 20, 5),
    (True, True, 10, 1),
]


def test_queries_are_all_that_went_through_the_model():
    assert counted(QUERIED).queries.tolist() == [11, 100, 1, 25, 11]


def test_success_within_a_budget_counts_up_to_and_with_it():
    found = counted(QUERIED)
    shares = {0: 0, 10: 0, 11: 0.5, 24: 0.5, 25: 0.75, 100: 0.75, 10**6: 0.75}
    assert {budget: found.success_within(budget) for budget in shares} == shares
    assert found.success_within(10**6) == found.success_rate


def test_the_success_curve_steps_up_where_images_were_fooled():
    found = counted(QUERIED)
    at, share = found.success_curve()
    assert at.tolist() == [11, 25]
    assert share.tolist() == [0.5, 0.75]
    assert [found.success_within(int(n)) for n in at] == share.tolist()


@pytest.mark.parametrize("rows", [[(True, False, 5, 1)], [(False, False, 0, 1)]])
def test_the_curve_of_an_attack_that_fooled_none_is_empty(rows):
    found = counted(rows)
    at, share = found.success_curve()
    assert (at.tolist(), share.tolist()) == ([], [])
    assert (found.success_within(100), found.success_rate) == (0, 0)


def test_a_result_that_contradicts_itself_is_not_made():
    with pytest.raises(AssertionError, match="right can be fooled"):
        counted([(False, True, 5, 1)])
    with pytest.raises(AssertionError, match="one row an image"):
        replace(counted(QUERIED), norm=torch.zeros(3))


# --- as a table, on disk, as a picture ---


def test_a_frame_has_a_row_an_image(result):
    found, _, _ = result
    frame = found.to_frame()
    assert frame.success.sum() == found.success.sum()
    assert (frame.queries == frame.loss_queries + frame.check_queries).all()
    assert frame.gradients.tolist() == found.gradients.tolist()
    assert "adversarial" not in frame


@pytest.fixture(scope="module")
def sweep(result):
    _, images, labels = result
    return PGD(steps=5)(RowModel(), images, labels, Linf, eps=[0.01, 0.03, 0.06])


def test_a_result_and_a_sweep_are_saved_whole(result, sweep, tmp_path):
    found, images, labels = result
    found.save(tmp_path / "one.safetensors")
    again = AttackResult.load(tmp_path / "one.safetensors")
    assert_same(again, found)
    assert again.setup == found.setup
    balls = [Linf((0.01, 0.02, 0.03)), Linf.each([0.04] * 20)]
    for one in (
        sweep,
        PGD(steps=2)(RowModel(), images, labels, balls),
        PGD(steps=2)(RowModel(), images, labels, L2, eps=["1/2"]),
    ):
        one.save(tmp_path / "all.safetensors")
        back = Sweep.load(tmp_path / "all.safetensors")
        assert back.balls == one.balls
        for a, b in zip(back, one, strict=True):
            assert_same(a, b)
    with pytest.raises(ValueError, match="holds a sweep"):
        AttackResult.load(tmp_path / "all.safetensors")
    with pytest.raises(ValueError, match="holds one result"):
        Sweep.load(tmp_path / "one.safetensors")
    whole = (tmp_path / "one.safetensors").read_bytes()
    (tmp_path / "one.safetensors").write_bytes(whole[:-9] + b"123456789")
    with pytest.raises(DamagedFileError, match="run the attack again"):
        AttackResult.load(tmp_path / "one.safetensors")


def test_a_sweeps_frame_has_a_row_a_radius(sweep):
    frame = sweep.to_frame()
    assert frame.radius.tolist() == [0.01, 0.03, 0.06]
    assert frame.robust_accuracy.tolist() == list(sweep.robust_accuracy)
    assert frame.attacked.tolist() == [19, *(int(one.robust.sum()) for one in sweep.results[:2])]
    last = sweep[2].subset(sweep[1].robust)
    assert frame.mean_gradients[2] == pytest.approx(float(last.gradients.double().mean()))


def test_curves_show_the_figures(result, sweep):
    found, images, labels = result
    (line,) = sweep.plot_curve().axes[0].lines
    assert line.get_xdata().tolist() == [0.0, 0.01, 0.03, 0.06]
    assert line.get_ydata().tolist() == [100 * found.clean_accuracy, *(100 * left for left in sweep.robust_accuracy)]
    asked = Square()(RowModel(), images, labels, Linf(0.06), budget=50)
    (line,) = asked.plot_curve().axes[0].lines
    spent, shares = asked.success_curve()
    assert line.get_xdata().tolist() == [0, *spent.tolist(), 50]
    assert line.get_ydata().tolist()[1:-1] == pytest.approx((100 * shares).tolist())
    axes = found.plot_curve().axes[0]
    assert axes.get_xlabel() == "gradients"
    asked.plot_curve(ax=axes)
    assert len(axes.lines) == 2


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_examples_show_those_that_were_fooled_first(channels, tmp_path):
    images = torch.rand(8, channels, 4, 4, generator=torch.Generator().manual_seed(0))
    model = RowModel(size=16 * channels)
    found = PGD(steps=5)(model, images, model(images).argmax(1), Linf(0.05), seed=0)
    figure = found.plot_examples(images, count=5)
    assert len(figure.axes) == 15
    said = [ax.get_xlabel() for ax in figure.axes[10:]]
    assert said == sorted(said)
    assert all(ax.get_title() == "" for ax in figure.axes)
    order = torch.argsort(found.success.int(), descending=True, stable=True)[:5]
    labels, seen = (model(x).argmax(1)[order].tolist() for x in (images, found.adversarial))
    labelled = found.plot_examples(
        images, count=5, labels=model(images).argmax(1), model=model, classes=("cat", "dog")
    )  # the third has no name
    names = ["cat", "dog", "2"]
    assert [ax.get_title() for ax in labelled.axes[:5]] == [names[label] for label in labels]
    assert [ax.get_xlabel().partition(": ")[2] for ax in labelled.axes[10:]] == [names[label] for label in seen]
    figure.savefig(tmp_path / "examples.png")
    with pytest.raises(ValueError, match="give the same"):
        found.plot_examples(images[:5])


def test_what_is_printed_of_a_targeted_attack_is_not_called_an_accuracy(result):
    found, images, labels = result
    aimed = PGD(steps=2)(RowModel(), images, labels, Linf(0.03), criterion=Targeted((labels + 1) % 3))
    swept = PGD(steps=2)(RowModel(), images, labels, Linf, eps=[0.01, 0.03], criterion=Targeted((labels + 1) % 3))
    assert f"right before the attack: {found.clean_accuracy:.1%}" in repr(found)
    for each in (repr(aimed), repr(swept)):
        assert "right" not in each
        assert f"criterion not met before the attack: {aimed.clean_accuracy:.1%}" in each


def test_a_call_without_labels_says_where_they_are(result):
    _, images, labels = result
    data = torch.utils.data.TensorDataset(images, labels)
    assert len(PGD(steps=1)(RowModel(), data, Linf(0.03))) == len(images)
    for ball in (Linf(0.03), Linf):
        with pytest.raises(TypeError, match="a Dataset or a DataLoader"):
            PGD()(RowModel(), images, ball)
    with pytest.raises(ValueError, match=r"needs a ball: give Linf\(eps\)"):
        PGD()(RowModel(), images, labels)
    few = given(data).first(5)
    assert len(PGD(steps=1)(RowModel(), few.floats(), few.labels, Linf(0.03))) == 5


def test_results_of_images_in_other_bounds_or_shapes_are_not_joined(result):
    found, images, labels = result
    wide = PGD(steps=1)(lambda x: RowModel()((x + 1) / 2), 2 * images - 1, labels, Linf(0.06), bounds=(-1, 1))
    with pytest.raises(ValueError, match="bounds"):
        AttackResult.concat([found, wide])
    with pytest.raises(ValueError, match="shapes"):
        AttackResult.concat([found, replace(found, adversarial=found.adversarial[:, :1])])
    assert len(AttackResult.concat([found, replace(found, setup=None)])) == 2 * len(found)
