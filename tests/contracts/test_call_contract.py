"""What every attack does with a criterion, a radius for each image, several radii, and images in other bounds."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from groundglass.attacks import (
    APGD,
    FAB,
    FGSM,
    L0,
    L1,
    L2,
    NES,
    PGD,
    ZOO,
    AveragedAccess,
    Bandits,
    CarliniWagnerL2,
    DeepFool,
    GradientAccess,
    GradientAttack,
    HopSkipJump,
    LabelAttack,
    Linf,
    MinimumNormAttack,
    Parsimonious,
    RandomNoise,
    RayS,
    ScoreAccess,
    SparseRS,
    Square,
    SurFree,
    Sweep,
    Targeted,
    TiledES,
    TransferPGD,
    Untargeted,
)
from tests.attacks.toy import Counting, RowModel, assert_same

GRADIENTS = [
    FGSM(),
    PGD(steps=8),
    PGD(steps=4, random_start=True, restarts=2, loss="margin"),
    APGD(steps=8),
    RandomNoise(points=4),
    TransferPGD(steps=5, momentum=1.0),
    FAB(steps=6),
    DeepFool(),
]
QUERIES = [
    NES(samples=4),
    Bandits(tile_size=4),
    Parsimonious(block_size=2, mini_batch=8),
    Square(),
    RayS(),
    HopSkipJump(probes=8),
    SurFree(tries=1, memory=4),
    ZOO(coordinates=3, learning_rate=0.1, initial_c=10.0),
    TiledES(tiles=2),
    SparseRS(),
]
SEARCH = CarliniWagnerL2(steps=15, searches=3, learning_rate=0.05, initial_c=0.1)
ATTACKS = [*GRADIENTS, *QUERIES]
every_attack = pytest.mark.parametrize(
    "attack", [*ATTACKS, SEARCH], ids=lambda one: f"{type(one).__name__}-{one.title}"
)
COUNT, BUDGET = 12, 60
IMAGES = torch.rand(COUNT, 3, 4, 4, generator=torch.Generator().manual_seed(2))


def model_of(classes=3):
    return RowModel(seed=3, classes=classes)


def labels_of(classes=3):
    labels = model_of(classes)(IMAGES).argmax(1)
    labels[[0, 7]] = (labels[[0, 7]] + 1) % classes
    return labels


LABELS = labels_of()


#: For each kind of ball, radii at which some images fall.
RADII = {Linf: (0.03, 0.06, 0.12), L2: (0.3, 0.6, 0.9), L1: (1.0, 2.0, 3.0), L0: (1, 2, 4)}


def radius(attack):
    kind = (attack.kinds or (Linf,))[0]
    return kind(RADII[kind][-1])


KINDS = [(attack, radius(attack).kind) for attack in [*ATTACKS, SEARCH]]
SPARSE = [
    (PGD(steps=8), L1),
    (APGD(steps=8), L1),
    (FAB(steps=8), L1),
    (TransferPGD(steps=5), L1),
    (PGD(steps=8), L0),
    (RandomNoise(points=4), L0),
]


def named(one):
    return one.__name__ if isinstance(one, type) else one.title


every_kind = pytest.mark.parametrize(("attack", "kind"), [*KINDS, *SPARSE], ids=named)


def attacked(attack, model=None, images=IMAGES, labels=LABELS, ball=None, **options):
    if not isinstance(attack, GradientAttack) and (model is None or isinstance(model, nn.Module)):
        options.setdefault("budget", BUDGET)
    return attack(model or model_of(), images, labels, ball or radius(attack), **options)


def cost(attack, result):
    """Rows that went through the model. What attacks by queries count as gradients are estimates."""
    passes = result.queries + result.gradients if isinstance(attack, GradientAttack) else result.queries
    return int(passes.sum())


# --- criteria ---


@every_attack
def test_with_two_classes_the_target_is_the_only_other_class(attack):
    """A known answer: the targeted attack is then the untargeted one, and leaves the same images."""
    if hasattr(attack, "loss") and not isinstance(attack, MinimumNormAttack | RandomNoise):
        attack = replace(attack, loss="margin")  # whose differences are the same numbers
    labels = labels_of(2)
    plain = attacked(attack, model_of(2), labels=labels)
    aimed = attacked(attack, model_of(2), labels=labels, criterion=Targeted(1 - labels))
    assert torch.equal(aimed.clean_correct, plain.clean_correct)
    assert torch.equal(aimed.success, plain.success)
    assert torch.equal(aimed.queries, plain.queries)
    assert plain.success.any()
    assert torch.allclose(aimed.adversarial, plain.adversarial, atol=1e-4)


@every_attack
def test_a_target_is_what_the_model_then_says(attack):
    target = (LABELS + 1) % 3
    target[7] = (LABELS[7] + 2) % 3  # what the model says, which is wrong; of image 0 it says neither label nor target
    criterion = Targeted(target)
    model = Counting(model_of())
    result = attacked(attack, model, criterion=criterion)
    before, after = model_of()(IMAGES).argmax(1), model_of()(result.adversarial).argmax(1)
    assert torch.equal(result.clean_correct, before != target)
    assert result.clean_correct[0]
    assert not result.clean_correct[7], "it has its target already"
    assert torch.equal(result.adversarial[7], IMAGES[7])
    assert torch.equal(result.success, (before != target) & (after == target))
    assert model.rows == cost(attack, result)
    free = attacked(attack, criterion=Untargeted())
    assert int(result.success.sum()) <= int(free.success.sum()) + 1, "one class is harder to reach than any"
    if not isinstance(attack, RandomNoise | FGSM):
        assert result.success.any()
    assert "Targeted" in result.setup.criterion


@pytest.mark.one_in(5)
@every_attack
def test_a_rule_of_the_users_own_decides(attack):
    same, plain = attacked(attack, criterion=lambda logits, labels: logits.argmax(1) != labels), attacked(attack)
    assert_same(same, plain)

    def writes(logits, labels):
        fooled = logits.argmax(1) != labels
        logits.zero_()
        labels.zero_()
        return fooled

    if not isinstance(attack, CarliniWagnerL2):  # its confidence is of no consequence for a rule
        assert_same(attacked(attack, criterion=writes), same)

    # Classes 1 and 2 are one: whoever moves between them fooled nobody.
    def merged(logits, labels):
        return (logits.argmax(1) > 0) != (labels > 0)  # fmt: skip

    result = attacked(attack, criterion=merged)
    after = model_of()(result.adversarial).argmax(1)
    assert bool(((after[result.success] > 0) != (LABELS[result.success] > 0)).all())
    assert not bool(result.success[merged(model_of()(IMAGES), LABELS)].any())
    assert result.success.sum() <= plain.success.sum() + 1
    confirmed = result.confirmed(model_of(), LABELS, criterion=merged)
    assert torch.equal(confirmed.success, result.success)
    with pytest.raises(ValueError, match="criterion="):
        result.confirmed(model_of(), LABELS)


@every_attack
def test_what_is_no_criterion_is_refused_before_the_model_is_asked(attack):
    model = Counting(model_of())
    for criterion, said in (
        ("targeted", "Targeted"),
        (Targeted, "Targeted"),
        (Targeted([1, 2]), "2 targets for 12 images"),
        (Targeted(LABELS), "own label"),
    ):
        with pytest.raises((TypeError, ValueError), match=said):
            attacked(attack, model, criterion=criterion)
    assert model.calls == 0
    with pytest.raises(ValueError, match=r"0\.\.2"):
        attacked(attack, model, criterion=Targeted(3))
    if not isinstance(attack, LabelAttack):
        with pytest.raises(TypeError, match="flag an image"):
            attacked(attack, criterion=lambda logits, labels: logits)


def test_targets_that_are_no_classes():
    for classes, said in (
        (-1, "0 or more"),
        ([0, -2], "0 or more"),
        (0.5, "whole"),
        ("3", "classes"),
        (True, "classes"),
    ):
        with pytest.raises((TypeError, ValueError), match=said):
            Targeted(classes)
    with pytest.raises(ValueError, match="untargeted"):
        attacked(
            APGD(steps=3, loss="dlr", targets=2),
            model_of(5),
            labels=labels_of(5),
            criterion=Targeted((labels_of(5) + 1) % 5),
        )


def test_targets_of_any_library():
    for classes in (np.array(2), torch.tensor(2), np.int64(2)):
        assert repr(Targeted(classes)) == "Targeted(2)"
    for classes in (range(3), np.arange(3), torch.arange(3), (0, 1, 2)):
        assert repr(Targeted(classes)) == "Targeted([0, 1, 2])"


def test_the_nearest_image_is_one_that_the_users_rule_calls_fooled():
    """A rule may be met before another class wins, or long after."""
    model, labels = model_of(5), labels_of(5)

    def unsure(logits, labels):
        return logits.softmax(1).gather(1, labels[:, None])[:, 0] < 0.9

    def second(logits, labels):
        return (logits.topk(2).indices != labels[:, None]).all(1)

    ran = {
        name: SEARCH(model, IMAGES, labels, criterion=rule)
        for name, rule in {"unsure": unsure, "plain": None, "second": second}.items()
    }
    for name, rule in (("unsure", unsure), ("second", second)):
        assert torch.equal(ran[name].success, rule(model(ran[name].adversarial), labels) & ran[name].clean_correct)
    both = ran["unsure"].success & ran["plain"].success
    assert float(ran["unsure"].norm[both].mean()) < 0.95 * float(ran["plain"].norm[both].mean())
    right = ran["second"].clean_correct
    assert float(ran["second"].success[right].float().mean()) > 0.8


# --- a radius for each image ---


BOTH = [(attack, kind) for attack in [*ATTACKS, SEARCH] for kind in (Linf, L2) if kind in (attack.kinds or (kind,))]


@pytest.mark.one_in(5)
@pytest.mark.parametrize(("attack", "kind"), [*BOTH, (SparseRS(), L0), *SPARSE], ids=named)
def test_an_image_in_a_ball_of_its_own_is_attacked_as_in_that_ball(attack, kind):
    _, small, large = RADII[kind]
    radii = torch.tensor([small, large] * (COUNT // 2), dtype=torch.float64)
    each = attacked(attack, ball=kind.each(radii), batch_size=5)
    for start, eps in enumerate((small, large)):
        alone = attacked(attack, ball=kind(eps), batch_size=5)
        assert_same(each.subset(slice(start, None, 2)), alone.subset(slice(start, None, 2)), f"{eps}")
    with pytest.raises(ValueError, match="2 radii for 12 images"):
        attacked(attack, ball=kind.each([small, large]))


@every_attack
def test_a_radius_for_each_image_in_another_norm_is_refused(attack):
    for kind, radii in RADII.items():
        if attack.kinds and kind not in attack.kinds:
            with pytest.raises(ValueError, match=attack.title):
                attacked(attack, ball=kind.each([radii[0]] * COUNT))


# --- several radii ---


@pytest.mark.one_in(5)
@every_kind
def test_a_sweep_attacks_only_what_stands(attack, kind):
    low, middle, high = RADII[kind]
    radii = [high, low, middle]
    model = Counting(model_of())
    sweep = attacked(attack, model, ball=kind, eps=radii)
    assert isinstance(sweep, Sweep)
    assert list(sweep.radii) == sorted(radii)
    assert sorted(sweep.robust_accuracy, reverse=True) == list(sweep.robust_accuracy)
    assert sweep[0].success.sum() < sweep[2].success.sum() or isinstance(attack, RandomNoise)
    assert_same(sweep[0], attacked(attack, ball=kind(low)))
    asked = 0
    for number, (result, eps) in enumerate(zip(sweep, sorted(radii), strict=True)):
        ball, before = kind(eps), sweep[number - 1] if number else None
        assert bool(ball.contains(result.adversarial, IMAGES).all())
        stood = torch.ones(COUNT, dtype=torch.bool) if before is None else before.robust
        asked += cost(attack, result.subset(stood))
        if before is not None:
            assert bool((result.success | ~before.success).all())
            assert_same(result.subset(before.success), before.subset(before.success))
            if bool(stood.any()):
                alone = attacked(attack, ball=ball, images=IMAGES[stood], labels=LABELS[stood],
                                 indices=stood.nonzero().squeeze(1))  # fmt: skip
                assert_same(result.subset(stood), alone)
    assert model.rows == asked
    assert f"{sweep.robust_accuracy[0]:.1%}" in repr(sweep)


@pytest.mark.parametrize("attack", [PGD(steps=8), NES(samples=4), RayS()], ids=named)
def test_radii_and_balls_are_given_in_any_form(attack):
    radii = RADII[Linf][::-1]
    wanted = attacked(attack, ball=Linf, eps=radii)
    for found in (attacked(attack, ball=[Linf(eps) for eps in radii]), attacked(attack, ball="Linf", eps=radii)):
        assert list(found.radii) == list(wanted.radii)
        for one, other in zip(found, wanted, strict=True):
            assert_same(one, other)
    assert_same(attacked(attack, ball="Linf", eps=radii[0]), attacked(attack, ball=Linf(radii[0])))


def test_sweeps_that_cannot_be():
    def sweep(**options):
        return lambda: attacked(PGD(steps=2), **options)

    for call, said in (
        (sweep(ball=Linf(0.1), eps=[0.1, 0.2]), "one or the other"),
        (sweep(ball=[Linf(0.1)], eps=0.2), "one or the other"),
        (sweep(ball=[Linf(0.1), L2(0.2)]), "of one kind"),
        (sweep(ball=Linf, eps=[]), "at least one"),
        (sweep(ball=Linf, eps=[0.1, 0.1]), "each radius once"),
        (sweep(ball=Linf, eps=[0.1, 8]), "8/255, not 8"),
        (sweep(ball="Linff", eps=0.1), "did you mean 'linf'"),
        (sweep(ball=Linf), "without a radius"),
        (sweep(ball=Linf, eps=[0.1, 0.2], model=GradientAccess(model_of())), "give the model itself"),
        (lambda: Square()(model_of(), IMAGES, LABELS, Linf, eps=[0.1, 0.2], start=IMAGES), "no `start`"),
        (sweep(budget=100), "no budget of queries"),
    ):
        with pytest.raises((TypeError, ValueError), match=said):
            call()


def test_what_a_sweep_is_of_fits_all_images_before_the_model_is_asked():
    model, radii = Counting(model_of()), [[0.1] * COUNT, [0.2] * COUNT]
    other, target = torch.tensor([0.3] + [0.1] * (COUNT - 1)), (LABELS + 1) % 3
    for ball, options, said in (
        ([Linf.each(r[1:]) for r in radii], {}, "11 radii for 12 images"),
        ([Linf.each([*r, 0.1]) for r in radii], {}, "13 radii for 12 images"),
        ([Linf.each(other), Linf.each([0.2] + [0.4] * (COUNT - 1))], {}, "each lies in the next"),
        ([Linf((0.1, 0.2, 0.3)), Linf((0.3, 0.1, 0.4))], {}, "each lies in the next"),
        ([Linf(0.1), Linf(0.2)], {"criterion": Targeted(target[1:])}, "11 targets for 12 images"),
        ([Linf(0.1), Linf(0.2)], {"criterion": Targeted([*target.tolist(), 0])}, "13 targets for 12 images"),
        ([Linf(0.1), Linf(0.2)], {"indices": range(COUNT + 1)}, "13 indices for 12 images"),
    ):
        with pytest.raises(ValueError, match=said):
            attacked(PGD(steps=2), model, ball=ball, **options)
    assert model.calls == 0
    nested = attacked(PGD(steps=2), ball=[Linf.each(other), Linf.each(other + 0.1)])
    assert nested.radii == pytest.approx([0.3, 0.4])


# --- bounds ---


@every_kind
def test_a_model_of_images_in_other_bounds_is_attacked_there(attack, kind):
    inside = model_of()

    def outside(images):
        assert float(images.min()) >= -1
        assert float(images.max()) <= 1
        return inside((images + 1) / 2)

    ball, longer = kind(RADII[kind][-1]), 2 if kind.is_length else 1
    wanted = attacked(attack, ball=ball)
    options = {} if isinstance(attack, GradientAttack) else {"budget": BUDGET}
    wide = kind(longer * ball.radius)
    found = attack(outside, 2 * IMAGES - 1, LABELS, wide, bounds=(-1, 1), **options)
    # Twice a number and less one is the same number again, but for the last bits.
    assert torch.equal(found.success, wanted.success)
    assert torch.allclose(found.adversarial, 2 * wanted.adversarial - 1, atol=1e-5)
    assert torch.allclose(found.norm, longer * wanted.norm, atol=1e-5)
    left = ~found.clean_correct
    assert torch.equal(found.adversarial[left], (2 * IMAGES - 1)[left])
    assert bool((wide.norm(found.adversarial - (2 * IMAGES - 1)) <= wide.radius + 1e-5).all())
    assert torch.equal(found.confirmed(outside, LABELS).success, found.success)
    with pytest.raises(ValueError, match="normalised"):
        attack(outside, 2 * IMAGES - 1, LABELS, wide, **options)
    with pytest.raises(ValueError, match="lower end first"):
        attack(outside, IMAGES, LABELS, wide, bounds=(1, -1), **options)


@pytest.mark.parametrize(
    "ball", [Linf(8), Linf.each([8.0] * COUNT), Linf((8, 4, 8)), L2(90.0), L1(400.0), L0(3)], ids=repr
)
def test_bytes_as_floats_are_attacked_in_their_own_units(ball):
    def model(images):
        return model_of()(images / 255)

    found, inside = PGD(steps=4)(model, 255 * IMAGES, LABELS, ball, bounds=(0, 255)), ball.scaled(1 / 255)
    wanted = PGD(steps=4)(model_of(), IMAGES, LABELS, inside)
    assert torch.equal(found.success, wanted.success)
    assert wanted.success.any()
    assert torch.allclose(found.adversarial, 255 * wanted.adversarial, atol=1e-3)
    assert torch.allclose(found.norm, ball.norm(found.adversarial - 255 * IMAGES), rtol=1e-3)
    if ball == Linf(8):
        begun = {"start": found.adversarial, "bounds": (0, 255), "budget": 10}
        wanted = Square()(model_of(), IMAGES, LABELS, inside, budget=10, start=found.adversarial / 255)
        assert torch.equal(Square()(model, 255 * IMAGES, LABELS, ball, **begun).success, wanted.success)
        averaged = PGD(steps=4)(AveragedAccess(model, 2, bounds=(0, 255)), 255 * IMAGES, LABELS, ball)
        assert torch.equal(averaged.success, found.success)
        found.concat([found, replace(found, setup=None)]).plot_examples(255 * torch.cat([IMAGES, IMAGES]))


@pytest.mark.parametrize("kind", [torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("attack", [PGD(steps=3), Square(), RayS()], ids=lambda one: one.title)
def test_a_model_of_another_precision_is_asked_in_its_own(attack, kind):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 3)).to(kind)
    labels = model(IMAGES.to(kind)).argmax(1)
    result = attacked(attack, model, labels=labels, ball=Linf(0.3))
    assert bool(result.clean_correct.all())
    assert result.success.any()
    assert torch.equal(result.success, model(result.adversarial.to(kind)).argmax(1) != labels)


def test_an_access_with_bounds_is_asked_about_images_in_0_to_1():
    seen = []

    def model(images):
        seen.append(images)
        return model_of()(images)

    ScoreAccess(model, bounds=(-1, 1)).logits(IMAGES)
    assert torch.equal(seen[0], IMAGES * 2 - 1)


# --- what is told ---


@every_attack
def test_progress_is_told_and_ends_at_its_end(attack):
    told = []
    attacked(attack, progress=lambda what, done, total, **figures: told.append((what, done, total)), batch_size=4)
    if isinstance(attack, FGSM | RandomNoise):
        return
    assert told
    assert {what for what, _, _ in told} == {type(attack).__name__}
    assert all(0 <= done <= total for _, done, total in told)
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
    with pytest.raises(TypeError, match="progress"):
        attacked(attack, progress="yes")


def test_progress_of_true_is_a_bar(capsys):
    attacked(PGD(steps=3), progress=True)
    assert "PGD" in capsys.readouterr().out


def test_a_result_says_with_what_it_was_made():
    result = attacked(PGD(steps=3), seed=7)
    assert result.setup.seed == 7
    assert eval(result.setup.attack) == PGD(steps=3)
    assert eval(result.setup.ball) == Linf(0.12)
    assert result.subset(slice(2)).setup == result.setup
    assert result.concat([result, result]).setup == result.setup
    assert result.concat([result, attacked(PGD(steps=2))]).setup is None
