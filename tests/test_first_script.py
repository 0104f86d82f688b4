"""`import groundglass as gg`: the names of a first script, and nothing that they don't need."""

import subprocess
import sys
from importlib import import_module

import pytest
import torch

import groundglass as gg


def test_every_name_is_the_one_of_its_package():
    names = set(dir(gg)) - {"__version__"}
    assert {"PGD", "audit", "defend", "SimulatedOPU", "Linf", "Targeted"} <= names
    for name in names - {"audit"}:
        assert getattr(gg, name) is getattr(import_module(gg._NAMES[name]), name)
    with pytest.raises(AttributeError, match="PDG"):
        gg.PDG  # noqa: B018


def test_the_import_takes_no_torch():
    """Also a fresh process finds `gg.audit`, whoever imported the package of that name first."""
    code = (
        "import sys, groundglass as gg; assert 'torch' not in sys.modules; gg.Linf; assert 'matplotlib' not in sys.modules;"
        "a = gg.audit; import groundglass.audit.config as c; assert callable(gg.audit) and callable(a);"
        "from groundglass.audit import audit; assert callable(audit)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_first_script():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 4))
    images = torch.rand(8, 3, 4, 4)
    labels = model(images).argmax(1)
    result = gg.PGD(steps=5)(model, images, labels, gg.Linf(16 / 255))
    assert result.success.any()
    found = gg.audit(model, images, labels, gg.Linf(16 / 255), config=import_module("groundglass.audit").QUICK)
    assert found.worst.share <= result.robust_accuracy
