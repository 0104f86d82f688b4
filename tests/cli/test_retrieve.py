"""`groundglass retrieve`: what it says, and what it refuses."""

import numpy as np
import pytest
import torch

from groundglass import cli
from groundglass.optics import SimulatedOPU, true_matrix
from groundglass.optics.retrieval import row_errors


def test_retrieve_says_what_it_took_and_how_far_off_it_is_and_goes_on(tmp_path, capsys):
    device = SimulatedOPU.create(32, 24, seed=271828182845)
    device.save(tmp_path / "a.device")
    command = ["retrieve", str(tmp_path / "a.device"), "--out", str(tmp_path / "out"), "--queries", "16N"]
    assert cli.main(command) == 0
    shown = capsys.readouterr().out
    assert "24 rows of 32 from 512 frames (16.0 N), method fixed-exposure" in shown
    assert "0.3 at the device (2000 frames a second)" in shown
    errors = row_errors(torch.from_numpy(np.load(tmp_path / "out" / "matrix.npy")), true_matrix(device))
    assert f"median {float(errors.median()):.2%}, worst {float(errors.max()):.2%}" in shown
    assert "271828182845" not in shown
    assert cli.main(command) == 0
    assert capsys.readouterr().out == shown


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["--queries", "2N"], "needs at least 128"),
        (["--queries", "many"], "give a number, 12288 say, or a multiple of the inputs, 12N"),
        (["--queries", "nan"], "give a number, 12288 say"),
        (["--method", "closedform"], "did you mean 'closed-form'"),
        (["--method", "closed-form"], "sets the exposure"),
        (["--rows", "25"], "must be 1 to 24"),
        (["--frame-rate", "0"], "must be above 0"),
        (["--device", "gpu"], "cuda:N"),
    ],
)
def test_retrieve_refuses_before_any_work(changes, said, tmp_path, capsys):
    SimulatedOPU.create(32, 24, seed=1).save(tmp_path / "a.device")
    assert cli.main(["retrieve", str(tmp_path / "a.device"), "--out", str(tmp_path / "out"), *changes]) == 1
    shown = capsys.readouterr().err
    assert said in shown
    assert len(shown.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()
