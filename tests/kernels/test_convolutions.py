import copy
import pickle
import threading

import numpy as np
import pytest
import torch

from groundglass.kernels.convolutions import ConvChain, ConvLayer
from groundglass.kernels.schemes import map_of_two, scheme_for, tile_of_four, toom_cook
from tests.kernels.references import convolve
from tests.threads import torch_threads


def chain_of(filters, pools, channels=3, seed=0):
    random = torch.Generator().manual_seed(seed)
    layers, incoming = [], channels
    for count, pool in zip(filters, pools, strict=True):
        weight = torch.randn(count, incoming, 3, 3, generator=random) / (4.5 * incoming) ** 0.5
        layers.append(ConvLayer(weight, 0.1 * torch.randn(count, generator=random), pool))
        incoming = count
    return layers


def in_torch(layers, x):
    return convolve([(layer.weight, layer.bias, layer.pool) for layer in layers], x)


def both_ways(chain, x):
    """The output, and the gradient of its sum."""
    out, trace = chain.forward(x)
    return out, chain.backward(np.ones_like(out), trace)


def same(found, expected):
    return all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True))


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


@pytest.mark.parametrize("scheme", [map_of_two(), tile_of_four()])
def test_schemes_are_convolutions_with_padding(scheme):
    rng = np.random.default_rng(0)
    kernel, x = rng.normal(size=3), rng.normal(size=scheme.tile)
    inputs = np.pad(x, scheme.offset)
    found = scheme.outputs @ ((scheme.kernel @ kernel) * (scheme.inputs @ inputs))
    assert np.allclose(found, np.correlate(np.pad(x, 1), kernel, "valid"))
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
    """A model that gives NaN has to be seen, not to be fixed by a ReLU."""
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
    one = both_ways(chain, x)
    with torch_threads(3):
        assert same(both_ways(chain, x), one)


def test_calls_may_overlap():
    """Scratch is not shared between calls under way; what a forward pass left is there when its turn comes."""
    chain = ConvChain(chain_of(*CASES["a vgg"][:2]))
    inputs = [images(20, 3, 16, 16, seed=i).numpy() for i in range(6)]
    expected = [both_ways(chain, x) for x in inputs]
    found = [None] * len(inputs)

    def work(i):
        for _ in range(5):
            found[i] = both_ways(chain, inputs[i])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(inputs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(map(same, found, expected))


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


def test_a_copy_lays_its_weights_out_anew():
    """Arrays that are copied as they are lie anywhere in memory, where the compiled code crashes on them."""
    layers = chain_of([8, 8], [True, False])
    chain, x = ConvChain(layers), images(20, 3, 8, 8).numpy()
    expected = both_ways(chain, x)
    for twin in (*(copy.deepcopy(chain) for _ in range(8)), pickle.loads(pickle.dumps(chain))):
        assert not twin._weights
        assert not twin._spare
        assert same(both_ways(twin, x), expected)
