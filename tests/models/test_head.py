"""The head of the paper's published code, written out by hand."""

import json
import struct
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from groundglass.adaptive import collapse, make_rule
from groundglass.attacks import Exact
from groundglass.models import ModelSpec, build, load_model, save_model
from groundglass.optics import SimulatedOPU, binarise, true_matrix
from groundglass.training.classifier import FINE_TUNING, accuracy_of_bits, fit_classifier, place_device

N, M = 48, 96
SPEC = ModelSpec(
    width=0.05, classes=10, mean=(0.5,) * 3, std=(0.5,) * 3, device_in=N, device_out=M, head="published-code"
)
LINEAR = replace(SPEC, device_in=None, device_out=None, linear_hidden=N, linear_out=M)
IMAGES = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(6)


@pytest.fixture
def device():
    return SimulatedOPU.create(N, M, seed=3)


def of_hidden(block, hidden, mean=None):
    """Logits: bytes / 255 less a mean, that of the batch by default, through ReLU and the readout."""
    readings = block.optical.device.measure(binarise(hidden).to(torch.uint8)).float() / 255
    return block.readout(torch.relu(readings - (readings.mean() if mean is None else mean))), readings.mean()


def test_training_takes_the_batchs_mean_and_prediction_a_running_one(device):
    model = build(SPEC, device=device, seed=1).train()
    model.network.features.eval()
    block = model.block
    assert [type(layer).__name__ for layer in block.project] == ["Linear"]
    features = model.network.features((IMAGES - 0.5) / 0.5)
    expected, mean = of_hidden(block, torch.relu(block.project[0](features)))
    assert torch.allclose(model(IMAGES), expected, atol=1e-5)
    # Of the first batch a tenth is in the running mean, in units of the device's mean reading less 1.
    assert float(block.above.mean) == pytest.approx(0.1 * (255 * float(mean) / device.mean_reading - 1), rel=1e-4)
    model.eval()
    kept = float(block.above.mean)
    together = model(IMAGES)
    running = (kept + 1) * device.mean_reading / 255
    assert torch.allclose(together, of_hidden(block, model.features(IMAGES), running)[0], atol=1e-5)
    assert torch.allclose(torch.cat([model(image[None]) for image in IMAGES]), together, atol=1e-5)
    assert float(block.above.mean) == kept


def test_exact_goes_through_the_relu_and_no_rule_is_taken_past_it(device):
    model = build(SPEC, device=device, seed=1).eval()
    block, hidden = model.block, model.features(IMAGES)
    logits, _ = of_hidden(block, hidden, device.mean_reading / 255)
    readings = device.measure(binarise(hidden).to(torch.uint8)).float()
    grad = (logits.softmax(1) - F.one_hot(LABELS, 10)) / len(LABELS) @ block.readout.weight
    above = grad * (readings > device.mean_reading) * device.mean_reading / 255
    by_hand = Exact(true_matrix(device), saturation=255).vjp(binarise(hidden), above)
    images = IMAGES.clone().requires_grad_()
    found = torch.autograd.grad(
        F.cross_entropy(model.seen_through(make_rule("exact", model, seed=0))(images), LABELS), images
    )
    through = model.features(images)
    assert torch.allclose(found[0], torch.autograd.grad(through, images, grad_outputs=by_hand)[0], atol=1e-6)
    assert found[0].abs().max() > 0
    for name in ("fa", "bpda-drawn"):
        rule = make_rule(name, model, seed=0)
        assert collapse(rule, model) is rule


def test_without_a_device_a_linear_layer_stands_in_its_place():
    model = build(LINEAR, seed=1).eval()
    block, hidden = model.block, model.features(IMAGES)
    middle = torch.relu(hidden @ block.above[0].weight.t() + block.above[0].bias)
    assert middle.shape == (6, M)
    assert torch.allclose(model(IMAGES), block.readout(middle), atol=1e-6)
    # What lies above B's place gets its ordinary gradient, and what lies below that of B.
    F.cross_entropy(model(IMAGES), LABELS).backward()
    error = (block.readout(middle).softmax(1) - F.one_hot(LABELS, 10)) / len(LABELS)
    back = (error @ block.readout.weight) * (middle > 0)
    assert torch.allclose(block.above[0].weight.grad, back.t() @ hidden, atol=1e-6)
    below = ((error @ model.feedback) * (hidden > 0)).sum(0)
    assert torch.allclose(block.project[0].bias.grad, below, atol=1e-6)
    # The ordinary gradient of all of it is what the rule "bp" attacks with.
    images = IMAGES.clone().requires_grad_()
    view = model.seen_through(make_rule("bp", model, seed=0))
    (found,) = torch.autograd.grad(F.cross_entropy(view(images), LABELS), images)
    plain = block.readout(block.above(model.features(images)))
    assert torch.allclose(found, torch.autograd.grad(F.cross_entropy(plain, LABELS), images)[0], atol=1e-7)


@pytest.mark.parametrize("spec", [SPEC, LINEAR])
def test_a_file_keeps_the_head_and_files_of_earlier_versions_have_ours(spec, device, tmp_path):
    with_device = spec.device_in is not None
    model = build(spec, device=device if with_device else None, seed=1)
    model.train()(IMAGES)
    save_model(tmp_path / "m", model.eval(), spec)
    again = load_model(tmp_path / "m", find_device=lambda fingerprint: device)
    assert torch.equal(again(IMAGES), model(IMAGES))
    assert again.block.head == "published-code"
    # A header without the new settings, as earlier versions wrote it.
    ours = replace(spec, head="normalised", linear_out=None)
    save_model(tmp_path / "old", build(ours, device=device if with_device else None, seed=1), ours)
    whole = (tmp_path / "old").read_bytes()
    size = struct.unpack("<Q", whole[:8])[0]
    header = json.loads(whole[8 : 8 + size])
    told = json.loads(header["__metadata__"]["spec"])
    del told["head"], told["linear_out"]
    assert replace(ours, fingerprint=told["fingerprint"], public_seed=with_device) == ModelSpec(
        **{**told, "mean": (0.5,) * 3, "std": (0.5,) * 3}
    )
    assert load_model(tmp_path / "old", find_device=lambda fingerprint: device).block.above is None


def test_a_classifier_is_fitted_to_rectified_readings(device):
    g = torch.Generator().manual_seed(5)
    prototypes = torch.rand(10, N, generator=g) < 0.4
    labels = torch.randint(0, 10, (600,), generator=g)
    bits = (prototypes[labels] ^ (torch.rand(600, N, generator=g) < 0.1)).to(torch.uint8)
    model = build(SPEC, device=device, seed=1).eval()
    steep = replace(FINE_TUNING, learning_rate=1.0)  # so few outputs that readings / 255 are small inputs
    history = fit_classifier(model, bits[:400], labels[:400], steep, seed=0)
    readings = device.measure(bits[:400]).double().mean()
    assert float(model.block.above.mean) == pytest.approx(float(readings) / device.mean_reading - 1, rel=1e-5)
    assert history[-1].train_accuracy > 0.95
    assert accuracy_of_bits(model, bits[400:], labels[400:]) > 0.9
    linear = build(LINEAR, seed=1).eval()
    with pytest.raises(ValueError, match="a linear layer of its own"):
        fit_classifier(linear, bits, labels, seed=0)
    place_device(linear, device)
    fit_classifier(linear, bits[:400], labels[:400], steep, seed=0)
    assert accuracy_of_bits(linear, bits[400:], labels[400:]) > 0.9


def test_a_linear_layer_is_for_that_head_without_a_device(device):
    for spec in (replace(LINEAR, head="normalised"), replace(SPEC, linear_out=M)):
        with pytest.raises(ValueError, match="linear_out"):
            build(spec, device=device if spec.device_in else None, seed=1)
