"""Who asks: the token that a request shows."""

import time

from starlette.requests import Request

from groundglass.optics.remote.errors import TokenRefusedError
from groundglass.service.ledger import Ledger
from groundglass.service.tokens import Client


def holder(request: Request, ledger: Ledger) -> Client:
    """Whose token it is, for the log too.

    Raises:
        TokenRefusedError, TokenExpiredError: none, or as `Ledger.authenticate`.
    """
    request.state.began = time.monotonic()
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer":
        raise TokenRefusedError(
            "the request shows no token, `Authorization: Bearer TOKEN`: give a RemoteOPU `token` or `token_file`, or set "
            "$GROUNDGLASS_DEVICE_TOKEN"
        )
    return known(request, ledger.authenticate(token))


def known(request: Request, client: Client) -> Client:
    """This client asks."""
    request.state.client = client.name
    return client
