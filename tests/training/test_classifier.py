import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from groundglass.data import Augment
from groundglass.models import accuracy, build, defend, load_model, save_model
from groundglass.optics import Camera, OpticalLayer, SimulatedOPU, binarise
from groundglass.training import DivergedError, TrainingConfig
from groundglass.training.classifier import FINE_TUNING, accuracy_of_bits, fit_classifier, place_device
from groundglass.training.encoding import encode_bits

from .conftest import SPEC, same

N, M, CLASSES = 64, 256, 10


def network(device=None, **changes):
    spec = replace(SPEC, classes=CLASSES, device_in=N, device_out=M, **changes)
    return build(spec, device=device or SimulatedOPU.create(N, M, seed=1), seed=2).eval()


@pytest.fixture(scope="module")
def easy():
    """Bits about ten prototypes, one in ten flipped: 600 to fit, 300 to judge by."""
    g = torch.Generator().manual_seed(5)
    prototypes = torch.rand(CLASSES, N, generator=g) < 0.4
    labels = torch.randint(0, CLASSES, (900,), generator=g)
    bits = (prototypes[labels] ^ (torch.rand(900, N, generator=g) < 0.1)).to(torch.uint8)
    return (bits[:600], labels[:600]), (bits[600:], labels[600:])


def readout(model):
    return copy.deepcopy(model.block.readout.state_dict())


def test_a_redraw_breaks_the_classifier_and_a_fit_repairs_it(easy):
    fit, judge = easy
    model = network()
    history = fit_classifier(model, *fit, seed=0)
    before = accuracy_of_bits(model, *judge)
    place_device(model, model.device.redraw(2))
    untuned = accuracy_of_bits(model, *judge)
    fit_classifier(model, *fit, seed=0)
    tuned = accuracy_of_bits(model, *judge)
    assert before > 0.95
    assert untuned < 0.3
    assert tuned > before - 0.01
    assert [h.epoch for h in history] == list(range(FINE_TUNING.epochs))
    assert history[-1].loss < history[0].loss


def test_only_the_readout_changes(easy):
    model = network().train()  # dropout and BatchNorm are live: nothing of them may move
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01)
    before = copy.deepcopy(model.state_dict())
    stream = torch.random.get_rng_state()
    fit_classifier(model, *easy[0], seed=0)
    after = model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"network.head.readout.weight", "network.head.readout.bias"}
    assert before.keys() == after.keys()
    assert model.training
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(stream, torch.random.get_rng_state())


def test_the_seed_decides_and_neither_batches_of_measuring_nor_memory_do(easy):
    def fitted(seed=0, **how):
        model = network()
        fit_classifier(model, *easy[0], seed=seed, **how)
        return readout(model)

    first = fitted()
    assert same(first, fitted(rows=7))
    assert same(first, fitted(memory=0))
    assert not same(first, fitted(seed=1))


def test_readings_that_do_not_fit_are_measured_again_and_those_that_do_are_not(easy):
    class Counting:
        in_features, out_features = N, M
        device = SimulatedOPU.create(N, M, seed=1)
        fingerprint, mean_reading = device.fingerprint, device.mean_reading
        rows = 0

        def measure(self, bits):
            self.rows += len(bits)
            return self.device.measure(bits)

    for memory, epochs in ((600 * M, 1), (600 * M - 1, 1 + FINE_TUNING.epochs)):
        device = Counting()
        fit_classifier(network(device), *easy[0], seed=0, memory=memory)
        assert device.rows == 600 * epochs


@pytest.mark.parametrize("camera", [Camera(bits=None), Camera(read_noise=1.0)])
def test_other_cameras(easy, camera):
    model = network(SimulatedOPU.create(N, M, seed=1, camera=camera))
    fit_classifier(model, *easy[0], seed=0)
    assert accuracy_of_bits(model, *easy[1]) > 0.95


def test_the_loss_of_the_fit_is_that_of_the_layer_that_the_network_has(easy):
    """Centring is folded back right: the rate ends near zero, so the last epoch's loss is that of the final weights."""
    bits, labels = easy[0]
    model = network()
    config = TrainingConfig(epochs=60, batch_size=600, learning_rate=0.2, weight_decay=1e-2)
    history = fit_classifier(model, bits, labels, config, seed=0)
    with torch.no_grad():
        logits = model.block.readout(model.block.optical(bits.float()) * model.block.gain)
    assert nn.functional.cross_entropy(logits, labels).item() == pytest.approx(history[-1].loss, rel=1e-3)
    assert history[-1].loss < 0.05


def test_bits_are_those_that_enter_the_device(coloured, defended):
    defended.eval()
    bits = encode_bits(defended, coloured, batch_size=90)
    seen, logits = defended.observe(coloured.floats())
    assert bits.dtype == torch.uint8
    assert torch.equal(bits.float(), seen)
    assert 0 < bits.float().mean() < 1
    right = float((logits.argmax(1) == coloured.labels).float().mean())
    assert accuracy_of_bits(defended, bits, coloured.labels) == pytest.approx(right)
    assert accuracy(defended, coloured) == pytest.approx(right)


def test_encoding_leaves_the_network_alone_and_uses_no_device(coloured, defended, monkeypatch):
    def refuse(self, bits):
        raise AssertionError("measured")

    defended.train()
    before = copy.deepcopy(defended.state_dict())
    monkeypatch.setattr(SimulatedOPU, "measure", refuse)
    told = []
    first = encode_bits(defended, coloured, progress=lambda *a, **k: told.append(a))
    assert torch.equal(first, encode_bits(defended, coloured))  # dropout is off
    assert same(before, defended.state_dict())
    assert defended.training
    assert not defended.block._forward_pre_hooks
    assert told[-1] == ("features", 90, 90)
    shifted = encode_bits(defended, coloured, augment=Augment(), epoch=1)
    assert not torch.equal(first, shifted)


def test_a_device_takes_the_place_of_a_linear_head(coloured, easy):
    """The two stages of the paper: features under a linear head, then the device in and the classifier fitted."""
    spec = replace(SPEC, device_in=None, device_out=None, linear_hidden=32)
    model = build(spec, seed=2).eval()
    bits = encode_bits(model, coloured)
    assert torch.equal(bits, binarise(model.observe(coloured.floats())[0]).to(torch.uint8))
    with pytest.raises(ValueError, match="place_device"):
        fit_classifier(model, bits, coloured.labels, seed=0)
    device = SimulatedOPU.create(32, 64, seed=1)
    place_device(model, device)
    built = build(replace(spec, device_in=32, device_out=64, linear_hidden=None), device=device, seed=2).eval()
    assert isinstance(model.block.optical, OpticalLayer)
    assert model.block.gain == built.block.gain
    fit_classifier(model, bits, coloured.labels, seed=0)
    built.load_state_dict(model.state_dict())
    assert torch.equal(built(coloured.floats()), model(coloured.floats()))


def test_what_cannot_be_fitted_is_refused(easy):
    (bits, labels), _ = easy
    model = network()
    half_way = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3))
    inner = defend(half_way, at="1", device=SimulatedOPU.create(N, M, seed=1), seed=0)
    for fitted, inputs, classes, message in [
        (model, bits[:, :32], labels, "64 columns"),
        (model, bits, labels + 1, r"0\.\.9"),
        (model, bits, labels[1:], "one an image"),
        (model, bits[:0], labels[:0], "no bits"),
        (inner, bits, labels, "cannot be fitted alone"),
    ]:
        with pytest.raises(ValueError, match=message):
            fit_classifier(fitted, inputs, classes, seed=0)
    with pytest.raises(ValueError, match="in_features=64"):
        place_device(model, SimulatedOPU.create(32, M, seed=1))


def test_a_fit_that_diverges_leaves_the_network_as_it_was(easy):
    model = network()
    before = readout(model)
    with pytest.raises(DivergedError, match="Lower the learning rate"):
        fit_classifier(model, *easy[0], replace(FINE_TUNING, learning_rate=1e4), seed=0)
    assert same(before, readout(model))


# A linear head on features as they are is what is there before.
@pytest.mark.parametrize(
    ("encoding", "has_device"),
    [
        *((name, True) for name in ("bits", "bits-batch", "bits-zero", "float")),
        *((name, False) for name in ("bits", "bits-batch", "bits-zero")),
    ],
)
def test_every_head_is_fitted_and_saved_as_it_is(coloured, tmp_path, encoding, has_device):
    """What is fitted on inputs that were encoded once is what the whole network then answers, and its file too."""
    spec = replace(SPEC, device_in=None, device_out=None, linear_hidden=32)
    model = build(spec, seed=2)
    with torch.no_grad():
        for _ in range(10):  # BatchNorm's statistics
            model.train()(coloured.floats())
    model.eval()
    device = SimulatedOPU.create(32, 128, seed=1) if has_device else None
    inputs = encode_bits(model, coloured, encoding=encoding)
    assert inputs.dtype == (torch.float32 if encoding == "float" else torch.uint8)
    place_device(model, device, encoding=encoding)
    fit_classifier(model, inputs, coloured.labels, replace(FINE_TUNING, epochs=20), seed=0)
    found = accuracy_of_bits(model, inputs, coloured.labels)
    assert found > 0.6
    assert accuracy(model, coloured) == pytest.approx(found, abs=0.02)
    sizes = {"device_in": 32, "device_out": 128} if device else {"linear_hidden": 32}
    made = replace(SPEC, **{"device_in": None, "device_out": None, **sizes}, encoding=encoding)
    save_model(tmp_path / "m.safetensors", model, made)
    again = load_model(tmp_path / "m.safetensors", find_device=lambda fingerprint: device)
    assert torch.equal(again(coloured.floats()), model(coloured.floats()))


def test_floats_are_refused_where_bits_are_due_and_bits_where_floats_are(coloured):
    model = build(replace(SPEC, device_in=None, device_out=None, linear_hidden=32), seed=2).eval()
    device = SimulatedOPU.create(32, 64, seed=1)
    place_device(model, device, encoding="float")
    with pytest.raises(ValueError, match=r'encoding="float"'):
        fit_classifier(model, encode_bits(model, coloured), coloured.labels, seed=0)
    place_device(model, device)
    with pytest.raises(TypeError, match="binarise"):
        fit_classifier(model, encode_bits(model, coloured, encoding="float"), coloured.labels, seed=0)
