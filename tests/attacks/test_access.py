import pytest
import torch
from torch import nn

from groundglass.attacks import PGD, BudgetExceededError, GradientAccess, LabelAccess, Linf, NonFiniteError, ScoreAccess
from groundglass.attacks.losses import cross_entropy, find_loss, margin
from tests.attacks.toy import Counting, Linear, RowModel


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


def test_the_mode_is_put_back_when_the_model_fails(images):
    class Broken(nn.Module):
        def forward(self, x):
            raise RuntimeError("no")

    model = Broken().train()
    with pytest.raises(RuntimeError, match="no"):
        GradientAccess(model).logits(images)
    assert model.training


def test_gradients_work_where_the_caller_has_them_switched_off(images):
    with torch.no_grad():
        assert bool(GradientAccess(RowModel()).loss_and_grad(images, LABELS, cross_entropy).grad.any())


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
    with pytest.raises(ValueError, match="above 0"):
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
        ({"images": torch.rand(2, 3, 4, 4) * 255}, "divide by 255"),
        ({"images": torch.rand(2, 3, 4, 4) * 2 - 1}, "normalised"),
        ({"images": torch.randint(0, 255, (2, 3, 4, 4), dtype=torch.uint8)}, "float"),
        ({"labels": torch.tensor([0, 3])}, "0..1"),
        ({"labels": torch.tensor([0, -1])}, "must be in"),
        ({"labels": torch.tensor([0])}, "one an image"),
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
