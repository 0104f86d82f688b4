"""Attacks by labels that follow the boundary: distances that are known, and what is kept of what was asked."""

from functools import cache

import pytest
import torch

from groundglass.attacks import FAB, L2, HopSkipJump, LabelAccess, Linf, SurFree, Targeted
from tests.attacks.toy import Constant, Counting, Linear, Recorded, RowModel, assert_same, blobs, trained

SHAPE = (3, 4, 4)
WEIGHT = torch.randn(SHAPE, generator=torch.Generator().manual_seed(4))
DUAL = {"Linf": WEIGHT.abs().sum(), "L2": WEIGHT.norm()}
CASES = [(HopSkipJump(norm="L2"), "L2"), (HopSkipJump(norm="Linf"), "Linf"), (SurFree(tries=1, memory=20), "L2")]
each = pytest.mark.parametrize(("attack", "norm"), CASES, ids=lambda one: one if isinstance(one, str) else one.title)


@cache
def nearest(attack, budget, seed=0):
    images, labels = blobs(8, seed=5)
    access = LabelAccess(trained(), per_image=budget)
    return attack(access, images, labels, seed=seed), access


@each
def test_on_a_linear_model_the_distance_comes_to_the_known_one(attack, norm):
    wanted = 0.1 if norm == "L2" else 0.01
    model = Linear(WEIGHT, 0.0)
    images = 0.3 + 0.4 * torch.rand(2, *SHAPE, generator=torch.Generator().manual_seed(1))
    # Moved along w to the same distance.
    along = (WEIGHT * (images - 0.5)).flatten(1).sum(1) / WEIGHT.square().sum()
    images = images + (wanted * DUAL[norm] / WEIGHT.square().sum() - along)[:, None, None, None] * WEIGHT
    found = attack(model, images, model(images).argmax(1), budget=500)
    assert bool(found.success.all())
    assert bool((found.norm >= wanted * (1 - 1e-4)).all())
    assert float(found.norm.mean()) < (1.5 if isinstance(attack, SurFree) else 1.2) * wanted


@pytest.mark.one_in(5)
@each
def test_more_queries_come_nearer_and_no_nearer_than_gradients(attack, norm):
    few, access = nearest(attack, 100)
    assert bool(few.success.all())
    assert access.asked(range(8)) == few.queries.tolist() == [100] * 8
    many, _ = nearest(attack, 400)
    assert float(many.norm.mean()) < 0.8 * float(few.norm.mean())
    images, labels = blobs(8, seed=5)
    least = FAB(norm=norm)(trained(), images, labels)
    assert bool((many.norm > 0.98 * least.norm).all())
    kind = {"L2": L2, "Linf": Linf}[norm]
    assert torch.equal(many.norm, kind(1.0).norm(many.adversarial - images))
    assert bool((trained()(many.adversarial).argmax(1) != labels).all())


@each
def test_the_nearest_that_was_asked_about_and_fooled_is_kept(attack, norm):
    images, labels = blobs(1, seed=5)
    model = Recorded(trained())
    found = attack(model, images, labels, budget=80)
    asked = torch.cat(model.asked)
    far = {"L2": L2, "Linf": Linf}[norm](1.0).norm(asked - images)[trained()(asked).argmax(1) != labels]
    assert float(found.norm) == float(far.min())


@each
def test_in_a_ball_it_ends_with_the_first_image_inside(attack, norm):
    far, _ = nearest(attack, 400)
    kind = {"L2": L2, "Linf": Linf}[norm]
    images, labels = blobs(8, seed=5)
    radii = 1.05 * far.norm.double()
    found = attack(LabelAccess(trained(), per_image=400), images, labels, kind.each(radii.tolist()), seed=0)
    assert bool(found.success.all()), "the same queries are asked, up to that image"
    assert bool((found.queries < 400).all())
    assert bool((found.norm <= radii + 1e-6).all())


@each
def test_a_start_is_where_the_search_begins(attack, norm):
    images, labels = blobs(6, seed=5)
    others = torch.stack([images[(labels != label).nonzero()[0, 0]] for label in labels])
    target = trained()(others).argmax(1)
    for criterion in (None, Targeted(target)):
        model = Recorded(trained())
        found = attack(model, images, labels, budget=60, start=others, criterion=criterion)
        assert torch.equal(model.asked[1], others)
        assert bool(found.success.all())
        assert bool((found.norm < {"L2": L2, "Linf": Linf}[norm](1.0).norm(others - images)).all())
        if criterion is not None:
            assert torch.equal(trained()(found.adversarial).argmax(1), target)


@each
def test_where_nothing_fools_the_budget_is_spent(attack, norm):
    images, labels = blobs(3, seed=5)
    found = attack(Counting(Constant()), images, torch.zeros_like(labels), budget=40)
    assert found.queries.tolist() == [40] * 3
    assert not found.success.any()
    assert torch.equal(found.adversarial, images)


@each
def test_without_a_ball_it_goes_on_from_a_checkpoint(attack, norm, tmp_path):
    images = torch.rand(6, *SHAPE, generator=torch.Generator().manual_seed(2))
    labels = RowModel(seed=3)(images).argmax(1)
    wanted = attack(RowModel(seed=3), images, labels, budget=60)
    calls = 0

    def mortal(x):
        nonlocal calls
        calls += 1
        if calls == 30:
            raise ConnectionError
        return RowModel(seed=3)(x)

    kept = tmp_path / "kept"
    with pytest.raises(ConnectionError):
        attack(mortal, images, labels, budget=60, checkpoint=kept)
    assert_same(attack(mortal, images, labels, budget=60, checkpoint=kept), wanted)
    assert calls < 65
    with pytest.raises(ValueError, match="ball was 'None'"):
        attack(mortal, images, labels, {"L2": L2, "Linf": Linf}[norm](1.0), budget=60, checkpoint=kept)
