from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from groundglass.attacks import (
    L2,
    AdversarialSet,
    GaussianKernel,
    GradientAccess,
    InputDiversity,
    Linf,
    Origin,
    TransferPGD,
    check_adversarial,
    load_adversarial,
    save_adversarial,
)
from groundglass.core import DamagedFileError
from tests.attacks.toy import RowModel, attacked, problem

COUNT = 23
ATTACK = TransferPGD(
    steps=6,
    step_size=0.01,
    momentum=1.0,
    diversity=InputDiversity(probability=0.7),
    smoothing=GaussianKernel(size=3, sigma=0.8),
)


@pytest.fixture
def made():
    model, images, labels = problem(COUNT, side=8)
    ball = Linf((0.03, 0.05, 0.04))
    result, _ = attacked(model, images, labels, ATTACK, ball)
    assert 0 < int(result.success.sum()) < COUNT
    origin = Origin(source="toy 3", attack=repr(ATTACK), ball=ball, seed=5)
    found = AdversarialSet(origin, result.adversarial, labels, result.success, torch.arange(COUNT))
    return found, images, GradientAccess(model)


def test_the_audit_names_the_first_check_that_fails(made):
    found, images, source = made
    ball, claimed = found.origin.ball, found.claimed

    def check(x, message, claims=claimed, labels=found.labels):
        with pytest.raises(ValueError, match=message):
            check_adversarial(images, x, labels, ball, source, claimed=claims)

    check_adversarial(images, found.adversarial, found.labels, ball, source, claimed=claimed)
    assert source.check_queries == int(claimed.sum())
    only = int(claimed.nonzero()[3])
    x = found.adversarial.clone()
    x[only, 1, 2, 3] = images[only, 1, 2, 3] + (0.05 + 3e-6 if images[only, 1, 2, 3] < 0.5 else -0.05 - 3e-6)
    check(x, rf"audit, ball: image {only} .*; 1 of {COUNT} fail")
    x[only, 1, 2, 3] = torch.nan
    check(x, f"audit, finite: image {only} ")
    x[only, 1, 2, 3] = -0.001
    check(x, f"audit, range: image {only} ")
    check(images, rf"audit, source: image {int(claimed.nonzero()[0])} .*; {int(claimed.sum())} of {COUNT} fail")
    check(found.adversarial, "audit, source", claims=None)
    check(found.adversarial[1:], "audit, shape")
    check(found.adversarial, "audit, claims", claims=claimed.long())


def test_what_is_saved_loads_back_equal(made, tmp_path):
    found, images, source = made
    for ball in (found.origin.ball, Linf(0.05), L2(9.0)):
        found = replace(found, origin=replace(found.origin, ball=ball))
        save_adversarial(tmp_path / "a.safetensors", found, images, source)
        back = load_adversarial(
            tmp_path / "a.safetensors", images, found.labels, source, origin=found.origin, indices=found.indices
        )
        assert back.origin == found.origin
        for name in ("adversarial", "labels", "claimed", "indices"):
            assert torch.equal(getattr(back, name), getattr(found, name))
            assert getattr(back, name).dtype == getattr(found, name).dtype


def test_an_audit_that_fails_writes_nothing(made, tmp_path):
    found, images, source = made
    path = tmp_path / "a.safetensors"
    bad = replace(found, claimed=torch.ones_like(found.claimed))
    with pytest.raises(ValueError, match="audit, source"):
        save_adversarial(path, bad, images, source)
    assert list(tmp_path.iterdir()) == []
    save_adversarial(path, found, images, source)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="audit, ball"):
        save_adversarial(path, replace(found, origin=replace(found.origin, ball=Linf(0.01))), images, source)
    assert path.read_bytes() == before


def test_a_file_of_other_things_is_refused(made, tmp_path):
    found, images, source = made
    path = tmp_path / "a.safetensors"
    save_adversarial(path, found, images, source)
    labels, origin = found.labels, found.origin
    others = {
        "source was 'toy 3', is 'toy 4'": {"origin": replace(origin, source="toy 4")},
        "attack was": {"origin": replace(origin, attack=repr(TransferPGD()))},
        "eps was": {"origin": replace(origin, ball=Linf(0.03))},
        "ball was 'Linf', is 'L2'": {"origin": replace(origin, ball=L2(0.03))},
        "seed was 5, is 6": {"origin": replace(origin, seed=6)},
        "its indices are not": {"indices": torch.arange(COUNT) + 1},
    }
    for message, asked in others.items():
        with pytest.raises(ValueError, match=message):
            load_adversarial(path, images, labels, source, **asked)
    with pytest.raises(ValueError, match="its labels are not"):
        load_adversarial(path, images, (labels + 1) % 3, source)
    with pytest.raises(ValueError, match=r"a\.safetensors: audit, ball"):
        load_adversarial(path, images.flip(0), labels, source)
    with pytest.raises(ValueError, match=r"a\.safetensors: audit, source"):
        load_adversarial(path, images, labels, GradientAccess(RowModel(seed=9, size=192)))
    with pytest.raises(FileNotFoundError):
        load_adversarial(tmp_path / "b", images, labels, source)


def test_a_damaged_file_is_noticed(made, tmp_path):
    found, images, source = made
    path = tmp_path / "a.safetensors"
    save_adversarial(path, found, images, source)
    whole = path.read_bytes()
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118

    def refused(match):
        with pytest.raises(DamagedFileError, match=match):
            load_adversarial(path, images, found.labels, source)

    for cut in (0, 5, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        refused("not a whole safetensors file")
    path.write_bytes(whole[:-40] + bytes([whole[-40] ^ 1]) + whole[-39:])
    refused("was altered")
    # A claim withdrawn, or a seed made up: the audit would pass.
    save_file({**tensors, "claimed": torch.zeros_like(tensors["claimed"])}, path, metadata)
    refused("was altered")
    save_file(tensors, path, {**metadata, "origin": metadata["origin"].replace('"seed": 5', '"seed": 6')})
    refused("was altered")
    save_file(tensors, path, {})
    refused("not a groundglass file")
    path.write_bytes(whole)
    load_adversarial(path, images, found.labels, source)
