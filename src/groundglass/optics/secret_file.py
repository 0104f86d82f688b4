"""The file of one simulated device: its secret, and all that makes the device again."""

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from groundglass.core import DamagedFileError, atomic_write, remove_parts
from groundglass.core.schema import read
from groundglass.core.sealed import Seed, without_locals
from groundglass.core.settings import Count, Settings, settings_of
from groundglass.core.untrusted import MOST_JSON, read_bytes
from groundglass.optics.camera import Camera, Exposure
from groundglass.optics.kinds import DoesNotFitError, check_medium, make_medium
from groundglass.optics.medium import DeviceKind, MatrixKind, Medium

_FORMAT = "groundglass optical device"
# 1: dense devices alone, drawn by the first recipe; still read.
_VERSION = 2


@dataclass(frozen=True)
class Saved:
    """What a device file holds."""

    medium: Medium
    camera: Camera
    exposure: Exposure
    noise_seed: int
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class _Told(Settings):
    """What a device file holds besides the seed; those of version 1 have no `kind` and no `draw`."""

    fingerprint: str
    in_features: Count
    out_features: Count
    matrix: str
    camera: Mapping[str, Any]
    exposure: Mapping[str, Any]
    noise_seed: int
    kind: str = "dense"
    draw: int = 1


def write_secret(path: Path, saved: Saved) -> None:
    """See `SimulatedOPU.save`."""
    medium = saved.medium
    told = {
        "format": _FORMAT,
        "version": _VERSION,
        "fingerprint": saved.fingerprint,
        "in_features": medium.in_features,
        "out_features": medium.out_features,
        "kind": medium.kind,
        "draw": medium.draw,
        "matrix": medium.matrix,
        "camera": settings_of(saved.camera),
        "exposure": settings_of(saved.exposure),
        "noise_seed": saved.noise_seed,
        "public": medium.seed.public,
    }
    try:
        _write(path, told, medium.seed, new=True)
    except FileExistsError:
        if not _holds(path, saved.fingerprint):
            raise FileExistsError(
                f"{path} is there already, and is not this device's file: if it were overwritten, a secret would be lost, and so "
                "would every network that was trained with it. Give another name, or remove the file first"
            ) from None
        _write(path, told, medium.seed, new=False)


def check_private(path: Path, what: str = "device file", secret: str = "the secret of the device") -> None:
    """Raises PermissionError for a file with a secret that is not for its owner alone, FileNotFoundError where there is none."""
    if not path.exists():
        raise FileNotFoundError(f"no {what} {path}")
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077 and not _is_credential(path):
        raise PermissionError(
            f"the {what} {path} may be read or written by others (mode {mode:04o}): it holds {secret}. "
            f"Run: chmod 600 {path}"
        )


def _is_credential(path: Path) -> bool:
    """Whether systemd has put it there for this service: then it is root's, and what stands for the group in its mode is the
    entry of the service's user in its access list. See `LoadCredential` in systemd.exec(5)."""
    folder, status = os.environ.get("CREDENTIALS_DIRECTORY"), path.stat()
    mine = folder is not None and path.resolve().parent == Path(folder).resolve()
    return mine and status.st_uid == 0 and stat.S_IMODE(status.st_mode) == 0o440


def read_secret(path: Path) -> Saved:
    """See `SimulatedOPU.load`. The file may still be of another device than it says: the fingerprint is not checked."""
    if not path.is_file():
        raise FileNotFoundError(f"no device file {path}: a run keeps its own under devices/ in its folder")
    told, seed = _read(path)
    check_private(path)  # afterwards: this advice is for device files alone
    device = read(_Told, told, f"the device file {path}")
    try:
        kind, draw = ("dense", 1) if told["version"] == 1 else (device.kind, device.draw)
        described = cast(DeviceKind, kind), device.in_features, device.out_features, cast(MatrixKind, device.matrix)
        check_medium(*described, draw=draw)
        camera, exposure = Camera(**device.camera), Exposure(**device.exposure)
    except DoesNotFitError as error:
        raise DoesNotFitError(f"{path} is whole, and cannot be opened here. {error}") from None
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedFileError(f"the device file {path} does not describe a device: {error}") from error
    # Outside of the block: errors from here on are not the file's fault.
    return Saved(
        make_medium(described[0], seed, *described[1:], draw=draw),
        camera,
        exposure,
        device.noise_seed,
        device.fingerprint,
    )


def format_version(path: Path) -> int:
    """Of a device file."""
    return int(_read(path)[0]["version"])


@without_locals
def _write(path: Path, told: dict[str, Any], seed: Seed, *, new: bool) -> None:
    # Hex: a JSON number of 128 bits would be rounded by other readers.
    content = {**told, "seed": seed.reveal()}
    content["checksum"] = _checksum(content)
    with atomic_write(path, "w", private=True, new=new) as file:
        json.dump(content, file, indent=2)
        file.write("\n")
    # On systems without nameless files a killed process may have left one with its secret.
    remove_parts(path.parent, below=False)


@without_locals
def _holds(path: Path, fingerprint: str) -> bool:
    """Whether the file says that it is that device's; anything else, damaged or not, may be needed."""
    content = None
    with suppress(OSError):
        content = _parsed(path)
    return isinstance(content, dict) and content.get("fingerprint") == fingerprint


def _parsed(path: Path) -> Any:
    """The JSON of a file; None if it has none. A JSON parser's own error would hold the whole text, with the seed."""
    with suppress(ValueError, RecursionError):
        return json.loads(read_bytes(path, most=MOST_JSON))
    return None


def _checksum(content: dict[str, Any]) -> str:
    covered = {key: value for key, value in content.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(covered, sort_keys=True).encode()).hexdigest()


@without_locals
def _read(path: Path) -> tuple[dict[str, Any], Seed]:
    """The checked content of a device file, and apart from it the seed."""
    content = _parsed(path)
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise DamagedFileError(f"{path} is not a device file, or was truncated: restore it from a copy")
    whole = content.get("checksum") == _checksum(content)
    public = content.get("public")
    seed = Seed.of_hex(content.pop("seed", None), public=public if isinstance(public, bool) else None)
    if not whole or seed is None:
        raise DamagedFileError(f"the device file {path} was truncated or altered: restore it from a copy")
    if content.get("version") not in (1, _VERSION):
        raise DamagedFileError(
            f"the device file {path} has format version {content.get('version')!r:.20}, this groundglass reads 1 to {_VERSION}: "
            "use the groundglass that wrote it, or a newer one"
        )
    return content, seed
