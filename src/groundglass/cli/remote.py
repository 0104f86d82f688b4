"""Options of commands that take a device at a service, and how they open it. No token is on a command line."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

if TYPE_CHECKING:
    from groundglass.optics import RemoteOPU, SimulatedOPU

OpticalDevice = Annotated[
    str | None,
    tyro.conf.arg(
        metavar="ADDRESS",
        help="The network's device at a service: https://HOST:PORT/devices/NAME, or unix:///PATH/TO/SOCKET#NAME of this "
        "machine. What takes more than its readings is left out, and said.",
    ),
]
TokenFile = Annotated[
    Path | None,
    tyro.conf.arg(
        help="For a device at a service: the file with your token, readable by you alone. Default: $GROUNDGLASS_DEVICE_TOKEN."
    ),
]
CaFile = Annotated[
    Path | None,
    tyro.conf.arg(
        help="For a device at a service by https: certificates that its own may be signed with. Default: the system's."
    ),
]


def is_address(text: str) -> bool:
    """Whether this is the address of a device at a service, and not a file."""
    return "://" in text


def opened(address: str, token_file: Path | None, ca_file: Path | None) -> "RemoteOPU":
    """The device at an address.

    Raises:
        ValueError: no address, or no token.
        DeviceServiceError: the service does not answer, or refuses.
    """
    from groundglass.optics import RemoteOPU
    from groundglass.optics.remote.connection import TOKEN, Token

    if Token.found(Token(None), token_file) is None:
        raise ValueError(
            f"{address}: a service asks for a token: put it into a file, --token-file FILE, or into ${TOKEN}"
        )
    return RemoteOPU(address, token_file=token_file, ca=ca_file)


def device_at(place: str, token_file: Path | None, ca_file: Path | None) -> "RemoteOPU | SimulatedOPU":
    """The device of a file, or at an address."""
    from groundglass.optics import SimulatedOPU

    return opened(place, token_file, ca_file) if is_address(place) else SimulatedOPU.load(Path(place))
