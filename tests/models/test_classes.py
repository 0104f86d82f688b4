"""B has a row for each of the network's logits, wherever in the module they are made."""

import copy
import io
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from groundglass.adaptive import make_rule
from groundglass.core import derive_seed
from groundglass.models import defend
from groundglass.models.weights import load_weights
from groundglass.optics import SimulatedOPU
from groundglass.optics.backward import draw_feedback
from groundglass.training import fit_classifier

N, C = 24, 5


class First(nn.Module):
    """A classifier that is defined before the layers that it classifies; the block is half-way, or the classifier itself."""

    def __init__(self):
        super().__init__()
        self.classifier = nn.Linear(9, C)
        self.middle = nn.Linear(12, 9)
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(48, 12), nn.Tanh())

    def forward(self, x):
        return self.classifier(self.middle(self.body(x)).tanh())


def network(at="middle", **options):
    torch.manual_seed(0)
    return defend(First(), at=at, device=SimulatedOPU.create(N, 32, seed=3), seed=1, **options).eval()


def images():
    return torch.rand(4, 3, 4, 4, generator=torch.Generator().manual_seed(1))


RIGHT = draw_feedback(C, N, seed=derive_seed(1, "B"))


@pytest.mark.parametrize("at", ["middle", "classifier"])
@pytest.mark.parametrize("options", [{}, {"classes": C}])
def test_a_classifier_that_is_defined_first_is_trained(at, options):
    found = network(at, **options)
    x = images().requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(found(x), torch.arange(4)), x)
    assert gradient.abs().max() > 0
    assert torch.equal(found.feedback, RIGHT)
    assert found.classes == C
    assert make_rule("dfa-fresh", found, seed=0).vjp(torch.ones(2, N), torch.ones(2, C)).shape == (2, N)


def test_a_rule_that_was_made_before_has_the_right_b_too():
    found = network()
    view = found.seen_through(make_rule("dfa", found, seed=0))
    x = images().requires_grad_()
    (gradient,) = torch.autograd.grad(view(x).sum(), x)
    assert gradient.abs().max() > 0


def test_a_saved_network_is_loaded_into_one_that_never_ran():
    trained = network()
    trained(images())
    trained.feedback.mul_(2)
    for load in (
        lambda fresh, state: fresh.load_state_dict(state),
        lambda fresh, state: load_weights(fresh, state, what="file"),
    ):
        fresh = network()
        load(fresh, copy.deepcopy(trained.state_dict()))
        assert torch.equal(fresh.feedback, 2 * RIGHT)
        assert torch.equal(fresh(images()), trained(images()))
        assert torch.equal(fresh.feedback, 2 * RIGHT), "what was loaded is not drawn again"


def test_a_number_of_classes_that_is_wrong_is_refused():
    with pytest.raises(ValueError, match="5 logits"):
        network(classes=4)(images())


def test_where_the_network_cannot_be_asked_yet_it_says_so():
    found = network()
    with pytest.raises(ValueError, match="`classes`"):
        torch.func.grad(lambda x: found(x[None]).sum())(images()[0])
    found(images())
    assert torch.func.grad(lambda x: found(x[None]).sum())(images()[0]).abs().max() > 0


def test_the_end_of_a_network_is_asked_for_too():
    found = network("classifier")
    bits, labels = torch.randint(0, 2, (20, N), dtype=torch.uint8), torch.arange(20) % C
    with pytest.raises(ValueError, match="run the network"):
        fit_classifier(found, bits, labels, seed=0)
    found(images())
    assert fit_classifier(found, bits, labels, seed=0)
    half_way = network()
    half_way(images())
    with pytest.raises(ValueError, match="the end of this network"):
        fit_classifier(half_way, bits, labels, seed=0)


class Backwards(nn.Module):
    """A head whose last Linear is defined first."""

    def __init__(self):
        super().__init__()
        self.last, self.first = nn.Linear(7, C), nn.Linear(48, 7)

    def forward(self, x):
        return self.last(self.first(x))


def test_the_sizes_of_the_block_may_be_told():
    def head(**options):
        torch.manual_seed(0)
        inside = nn.Sequential(nn.Flatten(), Backwards())
        return defend(inside, at="1", device=SimulatedOPU.create(N, 32, seed=3), seed=1, **options).eval()

    with pytest.raises(ValueError, match=r"`in_features` \(=48\)"):
        head()(images())
    found = head(in_features=48, out_features=C)
    x = images().requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(found(x), torch.arange(4)), x)
    assert gradient.abs().max() > 0
    assert torch.equal(found.feedback, RIGHT)


def test_a_linear_head_is_saved_whole_before_and_after():
    torch.manual_seed(0)
    found = defend(First(), at="middle", device=None, hidden=N, seed=1).eval()
    for _ in range(2):
        kept = pickle.loads(pickle.dumps(found))
        torch.save(found, io.BytesIO())
        assert torch.equal(kept(images()), found(images()))
