"""The same seed gives the same numbers, whatever torch's default dtype and device are, and however images lie in memory."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from groundglass.adaptive import RULES, STAND_INS, make_rule, observe, redrawn
from groundglass.attacks import (
    L2,
    NES,
    PGD,
    ZOO,
    AttackCheckpoint,
    CarliniWagnerL2,
    FittedLinear,
    FittedNetwork,
    GradientAccess,
    GradientAttack,
    HopSkipJump,
    LabelAccess,
    LabelAttack,
    Linf,
    RayS,
    ScoreAccess,
    Square,
    SurFree,
    TiledES,
    TransferPGD,
    frozen_for_attack,
)
from groundglass.attacks import checkpoint as checkpoints
from groundglass.attacks.losses import cross_entropy
from groundglass.audit import AuditConfig, audit
from groundglass.data import Augment, ImageSet, batches
from groundglass.models import accuracy, defend, load_model, predict_logits, save_model, vgg16
from groundglass.optics import Camera, MovingDevice, SimulatedOPU, measure_packed, pack_bits
from groundglass.optics.fidelity import device_light, fidelity
from groundglass.optics.retrieval import METHODS, Scale, row_errors
from groundglass.training import (
    TRADES,
    BackProp,
    HybridDFA,
    PGDTraining,
    TrainingConfig,
    encode_bits,
    fit_classifier,
    place_device,
    train,
)
from tests.contracts.test_attack_contract import ATTACKS
from tests.contracts.test_query_contract import SCORES
from tests.training.conftest import SPEC, facts, fresh

ALL = [
    *ATTACKS,
    *SCORES,
    HopSkipJump(norm="L2", probes=4),
    SurFree(memory=4),
    ZOO(coordinates=3, learning_rate=0.1),
    TiledES(),
]
pytestmark = pytest.mark.filterwarnings("ignore:10 steps of 0.005 cannot reach:RuntimeWarning")
of_each = pytest.mark.parametrize("attack", ALL, ids=repr)


@contextmanager
def other_defaults() -> Iterator[None]:
    """Another default dtype, and a default device on which nothing has a value: whatever is made there is seen."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            yield
    finally:
        torch.set_default_dtype(before)


def assert_same(found: Any, wanted: Any, where: str = "") -> None:
    """Bit for bit, and in type."""
    assert type(found) is type(wanted), where
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys()
        found, wanted = list(found.items()), list(wanted.items())
    if isinstance(wanted, list | tuple):
        assert len(found) == len(wanted), where
        for at, (one, other) in enumerate(zip(found, wanted, strict=True)):
            assert_same(one, other, f"{where}, {other[0] if isinstance(other, tuple) and other else at}")
    elif isinstance(wanted, Tensor):
        assert (found.dtype, found.shape, found.device) == (wanted.dtype, wanted.shape, wanted.device), where
        assert found.detach().numpy().tobytes() == wanted.detach().numpy().tobytes(), where
    else:
        assert found == wanted, where


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator("cpu").manual_seed(seed), device="cpu", dtype=torch.float32)


IMAGES = drawn(6, 3, 8, 8)
BITS = (drawn(40, 16) > 0.5).byte()
LABELS = torch.arange(6) % 3
SHOWN = ImageSet("shown", "train", (drawn(24, 3, 32, 32) * 255).byte(), torch.arange(24) % 3, ("r", "g", "b"))


@cache
def network(*, with_device: bool = False) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        below = [nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()]
        made = nn.Sequential(*below, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 24), nn.Linear(24, 4)).eval()
    if not with_device:
        return made
    return defend(made, at="8", device=SimulatedOPU.create(16, 32, seed=1), seed=0).eval()


def attacked(attack: Any, images: Tensor, model: nn.Module, *, only: int | None = None) -> dict[str, Any]:
    """At radii at which some images are fooled, and others not; and without a ball, if there is a norm to measure in.

    Args:
        only: in the ball of this number alone, counted round and round.
    """
    labels = GradientAccess(model).logits(images.contiguous()).argmax(1)
    labels[0] = (labels[0] + 1) % 3
    balls = balls_of(attack)
    if only is not None:
        balls = [balls[only % len(balls)]]
    of = LabelAccess if isinstance(attack, LabelAttack) else ScoreAccess
    found = {}
    for ball in balls:
        access: Any = GradientAccess(model) if isinstance(attack, GradientAttack) else of(model, per_image=30)
        found[repr(ball)] = vars(attack(access, images, labels, ball, seed=1, batch_size=4))
    return found


def balls_of(attack: Any) -> list[Any]:
    found: list[Any] = []
    norm = getattr(attack, "norm", None)
    for ball in (Linf(0.02), L2(0.15), None):
        kind = None if ball is None else ball.kind
        if (norm is None) if kind is None else bool(attack.kinds) and kind not in attack.kinds:
            continue
        if kind is not None and norm not in (None, kind.__name__):
            continue
        found.append(ball)
    return found


@cache
def plainly(attack: Any) -> dict[str, Any]:
    return attacked(attack, IMAGES, network())


@pytest.mark.one_in(5)
@of_each
def test_attacks_do_not_depend_on_the_defaults(attack):
    wanted = plainly(attack)
    assert isinstance(attack, LabelAttack) or any(bool((made["norm"] > 0).any()) for made in wanted.values())
    with other_defaults(), torch.inference_mode():
        found = attacked(attack, IMAGES, network())
    assert_same(found, wanted)


def test_an_audit_does_not_depend_on_inference_mode():
    config = AuditConfig(steps=3, queries=40, query_images=4, probes=4, samples=2)
    model = network(with_device=True)
    labels = model(IMAGES).argmax(1)
    wanted, checks = (found := audit(model, IMAGES, labels, Linf(0.05), config=config)).attempts, found.checks
    with torch.inference_mode():
        found = audit(model, IMAGES.clone(), labels.clone(), Linf(0.05), config=config)
        made = GradientAccess(model).loss_and_grad(IMAGES.clone(), labels, cross_entropy)
    assert [replace(one, seconds=0) for one in found.attempts] == [replace(one, seconds=0) for one in wanted]
    assert found.checks == checks
    assert made.grad.any()


def laid_out() -> dict[str, Tensor]:
    """Images of the same values, and one of equal values, in other places of memory."""
    wide = drawn(6, 3, 8, 16)
    wide[..., ::2] = IMAGES
    return {
        "channels last": IMAGES.contiguous(memory_format=torch.channels_last),
        "permuted": IMAGES.permute(3, 1, 0, 2).contiguous().permute(2, 1, 3, 0),
        "every second pixel": wide[..., ::2],
        "one image, six times": IMAGES[:1].expand(6, -1, -1, -1),
        "one row of pixels": IMAGES[:, :, :1].expand(-1, -1, 8, -1),
    }


@pytest.mark.one_in(5)
@of_each
def test_attacks_do_not_depend_on_how_images_lie_in_memory(attack):
    """Each way in one ball, and each ball in one way: the next attack has them in other pairs."""
    wanted, first = plainly(attack), ALL.index(attack)
    for number, name in enumerate(("channels last", "permuted", "every second pixel"), start=first):
        found = attacked(attack, laid_out()[name], network(), only=number)
        assert_same(found, {ball: wanted[ball] for ball in found}, name)
    repeated = laid_out()["one image, six times"]
    assert_same(*(attacked(attack, x, network(), only=first) for x in (repeated, repeated.clone().contiguous())))


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", laid_out())
def test_helpers_do_not_depend_on_how_what_they_get_lies_in_memory(name):
    images = laid_out()[name]
    model = network(with_device=True)
    assert torch.equal(predict_logits(model, images), predict_logits(model, images.contiguous()))
    config = AuditConfig(steps=2, queries=8, query_images=2, probes=4)
    found = [audit(model, x, LABELS, Linf(0.1), config=config, seed=1) for x in (images, images.contiguous())]
    assert torch.equal(found[0].adversarial, found[1].adversarial)
    assert found[0].checks == found[1].checks


def strided(x: Tensor) -> list[Tensor]:
    """The same rows, columns first, and with gaps."""
    wide = x.repeat_interleave(2, dim=1)
    return [x.t().contiguous().t(), wide[:, ::2]]


def test_rules_and_measurements_do_not_depend_on_strides():
    device, logits = SimulatedOPU.create(16, 32, seed=1), drawn(40, 3)
    bits = BITS.float()
    for other, others_logits in zip(strided(bits), strided(logits), strict=True):
        for fit in (FittedLinear.fit, FittedNetwork.fit):
            one, two = (fit(*pair, seed=0, **_QUICK[fit.__self__]) for pair in ((bits, logits), (other, others_logits)))
            assert torch.equal(one.vjp(bits[:5], logits[:5]), two.vjp(bits[:5], logits[:5]))
        assert torch.equal(device.measure(other.byte()), device.measure(BITS))
        block = network(with_device=True).block
        features, others = drawn(8, 24), strided(drawn(8, 24))
        assert all(torch.equal(block(features), block(x)) for x in others)


_QUICK: dict[type, dict[str, int]] = {FittedLinear: {}, FittedNetwork: {"hidden": 8, "epochs": 2}}


# --- what is made and measured ---


def devices() -> Any:
    found: dict[str, Any] = {}
    for kind in ("dense", "procedural", "structured"):
        for camera in (Camera(bits=None), Camera(shot_noise=500.0, read_noise=1.0)):
            device = SimulatedOPU.create(16, 40, seed=3, kind=kind, camera=camera)
            told = [device.fingerprint, device.measure(BITS), device.region(range(5)).measure(BITS)]
            found[f"{kind} {camera}"] = [*told, measure_packed(device, pack_bits(BITS))]
    moving = MovingDevice.create(16, 40, count=2, seed=4)
    return {**found, "moving": [moving.fingerprint, moving.measure(BITS)]}


def networks() -> Any:
    found: dict[str, Any] = {}
    device = SimulatedOPU.create(16, 32, seed=1)
    for encoding in ("bits", "bits-batch", "bits-zero", "float", None):
        plain = vgg16(0.05, classes=3, mean=(0.5,) * 3, std=(0.2,) * 3, seed=2)
        options: Any = {"device": None, "hidden": 16} if encoding is None else {"device": device, "encoding": encoding}
        made = defend(plain, at="head", seed=4, **options).eval()
        found[str(encoding)] = [dict(made.state_dict()), predict_logits(made, SHOWN.floats(slice(0, 4)))]
        found[f"{encoding} frozen"] = [
            frozen_for_attack(made)(SHOWN.floats(slice(0, 4))).detach(),
            accuracy(made, SHOWN),
        ]
    with TemporaryDirectory() as folder:
        made = fresh()
        save_model(Path(folder) / "model", made, SPEC)
        loaded = load_model(Path(folder) / "model", find_device=lambda _: made.device)
        found["file"] = dict(loaded.state_dict())
    return found


def rules() -> Any:
    found = {}
    model: Any = network(with_device=True)
    pairs = BITS.float(), torch.cat([drawn(40, 4)])
    for name in STAND_INS:
        few = SHOWN.floats(slice(0, 4)), SHOWN.labels[:4]
        made = redrawn(name, fresh(), PGD(steps=2, step_size=None), *few, Linf(0.05), draws=2, seed=0, labelled=SHOWN)
        found[name] = made.result.adversarial
    for name in RULES:
        if name not in ("bp", "ste", *STAND_INS):
            matrix = torch.complex(drawn(32, 16, seed=1), drawn(32, 16, seed=2))
            rule = make_rule(name, model, seed=0, pairs=lambda: pairs, matrix=matrix)
            seen = GradientAccess(model.seen_through(rule))
            found[name] = seen.loss_and_grad(IMAGES, LABELS, cross_entropy).grad
    small = ImageSet("small", "test", SHOWN.images[:4], SHOWN.labels[:4], SHOWN.classes)
    return {**found, "seen": list(observe(fresh(), small))}


def retrievals() -> Any:
    found = {}
    n = 32
    device = SimulatedOPU.create(n, 8, seed=5)
    for name, kind in METHODS.items():
        method, scale = kind(), Scale(255, device.mean_reading)
        design = method.design(n, 10 * n, scale, seed=0)
        frames = [device.measure_at(design.bits(k, k + 1), float(e)) for k, e in enumerate(design.exposures())]
        solved = method.solve(design, torch.cat(frames).t().contiguous(), scale, seed=3)
        found[name] = [design.bits(0, len(design)), solved, row_errors(solved, solved.roll(1, 0))]
    return found


def laws() -> Any:
    device = SimulatedOPU.create(64, 256, seed=1, camera=Camera(bits=None))
    table = fidelity(device_light(device), 64, 256, redraw=lambda k: device_light(device.redraw(seed=k)), redraws=8)
    return [(law.name, law.score) for law in table]


def trainings() -> Any:
    found: dict[str, Any] = {}
    hard = PGDTraining(eps=0.1, steps=2, rule="dfa"), TRADES(eps=0.1, steps=2, rule="dfa-fresh")
    for adversarial, optimiser in ((None, "sgd"), (None, "adam"), *((kind, "sgd") for kind in hard)):
        config = TrainingConfig(
            epochs=1, batch_size=12, optimiser=optimiser, adversarial=adversarial, learning_rate=0.01
        )
        model = fresh()
        history = train(model, SHOWN, config, credit=HybridDFA(), seed=0, augment=Augment())
        found[f"{adversarial} {optimiser}"] = [facts(history), dict(model.state_dict())]
    plain = vgg16(0.05, classes=3, mean=(0.5,) * 3, std=(0.2,) * 3, seed=2)
    train(plain, SHOWN, TrainingConfig(epochs=1, batch_size=12), credit=BackProp(), seed=0)
    bits = encode_bits(model, SHOWN)
    place_device(model, SimulatedOPU.create(32, 48, seed=9))
    for optimiser in ("sgd", "adam"):
        config = TrainingConfig(epochs=1, batch_size=8, optimiser=optimiser, learning_rate=1e-3)
        fit_classifier(model, bits, SHOWN.labels, config, seed=1)
        found[f"readout {optimiser}"] = dict(model.block.readout.state_dict())
    order = [[b.images, b.labels, b.index] for b in batches(SHOWN, batch_size=5, seed=0, epoch=1, augment=Augment())]
    return {**found, "bits": bits, "plain": dict(plain.state_dict()), "order": order}


def audits() -> Any:
    config = AuditConfig(steps=2, queries=8, query_images=2, probes=4, fit_images=24)
    found: list[Any] = []
    with TemporaryDirectory() as folder:
        for _ in range(2):
            model, images = fresh(), SHOWN.floats(slice(0, 6))
            made = audit(
                model, images, LABELS, Linf(0.1), config=config, checkpoint=Path(folder) / "kept", natural=SHOWN
            )
            found.append([made.adversarial, made.broken_by, list(made.checks)])
    return found


def unfinished() -> Any:
    """Files of unfinished work, and what goes on from them."""
    found = {}
    labels = network()(IMAGES).argmax(1)
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "SECONDS_BETWEEN_SAVES", 0.0)
        for attack in (
            ATTACKS[1],
            CarliniWagnerL2(steps=6, searches=2),
            TransferPGD(steps=3),
            Square(),
            NES(samples=4),
        ):
            path = Path(folder) / type(attack).__name__
            of_gradients = isinstance(attack, GradientAttack)
            for again in range(2):
                access: Any = GradientAccess(network()) if of_gradients else ScoreAccess(network(), per_image=30)
                checkpoint: Any = AttackCheckpoint(path) if of_gradients else path
                made = attack(access, IMAGES, labels, L2(0.15), seed=0, checkpoint=checkpoint)
                found[f"{path.name} {again}"] = vars(made)
    return found


MADE: list[Callable[[], Any]] = [devices, networks, rules, retrievals, laws, trainings, audits, unfinished]


@pytest.mark.one_in(3)
@pytest.mark.parametrize("make", MADE, ids=lambda make: make.__name__)
def test_what_is_made_does_not_depend_on_the_defaults(make):
    wanted = make()
    with other_defaults():
        found = make()
    assert_same(found, wanted)


def test_a_network_in_float64_is_attacked_and_measured_as_one_in_float32():
    """Its images stay in float32, which float64 holds exactly."""
    single, double = fresh().eval(), fresh().double().eval()
    images, labels = SHOWN.floats(slice(0, 6)), SHOWN.labels[:6]
    for rule in ("dfa", "fa", "exact", "bpda-drawn"):
        views = [one.seen_through(make_rule(rule, one, seed=0)) for one in (single, double)]
        found = [GradientAccess(view).loss_and_grad(images, labels, cross_entropy) for view in views]
        assert found[1].grad.dtype == images.dtype
        apart = torch.linalg.vector_norm(found[0].grad - found[1].grad) / torch.linalg.vector_norm(found[1].grad)
        assert apart < 1e-4, rule
        assert torch.equal(double(images.double()), views[1](images.double()))
        assert torch.equal(GradientAccess(double).logits(images), double(images.double()))
    assert torch.allclose(predict_logits(double, images), predict_logits(single, images), atol=1e-5)
    assert torch.equal(encode_bits(double, SHOWN), encode_bits(single, SHOWN))
    train(double, SHOWN, TrainingConfig(epochs=1, batch_size=12), credit=HybridDFA(), seed=0)
    fit_classifier(double, encode_bits(double, SHOWN), SHOWN.labels, TrainingConfig(epochs=1, batch_size=8), seed=1)
    double_too = copy.deepcopy(network()).double()
    for attack in (ATTACKS[1], CarliniWagnerL2(steps=6, searches=2), TransferPGD(), Square(), RayS()):
        assert attacked(attack, IMAGES, network()).keys() == attacked(attack, IMAGES.double(), double_too).keys()
