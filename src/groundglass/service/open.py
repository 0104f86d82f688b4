"""What is served: devices by the names of their files or of who makes them, with the state folder and the locks."""

import errno
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from groundglass.core.files import atomic_write
from groundglass.core.imported import imported
from groundglass.core.locks import lock, lock_itself
from groundglass.optics.device import OpticalDevice, is_fingerprint
from groundglass.optics.remote import wire
from groundglass.optics.store import find_device
from groundglass.service.alarms import Response
from groundglass.service.app import Service
from groundglass.service.frames import Frames
from groundglass.service.guard import NaturalBits
from groundglass.service.ledger import Ledger
from groundglass.service.policy import Redraw, Versions
from groundglass.service.watch import Watch


@contextmanager
def opened(
    sources: Mapping[str, str],
    state: Path,
    *,
    rate: float | None = 2000.0,
    policy: Redraw | None = None,
    guard: Path | None = None,
    response: Response = "alarm",
) -> Iterator[Service]:
    """The service of some devices; nobody else serves them, or uses the state folder, while it is open.

    Args:
        sources: by the names that clients use: a device file, that of a moving or drifting device in a `DeviceStore`, or
            "package.module:factory" or "file.py:factory" for a device that a function without arguments makes, such as a
            `LightOnOPU`.
        state: the folder of tokens, counts, and matrices that are drawn later; made for its owner alone.
        rate: frames a second of each device; None: as many as it can.
        policy: when simulated devices are drawn again. Others have none.
        guard: the file of a `NaturalBits`, which looks at the bits of each device by itself.
        response: what follows from what it finds.

    Raises:
        ValueError: a name that cannot be one; what a factory makes is no device; the same device twice; a guard of another width;
            see `Versions`.
        HeldError: another service has the state folder, or one of the device files.
        OSError, DamagedFileError: of files.
    """
    with ExitStack() as stack:
        ledger = stack.enter_context(Ledger(state))
        service = Service(ledger)
        stack.callback(service.close)
        found: dict[str, str] = {}
        for name, source in sources.items():
            if not wire.is_name(name):
                raise ValueError(
                    f"{name!r:.80} cannot be the name of a device: give 1 to 64 letters, digits, dots, hyphens or underscores"
                )
            device = _made(source, stack)
            if (other := found.setdefault(device.fingerprint, name)) != name:
                raise ValueError(f"{other} and {name} are the same device ({device.fingerprint}): give it one name")
            taken = sum(usage.frames for usage in ledger.usage() if usage.device == name)
            own = policy if _is_file(source) else None
            versions = Versions(name, device, state / "devices" / name, policy=own, frames=taken, now=ledger.clock.now)
            watch = None if guard is None else Watch(_looking(guard, name, device.in_features), response)
            service.devices[name] = Frames(versions, ledger, rate=rate, watch=watch)
        yield service


def _looking(path: Path, name: str, in_features: int) -> NaturalBits:
    guard = NaturalBits.load(path)
    if guard.in_features != in_features:
        raise ValueError(
            f"the guard in {path} is of {guard.in_features} bits, and {name} has {in_features}: fit one of its own"
        )
    return guard


def _is_file(source: str) -> bool:
    return ":" not in source or Path(source).exists()


def _made(source: str, stack: ExitStack) -> OpticalDevice:
    if not _is_file(source):
        device: Any = imported("factory", source)()
        if not isinstance(device, OpticalDevice) or not is_fingerprint(device.fingerprint):
            raise ValueError(
                f"{source} makes a {type(device).__name__}, which is no optical device: LightOnOPU.calibrate(opu, ...) makes one "
                "of an object with LightOn's `transform`"
            )
        return device
    path = Path(source).resolve()
    if path.is_file():
        _hold(path, stack)
    return find_device(path, None)


def _hold(path: Path, stack: ExitStack) -> None:
    """Lock a device file. Beside it stands who has it, where that can be written: a credential, as systemd and Docker give them,
    lies where nothing can. The file itself is the same one by whatever name, where files can be locked."""
    what, beside = f"serving {path.name}", path.with_name(f".{path.name}.serving")
    try:
        # For its owner alone: whoever can open a file can lock it.
        with suppress(FileExistsError), atomic_write(beside, private=True, new=True):
            pass
        stack.enter_context(lock(beside, what=what))
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES):
            raise
    try:
        stack.enter_context(lock_itself(path, what=what))
    except OSError as error:
        if error.errno != errno.EBADF:  # NFS locks only what is open for writing
            raise
