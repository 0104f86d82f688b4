"""Being asked to end, by Ctrl-C or SIGTERM, at any moment, whatever becomes of the exception on its way.

Python raises it wherever the program is. In the callback of a weak reference it is printed and lost. And where C++ code has
called Python, as torch's autograd does, what comes out may be an error of that code. So it is written down that a stop was
asked for: an error is a stop then, and lost ones are raised again at the next sign of progress.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Stopped(KeyboardInterrupt):
    """This process was asked to end.

    Attributes:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


class _Handler:
    """Of both signals. `asked`: the number of the first that came."""

    def __init__(self) -> None:
        self.asked: int | None = None

    def __call__(self, number: int, frame: object) -> None:
        if self.asked is None:
            self.asked = number
        raise Stopped(self.asked)


@contextmanager
def stoppable() -> Iterator[None]:
    """SIGTERM ends what is in here as Ctrl-C does, with `Stopped`; so does any error once one of them has come.

    In the main thread: no other may say what a signal does. Where Ctrl-C is ignored, as under nohup, it stays so.

    Raises:
        Stopped: a stop was asked for, and has ended it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler, before = _Handler(), {}
    for number in (signal.SIGTERM, signal.SIGINT):
        if number == signal.SIGTERM or signal.getsignal(number) is signal.default_int_handler:
            before[number] = signal.signal(number, handler)
    try:
        yield
    except BaseException as error:
        stop = stop_of(error)
        if stop is None or stop is error:
            raise
        raise stop from error
    finally:
        for number, found in before.items():
            signal.signal(number, found)


def stop_of(error: BaseException) -> KeyboardInterrupt | None:
    """The stop that an error is, or is there in place of; None where nobody has asked for one."""
    if isinstance(error, KeyboardInterrupt):
        return error
    asked = _asked()
    return None if asked is None else Stopped(asked)


def check_stopped() -> None:
    """For long work, now and then, and before an error is taken for somebody's mistake.

    Raises:
        Stopped: a stop was asked for, and what it raised was lost.
    """
    asked = _asked()
    if asked is not None and threading.current_thread() is threading.main_thread():
        raise Stopped(asked)


def _asked() -> int | None:
    handler = signal.getsignal(signal.SIGTERM)
    return handler.asked if isinstance(handler, _Handler) else None
