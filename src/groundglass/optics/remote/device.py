"""An optical device that a service holds, for whoever has a token: the secret is in another process, or on another host."""

import secrets
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from groundglass.core.sealed import Sealed
from groundglass.core.settings import In, fit
from groundglass.optics.camera import Camera
from groundglass.optics.device import Array, alike, as_bits, known_bits
from groundglass.optics.remote import wire
from groundglass.optics.remote.connection import BROKEN, Address, Connections, Token, small
from groundglass.optics.remote.errors import DeviceServiceError, FrameBudgetError, MatrixRedrawnError

# Seconds until a broken connection is tried again: at first, and at most.
_PAUSE, _LONGEST = 0.05, 2.0


class RemoteOPU(Sealed):
    """An `OpticalDevice` at a device service (`groundglass device serve`): its readings are those of the device itself.

    A broken connection, a service that starts again, and a service that says "too fast" are waited out, up to `timeout`. What was
    measured before a connection broke is not measured, and not counted, again. Threads may share it; each measurement is one
    request, or several in order where its readings are many.

    Args:
        address: "https://HOST:PORT/devices/NAME"; of a service on this machine "unix:///PATH/TO/SOCKET#NAME".
        token: says who asks. None: that in `token_file`, else that in the environment's GROUNDGLASS_DEVICE_TOKEN.
        token_file: a file that holds it, for its owner alone.
        ca: a file with certificates that the service's is signed with, if the system does not trust it anyway.
        timeout: seconds without a byte of an answer, waiting included: more where a frame takes longer.

    Attributes:
        token_file: as it was given.
        seconds_left: for which the matrix goes on answering, at its last measurement, after it was redrawn; None: it was not.

    Raises:
        ValueError: no address, or no token.
        FileNotFoundError, PermissionError: no such token file, or others may read it.
        DeviceServiceError: see `groundglass.optics.remote.errors`; the service does not answer, or refuses.
    """

    __slots__ = ("_address", "_connections", "_facts", "_timeout", "seconds_left", "token_file")

    _unpickled = (
        "holds a token and is not pickled: keep its address, and device.fingerprint with the model; "
        "RemoteOPU(address, token=...) is the device again"
    )

    def __init__(
        self,
        address: str,
        *,
        token: str | None = None,
        token_file: Path | str | None = None,
        ca: Path | str | None = None,
        timeout: float = 60.0,
    ) -> None:
        token = Token(token)  # type: ignore[assignment]  # first of all: no traceback shows it
        self._address = Address.of(address)
        self._timeout: float = fit(Annotated[float, In("(0, inf)", "seconds")], timeout, "timeout")
        held = Token.found(token, token_file)  # type: ignore[arg-type]
        self._connections = Connections(self._address, held, None if ca is None else Path(ca), self._timeout)
        self.token_file = None if token_file is None else Path(token_file)
        self.seconds_left: float | None = None
        self._facts = self.facts()

    @property
    def in_features(self) -> int:
        return self._facts.in_features

    @property
    def out_features(self) -> int:
        return self._facts.out_features

    @property
    def fingerprint(self) -> str:
        """Of the matrix that this object was made for, or that `refresh` has accepted: no other one is measured with."""
        return self._facts.fingerprint

    @property
    def mean_reading(self) -> float:
        return self._facts.mean_reading

    @property
    def camera(self) -> Camera | None:
        """None: not known, as that of a real device."""
        return self._facts.seen_by()

    @property
    def public(self) -> bool:
        """Whether its seed was given: see `SimulatedOPU.public`."""
        return self._facts.public

    def __repr__(self) -> str:
        if not hasattr(self, "_facts"):  # half made: a traceback shows it
            return "<RemoteOPU>"
        return (
            f"RemoteOPU({self.in_features} -> {self.out_features}, {self._address}, fingerprint={self.fingerprint}"
            f"{', public seed' if self.public else ''})"
        )

    def close(self) -> None:
        """Close the connections that are at rest. The next question opens another."""
        self._connections.close()

    def facts(self) -> wire.Facts:
        """What the service says of the device now; it may have another matrix than this object was made for."""
        return wire.read_facts(self._small("GET"), str(self._address))

    @property
    def address(self) -> str:
        """Where it is served."""
        return str(self._address)

    @property
    def ca(self) -> Path | None:
        """The file with certificates, as it was given."""
        return self._connections.ca

    @property
    def frames_left(self) -> int | None:
        """Of the token's budget in all, asked for now; None: no limit."""
        return self.facts().budget.get("frames")

    def sign(self, text: bytes) -> str:
        """A signature of a text by the token, hex, which shows nothing of it; empty without one."""
        return self._connections.sign(text)

    def reopened(self) -> "RemoteOPU":
        """The device as it is now: another object, for the matrix that it has now. See `training.Following`."""
        return self._with(self.facts())

    def at(self, fingerprint: str, mean_reading: float, *, check: bool = True) -> "RemoteOPU":
        """The device with this matrix, which it has now or had before: another object.

        Args:
            check: refuse one that is gone; else it refuses to measure.

        Raises:
            MatrixRedrawnError: the matrix is gone, as far as the service says.
        """
        now = self.facts()
        if check and fingerprint != now.fingerprint and now.age >= now.overlap:
            raise MatrixRedrawnError(
                f"{self._address} was redrawn, and has another matrix than the one that was asked for: fit the classifier to the "
                "new one (`groundglass redraw MODEL --optical-device ADDRESS`)",
                old=fingerprint,
                new=now.fingerprint,
            )
        same = fingerprint == now.fingerprint
        return self._with(now if same else replace(now, fingerprint=fingerprint, mean_reading=mean_reading))

    def _with(self, facts: wire.Facts) -> "RemoteOPU":
        other = object.__new__(RemoteOPU)
        other._address, other._connections, other._timeout = self._address, self._connections, self._timeout
        other.token_file, other.seconds_left, other._facts = self.token_file, None, facts
        return other

    def refresh(self) -> str:
        """Accept the matrix that the service has now; returns its fingerprint. A network has to be fitted to it again.

        Raises:
            ValueError: the device has other sizes or another camera now.
            DeviceServiceError: as the class.
        """
        facts = self.facts()
        for name in ("in_features", "out_features", "reading"):
            then, now = getattr(self._facts, name), getattr(facts, name)
            if then != now:
                raise ValueError(f"{self._address} has {name}={now} now, and had {then}: make another RemoteOPU for it")
        self._facts, self.seconds_left = facts, None
        return facts.fingerprint

    def redraw(self) -> str:
        """Have the service draw another matrix, at once: for a token with the role redraw. Returns its fingerprint; this object
        accepts it by `refresh`.

        Raises:
            CannotRedrawError, ServiceFullError: there can be none: the old one stays.
            DeviceServiceError: as the class.
        """
        return wire.read_redrawn(self._small("POST", "/redraw"), str(self._address))

    def measure(self, bits: Array) -> Array:
        """Camera frames of `bits`, [batch, N] of 0 and 1 -> [batch, M], where `bits` lie; as `SimulatedOPU.measure`.

        Raises:
            TypeError, ValueError: as `OpticalDevice.measure`; no frame was taken.
            MatrixRedrawnError: the service has another matrix: fit the network to it again, see `refresh`.
            DeviceServiceError: other refusals, and a service that does not answer.
        """
        return alike(bits, lambda given: self._frames(given, 1.0))

    def measure_at(self, bits: Array, exposure: float) -> Array:
        """As `measure`, with `exposure` times as much light: for a token with the role calibrate."""
        if not 0 < exposure < float("inf"):
            raise ValueError(f"`exposure` (={exposure}) must be above 0: times the device's own")
        return alike(bits, lambda given: self._frames(given, exposure))

    def _frames(self, bits: Tensor, exposure: float) -> Tensor:
        facts = self._facts
        packed = wire.packed(_looked_at(bits, facts.in_features).cpu())
        if len(packed) > facts.rows:
            self._check_budget(len(packed))
        readings = torch.empty(len(packed), facts.out_features, dtype=facts.dtype, device="cpu")
        for start in range(0, len(packed), facts.rows):
            rows = slice(start, start + facts.rows)
            self._measure(facts, packed[rows], exposure, readings[rows])
        return readings.to(bits.device)

    def _check_budget(self, rows: int) -> None:
        """Rows that take several requests are all or nothing, as those of one are; unless others use the token meanwhile."""
        budget = self.facts().budget
        for name, span in (("frames", "in all"), ("frames_a_day", "today")):
            if (left := budget.get(name)) is not None and rows > left:
                raise FrameBudgetError(
                    f"{rows:,} frames are more than this token has left {span}, {left:,}. None was taken; ask for fewer, or "
                    "ask the service's operator for more",
                    budget=name,
                    left=left,
                    rows=rows,
                )

    def _measure(self, facts: wire.Facts, packed: npt.NDArray[np.uint8], exposure: float, into: Tensor) -> None:
        told = {
            wire.FINGERPRINT: facts.fingerprint,
            wire.ROWS: str(len(packed)),
            wire.REQUEST: secrets.token_hex(16),
            "Content-Type": "application/octet-stream",
        }
        if exposure != 1:
            told[wire.EXPOSURE] = repr(float(exposure))
        body, room = packed.data.cast("B"), into.numpy().data.cast("B")

        heard = [time.monotonic()]

        def once() -> None:
            with self._connections.ask("POST", "/measure", body, told) as answer:
                if answer.status != 200:
                    raise wire.read_error(answer.status, small(answer))
                same = answer.getheader(wire.FINGERPRINT) == facts.fingerprint
                if not same or answer.length != len(room) or answer.getheader("Content-Encoding"):
                    raise DeviceServiceError(
                        f"{self._address} answered {answer.length} bytes, not {len(room)} of readings, or with another matrix: "
                        "is there something else at this address now?"
                    )
                done = 0
                while done < len(room):
                    got = answer.readinto(room[done:])
                    if not got:
                        raise ConnectionResetError("the answer broke off")
                    done += got
                    heard[0] = time.monotonic()
                self.seconds_left = wire.read_seconds(answer.getheader(wire.UNTIL))

        self._patiently(once, heard)

    def _small(self, method: str, below: str = "") -> bytes:
        """The answer to a question that is no measurement; asked once."""
        try:
            with self._connections.ask(method, below) as answer:
                text = small(answer)
                if answer.status != 200:
                    raise wire.read_error(answer.status, text)
                return text
        except DeviceServiceError:
            raise
        except BROKEN as error:
            raise self._connections.gone(error) from error

    def _patiently(self, once: Callable[[], None], heard: list[float]) -> None:
        """`once()`, again where waiting helps, until nothing has been heard for so long."""
        pause = 0.0
        while True:
            try:
                return once()
            except DeviceServiceError as error:
                if error.retry_after is None:
                    raise
                wait, last = max(error.retry_after, _PAUSE), error
            except BROKEN as error:
                # The first time without a pause: one that was at rest may have been closed meanwhile.
                wait, last = pause, self._connections.gone(error)
                pause = min(2 * pause, _LONGEST) or _PAUSE
                self._connections.close()
            if time.monotonic() + wait - heard[0] > self._timeout:
                raise last
            time.sleep(wait)


def _looked_at(bits: Tensor, in_features: int) -> Tensor:
    """`as_bits`, without torch's threads where it can be: they would go on spinning on a core that the service needs, and took
    up to 17 ms a batch on a busy machine."""
    if (
        bits.dtype == torch.uint8
        and bits.device.type == "cpu"
        and bits.numel()
        and int(bits.detach().numpy().max()) <= 1
    ):
        with known_bits():
            return as_bits(bits, in_features)
    return as_bits(bits, in_features)
