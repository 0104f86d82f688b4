"""A stop is a stop, whatever becomes of the exception that the signal has raised."""

import gc
import os
import signal
import sys
import weakref

import pytest
import torch

from groundglass.core.stopping import Stopped, check_stopped, stop_of, stoppable
from groundglass.optics import opaque


class Callbacks:
    pass


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_is_raised_in_place_of_a_stop_is_that_stop(number: signal.Signals) -> None:
    before = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)]

    @stoppable()
    def work() -> None:
        try:
            os.kill(os.getpid(), number)
        except KeyboardInterrupt:
            raise RuntimeError("INTERNAL ASSERT FAILED") from None

    with pytest.raises(Stopped) as stop:
        work()
    assert stop.value.number == number
    assert isinstance(stop.value.__cause__, RuntimeError)
    assert [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)] == before


def test_an_error_without_a_stop_stays_what_it_is() -> None:
    @stoppable()
    def work() -> None:
        check_stopped()
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        work()
    assert stop_of(RuntimeError()) is None


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_stop_that_is_lost_in_a_callback_is_raised_at_the_next_sign_of_progress() -> None:
    steps = []

    @stoppable()
    def work() -> None:
        held = Callbacks()
        watched = weakref.ref(held, lambda _: os.kill(os.getpid(), signal.SIGTERM))
        del held
        gc.collect()
        assert watched() is None
        for step in range(2):
            steps.append(step)
            check_stopped()

    with pytest.raises(Stopped):
        work()
    assert steps == [0]


def test_a_first_stop_says_which_one_it_is() -> None:
    @stoppable()
    def work() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Stopped) as stop:
        work()
    assert stop.value.number == signal.SIGTERM


def test_ctrl_c_stays_ignored_where_it_is() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stoppable():
            os.kill(os.getpid(), signal.SIGINT)
            check_stopped()
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_derivative_that_is_cut_off_leaves_torch_nothing_to_end_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its hooks are put back by torch then, and what ends later would take away others."""
    lost: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lost.append)
    cut_off = opaque._unhooked()
    cut_off.__enter__()
    torch._C._autograd._pop_saved_tensors_default_hooks()  # type: ignore[attr-defined]
    del cut_off
    gc.collect()
    assert not lost
