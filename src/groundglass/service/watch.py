"""A guard before a device, and what follows from what it finds."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from groundglass.service.alarms import Response
from groundglass.service.guard import Finding


class Guard(Protocol):
    """Looks at what clients ask; `NaturalBits` is one."""

    def look(self, client: str, bits: npt.NDArray[np.uint8]) -> Finding | None:
        """
        Args:
            client: its id.
            bits: uint8 [rows, N], in the order in which they are measured.
        """
        ...


@dataclass(frozen=True)
class Watch:
    """A guard, and what follows from what it finds.

    What is seen in the stream of all clients together is no single one's doing: then none is throttled or refused, and the matrix
    is drawn again once a minute at most. A client that would have it drawn a second time is refused.

    Attributes:
        slow: frames a second of a client that is throttled.
    """

    guard: Guard
    response: Response = "alarm"
    slow: float = 10.0
