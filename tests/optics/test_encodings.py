import pickle

import pytest
import torch

from groundglass.optics import Camera, FloatInputLayer, OpticalLayer, SimulatedOPU, binarise, encode, true_matrix

N, M = 40, 64
SECRET = 271828182845904


@pytest.fixture
def device():
    return SimulatedOPU.create(N, M, seed=SECRET)


@pytest.fixture
def features():
    return torch.randn(6, N, generator=torch.Generator().manual_seed(1)).relu()


def test_each_encoding_is_what_its_name_says(features):
    features.requires_grad_()
    assert torch.equal(encode(features, "bits"), binarise(features.detach()))
    assert torch.equal(encode(features, "float"), features)
    batch = encode(features, "bits-batch")
    assert torch.equal(batch, (features > features.mean()).float())
    # The mean of a batch is not that of its samples.
    assert not torch.equal(batch, encode(features, "bits"))
    assert not torch.equal(encode(features[:1], "bits-batch"), batch[:1])
    assert torch.equal(encode(features, "bits-zero"), (features > 0).float())
    assert not any(encode(features, e).requires_grad for e in ("bits", "bits-batch", "bits-zero", "float"))


def test_float_input_follows_the_power_of_the_camera(features):
    device = SimulatedOPU.create(N, M, seed=SECRET, camera=Camera(power=3))
    scaled = features / features.norm(dim=1, keepdim=True) * (N / 2) ** 0.5
    wanted = (scaled.to(torch.complex64) @ true_matrix(device).t()).abs() ** 3
    assert torch.allclose(FloatInputLayer(device).measure(features), wanted, rtol=1e-3)


def test_float_input_is_the_law_of_the_device_without_its_camera(device, features):
    layer = FloatInputLayer(device)
    # Every input has the light of a calibration input, half of whose bits are on.
    scaled = features / features.norm(dim=1, keepdim=True) * (N / 2) ** 0.5
    wanted = (scaled.to(torch.complex64) @ true_matrix(device).t()).abs().square()
    assert torch.allclose(layer.measure(features), wanted, rtol=1e-4)
    assert torch.allclose(layer(features), wanted / device.mean_reading - 1, rtol=1e-3, atol=1e-4)
    # On bits it is what the camera sees, but for rounding and saturation.
    bits = torch.zeros(3, N)
    bits[:, : N // 2] = 1
    seen = OpticalLayer(device).measure(bits).float()
    assert torch.allclose(layer.measure(bits).clamp(max=255), seen, atol=0.51)
    assert torch.allclose(layer(7 * features), layer(features), atol=1e-4)
    assert torch.equal(layer(torch.zeros(1, N)), torch.full((1, M), -1.0))


def test_a_layer_of_float_input_gives_its_secret_to_nobody(device, features):
    layer = FloatInputLayer(device)
    assert list(layer.state_dict()) == ["_extra_state"]  # the fingerprint
    assert not list(layer.parameters())
    with pytest.raises(TypeError, match="secret"):
        pickle.dumps(layer)
    for shown in (repr(layer), repr(vars(layer)), repr(layer._normalised), repr(layer._normalised.projection)):
        assert str(SECRET) not in shown
        assert "tensor([[" not in shown
    assert layer(features.requires_grad_()).grad_fn is None


def test_only_a_simulated_device_can_do_it():
    class Real:
        in_features, out_features, mean_reading, fingerprint = N, M, 20.0, "real"

        def measure(self, bits):
            raise AssertionError

    for ask in (FloatInputLayer, true_matrix):
        with pytest.raises(TypeError, match="matrix of a Real is not known to anybody"):
            ask(Real())
