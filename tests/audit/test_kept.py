"""An audit that is killed, and goes on."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from groundglass.attacks import Linf, NonFiniteError
from groundglass.audit import AuditConfig, audit
from groundglass.audit import ledger as ledger_module
from groundglass.core import DamagedFileError
from tests.audit.known import network, pictures, trained

CONFIG = AuditConfig(steps=6, queries=20, query_images=8, probes=12)
IMAGES, LABELS = pictures(40, seed=3)


class Killed(Exception):
    pass


def of(model, path=None, after=None, **changes):
    """Audit `model`; kill it when so many attacks have ended."""
    ended = []

    def progress(what, done, total, **figures):
        if done == total and what not in ended:
            ended.append(what)
        if after is not None and len(ended) > after:
            raise Killed

    settings = {"config": CONFIG, "seed": 5, "checkpoint": path, "progress": progress, **changes}
    return audit(model, IMAGES, LABELS, Linf(0.05), **settings)


def same(one, two):
    plain = [
        replace(found, seconds=0, earlier_seconds=0, attempts=tuple(replace(a, seconds=0) for a in found.attempts))
        for found in (one, two)
    ]
    for name, value in vars(plain[0]).items():
        other = getattr(plain[1], name)
        assert torch.equal(value, other) if isinstance(value, torch.Tensor) else value == other, name


@pytest.fixture(scope="module", params=["plain", "robust"])
def model(request):
    return trained(adversarially=request.param == "robust")


@pytest.fixture(scope="module")
def undisturbed(model):
    return of(model)


@pytest.mark.parametrize("after", [0, 1, 4, 7])
def test_a_killed_audit_goes_on_to_the_same_result(model, undisturbed, after, tmp_path):
    path = tmp_path / "audit.safetensors"
    with pytest.raises(Killed):
        of(model, path, after)
    same(of(model, path), undisturbed)


def test_no_attack_that_has_ended_is_made_again(model, tmp_path, monkeypatch):
    path, made = tmp_path / "audit.safetensors", []
    run = ledger_module.Ledger._run
    monkeypatch.setattr(
        ledger_module.Ledger, "_run", lambda self, plan, *rest: made.append(plan.name) or run(self, plan, *rest)
    )
    for after in (0, 2, 3, 100):
        try:
            whole = of(model, path, after)
        except Killed:
            continue
    assert sorted(made) == sorted(a.name for a in whole.attempts if a.tried)
    assert whole.earlier_seconds > 0
    assert whole.seconds > whole.earlier_seconds


def test_seconds_of_earlier_sessions_count(model, tmp_path):
    path = tmp_path / "audit.safetensors"
    first = of(model, path)
    again = of(model, path)
    assert [a.seconds for a in again.attempts] == [a.seconds for a in first.attempts]
    assert 0 < again.earlier_seconds < first.seconds


def test_a_file_of_another_audit_or_a_damaged_one_is_refused(tmp_path):
    path, model = tmp_path / "audit.safetensors", trained(adversarially=False)
    of(model, path)
    alike = copy.deepcopy(model)  # shared by all tests
    with torch.no_grad():
        next(alike.parameters()).mul_(1.0001)  # gets the same images right
    for other, changes, named in [
        (model, {"seed": 6}, "seed"),
        (model, {"config": replace(CONFIG, steps=7)}, "settings"),
        (model, {"views": {"mine": network()}}, "views"),
        (network(), {}, ""),
        (alike, {}, "weights"),
    ]:
        with pytest.raises(ValueError, match=f"another run: {named}"):
            of(other, path, **changes)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(DamagedFileError, match="delete it"):
        of(model, path)


def test_what_draws_from_torchs_stream_is_audited_anew(tmp_path):
    class Drawing(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = trained(adversarially=False)

        def forward(self, x):
            return self.inner(x) + 0.5 * torch.randn(len(x), 1) * torch.eye(self.inner(x[:1]).shape[1])[0]

    path = tmp_path / "audit.safetensors"
    with pytest.raises(Killed):
        of(Drawing().eval(), path, after=2)
    again = of(Drawing().eval(), path)
    same(again, of(Drawing().eval()))
    assert again.earlier_seconds == 0


def test_an_attack_that_ends_at_a_nan_does_not_shift_the_others(tmp_path, monkeypatch):
    made = []
    run = ledger_module.Ledger._run

    def failing(self, plan, *rest):
        made.append(plan.name)
        if len(self.attempts) == 0:
            raise NonFiniteError("a gradient is NaN")
        return run(self, plan, *rest)

    monkeypatch.setattr(ledger_module.Ledger, "_run", failing)
    path, model = tmp_path / "audit.safetensors", trained(adversarially=True)
    first = of(model, path)
    begun = len(made)
    same(of(model, path), first)
    assert made[begun:] == [first.attempts[0].name]  # the one that left nothing to keep


def test_what_somebody_brings_is_tried_anew(tmp_path):
    path, model, called = tmp_path / "audit.safetensors", trained(adversarially=True), []

    def mine(asked, images, labels, ball):
        called.append(len(images))
        return images

    of(model, path, attacks={"mine": mine})
    of(model, path, attacks={"mine": mine})
    assert len(called) == 2
