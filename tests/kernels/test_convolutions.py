import threading

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from groundglass.kernels.convolutions import ConvChain, ConvLayer
from groundglass.kernels.schemes import map_of_two, scheme_for, tile_of_four, toom_cook
from groundglass.kernels.threads import rest_idle_threads


def chain_of(filters, pools, channels=3, seed=0):
    random = torch.Generator().manual_seed(seed)
    layers, incoming = [], channels
    for count, pool in zip(filters, pools, strict=True):
        weight = torch.randn(count, incoming, 3, 3, generator=random) / (4.5 * incoming) ** 0.5
        layers.append(ConvLayer(weight, 0.1 * torch.randn(count, generator=random), pool))
        incoming = count
    return layers


def in_torch(layers, x):
    for layer in layers:
        x = F.relu(F.conv2d(x, layer.weight.to(x.dtype), layer.bias.to(x.dtype), padding=1))
        x = F.max_pool2d(x, 2) if layer.pool else x
    return x


def images(count, channels, height, width, seed=1):
    return torch.randn(count, channels, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("outputs", "taps", "points"), [(4, 3, (0, 1, -1, 2, -0.5)), (2, 2, (0, 1)), (2, 3, (0, 1, -1))]
)
def test_toom_cook_is_a_correlation(outputs, taps, points):
    a, g, b = toom_cook(outputs, taps, points)
    rng = np.random.default_rng(0)
    signal, kernel = rng.normal(size=outputs + taps - 1), rng.normal(size=taps)
    assert np.allclose(a @ ((g @ kernel) * (b @ signal)), np.correlate(signal, kernel, "valid"))


def test_schemes_are_convolutions_with_padding():
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=3)
    two, four = map_of_two(), tile_of_four()
    x = rng.normal(size=2)
    assert np.allclose(
        two.outputs @ ((two.kernel @ kernel) * (two.inputs @ x)), np.correlate(np.pad(x, 1), kernel, "valid")
    )
    x = rng.normal(size=4)
    assert np.allclose(
        four.outputs @ ((four.kernel @ kernel) * (four.inputs @ np.pad(x, 1))),
        np.correlate(np.pad(x, 1), kernel, "valid"),
    )
    for scheme in (two, four):
        assert np.array_equal(scheme.outputs[:, 1], np.ones(scheme.tile)), "where the bias goes in"


def test_which_maps_have_a_scheme():
    assert scheme_for(32, 32) is scheme_for(4, 8) is tile_of_four()
    assert scheme_for(2, 2) is map_of_two()
    for height, width in ((1, 1), (6, 6), (2, 4), (7, 8), (0, 4)):
        assert scheme_for(height, width) is None


CASES = {
    "one layer": ([5], [False], 3, 8, 8),
    "one pooled layer": ([7], [True], 3, 8, 8),
    "odd channels": ([5, 9, 2], [False, False, False], 1, 4, 4),
    "pools in a row": ([6, 6, 6], [True, True, True], 3, 16, 16),
    "a vgg": ([8, 8, 16, 16, 20, 20], [False, True, False, True, False, True], 3, 16, 16),
    "maps of two": ([4, 5, 6], [False, False, True], 3, 2, 2),
    "not square": ([4, 8], [True, False], 2, 8, 16),
    "many channels": ([70, 66], [False, False], 65, 4, 4),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("count", [1, 16, 37])
def test_values_and_gradients_are_those_of_torch(name, count):
    filters, pools, channels, height, width = CASES[name]
    layers = chain_of(filters, pools, channels)
    chain = ConvChain(layers)
    assert chain.fits(channels, height, width)
    x = images(count, channels, height, width)
    out, trace = chain.forward(x.numpy())
    exact = x.double().requires_grad_()
    expected = in_torch(layers, exact)
    assert out.shape == expected.shape
    assert np.abs(out - expected.detach().numpy()).max() < 1e-5 * float(expected.detach().abs().max())
    grad = torch.randn(expected.shape, generator=torch.Generator().manual_seed(2))
    found = torch.from_numpy(chain.backward(grad.numpy(), trace))
    (wanted,) = torch.autograd.grad(expected, exact, grad.double())
    # A ReLU at zero to rounding may open here and stay closed there: that is the gradient of a pixel or two.
    error = (found - wanted).flatten(1).norm(dim=1) / wanted.flatten(1).norm(dim=1)
    assert float(error.median()) < 1e-5
    assert float(error.max()) < 0.05
    again = chain.backward(grad.numpy(), trace)
    assert np.array_equal(found.numpy(), again)


def test_what_becomes_of_an_image_does_not_depend_on_the_batch():
    layers = chain_of(*CASES["a vgg"][:2])
    chain = ConvChain(layers)
    x = images(70, 3, 16, 16).numpy()
    whole, trace = chain.forward(x)
    grad = np.random.default_rng(0).normal(size=whole.shape).astype(np.float32)
    back = chain.backward(grad, trace)
    order = np.random.default_rng(1).permutation(70)
    for rows in (order, order[:1], order[:33]):
        out, trace = chain.forward(np.ascontiguousarray(x[rows]))
        assert np.array_equal(out, whole[rows])
        assert np.array_equal(chain.backward(np.ascontiguousarray(grad[rows]), trace), back[rows])


@pytest.mark.parametrize("pools", [[False, False], [True, True]])
def test_nan_is_not_lost(pools):
    """A model that gives NaN has to be seen, not to be mended by a ReLU."""
    layers = chain_of([4, 4], pools)
    layers[0].bias[2] = torch.nan
    out, _ = ConvChain(layers).forward(images(3, 3, 8, 8).numpy())
    assert np.isnan(out).all()
    x = images(3, 3, 8, 8)
    x[1, 0, 4, 4] = torch.nan
    out, _ = ConvChain(chain_of([4, 4], pools)).forward(x.numpy())
    assert np.isnan(out).any((1, 2, 3)).tolist() == [False, True, False]


def test_the_number_of_threads_changes_nothing():
    chain = ConvChain(chain_of(*CASES["a vgg"][:2]))
    x = images(70, 3, 16, 16).numpy()
    threads = torch.get_num_threads()
    try:
        results = []
        for number in (1, 3):
            torch.set_num_threads(number)
            out, trace = chain.forward(x)
            results.append((out, chain.backward(np.ones_like(out), trace)))
    finally:
        torch.set_num_threads(threads)
    assert np.array_equal(results[0][0], results[1][0])
    assert np.array_equal(results[0][1], results[1][1])


def test_torch_goes_on_after_its_idle_threads_were_sent_to_rest():
    x = torch.randn(300, 300, generator=torch.Generator().manual_seed(0))
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        before = x @ x
        for _ in range(3):
            rest_idle_threads()
            assert torch.equal(x @ x, before)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


def test_calls_may_overlap():
    """Scratch is not shared between calls under way; what a forward pass left is there when its turn comes."""
    chain = ConvChain(chain_of(*CASES["a vgg"][:2]))
    inputs = [images(20, 3, 16, 16, seed=i).numpy() for i in range(6)]
    expected = []
    for x in inputs:
        out, trace = chain.forward(x)
        expected.append((out, chain.backward(np.ones_like(out), trace)))
    found = [None] * len(inputs)

    def work(i):
        for _ in range(5):
            out, trace = chain.forward(inputs[i])
            found[i] = (out, chain.backward(np.ones_like(out), trace))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(inputs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for (out, back), (right_out, right_back) in zip(found, expected, strict=True):
        assert np.array_equal(out, right_out)
        assert np.array_equal(back, right_back)


def test_maps_of_several_sizes_through_one_chain():
    layers = chain_of([4, 6], [True, False])
    chain = ConvChain(layers)
    for size in (16, 8, 4, 32, 8):
        x = images(3, 3, size, size)
        assert np.allclose(chain.forward(x.numpy())[0], in_torch(layers, x).numpy(), atol=1e-5)


def test_sizes_that_do_not_fit_are_said_so():
    chain = ConvChain(chain_of([4, 6], [True, False]))
    assert not chain.fits(3, 6, 6)
    assert not chain.fits(3, 12, 12), "six by six after the pooling"
    assert not chain.fits(4, 8, 8)
    assert chain.fits(3, 4, 4)
