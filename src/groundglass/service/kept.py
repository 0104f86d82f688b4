"""Answers that are kept for a while: a client whose connection broke asks again, and no frame is taken twice."""

import time
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

from groundglass.optics.remote.errors import WrongInputsError
from groundglass.service.turns import Request

#: Seconds, and bytes of readings of all clients together.
SECONDS, MOST = 60.0, 2**28

#: The id of a token, the name of a device, and the client's id of the request.
Key = tuple[str, str, str]


@dataclass(eq=False)
class Kept:
    """A request, and what its client has been sent."""

    request: Request
    at: float


class Answers:
    """The latest ones. For one thread, the event loop's."""

    def __init__(self, *, seconds: float = SECONDS, most: int = MOST) -> None:
        self._seconds, self._most = seconds, most
        self._kept: OrderedDict[Key, Kept] = OrderedDict()

    def keep(self, key: Key, request: Request) -> None:
        """And forget what is too old, or too much."""
        self._kept[key] = Kept(request, time.monotonic())
        self._kept.move_to_end(key)
        oldest, held = time.monotonic() - self._seconds, 0
        for name, one in reversed(self._kept.copy().items()):
            held += one.request.bits.nbytes + sum(len(piece) for piece in one.request.pieces)
            if one.request.settled and (held > self._most or one.at < oldest):
                del self._kept[name]

    def find(self, key: Key, like: Request) -> Request | None:
        """The request that was asked under this key.

        Raises:
            WrongInputsError: it was another one.
        """
        kept = self._kept.get(key)
        if kept is None or (kept.request.settled and kept.at < time.monotonic() - self._seconds):
            return None
        one = kept.request
        same = (one.fingerprint, one.exposure) == (like.fingerprint, like.exposure) and np.array_equal(
            one.bits, like.bits
        )
        if not same:
            raise WrongInputsError("another measurement has had this request id: give each one an id of its own")
        return one
