"""The file that says where a device is served, so that whoever has its token finds it again by its fingerprint.

No token is in it. A run folder may come from a stranger, and a token goes to the address that the file names: so the file is
signed with the token of who wrote it, and whoever has another token has to give the address.
"""

import hmac
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from groundglass.core import DamagedFileError, write_json
from groundglass.core.checksum import sealed, unsealed
from groundglass.core.schema import read
from groundglass.core.settings import Count, Positive, Settings
from groundglass.core.untrusted import read_format
from groundglass.optics.device import is_fingerprint
from groundglass.optics.remote.connection import TOKEN, Address, Token
from groundglass.optics.remote.device import RemoteOPU
from groundglass.optics.remote.errors import TokenRefusedError

_FORMAT = "groundglass remote device"
_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class _Kept(Settings):
    """What the file holds: nothing of it is secret. `signature`: of all else, by the token."""

    address: str
    ca: str | None
    fingerprint: str
    in_features: Count
    out_features: Count
    mean_reading: Positive
    signature: str = ""


def write_remote(path: Path, device: RemoteOPU) -> None:
    """Say where a device is served; what the file said before is replaced, as its token may be another now."""
    kept = _Kept(
        address=device.address,
        ca=None if device.ca is None else str(device.ca.absolute()),
        fingerprint=device.fingerprint,
        in_features=device.in_features,
        out_features=device.out_features,
        mean_reading=device.mean_reading,
    )
    told = {"format": _FORMAT, "version": _VERSION, **asdict(kept), "signature": device.sign(_text(kept))}
    write_json(path, sealed(told))


def read_remote(path: Path, *, token_file: Path | None = None) -> RemoteOPU:
    """The device of the file, with the matrix that it had then.

    Args:
        token_file: see `RemoteOPU`; None: the token of the environment.

    Raises:
        DamagedFileError: no such file of ours.
        TokenRefusedError: another token than that of who wrote it; nothing was sent to the address.
        MatrixRedrawnError: the device has another matrix now, and the old one is gone.
        DeviceServiceError: see `RemoteOPU`.
    """
    told = unsealed(read_format(path, _FORMAT, _VERSION, "the file of a remote device"), str(path), required=True)
    kept = read(_Kept, told, str(path))
    try:
        Address.of(kept.address)
    except ValueError as error:
        raise DamagedFileError(f"{path} does not say where a device is: {error}") from error
    if not is_fingerprint(kept.fingerprint):
        raise DamagedFileError(f"{path} has the fingerprint {kept.fingerprint!r:.80}: it was altered")
    token = Token.found(Token(None), token_file)
    if token is None:
        raise TokenRefusedError(
            f"{path} names a device at a service: put your token into ${TOKEN}, or into a token file"
        )
    if not hmac.compare_digest(token.sign(_text(kept)).encode(), kept.signature.encode()):
        raise TokenRefusedError(
            f"{path} was written with another token than yours, so yours is not sent to the address in it, {kept.address}: if "
            "you trust that address, give it by --optical-device, or as RemoteOPU(address)"
        )
    device = RemoteOPU(kept.address, token_file=token_file, ca=kept.ca)
    return device.at(kept.fingerprint, kept.mean_reading)


def opens_elsewhere(device: RemoteOPU) -> bool:
    """Whether another process opens the device with what it has: the token of its file, or of the environment."""
    token = Token.found(Token(None), device.token_file)
    return device.sign(b"") == ("" if token is None else token.sign(b""))


def _text(kept: _Kept) -> bytes:
    """What is signed."""
    told = {name: value for name, value in asdict(kept).items() if name != "signature"}
    return json.dumps(told, sort_keys=True).encode()
