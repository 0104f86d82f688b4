"""Audits of ensembles: as hard as those of one layer, whatever the parts do with their answers."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from groundglass.attacks import PGD, Linf
from groundglass.audit import Audit, AuditConfig, Finding, audit
from groundglass.data import ImageSet
from groundglass.models import DefendedEnsemble, defend
from groundglass.optics import SimulatedOPU, true_matrix

from .known import BALL, CLASSES, SIDE, fitted, pictures

IMAGES, LABELS = pictures(60, 2)
CONFIG = AuditConfig(steps=15, queries=20, query_images=4, probes=8, draws=2, fit_images=1000, labels=300)


FEW = AuditConfig(steps=4, queries=5, query_images=2, probes=6, draws=2, targets=1, fit_images=500, labels=200)
SMALL = Linf(1e-4)


def made(*, encoding: str | None = None) -> DefendedEnsemble:
    """Three heads with a device each on one hidden layer."""
    parts = []
    for number in range(3):
        opu = None if encoding else SimulatedOPU.create(32, 128, seed=3 + number)
        head = nn.Sequential(nn.Linear(64, CLASSES))
        parts.append(
            defend(
                head, at="0", device=opu, hidden=None if opu else 32, encoding=encoding, seed=number, classes=CLASSES
            )
        )
    return DefendedEnsemble(parts, body=nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 64), nn.ReLU())).train()


def voting(model: nn.Module) -> DefendedEnsemble:
    assert isinstance(model, DefendedEnsemble)
    return DefendedEnsemble(model.parts, body=model.body, votes=True).eval()


@pytest.fixture(scope="module")
def natural() -> ImageSet:
    images, labels = pictures(1000, 7)
    return ImageSet("pictures", "train", (255 * images).round().to(torch.uint8), labels, tuple("abcd"))


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    return fitted(made)


def of(model: nn.Module, natural: ImageSet | None = None, **changes: object) -> Audit:
    return audit(model, IMAGES, LABELS, BALL, natural=natural, config=CONFIG, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("votes", [False, True], ids=["one classifier", "votes"])
def test_several_layers_that_only_hide_their_gradients_are_found_out(trained, votes, natural) -> None:
    """The features are those of plain training, which a change within the ball wipes out: it keeps nothing."""
    model = voting(trained) if votes else trained
    found = of(model, natural)
    paper = found.claim("dfa-fresh+fa")
    assert found.clean.share > 0.9
    assert found.worst.share < 0.05
    assert paper.share > found.worst.share + 0.1
    assert paper.verdict is Finding.CONTRADICTED
    assert {"claim stands", "adaptive attacks get no further"} <= {check.name for check in paper.failed}


def test_the_attackers_are_those_of_one_layer_and_for_a_vote_some_more(trained, natural) -> None:
    one, vote = (
        audit(model, IMAGES[:8], LABELS[:8], SMALL, natural=natural, config=FEW) for model in (trained, voting(trained))
    )
    tried = [{attempt.mode for attempt in found.attempts} for found in (one, vote)]
    for every in tried:
        assert {
            "dfa-fresh",
            "fa",
            "own",
            "bit-flip",
            "own-head",
            "bpda-fit-linear",
            "bpda-fit-network",
            "exact",
        } <= every
        assert {"fa, draw 2", "bpda-drawn"} <= every
    assert tried[1] - tried[0] >= {"exact, undecided", "bpda-fit-network, undecided"}
    assert not any("undecided" in name for name in tried[0])
    fits = {attempt.mode: attempt.fit for attempt in one.attempts}
    assert 0.3 < fits["bpda-fit-linear"]["held_out_r2"] <= 1
    assert fits["own-head"]["held_out_accuracy"] > 0.8


@pytest.mark.slow
def test_parts_on_robust_features_are_believed() -> None:
    model = fitted(made, adversarially=True, steps=80)
    found = audit(model, IMAGES[:40], LABELS[:40], BALL, config=FEW)
    assert found.worst.share > 0.7
    assert all(claim.verdict is not Finding.CONTRADICTED for claim in found.claims)


@pytest.mark.slow
def test_linear_heads_are_attacked_by_their_true_gradient() -> None:
    model = fitted(lambda: made(encoding="float"))
    assert of(model).worst.share < 0.05
    found = audit(model, IMAGES[:8], LABELS[:8], SMALL, config=FEW)
    assert [claim.name for claim in found.claims] == ["dfa-fresh", "own"]
    assert "bp" in {attempt.mode for attempt in found.attempts}


def test_a_vote_is_climbed_by_its_margin() -> None:
    """Cross-entropy of three votes pushes all other classes up alike, and leaves what a margin does not."""
    vote = voting(fitted(lambda: made(encoding="float")))
    ball = Linf(BALL.radius / 2)
    left = {
        loss: int(PGD(steps=20, loss=loss)(vote, IMAGES, LABELS, ball, seed=0).robust.sum())
        for loss in ("ce", "margin")
    }
    assert left["margin"] < left["ce"]
    found = audit(vote, IMAGES, LABELS, ball, config=replace(FEW, steps=20))
    own = next(attempt for attempt in found.attempts if attempt.name == "PGD, own")
    assert own.tried == found.clean.count
    assert own.tried - (own.broke if own.fooled is None else own.fooled) < left["ce"]


def test_a_retrieved_u_is_given_for_each_device(trained) -> None:
    matrices = [true_matrix(one) for one in trained.devices]
    found = audit(trained, IMAGES[:6], LABELS[:6], SMALL, matrix=matrices, config=FEW)
    assert "bpda-retrieved" in {attempt.mode for attempt in found.attempts}
    for wrong in (matrices[0], matrices[:2], [matrices[0].T] * 3):
        with pytest.raises(ValueError, match=r"\(128, 32\)"):
            of(trained, matrix=wrong)


def test_it_is_one_in_any_units_and_goes_on_from_a_checkpoint(trained, tmp_path) -> None:
    path = tmp_path / "audit.safetensors"
    few = {"config": FEW}
    first = audit(voting(trained), IMAGES[:12], LABELS[:12], BALL, checkpoint=path, **few)
    again = audit(voting(trained), IMAGES[:12], LABELS[:12], BALL, checkpoint=path, **few)
    assert torch.equal(first.broken_by, again.broken_by)
    model = voting(trained)
    scaled = DefendedEnsemble(model.parts, body=nn.Sequential(_Divided(), model.body), votes=True).eval()
    found = audit(scaled, 2 * IMAGES[:12], LABELS[:12], Linf(2 * BALL.radius), bounds=(0, 2), **few)
    assert {attempt.mode for attempt in found.attempts} == {attempt.mode for attempt in first.attempts}
    assert found.worst == first.worst


class _Divided(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x / 2
