"""What each client has under way at the service: bounded, so that one with a token keeps the others in memory and connections."""

from collections import Counter
from collections.abc import Callable

from groundglass.optics.remote.errors import TooFastError

# Measurements of a client, and bytes of their bits and readings: from before its bits are read until its readings are sent.
_MOST, _MOST_BYTES = 64, 2**28


class UnderWay:
    """For one thread, the event loop's."""

    def __init__(self) -> None:
        self._bytes: dict[str, Counter[int]] = {}

    def begin(self, client: str, size: int) -> Callable[[], None]:
        """
        Args:
            client: its id.
            size: bytes of bits and readings.

        Returns:
            What is called at the end.

        Raises:
            TooFastError: too much of this client's is under way.
        """
        own = self._bytes.setdefault(client, Counter())
        count, held = own.total(), sum(one * times for one, times in own.items())
        if count and (count >= _MOST or held + size > _MOST_BYTES):
            raise TooFastError(
                f"{count} measurements of this client are under way already: ask with fewer threads, and read the answers",
                retry_after=0.25,
            )
        own[size] += 1

        def end() -> None:
            own[size] -= 1
            if not own[size]:
                del own[size]
            if not own:
                self._bytes.pop(client, None)

        return end
