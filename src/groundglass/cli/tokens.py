"""`groundglass device token`: who may use the devices of a service. A token is shown once, when it is made."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from groundglass.cli.options import Command, count_of
from groundglass.cli.terminal import complain, say, say_table
from groundglass.core.sealed import without_locals
from groundglass.service.tokens import Role

if TYPE_CHECKING:
    from groundglass.service.database import Database
    from groundglass.service.tokens import Budgets, Client

State = Annotated[Path, tyro.conf.arg(help="The folder that the service keeps its state in.")]
_SECONDS = {"min": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_FRAMES = {"frames": "--frames", "frames_a_day": "--frames-a-day", "frames_a_second": "--frames-a-second"}


@dataclass(frozen=True)
class New(Command):
    """Make a token, and print it: that is the only time it can be seen. A running service knows it at once."""

    name: tyro.conf.Positional[str]
    """Whose it is, for lists and logs: letters, digits, dots, dashes, underscores."""
    state: State
    role: tuple[Role, ...] = ("measure",)
    """What it is good for, one or more. measure: readings. calibrate: readings at an exposure of one's own. redraw: another
    matrix. administer: the operator's page and metrics. No role contains another."""
    devices: tuple[str, ...] = ("*",)
    """Names of the devices that it is for. Default: every device."""
    frames: str = "none"
    """The most frames in all: 1000000, 1_000_000 or 1e6; none is no limit."""
    frames_a_day: str = "none"
    """The most in a day of UTC."""
    frames_a_second: str = "none"
    """The most in a second."""
    expires: str = "90d"
    """After 45min, 12h, 30d or 8w; or the day of UTC at whose beginning it ends, 2030-01-31; or never."""
    out: Path | None = None
    """Write it into this file, readable by you alone, instead of printing it; not an existing one."""

    @without_locals
    def run(self) -> None:
        from groundglass.core import atomic_write, check_writable, refuse_existing
        from groundglass.service.tokens import Tokens

        budgets = _budgets(self)
        if self.out is not None:  # before there is a token, which would be lost
            refuse_existing(self.out)
            check_writable(self.out.parent)
        begun = not self.state.exists()
        with _opened(self.state, create=True) as database:
            if begun:
                complain(f"{self.state} was not there: a new state folder, for a service that is not running yet")
            tokens = Tokens(database)
            client, token = tokens.new(
                self.name,
                roles=self.role,
                devices=self.devices,
                budgets=budgets,
                expires=_moment(self.expires, database.clock.now()),
            )
            if self.out is None:
                say(token)
                return
            try:
                with atomic_write(self.out, "w", private=True, new=True) as file:
                    file.write(f"{token}\n")
            except BaseException:
                tokens.revoke(client.id)
                raise
            say(str(self.out))


@dataclass(frozen=True)
class List(Command):
    """The tokens of a service: what they are good for, and how much of it was used. No token can be seen again."""

    state: State

    def run(self) -> None:
        from groundglass.service.alarms import HELD, Alarms
        from groundglass.service.clock import day_of
        from groundglass.service.counts import Count, read_counts
        from groundglass.service.tokens import Tokens

        with _opened(self.state) as database:
            clients, counts, now = Tokens(database).all(), read_counts(database), database.clock.now()
            ahead, held = database.clock.ahead, Alarms(database).held()
        used: dict[str, list[Count]] = {}
        for (id, _), count in counts.items():
            used.setdefault(id, []).append(count)
        rows = []
        for client in clients:
            own, limits = used.get(client.id, []), client.budgets
            rows.append(
                (
                    *(client.name, client.id, " ".join(client.roles), " ".join(client.devices)),
                    _of(sum(count.frames for count in own), limits.frames),
                    _of(sum(count.on(day_of(now)) for count in own), limits.frames_a_day),
                    "" if limits.frames_a_second is None else f"{limits.frames_a_second:,}",
                    _ends(client, now),
                )
            )
        columns = ("name", "id", "roles", "devices", "frames", "today", "a second", "expires")
        say_table(f"tokens of {self.state}", columns, rows, uncut=2)
        names = {client.id: client.name for client in clients if client.revoked is None}
        for (id, device), response in sorted(held.items()):
            if id in names:
                say(
                    f"{names[id]} is {HELD[response]} at {device}: `groundglass device token set {names[id]} --let-in` ends that"
                )
        if ahead > 60:
            complain(
                f"the system's clock is {ahead:,.0f} s behind the latest time that the service has seen: set it right"
            )


@dataclass(frozen=True)
class Revoke(Command):
    """End a token, for good. A running service refuses its next request; its frames stay in the list."""

    name: tyro.conf.Positional[str]
    """Whose it is; or its id."""
    state: State

    def run(self) -> None:
        from groundglass.service.tokens import Tokens

        with _opened(self.state) as database:
            client = Tokens(database).revoke(self.name)
        say(f"revoked: {client.name} ({client.id})")


@dataclass(frozen=True)
class Set(Command):
    """Change what a token is good for; what is not given stays. A running service knows it at its next request, and lets what
    it has begun come to its end."""

    name: tyro.conf.Positional[str]
    """Whose it is; or its id."""
    state: State
    role: tuple[Role, ...] = ()
    """All of its roles from now on: measure, calibrate, redraw, administer."""
    devices: tuple[str, ...] = ()
    """All of its devices from now on; * is every device."""
    frames: str | None = None
    """The most frames in all, with those that it has had; none is no limit."""
    frames_a_day: str | None = None
    """The most in a day of UTC; none is no limit."""
    frames_a_second: str | None = None
    """The most in a second; none is no limit."""
    expires: str | None = None
    """After 45min, 12h, 30d or 8w from now; or the day of UTC at whose beginning it ends, 2030-01-31; or never."""
    let_in: bool = False
    """Hold it back no more, where a guard has shut it out or slowed it down."""

    def run(self) -> None:
        from groundglass.service.alarms import Alarms
        from groundglass.service.tokens import Tokens

        given: dict[str, Any] = {
            name: value for name, value in (("roles", self.role), ("devices", self.devices)) if value
        }
        limits = {
            name: _frames(option, getattr(self, name))
            for name, option in _FRAMES.items()
            if getattr(self, name) is not None
        }
        if not given and not limits and self.expires is None and not self.let_in:
            raise ValueError("nothing to change: give --role, --devices, --frames, --frames-a-day, ... or --expires")
        with _opened(self.state) as database:
            if self.expires is not None:
                given["expires"] = _moment(self.expires, database.clock.now())
            client = Tokens(database).change(self.name, limits, **given)
            if self.let_in and not Alarms(database).let_in(client.id):
                say(f"{client.name} was held back nowhere")
        say(f"changed: {client.name} ({client.id})")


@dataclass(frozen=True)
class Token(Command):
    """Who may use the devices of a service, and how much: make, list, change and revoke tokens."""

    command: (
        Annotated[New, tyro.conf.subcommand("new")]
        | Annotated[List, tyro.conf.subcommand("list")]
        | Annotated[Revoke, tyro.conf.subcommand("revoke")]
        | Annotated[Set, tyro.conf.subcommand("set")]
    )

    def run(self) -> None:
        return self.command.run()


@contextmanager
def _opened(state: Path, *, create: bool = False) -> Iterator["Database"]:
    from groundglass.service.database import Database

    database = Database(state, create=create)
    try:
        yield database
    finally:
        database.close()


def _budgets(options: New) -> "Budgets":
    from groundglass.service.tokens import Budgets

    return Budgets(**{name: _frames(option, getattr(options, name)) for name, option in _FRAMES.items()})


def _frames(option: str, text: str) -> int | None:
    return None if text == "none" else count_of(option, text)


def _moment(text: str, now: float) -> float | None:
    """Seconds since 1970 of "30d" from now on, or of a date; None for "never".

    Raises:
        ValueError: it is none of them, or has passed.
    """
    if text == "never":
        return None
    if found := re.fullmatch(r"(\d{1,6})(min|h|d|w)", text):
        end = now + int(found[1]) * _SECONDS[found[2]]
    else:
        try:
            end = datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC).timestamp()
        except ValueError:
            raise ValueError(f"`--expires` (={text!r:.60}) must be like 12h, 30d, 8w, 2030-01-31 or never") from None
    if end <= now:
        raise ValueError(f"`--expires` (={text!r:.60}) has passed: give a later time")
    return end


def _of(used: int, limit: int | None) -> str:
    return f"{used:,}" if limit is None else f"{used:,}/{limit:,}"


def _ends(client: "Client", now: float) -> str:
    if client.revoked is not None:
        return f"revoked {_day(client.revoked)}"
    if client.expires is None:
        return "never"
    return f"{'ended ' if client.expires <= now else ''}{_day(client.expires)}"


def _day(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M")
