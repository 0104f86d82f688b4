from dataclasses import replace

import pytest
import torch

from groundglass.attacks import PGD, AttackResult, GradientAccess, LabelAccess, Linf, ScoreAccess, worst_case
from tests.attacks.toy import RowModel


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


def test_the_worst_case_is_image_by_image(result):
    found, _, _ = result
    robust = found.robust.nonzero().squeeze(1)
    success = found.success.clone()
    success[robust[0]] = True
    turned = replace(found, success=success)
    assert int(worst_case([found, turned]).sum()) == len(robust) - 1
    assert bool((worst_case([found]) == found.robust).all())
