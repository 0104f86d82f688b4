"""No model and no device is ever asked about nothing: a service does not answer that. Of no images there are no results."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from groundglass.adaptive import observe
from groundglass.attacks import PGD, GradientAccess, LabelAccess, Linf, ScoreAccess, Square
from groundglass.attacks.adversarial_files import AdversarialSet, Origin, load_adversarial, save_adversarial
from groundglass.attacks.losses import margin
from groundglass.audit import AuditConfig, NothingToAuditError, audit
from groundglass.core.sealed import Single
from groundglass.data import ImageSet
from groundglass.models import ModelSpec, accuracy, build, predict_logits
from groundglass.optics import Camera, MovingDevice, OpticalLayer, SimulatedOPU, measure_packed
from groundglass.optics.access import DeviceAccess
from groundglass.training import BackProp, TrainingConfig, encode_bits, train
from groundglass.training.classifier import accuracy_of_bits, fit_classifier

N, M = 32, 64
PIXELS = torch.randint(0, 256, (24, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


class Strict(Single):
    """A device that takes no frame without an input, as a camera does."""

    _unpickled = "is for tests"

    def __init__(self, device: SimulatedOPU) -> None:
        self._device, self.camera = device, device.camera
        self.in_features, self.out_features = device.in_features, device.out_features
        self.fingerprint, self.mean_reading = device.fingerprint, device.mean_reading

    def measure(self, bits: Tensor) -> Tensor:
        assert len(bits), "asked for no frames"
        return self._device.measure(bits)

    def measure_at(self, bits: Tensor, exposure: float) -> Tensor:
        assert len(bits), "asked for no frames"
        return self._device.measure_at(bits, exposure)


class Asked(nn.Module):
    """A network that refuses a batch of no images, and counts."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.rows = model, 0

    def forward(self, images: Tensor) -> Tensor:
        assert len(images), "asked about no images"
        self.rows += len(images)
        return self.model(images)


def device(**settings: object) -> Strict:
    return Strict(SimulatedOPU.create(N, M, seed=3, **settings))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def defended() -> nn.Module:
    spec = ModelSpec(width=0.05, classes=4, mean=(0.5,) * 3, std=(0.5,) * 3, device_in=N, device_out=M)
    model = build(spec, device=device(), seed=0).eval()
    model.register_forward_pre_hook(lambda module, given: _refuse(given[0]))
    return model


def _refuse(images: Tensor) -> None:
    assert len(images), "asked about no images"


def image_set(count: int, labels: Tensor | None = None) -> ImageSet:
    labels = torch.zeros(count, dtype=torch.int64) if labels is None else labels
    return ImageSet("noise", "test", PIXELS[:count], labels, tuple("abcd"))


EMPTY = image_set(0)
NO_IMAGES, NO_LABELS = EMPTY.floats(), EMPTY.labels

#: What it is -> of a defended network, the shape of what it gives for no images.
SHAPES: dict[str, Callable[[nn.Module], tuple[int, ...]]] = {
    "predict_logits": lambda model: predict_logits(model, NO_IMAGES).shape,
    "observe": lambda model: observe(model, EMPTY)[0].shape,
    "encode_bits": lambda model: encode_bits(model, EMPTY).shape,
    "gradient access": lambda model: GradientAccess(model).logits(NO_IMAGES).shape,
    "gradients": lambda model: GradientAccess(model).loss_and_grad(NO_IMAGES, NO_LABELS, margin).grad.shape,
    "score access": lambda model: ScoreAccess(model, per_image=3).logits(NO_IMAGES, owners=[]).shape,
    "label access": lambda model: LabelAccess(model).labels(NO_IMAGES).shape,
    "optical layer": lambda model: OpticalLayer(device())(torch.zeros(0, N)).shape,
    "packed bits": lambda model: measure_packed(device(), torch.zeros(0, N // 8, dtype=torch.uint8)).shape,
    "device access": lambda model: DeviceAccess(device()).measure(torch.zeros(0, N, dtype=torch.uint8)).shape,
}
EXPECTED = {
    "predict_logits": (0, 0),
    "observe": (0, N),
    "encode_bits": (0, N),
    "gradient access": (0, 0),
    "gradients": (0, 3, 32, 32),
    "score access": (0, 0),
    "label access": (0,),
    "optical layer": (0, M),
    "packed bits": (0, M),
    "device access": (0, M),
}


@pytest.mark.parametrize("name", SHAPES)
def test_of_no_images_there_are_no_results(name: str, defended: nn.Module) -> None:
    assert tuple(SHAPES[name](defended)) == EXPECTED[name]


@pytest.mark.parametrize("bits", [None, 8])
def test_no_readings_have_the_type_of_readings(bits: int | None) -> None:
    one = device(camera=Camera(bits=bits))
    none = torch.zeros(0, N, dtype=torch.uint8)
    expected = torch.uint8 if bits else torch.float32
    assert DeviceAccess(one).measure(none).dtype == measure_packed(one, none[:, :4]).dtype == expected
    with pytest.raises(ValueError, match="columns"):
        DeviceAccess(one).measure(none[:, :5])


def test_a_moving_device_asks_those_alone_whose_turn_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    moving = MovingDevice.create(N, M, count=5, seed=1)
    monkeypatch.setattr(SimulatedOPU, "measure", _strict(SimulatedOPU.measure))
    assert moving.measure(torch.ones(2, N, dtype=torch.uint8)).shape == (2, M)
    assert moving.measure(torch.ones(0, N, dtype=torch.uint8)).shape == (0, M)


def _strict(measure: Callable[[SimulatedOPU, Tensor], Tensor]) -> Callable[[SimulatedOPU, Tensor], Tensor]:
    def asked(self: SimulatedOPU, bits: Tensor) -> Tensor:
        assert len(bits), "asked for no frames"
        return measure(self, bits)

    return asked


@pytest.mark.parametrize(
    ("work", "says"),
    [
        (lambda model: accuracy(model, EMPTY), "no images"),
        (lambda model: accuracy_of_bits(model, torch.zeros(0, N, dtype=torch.uint8), NO_LABELS), "no bits"),
        (lambda model: fit_classifier(model, torch.zeros(0, N, dtype=torch.uint8), NO_LABELS, seed=0), "no bits"),
        (lambda model: train(model, EMPTY, TrainingConfig(epochs=1), credit=BackProp(), seed=0), "images to train"),
        (lambda model: audit(model, NO_IMAGES, NO_LABELS, Linf(0.1)), "no images"),
    ],
)
def test_where_a_figure_is_wanted_no_images_are_refused(work, says: str, defended: nn.Module) -> None:
    with pytest.raises(ValueError, match=says):
        work(defended)


def test_files_of_no_adversarial_images(tmp_path, defended: nn.Module) -> None:
    source = GradientAccess(defended)
    claimed = torch.zeros(0, dtype=torch.bool)
    made = AdversarialSet(
        Origin(source="x", attack="y", ball=Linf(0.1), seed=0), NO_IMAGES, NO_LABELS, claimed, NO_LABELS
    )
    save_adversarial(tmp_path / "x.safetensors", made, NO_IMAGES, source)
    found = load_adversarial(tmp_path / "x.safetensors", NO_IMAGES, NO_LABELS, source)
    assert len(found.labels) == source.rows == 0


def test_an_audit_asks_about_no_empty_batch(defended: nn.Module) -> None:
    few = image_set(8).floats()
    labels = defended(few).argmax(1)
    config = AuditConfig(steps=2, queries=3, query_images=2, probes=2)
    mine = {"mine": lambda model, images, labels, ball: images}
    others = {"surrogate": Asked(defended)}
    for natural, radius in ((EMPTY, 1e-6), (image_set(5), 0.3)):  # nothing falls, and everything
        found = audit(
            defended, few, labels, Linf(radius), natural=natural, attacks=mine, surrogates=others, config=config
        )  # fmt: skip
        assert found.clean.share == 1
    plain = Asked(nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 4)))
    with pytest.raises(NothingToAuditError):
        audit(plain, few, (plain(few).argmax(1) + 1) % 4, Linf(0.1), config=config)


def test_attacks_on_a_defended_network_that_is_wrong_everywhere(defended: nn.Module) -> None:
    few = image_set(4).floats()
    wrong = (defended(few).argmax(1) + 1) % 4
    for attack, access in ((PGD(), GradientAccess(defended)), (Square(), ScoreAccess(defended, per_image=9))):
        result = attack(access, few, wrong, Linf(0.1), seed=0)
        assert (access.rows, int(result.queries.sum())) == (4, 4)
        assert result.robust_accuracy == 0
