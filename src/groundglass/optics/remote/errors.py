"""What a device service answers when it does not measure, as errors that say what to do. Server and client share them."""

from typing import Any, ClassVar

from groundglass.core import BudgetExceededError


class DeviceServiceError(RuntimeError):
    """Base of what a service refuses, and of what goes wrong on the way to it.

    Attributes:
        code: its name on the wire.
        status: of HTTP.
        details: numbers and names that go with it; never a token or a secret.
        retry_after: seconds after which the same request may succeed; None: it will not by waiting.
    """

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500

    def __init__(self, message: str, *, retry_after: float | None = None, **details: Any) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.details = details


class TokenRefusedError(DeviceServiceError, PermissionError):
    """No token, an unknown one, or one that was revoked: the answer is the same for all three."""

    code, status = "token-refused", 401


class TokenExpiredError(TokenRefusedError):
    """The token was right, and its time is over."""

    code, status = "token-expired", 401


class RoleRefusedError(DeviceServiceError, PermissionError):
    """The token is good, and not for this: another device, or a role that it does not have."""

    code, status = "role-refused", 403


class NoSuchDeviceError(DeviceServiceError, LookupError):
    """The service has no device of this name that this token may see."""

    code, status = "no-such-device", 404


class FrameBudgetError(DeviceServiceError, BudgetExceededError):
    """More frames than the token's budget has left, in all, today, or in this second; none was taken."""

    code, status = "frame-budget", 429


def check_frames(needed: int, left: int | None, what: str) -> None:
    """Refuse what takes more frames than a budget has left; None: it is not known.

    Raises:
        FrameBudgetError: says how many there are.
    """
    if left is not None and needed > left:
        raise FrameBudgetError(
            f"{what} takes about {needed:,} frames of the device, and the token's budget has {left:,} left: ask the operator "
            "of the device for more, or take fewer images or a smaller recipe",
            needed=needed,
            left=left,
        )


class TooFastError(DeviceServiceError):
    """The queue of this client is full: wait `retry_after` seconds. None of the frames was taken."""

    code, status = "too-fast", 429


class GuardedError(DeviceServiceError, PermissionError):
    """The guard took what this client sends for a retrieval of the matrix, and the client is held back or shut out."""

    code, status = "guarded", 403


class MatrixRedrawnError(DeviceServiceError):
    """The device has another matrix than the client was made for: its readings would be noise to a network.

    Attributes:
        old, new: fingerprints of the matrix that was asked for and of the one that is there now.
    """

    code, status = "matrix-redrawn", 409

    def __init__(self, message: str, *, retry_after: float | None = None, **details: Any) -> None:
        super().__init__(message, retry_after=retry_after, **details)
        self.old: str = str(details.get("old", ""))
        self.new: str = str(details.get("new", ""))


class CannotRedrawError(DeviceServiceError):
    """No other matrix can be drawn: that of a real device is changed by hand. The one that is there goes on answering."""

    code, status = "cannot-redraw", 409


class WrongInputsError(DeviceServiceError, ValueError):
    """Bits of another width than the device's, or a body that is no rows of bits; no frame was taken."""

    code, status = "wrong-inputs", 422


class TooLargeError(DeviceServiceError, ValueError):
    """A body above what the service takes at once; it was not read, and no frame was taken."""

    code, status = "too-large", 413


class IncompleteBodyError(DeviceServiceError):
    """The body ended early, or came too slowly; no frame was taken."""

    code, status = "incomplete-body", 400


class ServiceFullError(DeviceServiceError, OSError):
    """The service cannot write down what it would measure: its disk is full, so it measures nothing."""

    code, status = "service-full", 507


class DeviceGoneError(DeviceServiceError, ConnectionError):
    """Nobody answers, the connection broke, or the apparatus behind the service is gone."""

    code, status = "device-gone", 503


#: By their names on the wire.
ERRORS: dict[str, type[DeviceServiceError]] = {
    error.code: error
    for error in (
        DeviceServiceError,
        TokenRefusedError,
        TokenExpiredError,
        RoleRefusedError,
        NoSuchDeviceError,
        FrameBudgetError,
        TooFastError,
        GuardedError,
        MatrixRedrawnError,
        CannotRedrawError,
        WrongInputsError,
        TooLargeError,
        IncompleteBodyError,
        ServiceFullError,
        DeviceGoneError,
    )
}
