"""Labels are class indices in any integer type: the same result as with int64, in every attack and helper."""

import pytest
import torch

from groundglass.attacks import GradientAccess, Linf
from groundglass.attacks.adversarial_files import check_adversarial
from groundglass.attacks.losses import cross_entropy
from groundglass.audit import AuditConfig, audit
from groundglass.core import check_labels
from tests.attacks.query_problem import network
from tests.attacks.toy import assert_same, blobs, trained
from tests.contracts import test_attack_contract, test_query_contract

TYPES = [torch.uint8, torch.int16, torch.uint16, torch.uint32, torch.uint64]


@pytest.mark.parametrize(
    "attack", [a for a in test_attack_contract.ATTACKS if type(a).__name__ != "CarliniWagnerL2"], ids=repr
)
def test_attacks_by_gradients(attack):
    images, labels = blobs(6, seed=5)
    want, *others = (
        attack(GradientAccess(trained()), images, labels.to(dtype), Linf(0.02), seed=1)
        for dtype in (torch.int64, *TYPES)
    )
    for got in others:
        assert_same(want, got)


@pytest.mark.parametrize("attack", test_query_contract.SCORES, ids=repr)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_attacks_by_queries(attack):
    images = torch.rand(4, 3, 4, 4, generator=torch.Generator().manual_seed(2))
    labels = network()(images).argmax(1)
    want, got = (
        test_query_contract.run(attack, Linf(0.09), (images, labels.to(dtype))) for dtype in (torch.int64, torch.uint16)
    )
    assert_same(want, got)


@pytest.mark.parametrize("dtype", TYPES)
def test_helpers(dtype):
    images, labels = blobs(6, seed=5)
    access, odd = GradientAccess(trained()), labels.to(dtype)
    want, got = (access.loss_and_grad(images, y, cross_entropy) for y in (labels, odd))
    assert torch.equal(want.grad, got.grad)
    assert access.wrong(images, odd).tolist() == access.wrong(images, labels).tolist()
    result = test_attack_contract.PGD(steps=5, step_size=0.05)(access, images, labels, Linf(0.1), seed=0)
    assert_same(result.confirmed(access, labels), result.confirmed(access, odd))
    check_adversarial(images, result.adversarial, odd, Linf(0.1), access, claimed=result.success)


def test_an_audit():
    images, labels = blobs(20, seed=5)
    config = AuditConfig(steps=2, queries=60, query_images=5, probes=5)
    want, got = (audit(trained(), images, y, Linf(0.05), config=config) for y in (labels, labels.to(torch.uint16)))
    assert want.broken_by.tolist() == got.broken_by.tolist()


@pytest.mark.parametrize("dtype", TYPES)
def test_a_label_that_is_no_class_is_refused_in_any_type(dtype):
    with pytest.raises(ValueError, match="255"):
        check_labels(torch.tensor([0, 255]).to(dtype), count=2, classes=10)
