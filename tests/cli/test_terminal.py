"""What long work looks like on a terminal, and in a log."""

import io

import pytest
from rich.console import Console

from groundglass.cli import terminal as terminal_module
from groundglass.cli.terminal import Terminal


def test_a_cell_says_what_it_found_and_how_long_it_took():
    heard = io.StringIO()
    Terminal(Console(file=heard)).finished("cell", "clean accuracy 81.4%", 1.25)
    Terminal(Console(file=heard)).finished("device", "", 0.5)
    assert heard.getvalue() == "  cell: clean accuracy 81.4%, 1.25 s\n  device: 500 ms\n"


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
        "  VGG-16: 15%, loss 1.000, 1/s, 2.83 min left",
        "  VGG-OPU: 30%, loss 2.000, 2/s, 70 s left",
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
