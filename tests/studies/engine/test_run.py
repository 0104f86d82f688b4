"""A run says what precision it trains in, and why."""

import pytest

from groundglass.data import load_shapes
from groundglass.studies import run_study
from groundglass.studies import white_box as white_box_module
from groundglass.training import fastest_precision, times_slower
from groundglass.training import precision as precision_module

from .test_white_box import tiny
from .tiny import enter


class Heard:
    """Hears what a run says of itself, and stops it before any cell."""

    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)

    def announce(self, text):
        raise KeyboardInterrupt

    def finished(self, name, result, seconds):
        raise AssertionError("it was to stop")


@pytest.fixture
def notes(monkeypatch, tmp_path):
    enter(monkeypatch, "white-box", tiny, white_box_module.cells, load_shapes(n_train=20, n_test=10, seed=0))

    def told(bfloat16, float32, precision=None):
        """Of a run in one folder, where a step takes so long."""
        monkeypatch.setattr(precision_module, "step_seconds", lambda where: {"bfloat16": bfloat16, "float32": float32})
        heard = Heard()
        with pytest.raises(KeyboardInterrupt):
            run_study("white-box", "tiny", tmp_path / "run", precision=precision, listener=heard)
        return heard.notes

    return told


@pytest.mark.parametrize(
    ("bfloat16", "float32", "fastest"), [(1.0, 2.0, "bfloat16"), (0.9, 1.0, "float32"), (9.0, 1.0, "float32")]
)
def test_the_faster_one_is_taken_and_said(notes, bfloat16, float32, fastest):
    assert notes(bfloat16, float32) == [f"training in {fastest}, the faster here"]
    assert fastest_precision() == fastest


def test_one_that_is_slow_here_is_said_to_be(notes):
    warning = "; float32 would be 8.0 times as fast here, in a new folder"
    assert notes(8.0, 1.0, "bfloat16") == [f"training in bfloat16, as asked{warning}"]
    assert times_slower("bfloat16") == 8
    # Continued, perhaps on another machine: in the precision that it began with.
    assert notes(8.0, 1.0) == [f"training in bfloat16, as before{warning}"]
    assert notes(1.0, 1.2) == ["training in bfloat16, as before"]
