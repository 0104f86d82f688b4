"""Answers that are kept for a while: a client whose connection broke asks again, and no frame is taken twice."""

import time
from collections import Counter, OrderedDict, defaultdict
from dataclasses import dataclass

import numpy as np

from groundglass.optics.remote.errors import WrongInputsError
from groundglass.service.turns import Request

#: Seconds, and bytes of all clients together.
SECONDS, MOST = 60.0, 2**28
# Bytes that an answer takes besides its bits and its readings.
_BESIDES = 4096

#: The id of a token, the name of a device, and the client's id of the request.
Key = tuple[str, str, str]


@dataclass(eq=False)
class Kept:
    """A request, and what its client has been sent.

    Attributes:
        size: bytes that it takes when it is measured.
    """

    request: Request
    at: float
    size: int


class Answers:
    """The latest ones. Where they are too much, those of the client go that has most. For one thread, the event loop's."""

    def __init__(self, *, seconds: float = SECONDS, most: int = MOST) -> None:
        self._seconds, self._most = seconds, most
        self._kept: defaultdict[str, OrderedDict[Key, Kept]] = defaultdict(OrderedDict)
        self._sizes: Counter[str] = Counter()
        self._held = 0

    def keep(self, key: Key, request: Request, size: int) -> None:
        """And forget what is too old, or too much.

        Args:
            size: bytes of its readings, when all are measured.
        """
        self._forget(key)
        own = self._kept[key[0]]
        own[key] = Kept(request, time.monotonic(), _BESIDES + request.bits.nbytes + size)
        self._add(key[0], own[key].size)
        while own and (first := next(iter(own))) and self._is_old(own[first]):
            self._forget(first)
        while self._held > self._most and (found := self._to_forget()) is not None:
            self._forget(found)

    def find(self, key: Key, like: Request) -> Request | None:
        """The request that was asked under this key.

        Raises:
            WrongInputsError: it was another one.
        """
        kept = self._kept[key[0]].get(key) if key[0] in self._kept else None
        if kept is None or self._is_old(kept):
            return None
        one = kept.request
        same = (one.fingerprint, one.exposure) == (like.fingerprint, like.exposure) and np.array_equal(
            one.bits, like.bits
        )
        if not same:
            raise WrongInputsError("another measurement has had this request id: give each one an id of its own")
        return one

    def _is_old(self, kept: Kept) -> bool:
        return kept.request.settled and kept.at < time.monotonic() - self._seconds

    def _to_forget(self) -> Key | None:
        """The first of the client that has most; one that is still measured is not forgotten."""
        for client, _ in self._sizes.most_common():
            for key, kept in self._kept[client].items():
                if kept.request.settled:
                    return key
        return None

    def _forget(self, key: Key) -> None:
        if key[0] in self._kept and (kept := self._kept[key[0]].pop(key, None)) is not None:
            self._add(key[0], -kept.size)

    def _add(self, client: str, size: int) -> None:
        self._held += size
        self._sizes[client] += size
        if not self._sizes[client]:
            del self._sizes[client], self._kept[client]
