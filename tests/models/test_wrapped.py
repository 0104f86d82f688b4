"""Networks as people have them: in wrappers, scripted, exported, and with outputs that are no plain tensor."""

import warnings
from collections import OrderedDict, namedtuple

import pytest
import torch
from torch import nn

from groundglass.attacks import PGD, GradientAccess, Linf, ScoreAccess, Square, frozen_for_attack
from groundglass.audit import AuditConfig, audit
from groundglass.audit.subject import subject
from groundglass.core import as_model, logits_of
from groundglass.core.given import OutputError
from groundglass.core.modes import in_train_mode
from groundglass.models import defend, predict_logits
from groundglass.models.wrappers import unwrapped
from groundglass.optics import SimulatedOPU

IMAGES = torch.rand(10, 1, 6, 6, generator=torch.Generator().manual_seed(0))
FEW = AuditConfig(steps=2, queries=5, query_images=4, probes=4)
Named = namedtuple("Named", "logits aux")


def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            *(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5)),
            nn.Linear(144, 5),
        )


LOGITS = network().eval()(IMAGES).detach()
LABELS = LOGITS.argmax(1)


class Gives(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.network, self._how = network(), how

    def forward(self, images):
        return self._how(self.network(images))


def exported(model, images=IMAGES, *, dynamic=False):
    sizes = ({0: torch.export.Dim("rows")},) if dynamic else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, to itself
        return torch.export.export(model, (images,), dynamic_shapes=sizes)


def saved(model, path):
    torch.jit.save(model, path)
    return torch.jit.load(path)


WRAPPED = {
    "data parallel": lambda path: nn.DataParallel(network()),
    "compiled": lambda path: torch.compile(network(), backend="eager"),
    "scripted": lambda path: torch.jit.script(network()),
    "scripted and loaded": lambda path: saved(torch.jit.script(network()), path),
    "scripted and frozen": lambda path: torch.jit.freeze(torch.jit.script(network().eval())),
    "traced": lambda path: torch.jit.trace(network().eval(), IMAGES),
    "exported for any batch": lambda path: exported(network().eval(), dynamic=True).module(),
    "exported for four images": lambda path: exported(network().eval(), IMAGES[:4]).module(),
    "exported, and never called": lambda path: exported(network().eval(), IMAGES[:4]),
    "a dict": lambda path: Gives(lambda logits: {"loss": logits.sum(), "out": logits}),
    "a tuple": lambda path: Gives(lambda logits: (logits, logits[:, :, None, None], None)),
    "a named tuple": lambda path: Gives(lambda logits: Named(logits, logits)),
    "a tuple from data parallelism": lambda path: nn.DataParallel(Gives(lambda logits: (logits, None))),
}
wrapped = pytest.mark.parametrize("kind", WRAPPED)


@wrapped
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_network_is_the_same_in_any_wrapper(kind, tmp_path):
    given = WRAPPED[kind](tmp_path / "m.pt")
    mode = in_train_mode(given)
    assert torch.allclose(predict_logits(given, IMAGES, batch_size=7), LOGITS, atol=1e-5)
    attack = PGD(steps=4, step_size=0.01)
    wanted = attack(GradientAccess(network()), IMAGES, LABELS, Linf(0.03), seed=0)
    assert 0 < wanted.success.sum() < len(IMAGES)
    found = attack(GradientAccess(given), IMAGES, LABELS, Linf(0.03), seed=0)
    assert torch.equal(found.success, wanted.success)
    assert torch.allclose(found.adversarial, wanted.adversarial, atol=1e-5)
    asked = Square()(ScoreAccess(given, per_image=8), IMAGES, LABELS, Linf(0.03), seed=0)
    assert torch.equal(
        asked.success, Square()(ScoreAccess(network(), per_image=8), IMAGES, LABELS, Linf(0.03), seed=0).success
    )
    assert in_train_mode(given) == mode


@pytest.mark.parametrize("kind", ["scripted and frozen", "exported, and never called"])
@pytest.mark.filterwarnings("ignore")
def test_any_of_them_is_audited(kind, tmp_path):
    given = WRAPPED[kind](tmp_path / "m.pt")
    found = audit(given, IMAGES, LABELS, Linf(0.1), config=FEW, checkpoint=tmp_path / "kept")
    assert found.clean.share == 1
    assert found.worst.count == audit(network(), IMAGES, LABELS, Linf(0.1), config=FEW).worst.count


def test_a_defence_is_known_in_any_wrapper():
    device = SimulatedOPU.create(16, 24, seed=1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 12), nn.ReLU(), nn.Linear(12, 5))
    defended = defend(model, at="3", device=device, seed=0).eval()
    asked = {"images": IMAGES, "views": {}, "natural": None, "matrix": None, "fit_images": 8, "labels": 8, "seed": 0}
    assert subject(nn.DataParallel(defended), **asked).names == subject(defended, **asked).names
    assert "exact" in subject(defended, **asked).names
    assert torch.equal(subject(nn.DataParallel(defended), **asked).itself(IMAGES), defended(IMAGES))


@pytest.mark.parametrize("part", ["norm", "dropout"])
def test_what_was_exported_in_train_mode_is_refused(part):
    layers = [
        nn.Conv2d(1, 2, 3),
        nn.BatchNorm2d(2) if part == "norm" else nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(32, 3),
    ]
    program = exported(nn.Sequential(*layers).train())
    for use in (as_model, GradientAccess, lambda given: predict_logits(given, IMAGES)):
        with pytest.raises(ValueError, match=r"train mode .*export model.eval\(\)"):
            use(program)


def test_a_norm_by_the_batch_is_its_owners_choice():
    layers = [nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2, track_running_stats=False), nn.Flatten(), nn.Linear(32, 3)]
    as_model(exported(nn.Sequential(*layers).eval()))


def test_a_program_for_other_images_says_which_it_takes():
    model = as_model(exported(network().eval(), IMAGES[:4]))
    with pytest.raises(ValueError, match=r"\[any, 1, 6, 6\]"):
        model(torch.rand(3, 1, 7, 6))


def test_a_fixed_batch_keeps_every_row_and_gradient_its_own():
    model = as_model(exported(network().eval(), IMAGES[:4]).module())
    assert frozen_for_attack(exported(network().eval(), IMAGES[:4]), IMAGES).verified
    x, y = (IMAGES.clone().requires_grad_() for _ in range(2))
    logits = model(x)
    assert torch.allclose(logits, LOGITS, atol=1e-6)
    weights = torch.arange(50.0).view(10, 5).sin()
    (logits * weights).sum().backward()
    (network().eval()(y) * weights).sum().backward()
    assert torch.allclose(x.grad, y.grad, atol=1e-5)


def test_what_is_around_a_network_is_taken_off():
    inner = network()
    assert unwrapped(nn.DataParallel(torch.compile(inner, backend="eager"))) is inner
    assert unwrapped(inner) is inner
    outer = nn.Sequential(inner)
    outer.module = inner  # another's attribute of this name is no wrapper
    assert unwrapped(outer) is outer


A, B, F = torch.rand(4, 3), torch.rand(4, 3), torch.rand(4, 7, 2)


@pytest.mark.parametrize(
    ("output", "clear"),
    [
        ((A, None), True),
        ((A, F), True),
        ([A, torch.arange(4)], True),
        ((F, A), False),  # the first is not the matrix
        ((A, B), False),  # auxiliary logits, or features?
        ((A, A.double()), False),
        ({"out": A}, True),
        ({"out": A, "aux": B}, False),
        ({"logits": A, "hidden_states": B}, True),
        (OrderedDict(loss=A.sum(), prediction=A, maps=F), True),
        ({"pooler_output": A, "last_hidden_state": F}, False),
        ({"features": A}, False),
        ({0: A}, True),
        (Named(A, B), True),
        ((F,), True),  # the only thing there is: the checks of logits say what is wrong with it
    ],
)
def test_logits_are_found_where_it_is_clear_which_they_are(output, clear):
    if clear:
        wanted = F if isinstance(output, tuple) and len(output) == 1 else A
        assert logits_of(output) is wanted
    else:
        with pytest.raises(OutputError, match="lambda images: model"):
            logits_of(output)
