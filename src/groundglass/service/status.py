"""How the service stands: what its page, its metrics and `groundglass device top` show. No secret, no token and no place of a
file is in it."""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from groundglass.core.settings import Count, NotNegative, Positive, Settings, Tally
from groundglass.optics.remote.errors import ERRORS
from groundglass.service.alarms import Alarm, Response
from groundglass.service.durations import Spread
from groundglass.service.frames import Frames
from groundglass.service.ledger import Ledger, Usage
from groundglass.service.tokens import Budgets, Client, Role

# Alarms that are shown.
_ALARMS = 50
#: How requests end; any other way is "failed".
ENDS = frozenset({"ok", "client-left", "slow-reader", "asked-again", "failed", *ERRORS})


@dataclass(frozen=True, kw_only=True)
class DeviceStatus(Settings):
    """A served device.

    Attributes:
        alive: it measures.
        public: its seed was given: others may know it.
        age: seconds since its matrix was drawn.
        frames: of this matrix.
        frames_left, seconds_left: until the policy draws another; None: it does not.
        can_redraw: another can be drawn.
        redraws, measured, alarms: matrices drawn, frames, and what its guard has found, since the service started.
        overlap: seconds for which an old matrix goes on answering.
        old: those that do, by fingerprint, and for how many seconds still.
        rate: the most frames a second; None: as many as it can.
        requests, rows: that wait or are being measured.
        guard: what follows from what it finds; None: there is no guard.
        seconds: of "count", to have frames on the disk, and of "measure": of shared measurements since the service started.
    """

    name: str
    kind: str
    in_features: Count
    out_features: Count
    alive: bool
    public: bool
    fingerprint: str
    age: NotNegative
    frames: Tally
    frames_left: Tally | None
    seconds_left: NotNegative | None
    can_redraw: bool
    redraws: Tally
    measured: Tally
    alarms: Tally
    overlap: NotNegative
    old: Mapping[str, float]
    rate: Positive | None
    requests: Tally
    rows: Tally
    guard: Response | None
    seconds: Mapping[str, Spread]


@dataclass(frozen=True)
class Used(Settings):
    """Frames that a client has had of a device."""

    device: str
    frames: Tally
    today: Tally
    last_minute: Tally


@dataclass(frozen=True, kw_only=True)
class ClientStatus(Settings):
    """A token.

    Attributes:
        ended: "revoked", "expired", or "" while it is good.
        limits, left: its budgets, and what they have left.
        held: by device, how a guard's finding holds it back.
    """

    name: str
    id: str
    roles: tuple[Role, ...]
    devices: tuple[str, ...]
    expires: NotNegative | None
    ended: str
    limits: Budgets
    left: Budgets
    held: Mapping[str, str]
    used: tuple[Used, ...]


@dataclass(frozen=True, kw_only=True)
class Status(Settings):
    """Of the whole service, as far as a token may see it.

    Attributes:
        now: the service's time, seconds since 1970.
        ahead: seconds that it is ahead of the system's clock; above a few, that one was set back.
        up: seconds since the service started.
        clients: those with frames, or with a token that is good.
        alarms: the latest, newest first.
        ends: how many requests have ended how, by the codes of errors or "ok", since the service started.
    """

    now: NotNegative
    ahead: NotNegative
    up: NotNegative
    devices: tuple[DeviceStatus, ...]
    clients: tuple[ClientStatus, ...]
    alarms: tuple[Alarm, ...]
    ends: Mapping[str, int] = field(default_factory=dict)


class Overview:
    """Makes a `Status`.

    Args:
        devices: those that are served, by name; what is added later is seen.
    """

    def __init__(self, ledger: Ledger, devices: Mapping[str, Frames]) -> None:
        self._ledger, self._devices = ledger, devices
        self._ends: Counter[str] = Counter()
        self._began = time.monotonic()

    def ended(self, code: str) -> None:
        """A request has. For one thread."""
        self._ends[code if code in ENDS else "failed"] += 1

    def of(self, viewer: Client) -> Status:
        """What the token of an operator may see: its devices, who uses them, what was found there."""
        devices = tuple(_device(frames) for name, frames in list(self._devices.items()) if viewer.sees(name))
        usage: dict[str, list[Usage]] = {}
        for one in self._ledger.usage():
            if viewer.sees(one.device):
                usage.setdefault(one.client.id, []).append(one)
        held: dict[str, dict[str, str]] = {}
        for (id, name), response in self._ledger.alarms.held().items():
            if viewer.sees(name):
                held.setdefault(id, {})[name] = response
        now = self._ledger.clock.now()
        clients = (
            self._client(client, usage.get(client.id, ()), held.get(client.id, {}), now)
            for client in self._ledger.tokens.all()
            if client.id in usage or any(client.sees(device.name) for device in devices)
        )
        return Status(
            now=now,
            ahead=self._ledger.clock.ahead,
            up=time.monotonic() - self._began,
            devices=devices,
            clients=tuple(one for one in clients if not one.ended or one.used),
            alarms=tuple(one for one in self._ledger.alarms.latest(_ALARMS) if viewer.sees(one.device)),
            ends=dict(self._ends),
        )

    def _client(
        self, client: Client, usage: "tuple[Usage, ...] | list[Usage]", held: dict[str, str], now: float
    ) -> ClientStatus:
        over = client.expires is not None and client.expires <= now
        return ClientStatus(
            name=client.name,
            id=client.id,
            roles=client.roles,
            devices=client.devices,
            expires=client.expires,
            ended="revoked" if client.revoked is not None else "expired" if over else "",
            limits=client.budgets,
            left=self._ledger.left(client),
            held=held,
            used=tuple(Used(one.device, one.frames, one.today, one.last_minute) for one in usage),
        )


def _device(frames: Frames) -> DeviceStatus:
    versions = frames.versions
    facts, (requests, rows) = versions.facts(), frames.waiting()
    return DeviceStatus(
        name=versions.name,
        kind=facts["kind"],
        in_features=versions.in_features,
        out_features=versions.out_features,
        alive=frames.alive,
        public=facts["public"],
        fingerprint=facts["fingerprint"],
        age=facts["age"],
        frames=versions.frames,
        frames_left=versions.frames_left,
        seconds_left=versions.until_due(),
        can_redraw=versions.can_redraw,
        redraws=versions.redraws,
        measured=frames.frames,
        alarms=frames.alarms,
        overlap=versions.policy.overlap,
        old=versions.old(),
        rate=frames.rate,
        requests=requests,
        rows=rows,
        guard=None if frames.watch is None else frames.watch.response,
        seconds={name: one.spread() for name, one in frames.seconds.items()},
    )
