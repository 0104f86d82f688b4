"""Who has signed in to the page: a browser shows a cookie, and the token is asked for once."""

import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from groundglass.core.sealed import without_locals
from groundglass.optics.remote.errors import RoleRefusedError, TokenRefusedError
from groundglass.service.ledger import Ledger
from groundglass.service.tokens import Client

#: Seconds after which a browser must sign in again.
SECONDS = 12 * 3600
# Browsers that are signed in by one token; of more, the first ones are signed out.
_MOST = 20


@dataclass(frozen=True)
class Session:
    """
    Attributes:
        client: whose token it was, as that is now.
        form: what a form of the page must bring back. Another page has it not, though the browser sends the cookie for it.
    """

    client: Client
    form: str


class Sessions:
    """Those of a service; its end ends them. For one thread, the event loop's.

    Args:
        now: seconds of a clock that cannot be set.
    """

    def __init__(self, ledger: Ledger, *, now: Callable[[], float] = time.monotonic) -> None:
        self._ledger, self._now = ledger, now
        # By hashes of the cookies: whose, and until when.
        self._open: OrderedDict[bytes, tuple[Client, float]] = OrderedDict()

    @without_locals
    def begin(self, token: str) -> str:
        """The cookie of a new one.

        Raises:
            TokenRefusedError, TokenExpiredError, RoleRefusedError: it is no operator's token.
        """
        client = self._ledger.authenticate(token)
        self._ledger.authorise(client, "administer")
        key = secrets.token_urlsafe(32)
        self._open[_digest(key)] = client, self._now() + SECONDS
        own = [digest for digest, (one, _) in self._open.items() if one.id == client.id]
        for digest in own[:-_MOST]:
            del self._open[digest]
        return key

    @without_locals
    def find(self, key: str) -> Session | None:
        """The session of a cookie, while its token is an operator's still."""
        digest = _digest(key)
        client, until = self._open.get(digest, (None, 0.0))
        if client is None:
            return None
        try:
            if until <= self._now():
                raise TokenRefusedError("the session is over")
            client = self._ledger.current(client)
            self._ledger.authorise(client, "administer")
        except (TokenRefusedError, RoleRefusedError):
            del self._open[digest]
            return None
        return Session(client, hmac.new(key.encode(), b"form", hashlib.sha256).hexdigest())

    @without_locals
    def end(self, key: str) -> None:
        self._open.pop(_digest(key), None)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key[:100].encode(errors="surrogatepass")).digest()
