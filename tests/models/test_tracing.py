"""What torch records of a defended network holds nothing of U: every tracer, exporter and compiler is looked through."""

import io
import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx

from groundglass.adaptive.past_readout import QuadraticForms
from groundglass.attacks import Exact, LinearMatrix, Mixture, Normalised
from groundglass.models import defend
from groundglass.optics import SimulatedOPU, opaque, true_matrix

N, M = 24, 32
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # torch's own, of what is old
ENCODINGS = ["bits", "float"]


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(48, 12), nn.Tanh())
        self.fc = nn.Linear(12, 5)

    def forward(self, x):
        return self.fc(self.body(x))


class Open(nn.Module):
    """A negative control: the same projection as an ordinary module."""

    def __init__(self, device):
        super().__init__()
        self.planes = [true_matrix(device).real.contiguous(), true_matrix(device).imag.contiguous()]

    def forward(self, x):
        return sum((x @ plane.t()).square() for plane in self.planes)


@pytest.fixture(scope="module")
def device():
    return SimulatedOPU.create(N, M, seed=3)


@pytest.fixture(params=ENCODINGS)
def network(request, device):
    torch.manual_seed(0)
    return defend(Network(), at="fc", device=device, seed=1, encoding=request.param).eval()


def images():
    return torch.rand(4, 3, 4, 4, generator=torch.Generator().manual_seed(1))


def pieces(device):
    """A row and a column of each plane of U, as numbers of each kind that could have been kept."""
    units = device._medium.dense()
    for matrix, kinds in ((units, "bhif"), (true_matrix(device).numpy(), "fd")):
        for plane in (matrix.real, matrix.imag):
            for kind in kinds:
                for line in (plane[3], plane[:, 5]):
                    yield np.ascontiguousarray(line[:12]).astype(kind).tobytes()


def holds(data, device):
    return any(piece in data for piece in pieces(device))


def script_bytes(module):
    kept = io.BytesIO()
    torch.jit.save(module, kept)
    return kept


def graph_bytes(graph):
    """A graph module's code, constants, attributes and state."""
    held = {name: tensor.detach().numpy().tobytes() for name, tensor in graph.state_dict().items()}
    more = {
        name: tensor.detach().numpy().tobytes()
        for name, tensor in vars(graph).items()
        if isinstance(tensor, torch.Tensor)
    }
    return graph.code.encode() + b"".join({**held, **more}.values())


def test_the_search_finds_a_matrix_that_is_there(device):
    module, x = Open(device).eval(), torch.rand(2, N)
    assert holds(script_bytes(torch.jit.trace(module, x)).getvalue(), device)
    assert holds(graph_bytes(make_fx(module)(x)), device)
    kept = io.BytesIO()
    torch.export.save(torch.export.export(module, (x,)), kept)
    assert holds(kept.getvalue(), device)


@pytest.mark.parametrize("graph", [True, False])
def test_a_trace_has_the_layer_as_one_operator(network, device, graph):
    with torch.set_grad_enabled(graph):
        kept = script_bytes(torch.jit.trace(network, images()))
    assert not holds(kept.getvalue(), device)
    kept.seek(0)
    assert torch.equal(torch.jit.load(kept)(images()), network(images()))


def test_an_exported_program_has_the_layer_as_one_operator(network, device):
    kept = io.BytesIO()
    torch.export.save(torch.export.export(network, (images(),)), kept)
    assert not holds(kept.getvalue(), device)
    kept.seek(0)
    assert torch.allclose(torch.export.load(kept).module()(images()), network(images()), atol=1e-5)


def test_make_fx_has_the_layer_and_the_rule_as_operators(network, device):
    graph = make_fx(network)(images())
    assert not holds(graph_bytes(graph), device)
    assert torch.allclose(graph(images()), network(images()), atol=1e-5)
    exact = network.seen_through(Exact(true_matrix(device)))
    gradient = make_fx(torch.func.grad(lambda x: exact(x).sum()))(images())
    assert "vjp" in gradient.code
    assert not holds(graph_bytes(gradient), device)


def test_a_device_alone_is_one_operator(device):
    bits = torch.randint(0, 2, (3, N), dtype=torch.uint8)
    kept = script_bytes(torch.jit.trace(device.measure, bits))
    assert not holds(kept.getvalue(), device)
    assert not holds(graph_bytes(make_fx(lambda bits: device.measure(bits))(bits)), device)
    kept.seek(0)
    assert torch.equal(torch.jit.load(kept)(bits), device.measure(bits))


def test_what_cannot_be_recorded_is_refused_with_what_to_do(network, device):
    with pytest.raises(TypeError, match=r"torch\.jit\.trace"):
        torch.jit.script(network)
    with pytest.raises(TypeError, match="is_leaf_module"):
        torch.fx.symbolic_trace(network)
    layer = torch.fx.symbolic_trace(network.block.optical)
    assert not holds(graph_bytes(layer), device)
    with pytest.raises(Exception, match="groundglass") as refused:
        torch.onnx.export(network, (images(),), io.BytesIO(), dynamo=False)
    assert not holds(repr(refused.value).encode(), device)


def test_a_compiled_network_is_the_network(network):
    torch._dynamo.reset()
    compiled = torch.compile(network, backend="eager")
    assert torch.allclose(compiled(images()), network(images()), atol=1e-5)

    def gradients(model):
        x = images().requires_grad_()
        loss = F.cross_entropy(model(x), torch.arange(4))
        return torch.autograd.grad(loss, [x, *network.parameters()])

    for found, expected in zip(gradients(compiled), gradients(network), strict=True):
        assert torch.allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("site", ["readings", "logits"])
def test_no_hook_on_saved_tensors_is_shown_it(network, device, site):
    """Such hooks move to a disk what a gradient needs; a second derivative needs the matrix itself."""
    rule = Exact(true_matrix(device)) if site == "readings" else network.training_rule()
    shown = []

    def pack(tensor):
        shown.append(tensor.detach().contiguous().numpy().tobytes())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        x = images().requires_grad_()
        (first,) = torch.autograd.grad(network.run(x, rule).square().sum(), x, create_graph=True)
        first.square().sum().backward()
    assert shown
    assert not holds(b"".join(shown), device)


def test_a_graph_whose_device_is_not_in_this_process_refuses(network, monkeypatch):
    with torch.no_grad():
        kept = script_bytes(torch.jit.trace(network, images()))
    monkeypatch.setattr(opaque, "_LIVE", {})  # as in another process
    kept.seek(0)
    with pytest.raises(RuntimeError, match="holds no device"):
        torch.jit.load(kept)(images())


def test_a_rule_that_holds_a_matrix_is_not_pickled(network, device):
    exact = Exact(true_matrix(device))
    forms = QuadraticForms.of(exact, network.block.readout.weight.detach(), N)
    rules = [exact, Exact(true_matrix(device), "bpda-retrieved"), Normalised(exact, 2.0), Mixture([exact]), forms]
    for held in [*rules, LinearMatrix(true_matrix(device).real.t()), network.seen_through(exact)]:
        with pytest.raises(TypeError, match="pickled"):
            pickle.dumps(held)
        with pytest.raises(TypeError, match="pickled"):
            torch.save(held, io.BytesIO())
    training = pickle.loads(pickle.dumps(network.training_rule()))  # B is in the model's file
    bits, error = torch.ones(2, N), torch.rand(2, 5)
    assert torch.equal(training.vjp(bits, error), network.training_rule().vjp(bits, error))
