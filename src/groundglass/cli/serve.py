"""`groundglass device serve`: devices in a process of their own, for clients with tokens."""

import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from groundglass.cli.options import Command, count_of
from groundglass.cli.terminal import say
from groundglass.cli.tokens import State

if TYPE_CHECKING:
    from socket import socket as Socket


@dataclass(frozen=True)
class Serve(Command):
    """Serve devices to clients with tokens (`groundglass device token`), until Ctrl-C or SIGTERM. The matrices stay in this
    process; frames are counted on the disk before they are measured."""

    devices: tyro.conf.Positional[tuple[str, ...]]
    """NAME=FILE.device; or NAME=package.module:factory or NAME=file.py:factory, a function that makes a device, such as a
    LightOnOPU over a real one."""
    state: State
    socket: Path | None = None
    """Serve at this Unix socket, for this user alone."""
    group: str | None = None
    """With --socket: for the users of this group, too."""
    host: str = "127.0.0.1"
    """Or serve at this address; any other than the loopback needs a certificate."""
    port: int | None = None
    """At this port; 0 takes a free one."""
    tls_cert: Path | None = None
    """The certificate, PEM, with those that it is signed with."""
    tls_key: Path | None = None
    """Its private key, PEM."""
    frame_rate: str = "2000"
    """Frames a second of each device, shared by its clients; none for as many as it can."""
    redraw_frames: str = "none"
    """Draw another matrix after so many frames of one: 1000000, 1_000_000 or 1e6."""
    redraw_seconds: float | None = None
    """Draw another matrix after so long."""
    overlap: float = 0.0
    """Seconds for which the matrix before goes on answering clients that name it."""

    guard: Path | None = None
    """The file of a guard (`groundglass device guard`), which looks for inputs that images do not give."""
    guard_response: Literal["alarm", "throttle", "redraw", "refuse"] | None = None
    """What follows when it finds some. alarm: a line in the log. throttle: that client gets ten frames a second. redraw: another
    matrix; a client that causes a second one gets no more frames. refuse: that client gets no more frames. Default: alarm."""

    def run(self) -> None:
        from groundglass.core.hardening import harden_process, swap_step
        from groundglass.core.imported import require
        from groundglass.core.settings import Positive, fit

        require("a device service", "starlette", "uvicorn", "httptools", "prometheus_client", "jinja2")
        from groundglass.service.log import say as log
        from groundglass.service.log import write_lines
        from groundglass.service.open import opened
        from groundglass.service.policy import Redraw
        from groundglass.service.serve import allow_connections, check_certificate, kept_in_place, server

        sources = dict(_named(text) for text in self.devices)
        if not sources or len(sources) < len(self.devices):
            raise ValueError("give at least one NAME=FILE.device, each name once")
        if (self.socket is None) == (self.port is None):
            raise ValueError("give --socket PATH, or --port N: one of them")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("give --tls-cert and --tls-key together")
        if self.guard_response is not None and self.guard is None:
            raise ValueError("--guard-response is for --guard FILE: nobody looks at the bits without one")
        if self.tls_cert is not None and self.socket is not None:
            raise ValueError("--tls-cert is for --port: what goes through a socket of this machine stays on it")
        if self.group is not None and self.socket is None:
            raise ValueError("--group is for --socket: at a port, tokens alone say who may come in")
        policy = Redraw(
            frames=None if self.redraw_frames == "none" else count_of("--redraw-frames", self.redraw_frames),
            seconds=self.redraw_seconds,
            overlap=self.overlap,
        )
        rate = None if self.frame_rate == "none" else fit(Positive, _number(self.frame_rate), "--frame-rate")
        check_certificate(self.tls_cert, self.tls_key)
        listening, where = self._listen()
        with ExitStack() as stack:
            stack.callback(listening.close)
            if self.socket is not None:
                stack.enter_context(kept_in_place(self.socket))
            write_lines()
            allow_connections()
            for line in harden_process().lines():
                log("hardened", step=line)
            with opened(
                sources, self.state, rate=rate, policy=policy, guard=self.guard, response=self.guard_response or "alarm"
            ) as service:
                log("memory", step=swap_step().said)
                running = server(service, cert=self.tls_cert, key=self.tls_key)
                for name, frames in service.devices.items():
                    say(f"{name}: {where}{name}, fingerprint {frames.versions.fingerprint}")
                say(f"ready; tokens: groundglass device token new WHO --state {self.state}")
                sys.stdout.flush()
                running.run(sockets=[listening])

    def _listen(self) -> "tuple[Socket, str]":
        """Where clients come in, and what a device's address begins with."""
        from groundglass.service.serve import listen_at, listen_on

        if self.socket is not None:
            return listen_at(self.socket, group=self.group), f"unix://{self.socket.resolve()}#"
        listening = listen_on(self.host, self.port or 0, tls=self.tls_cert is not None)
        host, port = listening.getsockname()[:2]
        host = f"[{host}]" if ":" in host else host
        return listening, f"http{'' if self.tls_cert is None else 's'}://{host}:{port}/devices/"


def _named(text: str) -> tuple[str, str]:
    name, equals, source = text.partition("=")
    if not equals or not source:
        raise ValueError(f"{text!r:.80} is not NAME=FILE.device: clients use the name, lab=secret.device say")
    return name, source


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"`--frame-rate` (={text!r:.40}) must be frames a second, or none") from None
