"""`groundglass plan`: what a study would do, and how long it would take, before anything runs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from groundglass.cli.options import Command, ComputeOn, DataDir
from groundglass.cli.remote import CaFile, OpticalDevice, TokenFile, opened
from groundglass.cli.terminal import say, say_table
from groundglass.core.text import duration, size

# Of the longest chain, the cells that are named.
_NAMED = 6


@dataclass(frozen=True)
class Plan(Command):
    """Print what a study would do, before anything runs: its cells, what they need, what is there, and how long they take."""

    study: tyro.conf.Positional[str]
    """Which study; see `groundglass recipes`."""
    recipe: str | None = None
    """How large; see `groundglass recipes`. Default: that of --config, else quick."""
    out: Path | None = None
    """The run folder: what it has already is not done again."""
    config: Path | None = None
    """A TOML file with settings, as for `groundglass run`."""
    set: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(metavar="NAME=VALUE")] = ()
    """Settings that are neither the recipe's nor those of --config, as for `groundglass run`."""
    data: str | None = None
    """The images, as for `groundglass run`. Default: the recipe's."""
    data_dir: DataDir = None
    seed: int | None = None
    """Of weights, batches and attacks. Default: that of --config, else 0."""
    device_kind: Literal["dense", "procedural", "structured"] | None = None
    """How devices are simulated. Default: the recipe's."""
    optical_device: OpticalDevice = None
    token_file: TokenFile = None
    ca_file: CaFile = None
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of training. auto: that of --out, else the faster one here."""
    executor: Literal["local", "ray"] = "local"
    """Where cells would run: in processes of this machine, or on a Ray cluster."""
    jobs: int | None = None
    """How many cells side by side, on all computers together. Default: as many as fit."""
    nodes: int = 1
    """Computers like this one, for Ray."""
    like: Path | None = None
    """A run folder, or a compact copy of one: its cells say how long they and their like take."""
    device: ComputeOn = "auto"

    def run(self) -> None:
        from groundglass.results.manifest import unasked
        from groundglass.studies.engine.estimate import OF_A_CELL, OF_A_RUN
        from groundglass.studies.engine.forecast import forecast

        options = dict(vars(self))
        study, options["changes"] = options.pop("study"), options.pop("set")
        if self.precision == "auto":
            options["precision"] = None
        of_service = {name: options.pop(name) for name in ("token_file", "ca_file")}
        if self.optical_device is not None:
            options["optical_device"] = opened(self.optical_device, **of_service)
        found = forecast(study, **options)
        total, left = len(found.plan.units), len(found.left)
        rows = [
            (
                one.kind,
                str(one.cells),
                str(one.there),
                duration(one.seconds) if one.seconds else "",
                duration(one.longest) if one.longest else "",
                size(one.memory) if one.memory else "",
                "yes" if one.alone else "",
            )
            for one in found.kinds
        ]
        threads = "1 thread" if found.threads == 1 else f"{found.threads} threads"
        say_table(
            f"{found.study}, recipe {found.recipe}, {found.data}: {total} cells, {total - left} of them there",
            ("kind", "cells", "there", "time left", "the longest", "memory of one", "alone"),
            rows,
            uncut=1,
        )
        if found.left_out:
            say(f"not asked of this device: {unasked((one.kind, one.why) for one in found.left_out)}")
        if not left:
            say("nothing is left to do")
            return
        if found.frames is not None:
            budget = "" if found.frames_left is None else f"; the token's budget has {found.frames_left:,} left"
            say(f"frames of the device: about {found.frames:,}{budget}")
        chain = found.chain
        names = ", ".join(f"{name} ({duration(seconds)})" for name, seconds in chain[:_NAMED])
        more = f", and {len(chain) - _NAMED} more" if len(chain) > _NAMED else ""
        say(
            f"left: {duration(found.seconds * found.threads)} of core time, {threads} a cell",
            f"the longest chain, which no number of workers shortens: {duration(sum(s for _, s in chain))}: {names}{more}",
        )
        where = "" if found.nodes == 1 else f" on {found.nodes} computers"
        walls = [(workers, *found.wall(workers)) for workers in found.workers]
        say_table(
            f"time until all is done{where}",
            ("workers", "time", "times the least possible"),
            [(str(workers), duration(wall), f"{wall / least:.2f}") for workers, wall, least in walls],
        )
        if any(one.alone for one in found.kinds):
            say(
                "cells that are alone measure time: they come last, each on a computer that does nothing else meanwhile"
            )
        source = "at the speed of this machine" if self.like is None else f"after {self.like}"
        say(
            f"these are estimates, {source}: within a factor of {OF_A_CELL:g} for nine cells of ten, and of {OF_A_RUN:g} for a "
            "whole run, as benchmarks/estimates.py found on committed runs whose machine's speed was known. Other work on the "
            "machine comes on top"
        )
