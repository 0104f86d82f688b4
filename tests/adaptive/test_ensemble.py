"""Attackers of an ensemble: each rule, for every layer at once."""

import pytest
import torch
from torch import Tensor, nn

from groundglass.adaptive import (
    FITTED,
    RULES,
    STAND_INS,
    BitFlip,
    OwnHead,
    StandInAccess,
    collapse,
    make_rule,
    observe,
    unasked,
)
from groundglass.adaptive.rules import fit_facts
from groundglass.adaptive.stand_ins import below
from groundglass.attacks import PGD, Linf
from groundglass.data import ImageSet
from groundglass.models import DefendedEnsemble, MemberRules, defend
from groundglass.optics import true_matrix
from tests.models.test_ensemble import CLASSES, M, N, ensemble, images

NATURAL = ImageSet(
    "noise",
    "train",
    torch.randint(0, 256, (40, 3, 2, 2), dtype=torch.uint8, generator=torch.Generator().manual_seed(3)),
    torch.arange(40) % CLASSES,
    tuple("abcde"),
)
OPTICAL = [name for name in RULES if name not in (*STAND_INS, "bp", "ste")]


def rule_of(name: str, model: DefendedEnsemble) -> MemberRules:
    matrices = [true_matrix(one) for one in model.devices] if name in ("bpda-retrieved", "exact-blurred") else None
    made = make_rule(name, model, seed=4, pairs=lambda: observe(model, NATURAL), matrix=matrices)
    assert isinstance(made, MemberRules)
    return made


@pytest.mark.parametrize("name", OPTICAL)
def test_a_rule_goes_through_every_layer_at_once(name: str) -> None:
    """What an attacker of one layer does to each part alone, added up."""
    model, x = ensemble(), images().requires_grad_()
    rule = rule_of(name, model)
    assert rule.name == name
    short = collapse(rule, model, x.detach())
    assert isinstance(short, MemberRules)
    assert (short is rule) is (name not in ("fa", "bpda-drawn"))
    error = torch.randn(len(x), CLASSES, generator=torch.Generator().manual_seed(5))
    (found,) = torch.autograd.grad(model.seen_through(rule)(x), x, error)
    alone = [
        torch.autograd.grad(model.member(number).seen_through(own)(x), x, error)[0]
        for number, own in enumerate(rule.rules)
    ]
    assert all(bool(one.any()) for one in alone)
    torch.testing.assert_close(found, torch.stack(alone).sum(0))
    torch.testing.assert_close(torch.autograd.grad(model.seen_through(short)(x), x, error)[0], found)
    drawn = [one.vjp(torch.ones(1, N), torch.ones(1, CLASSES if one.site == "logits" else M)) for one in rule.rules]
    assert not any(torch.equal(drawn[0], other) for other in drawn[1:]), "of each part another"


@pytest.mark.parametrize("name", FITTED)
def test_a_fitted_rule_sees_what_each_part_says(name: str) -> None:
    model = ensemble(votes=True)
    bits, logits = observe(model, NATURAL)
    assert (bits.shape, logits.shape) == ((40, 3 * N), (40, 3 * CLASSES))
    x = NATURAL.floats()
    assert torch.equal(logits[:, :CLASSES], model.member(0)(x))
    facts = fit_facts(rule_of(name, model))
    assert facts is not None
    assert facts["n_images"] == 40
    each = [one.held_out_r2 for one in rule_of(name, model).rules]  # type: ignore[attr-defined]
    assert facts["held_out_r2"] == pytest.approx(sum(each) / 3)
    with pytest.raises(ValueError, match="side by side"):
        make_rule(name, model, seed=0, pairs=lambda: (bits[:, :N], logits))


@pytest.mark.parametrize("give", [lambda all: all[0], lambda all: all[:2], lambda all: None])
def test_matrices_are_one_a_part(give) -> None:
    model = ensemble()
    with pytest.raises(ValueError, match="matri"):
        make_rule("bpda-retrieved", model, seed=0, matrix=give([true_matrix(one) for one in model.devices]))
    with pytest.raises(ValueError, match="one tensor"):
        make_rule("bpda-retrieved", model.parts[0], seed=0, matrix=[true_matrix(model.devices[0])])


def test_below_are_the_features_of_all_parts_and_stand_ins_climb_on_them() -> None:
    model, x = ensemble(votes=True), images()
    y = model(x).argmax(1)
    features = below(model, x)
    assert features.shape == (7, 3 * N)
    assert torch.equal(features[:, N : 2 * N], model.member(1).below(x))
    head = OwnHead.fit(model, NATURAL, seed=0)
    assert head(x).shape == (7, CLASSES)
    flip = BitFlip(model)
    before = [model.member(number).observe(x)[0] for number in range(3)]
    for climbed in (head, flip):
        attack = unasked(PGD(steps=10, step_size=None))
        found = attack(StandInAccess(model, climbed), x, y, Linf(0.2))
        assert bool((found.adversarial - x).abs().amax((1, 2, 3)).gt(0.1).all())
        after = [model.member(number).observe(found.adversarial)[0] for number in range(3)]
        changed = [float((a != b).float().mean()) for a, b in zip(before, after, strict=True)]
        assert min(changed) > 0, "in every part"


def test_of_one_part_a_bit_flip_is_what_it_is_of_the_part_alone() -> None:
    model, x = ensemble(), images()
    whole, alone = BitFlip(model), BitFlip(model.member(2))
    assert torch.equal(whole.remember(x)[:, 2 * N :], alone.remember(x))
    moved = x.flip(0)
    parts = [BitFlip(model.member(number)) for number in range(3)]

    def value(one: BitFlip) -> Tensor:
        return one.value(moved, torch.zeros(7), lambda a, b: a, one.remember(x))

    torch.testing.assert_close(value(whole), torch.stack([value(one) for one in parts]).sum(0))


def test_floats_have_no_bits_to_flip() -> None:
    parts = [
        defend(nn.Sequential(nn.Flatten(), nn.Linear(12, 5)), at="1", device=None, hidden=N, seed=number)
        for number in (0, 1)
    ]
    with pytest.raises(ValueError, match="floats"):
        BitFlip(DefendedEnsemble(parts))
    assert make_rule("bp", DefendedEnsemble(parts), seed=0).name == "bp"
    with pytest.raises(ValueError, match="'exact' is not for"):
        make_rule("exact", DefendedEnsemble(parts), seed=0)
