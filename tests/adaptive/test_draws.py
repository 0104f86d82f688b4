"""Restarts over what an attacker draws: image by image, and the first draw is what it always was."""

import pytest
import torch

from groundglass.adaptive import STAND_INS, draw_seed, make_rule, over_draws, redrawn, redrawn_attack
from groundglass.adaptive.attackers import RULES, attacker
from groundglass.attacks import FGSM, L2, PGD, AttackResult, GradientAccess, Linf
from tests.adaptive.test_stand_ins import Device, natural, network
from tests.attacks.toy import assert_same

DRAWS = 5
# Of a small ball and few steps: one draw leaves some images, and five leave fewer.
ATTACK, BALL = PGD(steps=5, step_size=None), Linf(0.04)


def problem():
    images = natural(30, 3).floats()
    defended = network(Device())
    return defended, images, defended(images).argmax(1)


def again(rule, draws, ball=BALL, **options):
    defended, images, labels = problem()
    return redrawn(
        rule, defended, ATTACK, images, labels, ball, draws=draws, seed=3, labelled=natural(200, 5), **options
    )


@pytest.mark.one_in(5)
@pytest.mark.parametrize(
    ("rule", "ball"),
    [*((rule, BALL) for rule in ("dfa-fresh", "fa", "bpda-drawn", *STAND_INS)), ("own-head", L2(1.0)),
     ("bit-flip", Linf((0.02, 0.03, 0.04)))],
    ids=repr,
)  # fmt: skip
def test_accuracy_never_rises_with_draws_and_is_that_of_the_record_after_fewer(rule, ball):
    found = again(rule, DRAWS, ball)
    left = [found.accuracy_after(draws) for draws in range(1, DRAWS + 1)]
    assert left == sorted(left, reverse=True)
    assert left[-1] == found.result.robust_accuracy
    assert again(rule, 2, ball).accuracy_after(2) == left[1]
    assert torch.equal(found.fell >= 0, found.result.success)
    assert found.fell.max() < DRAWS
    # The image of whichever draw fooled it fools the network, in its place.
    defended, images, labels = problem()
    assert torch.equal(defended(found.result.adversarial).argmax(1) != labels, found.result.success)
    assert ball.contains(found.result.adversarial, images).all()


def test_draws_find_what_one_does_not():
    found = again("dfa-fresh", DRAWS)
    assert found.accuracy_after(DRAWS) < found.accuracy_after(1) - 0.1


def test_one_draw_is_the_attack_itself_and_the_next_the_attack_with_its_seed_on_what_is_left():
    defended, images, labels = problem()

    def alone(seed):
        return ATTACK(
            GradientAccess(defended.seen_through(make_rule("dfa-fresh", defended, seed=seed))),
            images,
            labels,
            BALL,
            seed=seed,
        )

    one = alone(3)
    assert_same(one, again("dfa-fresh", 1).result)
    two, second = again("dfa-fresh", 2), alone(draw_seed(3, 1))
    assert torch.equal(two.fell == 0, one.success)
    assert torch.equal(two.fell == 1, ~one.success & second.success)
    standing = two.fell != 0
    assert torch.equal(two.result.gradients[~standing], one.gradients[~standing])
    assert torch.equal(two.result.gradients[standing], (one.gradients + second.gradients)[standing])


def test_where_nothing_is_drawn_later_draws_start_at_random_points():
    for one in RULES:
        later = redrawn_attack(one.name, PGD(), 1)
        assert redrawn_attack(one.name, PGD(), 0) == PGD()
        assert later.random_start is not one.draws
    assert redrawn_attack("bit-flip", FGSM(), 1) == FGSM()
    assert {one.name for one in RULES if one.draws} == {
        "dfa-fresh", "fa", "bpda-drawn", "bpda-fit-network", "own-head",
    }  # fmt: skip
    assert not attacker("of my own").draws


def test_what_has_fallen_is_not_attacked_again_and_nothing_is_asked_when_all_has():
    """Draw k fools the rows whose number is a multiple of k + 1."""
    asked = []

    def once(draw, rows):
        asked.append((draw, rows.tolist()))
        fooled = rows % (3 - draw) == 0
        zeros = torch.zeros(len(rows), dtype=torch.int64)
        return AttackResult(
            torch.zeros(len(rows), 1, 1, 1), fooled, torch.ones_like(fooled), *[zeros] * 5, zeros.float(), zeros.float()
        )

    standing = torch.ones(6, dtype=torch.bool)
    assert len(list(over_draws(once, standing, draws=20))) == 3
    assert asked == [(0, [0, 1, 2, 3, 4, 5]), (1, [1, 2, 4, 5]), (2, [1, 5])]
    assert not standing.any()


def test_no_images_and_no_draws():
    defended, images, labels = problem()
    none = redrawn("fa", defended, ATTACK, images[:0], labels[:0], BALL, draws=3, seed=0)
    assert (len(none.result), len(none.fell), none.accuracy_after(3)) == (0, 0, 0.0)
    with pytest.raises(ValueError, match="draws"):
        redrawn("fa", defended, ATTACK, images, labels, BALL, draws=0, seed=0)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"network": None}, "DefendedNetwork"),
        ({"attack": None}, "attack by gradients"),
        ({"attack": PGD}, "attack by gradients"),
        ({"seed": "a"}, "`seed`"),
        ({"seed": None}, "`seed`"),
        ({"ball": None}, "`ball`"),
        ({"ball": 0.1}, "radius without a norm"),
        ({"ball": Linf((0.1, 0.1))}, "one a channel"),
        ({"batch_size": 0}, "batch_size"),
        ({"draws": 0}, "draws"),
    ],
    ids=repr,
)
def test_what_cannot_be_is_refused_before_a_head_is_fitted(monkeypatch, given, said):
    defended, images, labels = problem()
    usual = {"network": defended, "attack": ATTACK, "images": images, "labels": labels, "ball": BALL}
    told = {**usual, "draws": 2, "seed": 0, "labelled": natural(200, 5), **given}
    monkeypatch.setattr("groundglass.adaptive.draws.stand_in", lambda *a, **k: pytest.fail("a head was fitted"))
    with pytest.raises((TypeError, ValueError), match=said):
        redrawn("own-head", **told)


def test_a_negative_number_of_draws_is_none():
    found = again("fa", 1)
    with pytest.raises(ValueError, match="draws"):
        found.accuracy_after(-1)
    assert found.accuracy_after(0) == found.result.clean_accuracy
