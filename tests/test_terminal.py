import io

import pytest
from groundglass.terminal import Terminal
from rich.console import Console

from groundglass import terminal as terminal_module


@pytest.mark.parametrize(
    ("result", "said"),
    [
        ({"clean_accuracy": 0.814, "n_test": 100}, "clean accuracy 81.4%"),
        ({"before": 0.814, "untuned": 0.13, "tuned": 0.81}, "before 81.4%, untuned 13.0%, tuned 81.0%"),
        ({"n_images": 1000, "common": 712}, "712 of 1000 images"),
        ({"n_images": 712, "fooled": 700, "gradients": 5}, "700 of 712 fooled"),
        ({"n_images": 712, "correct": 100, "fooled_source": 700}, "100 of 712 right"),
        ({"robust_accuracy": 0.25, "success_rate": 0.5, "n_images": 4, "correct": 1}, "robust accuracy 25.0%"),
        ({"passed": False, "note": "too weak"}, "FAILED: too weak"),
    ],
)
def test_a_cell_says_what_it_found(result, said):
    heard = io.StringIO()
    Terminal(Console(file=heard)).finished("cell", result, 1.25)
    assert heard.getvalue().startswith("  cell: ")
    assert said in heard.getvalue()
    assert heard.getvalue().endswith("1.2 s\n")
    if "robust_accuracy" in result:
        assert "of 4" not in heard.getvalue()


def test_progress_of_several_cells_at_a_time_is_told_for_each(monkeypatch):
    heard, now = io.StringIO(), [0.0]
    monkeypatch.setattr(terminal_module.time, "monotonic", lambda: now[0])
    terminal = Terminal(Console(file=heard))
    for step in range(0, 101, 5):
        now[0] = step
        terminal.progress("VGG-16", step, 200, loss=1.0)
        terminal.progress("VGG-OPU", 2 * step, 200, loss=2.0)
    lines = heard.getvalue().splitlines()
    assert lines[:2] == [
        "  VGG-16: 15%, loss 1.000, 1/s, 2 min 50 s left",
        "  VGG-OPU: 30%, loss 2.000, 2/s, 1 min 10 s left",
    ]
    assert len(lines) == 6  # each every half a minute


def test_what_goes_on_from_a_checkpoint_has_the_speed_of_this_session(monkeypatch):
    heard, now = io.StringIO(), [0.0]
    monkeypatch.setattr(terminal_module.time, "monotonic", lambda: now[0])
    terminal = Terminal(Console(file=heard))
    for seconds, done in ((0, 900), (31, 931), (62, 31), (93, 62)):  # and the next network begins anew
        now[0] = seconds
        terminal.progress("training", done, 1000)
    assert [line.split(", ")[1] for line in heard.getvalue().splitlines()] == ["1/s", "1/s"]


def test_on_a_terminal_progress_shows_without_an_announcement(monkeypatch):
    """Of a command that is no study: an audit, a redraw."""
    heard, now = io.StringIO(), [0.0]
    monkeypatch.setattr(terminal_module.time, "monotonic", lambda: now[0])
    with Terminal(Console(file=heard, force_terminal=True)) as terminal:
        for step in range(3):
            now[0] = step
            terminal.progress("redrawing", step, 4)
        shown = terminal._status
        assert shown is not None
        assert "redrawing: 50%" in str(shown.status)
    assert terminal._status is None


@pytest.mark.parametrize(("kept", "said"), [("in runs/one", "kept in runs/one; the same command continues"), ("", "")])
def test_a_stop_says_where_the_work_is_kept(kept, said):
    with pytest.raises(KeyboardInterrupt) as stop, Terminal(Console(file=io.StringIO()), kept=kept):
        raise KeyboardInterrupt
    assert str(stop.value).endswith(said)
    assert bool(str(stop.value)) == bool(said)
