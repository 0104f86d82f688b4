"""What is given at first: taken where its meaning is plain, and refused in a line that says what to write where it is not."""

from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from groundglass.adaptive import make_rule, observe
from groundglass.attacks import (
    L2,
    PGD,
    AttackCheckpoint,
    Averaged,
    Ensemble,
    GradientAccess,
    GradientAttack,
    LabelAccess,
    LabelAttack,
    Linf,
    ScoreAccess,
    Square,
    check_adversarial,
)
from groundglass.attacks import checkpoint as checkpoints
from groundglass.audit import AuditConfig, audit
from groundglass.models import accuracy, defend, load_model, predict_logits, read_spec, save_model
from groundglass.optics import SimulatedOPU
from groundglass.training import HybridDFA, TrainingConfig, encode_bits, train
from tests.contracts.test_attack_contract import ATTACKS
from tests.contracts.test_globals import SHOWN, assert_same
from tests.contracts.test_query_contract import SCORES
from tests.training.conftest import SPEC, fresh

KINDS = list({type(attack): attack for attack in (*ATTACKS, *SCORES)}.values())
every_attack = pytest.mark.parametrize("attack", KINDS, ids=lambda attack: type(attack).__name__)
IMAGES = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
BALL = Linf(0.02)


def network(classes=3):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Sequential(nn.Flatten(), nn.Linear(192, classes))


LABELS = network()(IMAGES).argmax(1)


def attacked(attack, images=IMAGES, labels=LABELS, model=None, ball=BALL):
    model = network() if model is None else model
    if not isinstance(attack, GradientAttack):
        model = (LabelAccess if isinstance(attack, LabelAttack) else ScoreAccess)(model, per_image=30)
    ball = None if type(attack).__name__ == "CarliniWagnerL2" and ball is BALL else ball
    return vars(attack(model, images, labels, ball, seed=0))


@every_attack
def test_a_model_is_wrapped_in_the_access_that_the_attack_needs(attack):
    wanted = attacked(attack)
    if isinstance(attack, GradientAttack):
        assert_same(attacked(attack, model=GradientAccess(network())), wanted)
        assert_same(attacked(attack, model=network().forward), wanted)
    for given, said in ((7, "neither a model"), (None, "neither a model"), (torch.nn, "neither a model")):
        with pytest.raises(TypeError, match=said):
            attack(given, IMAGES, LABELS, BALL, seed=0)
    other = ScoreAccess if isinstance(attack, GradientAttack) else GradientAccess
    with pytest.raises(TypeError, match=rf"{type(attack).__name__} needs a \w+\(model\): {other.__name__}"):
        attack(other(network()), IMAGES, LABELS, BALL, seed=0)


@pytest.mark.one_in(5)
@every_attack
def test_labels_of_any_plain_kind_are_the_same_labels(attack):
    wanted = attacked(attack)
    hot = torch.nn.functional.one_hot(LABELS, 3)
    kinds = [
        LABELS.int(),
        LABELS.byte(),
        LABELS[:, None],
        hot,
        hot.float(),
        hot.bool(),
        LABELS.tolist(),
        list(LABELS.numpy()),
    ]
    kinds += [LABELS.numpy(), LABELS.numpy().astype(np.uint16), LABELS.numpy().astype(">i4"), hot.numpy()]
    for labels in kinds:
        assert_same(attacked(attack, labels=labels), wanted, str(labels))
    soft = hot.float() * 0.9 + 0.1 / 3
    for labels, said in (
        (soft, "one an image"),
        (LABELS.float(), "integers"),
        (hot[:5], "one an image"),
        (2 * hot, "one an image"),
        (LABELS[None], "one an image"),
        ("0, 1", "torch.Tensor"),
        ([0.5] * 6, "torch.Tensor"),
    ):
        with pytest.raises((ValueError, TypeError), match=said):
            attacked(attack, labels=labels)


@every_attack
def test_images_of_numpy_are_images(attack):
    wanted = attacked(attack)
    frozen = IMAGES.numpy().copy()
    frozen.flags.writeable = False
    for images in (
        frozen,
        IMAGES.double().numpy(),
        IMAGES.numpy()[::-1].copy()[::-1],
        np.asfortranarray(IMAGES.numpy()),
    ):
        assert_same(attacked(attack, images=images), wanted)
    for images, said in (
        ((IMAGES * 255).int().numpy(), "/ 255"),
        (IMAGES.numpy() * 255, "divide by 255"),
        (IMAGES.tolist(), "torch.Tensor"),
        (IMAGES.numpy()[0], "NCHW"),
        (np.array(["a"]), "torch.Tensor"),
    ):
        with pytest.raises((ValueError, TypeError), match=said):
            attacked(attack, images=images)


@every_attack
@pytest.mark.parametrize("ball", [8 / 255, "8/255", Linf, (0.1, 0.2), True])
def test_what_is_no_ball_is_refused_with_the_line_to_write(attack, ball):
    with pytest.raises(TypeError, match=r"Linf\(.*or L2\("):
        attacked(attack, ball=ball)


def test_a_radius_may_be_written_as_it_is_said():
    assert Linf("8/255") == Linf(8 / 255)
    assert L2(" 1 / 2 ") == L2(0.5)
    for text in ("8/0", "eight", "8/255/2", "", "1/2; 3", "/", "0.5"):
        with pytest.raises((TypeError, ValueError), match="eps"):
            Linf(text)
    with pytest.raises(ValueError, match="pixel units"):
        Linf("8/1").check(torch.rand(1, 3, 4, 4))


class Wrapped(nn.Module):
    """A network of another library: its logits come in something."""

    def __init__(self, wrap):
        super().__init__()
        self.network, self.wrap = network(), wrap

    def forward(self, images):
        return self.wrap(self.network(images))


PLAIN = {
    "dict": lambda z: {"logits": z, "hidden": z[:, :1]},
    "ordered": lambda z: OrderedDict(logits=z),
    "attribute": lambda z: SimpleNamespace(logits=z),
    "one": lambda z: (z,),
    "list of one": lambda z: [z],
    "only matrix": lambda z: {"out": z, "maps": z[:, :, None, None]},
    "first of two": lambda z: (z, z[:, :, None, None]),
}
UNCLEAR = {
    "two": (lambda z: (z, z), r"model\(images\)\[0\]"),
    "two keys": (lambda z: {"out": z, "aux": z}, r"model\(images\)\['out'\]"),
    "features": (lambda z: {"features": z}, r"model\(images\)\['features'\]"),
    "none": (lambda z: {}, "logits"),
    "text": (lambda z: "z", "float logits"),
    "numpy": (lambda z: z.detach().numpy(), "numpy_model"),
}


@pytest.mark.one_in(5)
@every_attack
def test_logits_are_found_where_they_are_plain_to_see(attack):
    wanted = attacked(attack)
    for name, wrap in PLAIN.items():
        assert_same(attacked(attack, model=Wrapped(wrap)), wanted, name)
    for wrap, said in UNCLEAR.values():
        with pytest.raises((TypeError, ValueError), match=said):
            attacked(attack, model=Wrapped(wrap))


@pytest.mark.parametrize("wrap", PLAIN.values(), ids=PLAIN)
def test_helpers_find_the_logits_too(wrap):
    model, wanted = Wrapped(wrap), network()(IMAGES)
    assert torch.equal(predict_logits(model, IMAGES.numpy()), wanted.detach())
    assert torch.allclose(Averaged(model, 2)(IMAGES), wanted)
    assert torch.allclose(Ensemble([model, network()])(IMAGES), wanted)
    made = defend(Wrapped(wrap), at="network.1", device=SimulatedOPU.create(16, 32, seed=1), seed=0).eval()
    plain = defend(network(), at="1", device=SimulatedOPU.create(16, 32, seed=1), seed=0).eval()
    seen = [attacked(PGD(steps=2, step_size=None), model=one, labels=plain(IMAGES).argmax(1)) for one in (made, plain)]
    assert_same(seen[0], seen[1])


def test_the_audit_takes_what_attacks_take():
    config = AuditConfig(steps=2, queries=8, query_images=2, probes=4)
    hot = torch.nn.functional.one_hot(LABELS, 3)
    wanted = audit(network(), IMAGES, LABELS, BALL, config=config)
    for images, labels in ((IMAGES.numpy(), LABELS.numpy()), (IMAGES.double(), LABELS[:, None]), (IMAGES, hot)):
        found = audit(Wrapped(PLAIN["dict"]), images, labels, BALL, config=config)
        assert torch.equal(found.adversarial, wanted.adversarial)
        assert found.worst == wanted.worst
    with pytest.raises(TypeError, match=r"Linf\(8/255\)|Linf\(0"):
        audit(network(), IMAGES, LABELS, 8 / 255, config=config)
    with pytest.raises(TypeError, match="the model itself"):
        audit(GradientAccess(network()), IMAGES, LABELS, BALL, config=config)


def test_results_are_confirmed_and_files_checked_on_the_model_itself():
    result = PGD(steps=20, step_size=None)(network(), IMAGES, LABELS, Linf(0.2), seed=0)
    assert bool(result.success.all())
    assert torch.equal(result.confirmed(network(), LABELS[:, None]).success, result.success)
    check_adversarial(IMAGES, result.adversarial, LABELS, Linf(0.2), network())
    with pytest.raises(TypeError, match=r"Linf\("):
        check_adversarial(IMAGES, result.adversarial, LABELS, 0.2, network())


def test_a_path_may_be_text(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "SECONDS_BETWEEN_SAVES", 0.0)
    path = str(tmp_path / "a")
    attacks = PGD(steps=4), Square()
    for number, attack in enumerate(attacks):
        for checkpoint in (f"{path}{number}", Path(f"{path}{number}"), AttackCheckpoint(f"{path}{number}")):
            access = GradientAccess(network()) if number == 0 else ScoreAccess(network(), per_image=30)
            found = attack(access, IMAGES, LABELS, BALL, seed=0, checkpoint=checkpoint)
            assert Path(f"{path}{number}").is_file()
            assert torch.equal(found.adversarial, attacked(attack)["adversarial"])
    made = fresh()
    save_model(f"{path}.safetensors", made, SPEC)
    assert read_spec(f"{path}.safetensors").classes == 3
    assert load_model(f"{path}.safetensors", find_device=lambda _: made.device) is not made
    config = TrainingConfig(epochs=1, batch_size=12)
    train(made, SHOWN, config, credit=HybridDFA(), seed=0, checkpoint=f"{path}.training")
    assert Path(f"{path}.training").is_file()


def test_what_is_not_a_set_of_images_or_a_device_is_refused_with_what_to_write():
    made = fresh()
    for images in (IMAGES, [1], 7):
        for ask in (
            lambda images: train(made, images, TrainingConfig(epochs=1), credit=HybridDFA(), seed=0),
            lambda images: accuracy(made, images),
            lambda images: observe(made, images),
            lambda images: encode_bits(made, images),
        ):
            with pytest.raises(TypeError, match=r"labels|with its label"):
                ask(images)
    for device in ((16, 32), "lab.device"):
        with pytest.raises(TypeError, match=r"SimulatedOPU.create\("):
            defend(network(), at="1", device=device, seed=0)
    with pytest.raises(TypeError, match="torch module"):
        defend(network().forward, at="1", device=SimulatedOPU.create(16, 32, seed=1), seed=0)


@pytest.mark.parametrize("rule", ["exact", "dfa", None, SimulatedOPU])
def test_the_name_of_a_rule_is_no_rule(rule):
    made = defend(network(), at="1", device=SimulatedOPU.create(16, 32, seed=1), seed=0).eval()
    for ask in (made.seen_through, lambda rule: made.run(IMAGES, rule)):
        with pytest.raises(TypeError, match=r"groundglass.adaptive.make_rule\('\w+', network, seed=0\)"):
            ask(rule)
    assert made.seen_through(make_rule("exact", made, seed=0))(IMAGES).shape == (6, 3)
