import numpy as np
import pytest
import torch
from torch import nn

from groundglass.attacks import (
    PGD,
    BudgetExceededError,
    GradientAccess,
    LabelAccess,
    Linf,
    NonFiniteError,
    ScoreAccess,
    numpy_model,
)
from groundglass.attacks.losses import cross_entropy, find_loss, margin
from tests.attacks.toy import Counting, Failing, Linear, RowModel


@pytest.fixture
def images():
    return torch.rand(6, 3, 4, 4, generator=torch.Generator().manual_seed(0))


LABELS = torch.tensor([0, 1, 2, 0, 1, 2])


def test_gradients_are_per_image_and_counted(images):
    model = Counting(RowModel())
    access = GradientAccess(model)
    found = access.loss_and_grad(images, LABELS, cross_entropy)
    alone = access.loss_and_grad(images[3:4], LABELS[3:4], cross_entropy)
    access.logits(images[:2])
    assert torch.equal(found.grad[3:4], alone.grad)
    assert (access.gradients, access.check_queries, access.rows) == (7, 2, model.rows)

    x = images.clone().requires_grad_()
    torch.nn.functional.cross_entropy(model(x), LABELS, reduction="sum").backward()
    assert torch.allclose(found.grad, x.grad)
    assert not found.grad.requires_grad
    assert not found.logits.requires_grad
    with torch.no_grad():  # the caller's
        assert torch.equal(access.loss_and_grad(images, LABELS, cross_entropy).grad, found.grad)


def test_the_model_is_left_as_it_was(images):
    dropped = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(48), nn.Dropout(0.9), nn.Linear(48, 3))
    dropped.train()
    dropped[2].eval()
    dropped[3].weight.requires_grad_(False)
    before = {k: v.clone() for k, v in dropped.state_dict().items()}
    access = GradientAccess(dropped)
    first = access.loss_and_grad(images, LABELS, cross_entropy).logits
    # Dropout and batch statistics off while it is asked: the same answer each time, alone too.
    assert torch.allclose(access.logits(images[:1]), first[:1], atol=1e-6)
    assert [m.training for m in dropped.modules()] == [True, True, True, False, True]
    assert [p.requires_grad for p in dropped.parameters()] == [True, True, False, True]
    assert all(p.grad is None for p in dropped.parameters())
    assert all(torch.equal(v, before[k]) for k, v in dropped.state_dict().items())


def test_the_budget_is_never_exceeded(images):
    model = Counting(RowModel())
    access = GradientAccess(model, budget=9)
    access.logits(images)
    assert access.remaining == 3
    with pytest.raises(BudgetExceededError, match="budget of 9 \\(6 are used\\)"):
        access.loss_and_grad(images[:4], LABELS[:4], cross_entropy)
    assert (model.rows, access.rows, access.gradients) == (6, 6, 0)
    access.loss_and_grad(images[:3], LABELS[:3], cross_entropy)
    assert (model.rows, access.remaining) == (9, 0)
    with pytest.raises(ValueError, match="at least 1"):
        GradientAccess(model, budget=0)


def test_nan_is_an_error_that_says_where(images):
    with pytest.raises(NonFiniteError, match="logits for 2 of 6"):
        GradientAccess(lambda x: RowModel()(x) + torch.tensor([0, 0, 0, 0, torch.nan, torch.inf])[:, None]).logits(
            images
        )

    class BadGradient(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, grad):
            grad = grad.clone()
            grad[1] = torch.nan
            return grad

    with pytest.raises(NonFiniteError, match="gradient at 1 of 6"):
        GradientAccess(lambda x: RowModel()(BadGradient.apply(x))).loss_and_grad(images, LABELS, cross_entropy)


def test_zero_gradients_are_seen(images):
    found = GradientAccess(lambda x: RowModel()(x * (x.mean((1, 2, 3), keepdim=True) > 0.5))).loss_and_grad(
        images, LABELS, cross_entropy
    )
    assert found.zero.tolist() == (images.mean((1, 2, 3)) <= 0.5).tolist()
    assert 0 < int(found.zero.sum()) < 6


def test_what_is_not_logits_is_refused(images):
    cases = [
        (lambda x: RowModel()(x).detach(), "do not depend on the images"),
        (lambda x: RowModel()(x).argmax(1), "float logits of shape \\(6, classes\\), not torch.int64"),
        (lambda x: RowModel()(x)[:3], "not torch.float32 \\(3, 3\\)"),
        (lambda x: RowModel()(x).detach().numpy(), "not ndarray"),
    ]
    for model, message in cases:
        with pytest.raises(ValueError, match=message):
            GradientAccess(model).loss_and_grad(images, LABELS, cross_entropy)
    with pytest.raises(ValueError, match="must be in 0"):
        GradientAccess(RowModel()).loss_and_grad(images, LABELS + 1, cross_entropy)
    widths = iter([3, 4])
    access = GradientAccess(lambda x: torch.zeros(len(x), next(widths)))
    access.logits(images)
    with pytest.raises(ValueError, match="4 logits an image, and 3 before"):
        access.logits(images)
    with pytest.raises(TypeError, match="callable"):
        GradientAccess("model")


def test_black_box_access_counts_by_purpose(images):
    model = Counting(RowModel())
    scores, labels = ScoreAccess(model), LabelAccess(model, budget=4)
    scores.logits(images)
    scores.logits(images[:2], check=True)
    assert (scores.loss_queries, scores.check_queries) == (6, 2)
    assert torch.equal(labels.labels(images[:4]), model(images[:4]).argmax(1))
    assert labels.queries == 4
    with pytest.raises(BudgetExceededError):
        labels.labels(images[:1])


def test_losses():
    logits = torch.tensor([[1.0, 3.0, 2.5], [4.0, 0.0, 1.0]])
    assert margin(logits, torch.tensor([1, 0])).tolist() == [-0.5, -3.0]
    assert margin(logits, torch.tensor([0, 1])).tolist() == [2.0, 4.0]
    assert cross_entropy(torch.zeros(2, 4), torch.tensor([1, 0])).tolist() == pytest.approx([1.3863] * 2, abs=1e-4)
    with pytest.raises(ValueError, match="did you mean 'margin'"):
        find_loss("margins")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": torch.full((2, 3, 4, 4), torch.nan)}, "NaN"),
        ({"labels": torch.tensor([0, 3])}, "0..1"),
        ({"labels": torch.tensor([0.0, 1.0])}, "integers"),
        ({"indices": [1]}, "1 indices for 2 images"),
        ({"batch_size": 0}, "at least 1"),
    ],
)
def test_bad_input_is_refused_before_any_gradient(change, message):
    access = GradientAccess(Linear(torch.ones(3, 4, 4), 0.0))
    given = {"images": torch.rand(2, 3, 4, 4), "labels": torch.tensor([0, 1]), **change}
    with pytest.raises(ValueError, match=message):
        PGD()(access, given.pop("images"), given.pop("labels"), Linf(0.1), seed=0, **given)
    assert access.gradients == 0


KINDS = pytest.mark.parametrize("kind", [ScoreAccess, LabelAccess])


def ask(access, images, **options):
    return (access.labels if isinstance(access, LabelAccess) else access.logits)(images, **options)


@KINDS
def test_every_image_has_a_budget_of_its_own(kind, images):
    model = Counting(RowModel())
    access = kind(model, per_image=3)
    ask(access, images[:4], owners=[7, 7, 2, 7])
    ask(access, images[:1], owners=[2], check=True)
    assert access.asked([2, 7, 99]) == [2, 3, 0]
    assert (access.rows, access.remaining) == (5, None)
    with pytest.raises(
        BudgetExceededError, match="1 more rows would exceed the budget of 3 for image 7 \\(3 are used\\)"
    ):
        ask(access, images[:2], owners=[2, 7])
    with pytest.raises(BudgetExceededError, match=r"4 more rows .* for image 5 \(0 are used\)"):
        ask(access, images[:4], owners=[5, 5, 5, 5], check=True)
    assert (model.rows, access.rows, access.asked([2, 5, 7])) == (5, 5, [2, 0, 3])
    ask(access, images[:1], owners=[2])
    assert access.asked([2]) == [3]


@KINDS
def test_owners_are_needed_for_a_budget_per_image_and_one_a_row(kind, images):
    model = Counting(RowModel())
    with pytest.raises(ValueError, match="needs `owners`"):
        ask(kind(model, per_image=3), images)
    for owners in ([0], list(range(7)), []):
        with pytest.raises(ValueError, match=f"{len(owners)} owners for 6 images"):
            ask(kind(model), images, owners=owners)
    assert model.rows == 0
    access = kind(model)
    ask(access, images)
    ask(access, images, owners=range(6))
    assert access.asked(range(6)) == [1] * 6
    for per_image in (0, -1):
        with pytest.raises(ValueError, match="`per_image`"):
            kind(model, per_image=per_image)


@KINDS
def test_a_budget_for_all_and_one_for_each_hold_together(kind, images):
    model = Counting(RowModel())
    access = kind(model, budget=5, per_image=4)
    ask(access, images[:4], owners=[0, 0, 0, 1])
    with pytest.raises(BudgetExceededError, match="budget of 5 \\(4 are used\\)"):
        ask(access, images[:2], owners=[1, 2])
    with pytest.raises(BudgetExceededError, match="for image 0"):
        ask(access, images[:2], owners=[0, 0])
    assert (model.rows, access.remaining, access.asked([0, 1, 2])) == (4, 1, [3, 1, 0])
    ask(access, images[:1], owners=[2])
    assert access.remaining == 0


def test_what_is_charged_counts_like_what_was_asked(images):
    access = ScoreAccess(RowModel(), budget=20, per_image=5)
    access.charge([3, 8], [4, 1], "loss")
    access.charge([3], [1], "check")
    assert (access.loss_queries, access.check_queries, access.rows, access.remaining) == (5, 1, 6, 14)
    assert access.asked([3, 8]) == [5, 1]
    with pytest.raises(BudgetExceededError, match="image 3"):
        access.logits(images[:1], owners=[3])
    access.logits(images[:4], owners=[8] * 4)
    assert access.asked([8]) == [5]
    with pytest.raises(ValueError, match="shorter"):
        access.charge([3, 8], [1], "loss")


@KINDS
def test_a_model_that_fails_was_asked_but_no_image_is_charged(kind, images):
    model = Failing(RowModel(), 0).train()
    access = kind(model, per_image=3)
    with pytest.raises(ConnectionError):
        ask(access, images, owners=range(6))
    assert model.training, "its mode is put back"
    assert access.rows == 6
    assert access.asked(range(6)) == [0] * 6


@pytest.mark.parametrize("kind", [GradientAccess, ScoreAccess, LabelAccess])
def test_a_model_may_work_in_place_on_what_it_is_given(kind, images):
    given = images.clone()
    answers = [ask(kind(model), images) for model in (RowModel(), lambda x: RowModel()(x.mul_(2).sub_(x / 2)))]
    assert torch.equal(answers[0], answers[1])
    assert torch.equal(images, given)


@pytest.mark.filterwarnings("error")
def test_numpy_models_see_float_arrays_and_may_answer_with_any_numbers(images):
    seen = []

    def function(x):
        seen.append((type(x), x.dtype, x.shape))
        return [[1, -2, 3]] * len(x)

    logits = ScoreAccess(numpy_model(function)).logits(images)
    assert seen == [(np.ndarray, np.float32, (6, 3, 4, 4))]
    assert logits.dtype == torch.float32
    assert logits.tolist() == [[1, -2, 3]] * 6
    answer = np.arange(18, dtype=np.float64)[::-1].reshape(3, 6).T
    answer.flags.writeable = False
    assert ScoreAccess(numpy_model(lambda x: answer)).logits(images).tolist() == answer.tolist()
    with pytest.raises(ValueError, match="float logits of shape"):
        ScoreAccess(numpy_model(lambda x: x)).logits(images)
