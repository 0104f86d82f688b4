"""Where there is no robustness to measure, no attack and no helper gives a figure for it."""

import numpy as np
import pytest
import torch
from torch import nn

from groundglass.attacks import (
    AdversarialSet,
    AttackResult,
    FittedLinear,
    GradientAccess,
    GradientAttack,
    LabelAccess,
    LabelAttack,
    Linf,
    NonFiniteError,
    Origin,
    ScoreAccess,
    check_adversarial,
    save_adversarial,
    worst_case,
)
from groundglass.audit import audit
from groundglass.core.statistics import right_within
from groundglass.data import ImageSet
from groundglass.models import accuracy, defend, predict_logits
from groundglass.optics import SimulatedOPU, binarise, encode
from groundglass.training import encode_bits
from tests.contracts.test_attack_contract import ATTACKS
from tests.contracts.test_query_contract import SCORES

KINDS = list({type(attack): attack for attack in (*ATTACKS, *SCORES)}.values())
every_attack = pytest.mark.parametrize("attack", KINDS, ids=lambda attack: type(attack).__name__)
BALL = Linf(0.03)
NAN, INF = float("nan"), float("inf")


def images(count=6):
    return torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def linear(classes=2):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Sequential(nn.Flatten(), nn.Linear(192, classes))


def defended(below=0.0, encoding=None):
    """A network with a device, and one weight below it set to `below`."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        plain = nn.Sequential(nn.Flatten(), nn.Linear(192, 24), nn.Linear(24, 2))
    made = defend(plain, at="2", device=SimulatedOPU.create(16, 32, seed=1), encoding=encoding, seed=0, inplace=True)
    made = made.eval()
    with torch.no_grad():
        plain[1].weight[3, 5] = below
    return made


def attacked(attack, model, labels, x=None):
    kind = (
        GradientAccess
        if isinstance(attack, GradientAttack)
        else LabelAccess
        if isinstance(attack, LabelAttack)
        else ScoreAccess
    )
    access = kind(model) if kind is GradientAccess else kind(model, per_image=40)
    ball = None if type(attack).__name__ == "CarliniWagnerL2" else BALL
    return attack(access, images() if x is None else x, labels, ball, seed=0)


class Said(nn.Module):
    """A model that gives these logits, whatever it is asked; with a gradient."""

    def __init__(self, *logits):
        super().__init__()
        self.logits = torch.tensor(logits)

    def forward(self, x):
        return self.logits + 0 * x.flatten(1).sum(1, keepdim=True)


@every_attack
def test_one_logit_is_refused(attack):
    """Its argmax is 0 for every image: label 0 could never be fooled."""
    with pytest.raises(ValueError, match="one a class"):
        attacked(attack, linear(1), torch.zeros(6, dtype=torch.int64))


@every_attack
def test_a_label_that_is_no_class_is_refused(attack):
    """It would count as fooled, or as wrong from the start."""
    with pytest.raises(ValueError, match=r"0\.\.1"):
        attacked(attack, linear(2), torch.tensor([0, 1, 0, 7, 0, 1]))


@every_attack
@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_logits_that_are_not_finite_are_refused(attack, bad):
    """An argmax takes NaN for the largest, and so for a class."""
    with pytest.raises(NonFiniteError, match="NaN or infinit"):
        attacked(attack, Said(0.0, bad), torch.ones(6, dtype=torch.int64))


@every_attack
@pytest.mark.parametrize("bad", [NAN, INF])
def test_a_bad_weight_below_the_device_is_refused(attack, bad):
    """A threshold makes ordinary bits of NaN, and the logits look sound."""
    model = defended()
    labels = model(images()).argmax(1)
    assert attacked(attack, model, labels).clean_accuracy == 1  # the control
    with pytest.raises(NonFiniteError):
        attacked(attack, defended(bad), labels)


@every_attack
@pytest.mark.parametrize("bad", [NAN, INF, 1.5, -0.5])
def test_images_that_are_none_are_refused(attack, bad):
    x = images()
    x[2, 0, 3, 3] = bad
    with pytest.raises(ValueError, match=r"images|\[0, 1\]"):
        attacked(attack, linear(), torch.zeros(6, dtype=torch.int64), x)


@pytest.mark.parametrize("encoding", ["bits", "bits-batch", "bits-zero", "float"])
@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_nothing_is_measured_of_features_that_are_not_finite(encoding, bad):
    features = torch.rand(4, 16, generator=torch.Generator().manual_seed(0))
    features[1, 2] = bad
    block = defended(encoding=encoding).block
    untouched = [0, 2, 3] if encoding in ("bits", "bits-zero") else []
    assert torch.equal(encode(features, encoding)[untouched], encode(features[untouched], encoding))
    with pytest.raises(NonFiniteError) if encoding != "float" else pytest.raises(ValueError, match="NaN"):
        out = block.classify(encode(features, encoding))
        GradientAccess(Said(*out[1].tolist())).logits(images(1))


def test_bits_of_finite_features_are_what_they_were():
    for features in (torch.zeros(2, 4), torch.randn(3, 64), torch.full((2, 8), 1e30), torch.full((2, 8), -1e-40)):
        assert torch.equal(binarise(features), (features > features.mean(dim=1, keepdim=True)).float())
        assert torch.equal(encode(features, "bits-batch"), (features > features.mean()).float())


def test_a_hidden_bad_weight_is_found_wherever_it_is_hidden():
    """A ReLU takes -inf to 0."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 4), nn.ReLU(), nn.Linear(4, 2))
    with torch.no_grad():
        model[1].weight[0, 0] = -INF
    assert bool(torch.isfinite(model(images())).all())
    with pytest.raises(NonFiniteError, match=r"1\.weight"):
        GradientAccess(model).logits(images())
    masked = linear()
    masked.register_buffer("mask", torch.tensor([0.0, -INF]))
    assert GradientAccess(masked).logits(images()).shape == (6, 2)


def shown(labels):
    pixels = (images() * 255).byte()[:, :, :1].repeat(1, 1, 32, 1).repeat(1, 1, 1, 4)
    return ImageSet("shown", "test", pixels, labels, tuple("abcdefgh"))


def flat(classes, bad=0.0):
    model = nn.Sequential(nn.Flatten(), nn.Linear(3072, classes))
    with torch.no_grad():
        model[1].weight[0, 0] = bad
    return model


def test_accuracy_of_nothing_is_refused():
    labels = torch.tensor([0, 1, 0, 1, 0, 7])
    assert 0 <= accuracy(flat(8), shown(labels)) <= 1
    for model, wanted in ((flat(2), r"0\.\.1"), (flat(1), "one a class"), (flat(8, NAN), "NaN")):
        with pytest.raises(ValueError, match=wanted):
            accuracy(model, shown(labels))
    for x in (images() * 255, images() * NAN, images() - 0.5):
        with pytest.raises(ValueError, match="images"):
            predict_logits(linear(), x)


def test_bits_for_a_classifier_are_refused_if_they_are_of_nan():
    plain = nn.Sequential(nn.Flatten(), nn.Linear(3072, 24), nn.Linear(24, 2))
    model = defend(plain, at="2", device=SimulatedOPU.create(16, 32, seed=1), seed=0, inplace=True)
    labels = torch.tensor([0, 1, 0, 1, 0, 1])
    assert encode_bits(model, shown(labels)).shape == (6, 16)
    with torch.no_grad():
        plain[1].weight[3, 5] = NAN
    with pytest.raises(NonFiniteError):
        encode_bits(model, shown(labels))


def test_surrogates_are_not_fitted_to_nan():
    bits, logits = torch.randint(0, 2, (40, 8)).float(), torch.randn(40, 3)
    for which in (0, 1):
        pair = [bits.clone(), logits.clone()]
        pair[which][3, 1] = NAN
        with pytest.raises(ValueError, match="NaN"):
            FittedLinear.fit(*pair)


def result_of(count, success=False):
    zeros = torch.zeros(count, dtype=torch.int64)
    flags = torch.ones(count, dtype=torch.bool)
    counts = dict.fromkeys(("iterations", "gradients", "loss_queries", "check_queries", "zero_gradients"), zeros)
    return AttackResult(images(count), flags & success, flags, **counts, norm=zeros.float(), loss=zeros.float())


def test_a_success_is_not_confirmed_by_a_label_that_is_no_class():
    claimed, labels = result_of(6, success=True), torch.tensor([0, 1, 0, 7, 0, 1])
    for access in (GradientAccess(linear()), ScoreAccess(linear()), LabelAccess(linear())):
        with pytest.raises(ValueError, match=r"0\.\.1"):
            claimed.confirmed(access, labels)
        with pytest.raises(ValueError, match="one an image"):
            claimed.confirmed(access, labels[:5].clamp_max(1))
        assert access.rows in (0, 6)


def test_files_of_adversarial_images_are_refused_by_label_and_logits(tmp_path):
    x, labels = images(), torch.tensor([0, 1, 0, 7, 0, 1])
    for model, wanted in ((linear(), r"0\.\.1"), (linear(1), "one a class"), (Said(NAN, 0.0), "NaN")):
        with pytest.raises(ValueError, match=wanted):
            check_adversarial(x, x, labels, BALL, GradientAccess(model))
        made = AdversarialSet(Origin(source="a", attack="b", ball=BALL, seed=0), x, labels, labels >= 0, labels)
        with pytest.raises(ValueError, match=wanted):
            save_adversarial(tmp_path / "made", made, x, GradientAccess(model))
        assert not (tmp_path / "made").exists()


def test_the_worst_case_is_of_the_same_images():
    assert worst_case([result_of(6), result_of(6, success=True)]).tolist() == [False] * 6
    with pytest.raises(ValueError, match="same images"):
        worst_case([result_of(6), result_of(1, success=True)])


def test_a_norm_that_is_nan_is_not_a_distance():
    arrays = {"success": np.ones(3), "clean_correct": np.ones(3), "norm": np.array([0.1, 0.9, NAN])}
    with pytest.raises(ValueError, match="NaN"):
        right_within(arrays, 0.5)
    sound = {**arrays, "norm": np.array([0.1, 0.9, 0.2])}
    assert right_within(sound, 0.5).count == 1
    with pytest.raises(ValueError, match="NaN"):
        right_within(sound, NAN)


def test_logits_are_compared_as_the_model_gives_them():
    """In float64 they differ; rounded to float32 they would tie, and a tie is the first class."""
    close = Said(0.1, 0.1)
    close.logits = torch.tensor([0.1, 0.1 + 1e-12], dtype=torch.float64)
    ones = torch.ones(6, dtype=torch.int64)
    for attack in KINDS:
        if type(attack).__name__ in ("PGD", "FGSM", "Square", "RandomNoise"):
            assert attacked(attack, close, ones).clean_accuracy == 1


@pytest.mark.parametrize("model", [linear(1), Said(NAN, 0.0), defended(NAN)], ids=["one logit", "NaN", "NaN below"])
def test_the_audit_refuses_them_too(model):
    with pytest.raises(ValueError, match=r"one a class|NaN"):
        audit(model, images(), torch.zeros(6, dtype=torch.int64), BALL)
    with pytest.raises(ValueError, match=r"0\.\.1"):
        audit(linear(), images(), torch.full((6,), 7), BALL)
