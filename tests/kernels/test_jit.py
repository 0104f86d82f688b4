"""Numba is imported when a kernel is first used, and not before."""

import subprocess
import sys

import pytest

from groundglass.kernels import jit

CODE = """
import sys, torch, groundglass.optics, groundglass.attacks, groundglass.optics.retrieval, groundglass.optics.fidelity
from groundglass.kernels import jit, kernel_choice, convolutions
layers = [torch.nn.Conv2d(1, 2, 3, padding=1), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(32, 2)]
network, ball = torch.nn.Sequential(*layers), groundglass.attacks.Linf(0.1)
groundglass.attacks.PGD(steps=1)(network, torch.rand(2, 1, 4, 4), torch.zeros(2).long(), ball)
assert not {"numba", "llvmlite"} & set(sys.modules), "a program that runs no kernel has to wait for numba"
jit.philox
assert "numba" in sys.modules, "the detector detects"
"""


def test_numba_is_imported_with_the_first_kernel() -> None:
    found = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=200)
    assert found.returncode == 0, found.stderr


def test_there_is_no_kernel_of_another_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'filox'"):
        _ = jit.filox


def test_what_numba_says_of_the_environment_is_told_with_the_names(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(name: str) -> None:
        raise ValueError("Number of threads specified must be > 0.")

    monkeypatch.delattr(jit, "philox", raising=False)
    monkeypatch.setattr(jit, "import_module", refused)
    monkeypatch.setenv("NUMBA_NUM_THREADS", "0")
    with pytest.raises(ValueError, match=r"numba.*must be > 0.*NUMBA_NUM_THREADS"):
        _ = jit.philox
