"""`groundglass run` and `recipes`: what there is to run; run a study, or go on with it."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from groundglass.cli.options import Command, ComputeOn, DataDir, SeedFile, SeedOption, given_seed
from groundglass.cli.remote import CaFile, OpticalDevice, TokenFile, opened
from groundglass.cli.terminal import Terminal, say, say_table

if TYPE_CHECKING:
    from groundglass.studies.engine.executor import Place


@dataclass(frozen=True)
class Run(Command):
    """Run a study: train what it needs, attack it, write records, figures and report.html. The same command continues it."""

    study: tyro.conf.Positional[str]
    """Which study; see `groundglass recipes`."""
    out: Path
    """The run folder. One folder holds one study. With other settings it goes on, as long as they make no network anew."""
    recipe: str | None = None
    """How large; see `groundglass recipes`. Default: that of --config, else quick."""
    config: Path | None = None
    """A TOML file with settings that are not the recipe's; `groundglass recipes show` prints one to begin from."""
    set: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(metavar="NAME=VALUE")] = ()
    """Settings that are neither the recipe's nor those of --config: attack.steps=20, eps_paper+=0.08, eps_l2=[0.25, 0.5]."""
    data: str | None = None
    """cifar10, cifar100, shapes, or your own: an .npz with images (uint8, or floats in [0, 1]) and labels, or a folder with a
    folder of pictures for each class. With [:1000] behind it, the first 1,000 of each split. Default: the recipe's."""
    data_dir: DataDir = None
    seed: int | None = None
    """Of weights, batches and attacks. Default: that of --config, else 0."""
    reuse: tuple[Path, ...] = ()
    """Other run folders: networks that they have trained with the same settings are copied, not trained again. Of a compact copy
    of this study a new folder takes the results: only what it lacks is run."""
    device_seed: SeedOption = None
    """The simulated device's secret, to repeat a study exactly. It makes the devices public: the number is never recorded, but
    that it was given is. Default: a fresh secret from the system."""
    device_seed_file: SeedFile = None
    device_kind: Literal["dense", "procedural", "structured"] | None = None
    """How devices are simulated. Default: the recipe's, dense; procedural is the same device; structured another."""
    optical_device: OpticalDevice = None
    token_file: TokenFile = None
    ca_file: CaFile = None
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of training. auto: the faster one here, by a short measurement; recorded, and kept when the run is continued."""
    jobs: int | None = None
    """How many cells run side by side, each with its share of the cores. Default: one a core as memory allows; one a GPU."""
    threads: int | None = None
    """Of a cell, where several run. It may change the last digit of a result. Default: its share of the cores."""
    device: ComputeOn = "auto"
    executor: Literal["local", "ray"] = "local"
    """Where cells run: in processes of this machine, or on Ray, on as many as you have. See docs/how-to/cluster.md."""
    address: str | None = None
    """Of Ray: local starts it here, auto is the cluster that this machine is in, or HOST:PORT of its head. Default: local."""
    cards: float | None = None
    """Of a cell on Ray with --device cuda: at 0.5 two cells share a card. Default: 1."""

    def run(self) -> None:
        from groundglass.report import build
        from groundglass.studies import run_study

        started, options = time.perf_counter(), dict(vars(self))
        options["device_seed"] = given_seed("--device-seed", self.device_seed, options.pop("device_seed_file"))
        study, options["changes"] = options.pop("study"), options.pop("set")
        options["executor"] = self._place({name: options.pop(name) for name in ("address", "cards")})
        if self.precision == "auto":
            options["precision"] = None
        of_service = {name: options.pop(name) for name in ("token_file", "ca_file")}
        if self.optical_device is not None:
            options["optical_device"] = opened(self.optical_device, **of_service)
        with Terminal(kept=f"in {self.out}") as terminal:
            run_study(study, **options, progress=terminal.progress, listener=terminal)
            terminal.close()
            page = build(self.out)
        if (ran := terminal.cells) == 0:
            say(f"{self.out} is complete: nothing was run again")
        else:
            say(f"done: {ran} cells in {(time.perf_counter() - started) / 60:.1f} minutes")
        say(f"report: {page}")

    def _place(self, options: dict[str, Any]) -> "Place | None":
        given = {name: value for name, value in options.items() if value is not None}
        if self.executor == "ray":
            from groundglass.studies import Ray

            return Ray(jobs=self.jobs, **given)
        if given:
            raise ValueError(f"{' and '.join(f'--{name}' for name in given)} is for --executor ray")
        return None


@dataclass(frozen=True)
class Show(Command):
    """Print a recipe as TOML, complete: a file to change and to give to `groundglass run STUDY --config FILE`."""

    study: tyro.conf.Positional[str]
    """Which study; see `groundglass recipes`."""
    recipe: tyro.conf.Positional[str]
    """Which recipe of it."""
    data: str | None = None
    """The data set that it is for. Default: the recipe's first."""

    def run(self) -> None:
        from groundglass.studies import find_study
        from groundglass.studies.asked import shown

        say(shown(find_study(self.study), self.recipe, data=self.data), end="")


@dataclass(frozen=True)
class List(Command):
    """List the recipes with what they cost."""

    def run(self) -> None:
        from groundglass.studies import ALL, STUDIES

        rows = [
            (study.name, recipe.name, ", ".join(recipe.data), recipe.cost, recipe.expect)
            for study in (ALL, *STUDIES)
            for recipe in study.recipes
        ]
        heads = ("study", "recipe", "data", "cost", "expect")
        say_table("groundglass run STUDY --recipe RECIPE --out DIR", heads, rows, uncut=2)


@dataclass(frozen=True)
class Recipes(Command):
    """List the recipes with what they cost; `show` prints one, to begin from."""

    command: Annotated[List, tyro.conf.subcommand("list")] | Annotated[Show, tyro.conf.subcommand("show")] = List()

    def run(self) -> None:
        self.command.run()
