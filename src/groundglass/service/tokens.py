"""Who may use the devices, and how much: tokens, of which only a hash is kept."""

import hashlib
import hmac
import re
import secrets
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Annotated, Any, Literal, get_args

from groundglass.core.sealed import without_locals
from groundglass.core.settings import In, NotNegative, Settings
from groundglass.core.text import listed
from groundglass.service.database import Database

Role = Literal["measure", "calibrate", "redraw", "administer"]
ROLES: tuple[Role, ...] = get_args(Role)
#: In the place of a device's name: every device.
EVERY = "*"
Frames = Annotated[int, In("[0, 1e15]")]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TOKEN = re.compile(r"gg_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")
_COLUMNS = "id, name, digest, roles, devices, frames, frames_a_day, frames_a_second, made, expires, revoked"


@dataclass(frozen=True)
class Budgets(Settings):
    """Frames: how many a token may have, or has left. None is no limit.

    Attributes:
        frames: in all.
        frames_a_day: in a day of UTC.
        frames_a_second: in a second of UTC, from one whole second to the next.
    """

    frames: Frames | None = None
    frames_a_day: Frames | None = None
    frames_a_second: Frames | None = None


@dataclass(frozen=True, kw_only=True)
class Client(Settings):
    """Whose token it is and what it is good for; nothing of its secret.

    Attributes:
        id: the public part of the token, by which frames are counted. A new token of the same name has another one.
        name: for people, logs and the page; one that is not revoked has it.
        roles: see `Role`; no role contains another.
        devices: names, or ("*",) for every device.
        made, expires, revoked: seconds since 1970; `expires` None: never.
    """

    id: str
    name: str
    roles: tuple[Role, ...]
    devices: tuple[str, ...]
    budgets: Budgets
    made: NotNegative
    expires: NotNegative | None = None
    revoked: NotNegative | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_name("name", self.name)
        if not self.roles:
            raise ValueError(f"a token needs at least one role: {listed(ROLES, 'or')}")
        if not self.devices:
            raise ValueError(f'a token needs the names of its devices, or "{EVERY}" for every device')
        for device in self.devices:
            if device != EVERY:
                check_name("devices", device)

    def sees(self, device: str) -> bool:
        """Whether the token is for this device."""
        return EVERY in self.devices or device in self.devices


def check_name(what: str, name: str) -> None:
    """Raises ValueError for a name that would need quotes in a shell, a log or an address."""
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"`{what}` (={name!r:.80}) must be 1 to 64 letters, digits, dots, dashes and underscores, a letter or digit first"
        )


class Tokens:
    """The tokens of a service. A server sees what a command has changed at its next request."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # What an unknown token is compared with, so that it costs the same work.
        digest = hashlib.sha256(secrets.token_bytes(32)).digest()
        self._nobody = ("0" * 12, "nobody", digest, "measure", EVERY, None, None, None, 0.0, None, None)

    @without_locals
    def new(
        self,
        name: str,
        *,
        roles: Sequence[Role] = ("measure",),
        devices: Sequence[str] = (EVERY,),
        budgets: Budgets = Budgets(),
        expires: float | None = None,
    ) -> tuple[Client, str]:
        """A token, and what its holder presents: `gg_<id>_<256 random bits>`. That is nowhere kept.

        Args:
            expires: seconds since 1970; None: never.

        Raises:
            ValueError: a bad setting, or the name is taken.
            DiskFullError, OSError: it cannot be kept.
        """
        client = Client(
            id=secrets.token_hex(6),
            name=name,
            roles=tuple(dict.fromkeys(roles)),
            devices=tuple(dict.fromkeys(devices)),
            budgets=budgets,
            made=self._database.clock.now(),
            expires=expires,
        )
        token = f"gg_{client.id}_{secrets.token_urlsafe(32)}"
        with self._database.write() as connection:
            if connection.execute("SELECT 1 FROM tokens WHERE name = ? AND revoked IS NULL", (name,)).fetchone():
                raise ValueError(f"{name} has a token: revoke it first, or give another name")
            _put(connection, client, _digest(token), "INSERT")
        return client, token

    def all(self) -> tuple[Client, ...]:
        """Every token that was made, by name; the revoked ones too."""
        rows = self._database.read(f"SELECT {_COLUMNS} FROM tokens ORDER BY name, made")
        return tuple(self._read(row) for row in rows)

    def revoke(self, name: str) -> Client:
        """End a token, for good; no request is begun with it any more.

        Args:
            name: or its id.
        """
        return self._change(name, {}, revoked=self._database.clock.now())

    def change(self, name: str, limits: Mapping[str, int | None] = MappingProxyType({}), **changes: Any) -> Client:
        """Other budgets, `roles`, `devices` or `expires` for a token; what was counted stays, and what is reserved.

        Args:
            name: or its id.
            limits: fields of `Budgets`; the others stay.
        """
        return self._change(name, limits, **changes)

    def current(self, id: str) -> Client | None:
        """The token of this id, as it is now; None if there is none."""
        rows = self._database.read(f"SELECT {_COLUMNS} FROM tokens WHERE id = ?", (id,))
        return self._read(rows[0]) if rows else None

    @without_locals
    def holder(self, token: str) -> Client | None:
        """Whose token this is; None for one that is unknown, wrong or revoked: the same work for all three. One that has
        expired is still its holder's."""
        found = _TOKEN.fullmatch(token)
        rows = self._database.read(f"SELECT {_COLUMNS} FROM tokens WHERE id = ?", (found[1] if found else "",))
        client, digest = self._read(row := (rows or [self._nobody])[0]), row[2]
        same = hmac.compare_digest(digest, _digest(token))
        return client if same and client.revoked is None else None

    def _read(self, row: tuple[Any, ...]) -> Client:
        try:
            return _client(row)
        except (AttributeError, TypeError, ValueError) as error:
            raise self._database.damaged(f"a token is none: {error}") from error

    def _change(self, name: str, limits: Mapping[str, int | None], **changes: Any) -> Client:
        with self._database.write() as connection:
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM tokens WHERE (name = ? OR id = ?) AND revoked IS NULL", (name, name)
            ).fetchall()
            if not rows:
                raise ValueError(
                    f"no token of {name!r:.80}, or it was revoked: `groundglass device token list` shows them"
                )
            client = self._read(rows[0])
            changed = replace(client, budgets=replace(client.budgets, **limits), **changes)
            _put(connection, changed, rows[0][2], "INSERT OR REPLACE")
        return changed


def _digest(token: str) -> bytes:
    """A token has 256 random bits: nobody finds it by trying, so a fast hash is enough. No more than a token's length is
    looked at."""
    return hashlib.sha256(token[:100].encode(errors="surrogatepass")).digest()


def _put(connection: sqlite3.Connection, client: Client, digest: bytes, how: str) -> None:
    limits = client.budgets
    connection.execute(
        f"{how} INTO tokens ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?)",
        (
            *(client.id, client.name, digest, " ".join(client.roles), " ".join(client.devices)),
            *(limits.frames, limits.frames_a_day, limits.frames_a_second),
            *(client.made, client.expires, client.revoked),
        ),
    )


@lru_cache(maxsize=1000)
def _client(row: tuple[Any, ...]) -> Client:
    """Checked once: it is asked for at every request."""
    if not isinstance(row[2], bytes):
        raise TypeError("its hash is none")
    return Client(
        id=row[0],
        name=row[1],
        roles=row[3].split(" "),
        devices=row[4].split(" "),
        budgets=Budgets(*row[5:8]),
        made=row[8],
        expires=row[9],
        revoked=row[10],
    )
