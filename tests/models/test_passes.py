"""What belongs to a pass stays with the pass: repeated calls, nesting, threads, checkpointing, `torch.func`, hooks."""

import copy
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd import forward_ad
from torch.func import functional_call, grad, jacfwd, jacrev, jvp, vmap
from torch.utils.checkpoint import checkpoint

from groundglass.attacks import Exact, frozen_for_attack
from groundglass.models import defend
from groundglass.optics import RandomFeedback, SimulatedOPU, binarise, true_matrix

N, M, D, C = 24, 32, 12, 5
LABELS = torch.tensor([0, 1, 2, 3])
DEVICE = SimulatedOPU.create(N, M, seed=11)


class Calls(nn.Module):
    """A classifier that calls its Linear `fc` in one way or another; `again` wraps each part that may be checkpointed."""

    def __init__(self, calls="once", again=None):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(48, D), nn.Tanh())
        self.fc = nn.Linear(D, D)
        self.last = nn.Linear(D, C)
        self.calls, self.again = calls, again or (lambda part, *given: part(*given))

    def _middle(self, x):
        if self.calls == "once":
            return self.fc(x)
        if self.calls == "chained":
            return self.fc(self.fc(x).tanh())
        return self.fc(x) + self.fc(x.flip(1)) * self.fc(2 * x - 1)

    def forward(self, x):
        return self.last(self.again(lambda x: self._middle(self.body(x)), x).tanh())


def network(calls="once", again=None, device=DEVICE, seed=5):
    torch.manual_seed(0)
    return defend(Calls(calls, again), at="fc", device=device, seed=seed).eval()


def images(count=4, seed=2):
    return torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(seed))


def rules(network):
    return {"logits": network.training_rule(), "readings": Exact(true_matrix(DEVICE))}


class _Known(torch.autograd.Function):
    """The device with the derivative of |Ub|^2, written out: what rules at the readings should be."""

    @staticmethod
    def forward(ctx, hidden, block):
        bits = binarise(hidden)
        ctx.field = bits.to(torch.complex64) @ true_matrix(DEVICE).T
        return block.optical(bits)

    @staticmethod
    def backward(ctx, grad):
        return 2 * ((grad * ctx.field.conj()) @ true_matrix(DEVICE)).real, None


def unrolled(network, x, labels, site):
    """Gradients at the image and the weights, by ordinary autograd, with the calls of the block written out."""
    inner, block = network.network, network.block
    hidden = []

    def fc(x):
        h = block.features(x)
        hidden.append(h)
        above = _Known.apply(h, block) if site == "readings" else block.optical(binarise(h.detach()))
        return block.readout(above * block.gain)

    plain = copy.copy(inner)
    plain._modules = {**inner._modules, "fc": _Called(fc)}
    plain.again = lambda part, *given: part(*given)
    x = x.clone().requires_grad_()
    logits = plain(x)
    loss = F.cross_entropy(logits, labels)
    if site == "logits":
        error = (logits.softmax(1) - F.one_hot(labels, C)).detach() / len(labels)
        loss = loss + sum((h * (error @ network.feedback)).sum() for h in hidden)
    return torch.autograd.grad(loss, [x, *_weights(network)])


class _Called(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def _weights(network):
    return [network.network.body[1].weight, network.block.project[0].weight, network.block.readout.weight]


def gradients(network, x, labels, rule):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(F.cross_entropy(network.run(x, rule), labels), [x, *_weights(network)])


def same(found, expected):
    size = float(expected.detach().abs().max())
    return size > 0 and float((found - expected).detach().abs().max()) <= 1e-4 * size


def assert_same(found, expected):
    assert [same(one, other) for one, other in zip(found, expected, strict=True)] == [True] * len(expected)


@pytest.mark.parametrize("site", ["logits", "readings"])
@pytest.mark.parametrize("calls", ["once", "chained", "three"])
@pytest.mark.parametrize("again", ["plain", "non-reentrant", "reentrant", "reentrant twice"])
def test_gradients_are_those_of_the_computation_unrolled(calls, site, again):
    def reentrant(part, *given):
        return checkpoint(part, *given, use_reentrant=True)

    wrap = {
        "plain": None,
        "non-reentrant": lambda part, *given: checkpoint(part, *given, use_reentrant=False),
        "reentrant": reentrant,
        "reentrant twice": lambda part, *given: reentrant(lambda *inner: reentrant(part, *inner), *given),
    }[again]
    found = network(calls, wrap)
    x, labels = images(), LABELS
    expected = unrolled(found, x, labels, site)
    # Reentrant checkpointing gives gradients of weights in `backward` alone.
    x.requires_grad_()
    F.cross_entropy(found.run(x, rules(found)[site]), labels).backward()
    assert_same([x.grad, *(weight.grad for weight in _weights(found))], expected)


@pytest.mark.parametrize("site", ["logits", "readings"])
@pytest.mark.parametrize("reentrant", [False, True])
def test_two_checkpointed_passes_in_one_loss_are_told_apart(site, reentrant):
    found = network(again=lambda part, *given: checkpoint(part, *given, use_reentrant=reentrant))
    rule = rules(found)[site]
    x, y = (images(seed=seed).requires_grad_() for seed in (2, 3))
    (F.cross_entropy(found.run(x, rule), LABELS) + 3 * F.cross_entropy(found.run(y, rule), LABELS.flip(0))).backward()
    one, other = unrolled(found, x.detach(), LABELS, site), unrolled(found, y.detach(), LABELS.flip(0), site)
    assert_same([x.grad, y.grad], [one[0], 3 * other[0]])
    assert_same([_weights(found)[0].grad], [one[1] + 3 * other[1]])


def test_a_repeated_call_whose_pass_is_not_known_is_refused_and_not_left_without_a_gradient():
    """Reentrant, with dropout that is drawn anew: other bits, so nobody knows whose error is meant."""
    found = network(again=lambda part, *given: checkpoint(part, *given, use_reentrant=True, preserve_rng_state=False))
    found.block.dropout = nn.Dropout(0.5).train()
    x = images().requires_grad_()
    with pytest.raises(RuntimeError, match="use_reentrant=False"):
        F.cross_entropy(found(x), LABELS).backward()
    # Nothing of it is left behind.
    found.block.dropout.eval()
    F.cross_entropy(found(x), LABELS).backward()
    assert_same([x.grad], unrolled(found, images(), LABELS, "logits")[:1])


def test_defended_networks_lie_inside_each_other():
    inner = network()
    before = inner.feedback
    whole = nn.Sequential(inner)
    outer = defend(whole, at="0.network.last", device=SimulatedOPU.create(20, 16, seed=3), seed=8).eval()
    x = images().requires_grad_()
    (found,) = torch.autograd.grad(F.cross_entropy(outer(x), LABELS), x)
    # By hand: the error at the logits goes to both blocks, each through its own B.
    x = images().requires_grad_()
    hidden = inner.block.features(inner.network.body(x))
    middle = inner.block.readout(inner.block.optical(binarise(hidden.detach())) * inner.block.gain).tanh()
    upper = outer.block.features(middle)
    logits = outer(images()).detach()
    error = (logits.softmax(1) - F.one_hot(LABELS, C)) / len(LABELS)
    (expected,) = torch.autograd.grad((hidden * (error @ before)).sum() + (upper * (error @ outer.feedback)).sum(), x)
    assert_same([found], [expected])


@pytest.mark.parametrize("site", ["logits", "readings"])
def test_threads_share_a_network(site):
    found = network("three")
    work = [(images(seed=seed), LABELS.roll(seed)) for seed in range(24)]
    expected = [gradients(found, *one, rules(found)[site]) for one in work]

    def answer(one):
        result = gradients(found, *one, rules(found)[site])
        with torch.no_grad():
            return result, found(one[0])

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(answer, work * 4))
    for k, (result, logits) in enumerate(answers):
        assert_same(result, expected[k % len(work)])
        assert torch.allclose(logits, found(work[k % len(work)][0]), atol=1e-5)


def test_a_thread_that_only_looks_at_features_does_not_stop_the_others():
    found = network()
    x = images()
    expected, features = found(x), found.features(x)

    def answer(k):
        return torch.equal(found.features(x), features) if k % 2 else torch.allclose(found(x), expected)

    with ThreadPoolExecutor(8) as pool, torch.no_grad():
        assert all(pool.map(answer, range(200)))


@pytest.mark.parametrize("calls", ["once", "chained"])
@pytest.mark.parametrize("site", ["logits", "readings"])
def test_functional_transforms(calls, site):
    found = network(calls)
    rule = rules(found)[site]
    x = images()
    expected = torch.stack([gradients(found, x[k : k + 1], LABELS[k : k + 1], rule)[0][0] for k in range(len(x))])

    def loss(x, label):
        return F.cross_entropy(found.run(x[None], rule), label[None])

    assert same(grad(loss)(x[0], LABELS[0]), expected[0])
    assert same(vmap(grad(loss))(x, LABELS), expected)
    assert torch.allclose(vmap(lambda x: found(x[None])[0])(x), found(x), atol=1e-5)
    jacobian = jacrev(lambda x: found.run(x[None], rule)[0])(x[0])
    one = x[:1].clone().requires_grad_()
    (row,) = torch.autograd.grad(found.run(one, rule)[0, 2], one)
    assert same(jacobian[2], row[0])


@pytest.mark.parametrize("calls", ["once", "chained"])
@pytest.mark.parametrize("site", ["logits", "readings"])
def test_a_gradient_goes_through_a_vmap_that_it_is_not_asked_in(calls, site):
    found, x = network(calls), images().requires_grad_()
    rule = rules(found)[site]
    logits = vmap(lambda x: found.run(x[None], rule)[0])(x)
    (first, *weights) = torch.autograd.grad(F.cross_entropy(logits, LABELS), [x, *_weights(found)], create_graph=True)
    assert_same([first, *weights], gradients(found, images(), LABELS, rule))
    plain = torch.autograd.grad(F.cross_entropy(found.run(x, rule), LABELS), x, create_graph=True)[0]
    readout = found.network.last.weight
    again = [torch.autograd.grad(one.square().sum(), readout)[0] for one in (first, plain)]
    assert same(again[0], again[1])


@pytest.mark.parametrize("site", ["logits", "readings"])
@pytest.mark.parametrize("frozen", [True, False])
def test_a_forward_mode_derivative_is_refused_below_the_device_and_right_above_it(site, frozen):
    found = network().requires_grad_(not frozen)
    view, x = found.seen_through(rules(found)[site]), images()
    with pytest.raises(NotImplementedError, match=r"torch\.func\.vjp"):
        jvp(view, (x,), (x,))
    with pytest.raises(NotImplementedError), torch.no_grad():
        jacfwd(view)(x)
    with pytest.raises(NotImplementedError), forward_ad.dual_level():
        view(forward_ad.make_dual(x, x))

    def above(bias):
        return functional_call(view, {"defended.network.last.bias": bias}, (x,))

    bias = found.network.last.bias.detach()
    assert torch.equal(jvp(above, (bias,), (torch.ones(C),))[1], torch.ones(4, C))


def test_functional_call_with_other_weights():
    found, other = network(), network()
    for weight in other.parameters():
        weight.data.mul_(0.7)
    other.feedback.mul_(-1)
    weights, buffers = (
        {name: held.detach() for name, held in all_of} for all_of in (other.named_parameters(), other.named_buffers())
    )

    def loss(weights):
        return F.cross_entropy(functional_call(found, {**weights, **buffers}, (images(),)), LABELS)

    result = grad(loss)(weights)
    expected = unrolled(other, images(), LABELS, "logits")
    assert_same([result["network.body.1.weight"], result["network.fc.readout.weight"]], [expected[1], expected[3]])


def test_second_derivatives_pass_a_rule():
    """A gradient penalty: the rule is linear in the error, and the error is differentiated again."""
    found = network()
    x = images().requires_grad_()
    (first,) = torch.autograd.grad(F.cross_entropy(found(x), LABELS), x, create_graph=True)
    readout = found.network.last.weight
    (second,) = torch.autograd.grad(first.square().sum(), readout)
    step = torch.zeros_like(readout)
    step[1, 2] = 1e-2
    values = []
    for sign in (1, -1):
        readout.data.add_(sign * step)
        values.append(gradients(found, images(), LABELS, found.training_rule())[0].square().sum())
        readout.data.sub_(sign * step)
    assert torch.allclose(second[1, 2], (values[0] - values[1]) / 2e-2, rtol=2e-2)


def test_hooks_see_a_block_as_any_module():
    found = network("chained")
    seen = []
    found.block.register_forward_hook(lambda module, given, out: seen.append("forward") or out * 1.0)
    found.block.register_full_backward_hook(lambda module, into, outof: seen.append("backward"))
    x = images()
    expected = unrolled(found, x, LABELS, "logits")
    assert_same(gradients(found, x, LABELS, found.training_rule()), expected)
    assert seen == ["forward"] * 2 + ["backward"] * 2


def test_a_network_is_copied_in_the_middle_of_a_pass():
    found = network()
    copies = []
    hook = found.network.body.register_forward_hook(lambda *given: copies.append(copy.deepcopy(found)) or None)
    x = images()
    logits = found(x)
    hook.remove()
    copies[0].network.body._forward_hooks.clear()
    assert torch.equal(copies[0](x), logits)
    assert_same(gradients(copies[0], x, LABELS, copies[0].training_rule()), unrolled(found, x, LABELS, "logits"))
    assert torch.allclose(frozen_for_attack(found)(x), logits, atol=1e-4)


def test_other_rows_than_images_are_refused_where_the_error_is_needed_row_by_row():
    class Crops(Calls):
        def forward(self, x):
            return self.last(self.fc(self.body(torch.cat([x, x.flip(3)]))).tanh()).unflatten(0, (2, -1)).mean(0)

    torch.manual_seed(0)
    found = defend(Crops(), at="fc", device=DEVICE, seed=5).eval()
    with torch.no_grad():
        assert found(images()).shape == (4, C)
    with pytest.raises(ValueError, match="at the readings"):
        found(images())
    x = images().requires_grad_()
    (result,) = torch.autograd.grad(found.run(x, rules(found)["readings"]).sum(), x)
    assert result.abs().max() > 0


def test_pairs_of_bits_and_logits_need_one_call():
    with pytest.raises(ValueError, match="3 times"):
        network("three").observe(images())


def test_a_call_outside_a_pass_gives_no_gradient_below():
    found = network()
    x = images().requires_grad_()
    (result,) = torch.autograd.grad(found.network(x).sum(), x, allow_unused=True)
    assert result is None
    assert isinstance(found.training_rule(), RandomFeedback)
