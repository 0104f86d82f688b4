"""`groundglass device top`: how a device service stands, on the terminal."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from groundglass.cli.options import Command
from groundglass.cli.remote import CaFile, TokenFile
from groundglass.cli.terminal import Screen, Shown, say, say_table
from groundglass.core.settings import Positive, fit

if TYPE_CHECKING:
    from groundglass.service.status import ClientStatus, Status

# Seconds until a service that does not answer is given up, and rows of alarms.
_PATIENCE, _ALARMS = 10.0, 8


@dataclass(frozen=True)
class Top(Command):
    """Show who is at the devices of a service: frames and what budgets have left, the queue, the age of the matrix, alarms. It
    goes on until q or Ctrl-C. The token needs the role administer."""

    address: tyro.conf.Positional[str]
    """https://HOST:PORT, or unix:///PATH/TO/SOCKET of this machine; the address of a device does as well."""
    token_file: TokenFile = None
    ca_file: CaFile = None
    every: Annotated[float, tyro.conf.arg(help="Seconds from one look to the next.")] = 2.0
    once: bool = False
    """Print it once, and end. So it does where the output is no terminal."""

    def run(self) -> None:
        from groundglass.optics.remote.connection import TOKEN, Address, Connections, Token
        from groundglass.optics.remote.errors import DeviceGoneError
        from groundglass.service.asked import ask_status

        every = fit(Positive, self.every, "--every")
        address = Address.of_service(self.address)
        token = Token.found(Token(None), self.token_file)
        if token is None:
            raise ValueError(f"give the token of an operator: in a file, --token-file FILE, or as ${TOKEN}")
        connections = Connections(address, token, None if self.ca_file is None else Path(self.ca_file), _PATIENCE)
        where = str(address)
        status = ask_status(connections, where)
        if self.once or not sys.stdout.isatty():
            say(_head(where, status))
            for table in _tables(status):
                say_table(table.title, table.columns, table.rows, uncut=table.uncut)
            return
        said = ""
        with Screen() as screen:
            while True:
                screen.show(f"{_head(where, status)}   q ends{said}", _tables(status))
                if screen.key(every) == "q":
                    return
                try:
                    status, said = ask_status(connections, where), ""
                except DeviceGoneError as error:  # it may come back
                    said = f"\nThese figures are old: {error}"


def _head(where: str, status: "Status") -> str:
    from groundglass.core.text import duration

    late = f"; the system's clock there is {duration(status.ahead)} behind: set it right" if status.ahead > 60 else ""
    ends = ", ".join(f"{count:,} {code}" for code, count in sorted(status.ends.items()))
    return f"{where}: up {duration(status.up)}, {_moment(status.now)} UTC{late}; requests: {ends or 'none'}"


def _tables(status: "Status") -> Iterator[Shown]:
    from groundglass.core.text import duration

    columns: tuple[str, ...] = (
        "device",
        "fingerprint",
        "drawn",
        "frames since",
        "waiting",
        "a second",
        "guard",
        "alarms",
        "state",
    )
    devices = [
        (
            *(one.name, one.fingerprint[:12], f"{duration(one.age)} ago", f"{one.frames:,}"),
            f"{one.rows:,} rows" if one.rows else "",
            "" if one.rate is None else f"{one.rate:,g}",
            *(one.guard or "", f"{one.alarms:,}" if one.guard else "", "measures" if one.alive else "ended"),
        )
        for one in status.devices
    ]
    yield Shown("devices", columns, devices, uncut=1)
    if status.alarms:
        columns = ("when", "client", "device", "seen by", "score", "limit", "frames", "response")
        alarms = [
            (
                *(_moment(one.at), one.client or "all together", one.device, one.name),
                *(f"{one.score:.3g}", f"{one.limit:.3g}", f"{one.frames:,}", one.response),
            )
            for one in status.alarms[:_ALARMS]
        ]
        yield Shown("the latest alarms", columns, alarms)
    columns = ("client", "device", "frames", "today", "last minute", "left in all", "left today", "token")
    busy = sorted(status.clients, key=lambda one: -sum(used.last_minute for used in one.used))
    yield Shown("clients, the busiest first", columns, [row for one in busy for row in _rows(one)], uncut=1)


def _rows(client: "ClientStatus") -> Iterator[tuple[str, ...]]:
    from groundglass.service.alarms import HELD

    left = client.left.frames, client.left.frames_a_day
    budgets = tuple("" if one is None or client.ended else f"{one:,}" for one in left)
    seen = {used.device: (f"{used.frames:,}", f"{used.today:,}", f"{used.last_minute:,}") for used in client.used}
    for device in [*seen, *(name for name in client.held if name not in seen)] or [""]:
        state = HELD[client.held[device]] if device in client.held else client.ended or "good"
        yield (client.name, device, *seen.get(device, ("0", "0", "0")), *budgets, state)


def _moment(at: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")
