"""Calls of the phrasebook that need no other library: arguments of every kind, and what is refused."""

import numpy as np
import pytest
import torch
from torch import nn

import groundglass.compat.foolbox as foolbox
import groundglass.compat.torchattacks as torchattacks
from tests.attacks.toy import problem

MODEL, IMAGES, LABELS = problem(21, classes=5)
TARGET = (LABELS + 1) % 5


class Wide(nn.Module):
    """Takes images in [0, 255]."""

    def forward(self, x):
        return MODEL(x / 255)


class Normalised(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = MODEL

    def forward(self, x):
        return self.model(x * 0.2 + 0.5)


def attacks(model=MODEL):
    return [torchattacks.FGSM(model, eps=0.02), torchattacks.PGD(model, eps=0.05, alpha=0.01, random_start=False)]


def still_right(images):
    return MODEL(images).argmax(1) == LABELS


# --- foolbox ---


@pytest.mark.parametrize("make", [np.array, torch.tensor, tuple], ids=lambda one: one.__name__)
def test_epsilons_come_in_any_sequence(make):
    values, fmodel = [0.03, 0.01, 0.03, 0.0], foolbox.PyTorchModel(MODEL, bounds=(0, 1))
    for attack in (foolbox.LinfPGD(steps=5), foolbox.L2CarliniWagnerAttack(steps=5, binary_search_steps=2)):
        _, wanted, fooled = attack(fmodel, IMAGES, LABELS, epsilons=values)
        _, found, same = attack(fmodel, IMAGES, LABELS, epsilons=make(values))
        assert len(found) == 4
        assert torch.equal(same, fooled)
        assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(found, wanted, strict=True))
    for one in (np.float32(0.03), np.array(0.03), torch.tensor(0.03)):
        assert foolbox.LinfPGD(steps=5)(fmodel, IMAGES, LABELS, epsilons=one)[2].shape == (21,)


def test_epsilons_and_classes_that_cannot_be():
    fmodel = foolbox.PyTorchModel(MODEL, bounds=(0, 1))
    for epsilons in ([], None, [None], -0.1, [0.03, -0.1], "0.03", float("nan"), 2):
        with pytest.raises((TypeError, ValueError), match="eps"):
            foolbox.LinfPGD(steps=2)(fmodel, IMAGES, LABELS, epsilons=epsilons)
    with pytest.raises(ValueError, match="4 target classes for 21"):
        foolbox.LinfPGD(steps=2)(fmodel, IMAGES, foolbox.TargetedMisclassification(TARGET[:4]), epsilons=0.1)
    with pytest.raises(ValueError, match="labels must have shape"):
        foolbox.LinfPGD(steps=2)(fmodel, IMAGES, LABELS[:4], epsilons=0.1)


def test_an_absolute_step_is_in_the_units_of_the_images():
    options = {"steps": 6, "random_start": False}
    small, large = (foolbox.LinfPGD(abs_stepsize=size, **options) for size in (2 / 255, 2.0))
    wanted = small(foolbox.PyTorchModel(MODEL, bounds=(0, 1)), IMAGES, LABELS, epsilons=8 / 255)
    found = large(foolbox.PyTorchModel(Wide(), bounds=(0, 255)), 255 * IMAGES, LABELS, epsilons=8)
    assert torch.equal(found[2], wanted[2])
    assert torch.allclose(found[0] / 255, wanted[0], atol=1e-5)


# --- torchattacks ---


def test_numpy_arrays_are_taken():
    for one in (*attacks(), torchattacks.MultiAttack(attacks())):
        assert torch.equal(one(IMAGES.numpy(), LABELS.numpy()), one(IMAGES, LABELS))


def test_the_result_has_a_row_for_every_image():
    aimed = attacks()[1]
    aimed.set_mode_targeted_by_label()
    goal = TARGET.clone()
    goal[:5] = MODEL(IMAGES).argmax(1)[:5]  # reached before the attack
    found = aimed(IMAGES, goal)
    assert torch.equal(aimed.result.adversarial, found)
    assert torch.equal(aimed.result.success, (MODEL(found).argmax(1) == goal) & (MODEL(IMAGES).argmax(1) != goal))
    assert torch.equal(found[:5], IMAGES[:5])


def test_attacks_are_joined_and_joined_again():
    inner = torchattacks.MultiAttack(attacks())
    both = torchattacks.MultiAttack([inner, torchattacks.Square(MODEL, eps=0.05, n_queries=40)])
    alone, found = inner(IMAGES, LABELS), both(IMAGES, LABELS)
    assert torch.equal(both.result.robust, still_right(found))
    assert torch.equal(both.result.adversarial, found)
    assert bool((still_right(alone) | ~still_right(found)).all())
    assert int(still_right(found).sum()) <= int(still_right(alone).sum()) < int(still_right(IMAGES).sum())
    with pytest.raises(ValueError, match="each"):
        both.set_mode_targeted_random()
    assert both(IMAGES[:0], LABELS[:0]).shape == (0, 3, 4, 4)


def test_the_seed_of_joined_attacks_reaches_each_of_them():
    def starts():
        return [torchattacks.PGD(MODEL, eps=0.05, alpha=0.01, steps=1) for _ in range(2)]

    both = torchattacks.MultiAttack(starts())
    both.seed = 7
    assert (both.seed, [one.seed for one in both.attacks]) == (7, [7, 8])
    alone = starts()[0]
    alone.seed = 7
    first = alone(IMAGES, LABELS)
    assert torch.equal(both(IMAGES, LABELS)[~still_right(first)], first[~still_right(first)])
    other = torchattacks.MultiAttack(starts())
    assert not torch.equal(other(IMAGES, LABELS), both.result.adversarial)


def test_a_loader_without_images_is_refused(tmp_path):
    for attack in (attacks()[0], torchattacks.MultiAttack(attacks())):
        with pytest.raises(ValueError, match="no images"):
            attack.save([], save_path=tmp_path / "images.pt")
    assert not list(tmp_path.iterdir())


def test_joined_attacks_take_images_that_were_normalised():
    both = torchattacks.MultiAttack(attacks(Normalised()))
    both.set_normalization_used([0.5] * 3, [0.2] * 3)
    found = both((IMAGES - 0.5) / 0.2, LABELS) * 0.2 + 0.5
    assert torch.allclose(found, torchattacks.MultiAttack(attacks())(IMAGES, LABELS), atol=1e-5)


def test_normalisation_and_targets_that_cannot_be():
    attack = attacks()[0]
    for mean, std in (([0.5] * 3, [0.2] * 2), ([0.5] * 3, [0.2, 0.2, 0.0])):
        with pytest.raises(ValueError, match="deviations"):
            attack.set_normalization_used(mean, std)
    attack.set_normalization_used([0.5] * 2, [0.2] * 2)
    with pytest.raises(ValueError, match="images of 3 channels"):
        attack(IMAGES, LABELS)
    attack = attacks()[0]
    for number in (0, 5):
        attack.set_mode_targeted_least_likely(kth_min=number)
        with pytest.raises(ValueError, match="kth_min"):
            attack(IMAGES, LABELS)
