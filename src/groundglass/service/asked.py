"""The status of a service, as an operator's program asks for it."""

from groundglass.core.schema import read
from groundglass.core.untrusted import parse_json
from groundglass.optics.remote import wire
from groundglass.optics.remote.connection import BROKEN, Connections
from groundglass.service.status import Status

# Bytes: tens of thousands of tokens.
_MOST = 2**25


def ask_status(connections: Connections, where: str) -> Status:
    """How the service stands.

    Args:
        connections: to it, by the token of an operator.
        where: what to call it in an error.

    Raises:
        DeviceServiceError: it does not answer, or refuses.
        DamagedFileError: what it says is no status.
    """
    try:
        with connections.ask("GET", "/status") as answer:
            text, status = answer.read(_MOST), answer.status
    except BROKEN as error:
        raise connections.gone(error) from error
    if status != 200:
        raise wire.read_error(status, text)
    return read(Status, parse_json(text, where), where)
