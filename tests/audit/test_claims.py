"""Claims: each is judged against what the network keeps, which is the same whatever is claimed."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from groundglass.attacks import FGSM, PGD, Linf, RayS, Square
from groundglass.audit import QUICK, STANDARD, Audit, AuditConfig, Finding, audit
from groundglass.optics import SimulatedOPU

from .known import BALL, Around, Shattered, distilled, fitted, jpeg, layered, pictures, thermometer, trained, winners

CONFIG = AuditConfig(steps=15, queries=200, query_images=30, probes=24, draws=2)
IMAGES, LABELS = pictures(80, 7)


def of(model: nn.Module, **changes: object) -> Audit:
    settings: dict = {"config": CONFIG, **changes}
    return audit(model, IMAGES, LABELS, BALL, **settings)


def failed(found: Audit, claim: str) -> set[str]:
    return {check.name for check in found.claim(claim).failed}


FEW = AuditConfig(steps=15, queries=20, query_images=4, probes=8)


@pytest.fixture(scope="module")
def robust() -> Audit:
    return of(trained(True), config=FEW)


@pytest.fixture(scope="module")
def opu() -> nn.Module:
    return fitted(lambda: layered(SimulatedOPU.create(32, 256, seed=3)))


@pytest.mark.parametrize(
    ("make", "keeps", "signs"),
    [
        (winners, 0.4, {"claim stands", "more effort gets no further"}),
        (thermometer, 0.2, {"claim stands", "gradients are there", "gradients no weaker than queries"}),
        (distilled, 0.6, {"claim stands", "gradients are there", "more effort gets no further"}),
    ],
    ids=["winners", "thermometer", "distilled"],
)
def test_a_defence_that_hides_its_gradient_is_contradicted(make: Callable, keeps: float, signs: set[str]) -> None:
    found = of(make())
    assert found.claim("own").share > 0.6
    assert found.claim("own").verdict is Finding.CONTRADICTED
    assert signs <= failed(found, "own")
    assert found.worst.share < keeps


def test_behind_jpeg_there_is_no_gradient_until_somebody_gives_one() -> None:
    plain = trained(False)
    found = of(Around(plain, before=jpeg), views={"identity": plain})
    assert found.claim("own").share > 0.8
    assert {"gradients are there", "claim stands", "adaptive attacks get no further"} <= failed(found, "own")
    assert found.worst.share < 0.6


@pytest.mark.parametrize("encoding", ["float", "bits"])
def test_a_linear_head_trained_by_dfa_is_held_to_the_papers_rule_too(encoding: str) -> None:
    found = of(fitted(lambda: layered(None, encoding)))
    assert [claim.name for claim in found.claims] == ["dfa-fresh", "own"]
    assert found.claim("dfa-fresh").share > found.worst.share + 0.05
    assert {"adaptive attacks get no further"} <= failed(found, "dfa-fresh")
    assert found.claim("own").verdict is not Finding.CONTRADICTED


@pytest.mark.slow
def test_a_layer_on_adversarially_trained_features_is_believed_whatever_gradient_the_claim_is_made_with() -> None:
    found = of(fitted(lambda: layered(SimulatedOPU.create(32, 256, seed=3)), adversarially=True, steps=150))
    assert found.worst.share > 0.8
    assert [claim.verdict for claim in found.claims] == [Finding.STANDS, Finding.STANDS], found.sentence


def test_what_a_network_keeps_does_not_depend_on_what_is_claimed(opu: nn.Module) -> None:
    found = [of(opu, claim=claim) for claim in ("own", "dfa-fresh", 0.5, {"mine": 0.01})]
    assert all(torch.equal(one.broken_by, found[0].broken_by) for one in found)
    assert all(replace(one, seconds=0.0).worst == found[0].worst for one in found)
    assert found[0].worst.share < 0.05
    own, fresh, stated, modest = (one.claims[0] for one in found)
    assert own.verdict is not Finding.CONTRADICTED
    assert fresh.share > 0.2
    assert {"claim stands", "adaptive attacks get no further"} <= failed(found[1], "dfa-fresh")
    assert (stated.verdict, stated.figure) == (Finding.CONTRADICTED, None)
    assert (modest.name, modest.verdict) == ("mine", Finding.STANDS)


def test_a_claim_is_any_view_attack_or_rule_and_several_are_judged_apart(opu: nn.Module) -> None:
    def nothing(model: nn.Module, images: Tensor, labels: Tensor, ball: Linf) -> Tensor:
        return images

    claims = {"a": "fa", "b": FGSM(), "c": nothing, "d": trained(False), "e": "bit-flip", "f": "mine"}
    found = of(opu, claim=claims, attacks={"mine": PGD(steps=3, step_size=None)})
    assert [claim.name for claim in found.claims] == list(claims)
    right = found.clean.share
    assert found.claim("c").share == right
    assert failed(found, "c") >= {"claim stands"}
    assert found.claim("e").share < right
    assert all(claim.share >= found.worst.share for claim in found.claims)
    skipped = {check.name for check in found.claim("c").skipped}
    assert "gradients are there" in skipped


def test_the_words_count_the_checks(opu: nn.Module, robust: Audit) -> None:
    (own,) = robust.claims
    ran = len(own.checks) - len(own.skipped)
    assert own.told == f"not contradicted by the {ran} checks that ran ({len(own.skipped)} skipped)"
    assert of(opu, claim="dfa-fresh").claims[0].told.startswith("contradicted: 'claim stands'")


@pytest.mark.parametrize(
    ("claim", "said"),
    [
        ("dfa-fres", "did you mean 'dfa-fresh'"),
        (["own", "own"], "twice"),
        ([], "no claim"),
        ("45", "0.45, not 45"),
        (1.5, "0.45, not 45"),
        ("bpda-retrieved", "no retrieved matrix"),
    ],
)
def test_a_claim_that_cannot_be_is_refused(opu: nn.Module, claim: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        of(opu, claim=claim)


@pytest.mark.parametrize(
    ("attack", "said"),
    [
        (lambda model, x, y, ball: 1 - x, "outside the ball"),
        (lambda model, x, y, ball: x[:1], "it must return images of shape"),
        (lambda model, x, y, ball: x * torch.nan, "outside the ball"),
        (lambda model, x, y, ball: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_an_invalid_attack_is_told_and_changes_nothing(robust: Audit, attack: Callable, said: str) -> None:
    found = of(trained(True), attacks={"cheat": attack}, claim=["own", "cheat"], config=FEW)
    mine, as_claim = found.invalid
    assert said in mine.invalid
    assert said in as_claim.invalid
    assert torch.equal(found.broken_by, robust.broken_by)
    assert found.claim("own") == robust.claim("own")
    assert found.claim("cheat").verdict is Finding.UNMEASURED


def test_the_packages_own_attacks_fit_as_they_are() -> None:
    found = of(
        Shattered(trained(False)), attacks={"long": PGD(steps=5, step_size=None), "square": Square(), "labels": RayS()}
    )
    given = {a.name: a for a in found.attempts if a.role == "given"}
    assert given["long"].gradients > 0
    assert 0 < given["square"].forwards <= 200 * given["square"].tried
    assert not found.invalid


def test_presets() -> None:
    assert AuditConfig.preset("standard") is STANDARD
    assert AuditConfig() == QUICK
    assert (STANDARD.steps, STANDARD.targets, STANDARD.queries, STANDARD.draws) == (100, 9, 5000, 20)
    with pytest.raises(ValueError, match="standard"):
        AuditConfig.preset("standrad")
