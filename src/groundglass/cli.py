"""The command line. Torch is imported only when there is something to compute, so that `--help` is quick."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from groundglass.cli_device import Device, run_device
from groundglass.cli_results import Compact, Report, Tables, run_compact, run_report, run_tables
from groundglass.cli_retrieve import Retrieve, run_retrieve

_DATA_DIR_HELP = (
    "Folder with cifar-10-batches-bin or cifar-100-binary. Default: $GROUNDGLASS_DATA, then the user's cache."
)


@dataclass(frozen=True)
class Run:
    """Run a study: train what it needs, attack it, write records, figures and report.html. The same command continues it."""

    study: tyro.conf.Positional[str]
    """Which study; see `groundglass recipes`."""
    out: Path
    """The run folder. One folder holds one study."""
    recipe: str = "quick"
    """How large; see `groundglass recipes`."""
    data: str | None = None
    """cifar10, cifar100 or shapes. Default: the recipe's."""
    data_dir: Annotated[Path | None, tyro.conf.arg(help=_DATA_DIR_HELP)] = None
    seed: int = 0
    """Of weights, batches and attacks."""
    reuse: tuple[Path, ...] = ()
    """Other run folders: networks that they have trained with the same settings are copied, not trained again."""
    device_seed: int | None = None
    """The simulated device's secret, to repeat a study exactly; never recorded. Default: a fresh secret from the system."""
    device_kind: Literal["dense", "procedural", "structured"] | None = None
    """How devices are simulated. Default: the recipe's, dense; procedural is the same device; structured another."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of training. auto: the faster one here, by a short measurement; recorded, and kept when the run is continued."""
    jobs: int | None = None
    """How many cells run side by side, each with its share of the cores. Default: one a core as memory allows; with a GPU 1."""


@dataclass(frozen=True)
class Seeds:
    """Mean and spread of every figure over run folders that differ in their seed alone, as a Markdown table."""

    folders: tyro.conf.Positional[tuple[Path, ...]]
    """At least two run folders of one study, recipe and data set."""


@dataclass(frozen=True)
class Redraw:
    """Give a trained network a new secret matrix, and fit its classifier to it; the old model and device stay."""

    model: tyro.conf.Positional[Path]
    """A model file with an optical layer, as a study leaves it in models/."""
    out: Path
    """The new model file; not an existing one."""
    data: str
    """The data set that the model was trained with: cifar10, cifar100 or shapes."""
    device_dir: Path | None = None
    """Folder of the model's device file; the new device's goes there too. Default: devices/ beside the model's folder."""
    data_dir: Annotated[Path | None, tyro.conf.arg(help=_DATA_DIR_HELP)] = None
    seed: int = 0
    """Of the order of images."""
    device_seed: int | None = None
    """The new device's secret, to repeat a redraw exactly; never recorded. Default: a fresh secret from the system."""


@dataclass(frozen=True)
class Audit:
    """Can a robustness figure be believed? The checks of the field, and the worst case over all attacks, image by image."""

    model: tyro.conf.Positional[str]
    """A model file of a study (models/*.safetensors), or package.module:factory, a function that makes a torch module: images in
    [0, 1] -> logits."""
    out: Path
    """Folder for the record and report.html; a new one, or one of the same audit."""
    data: str
    """cifar10, cifar100, shapes, or an .npz file with images (uint8, or floats in [0, 1]; n, c, h, w) and labels."""
    weights: Path | None = None
    """A factory's weights: a state_dict, .safetensors or of torch.save."""
    norm: Literal["linf", "l2"] = "linf"
    eps: str = "8/255"
    """The radius, pixel units."""
    claimed: float | None = None
    """A robust accuracy that somebody states, in [0, 1]: is it borne out?"""
    images: int = 500
    """The first so many of the test set."""
    matrix: Path | None = None
    """A retrieved matrix of the network's device (matrix.npy of `groundglass retrieve`)."""
    device_dir: Path | None = None
    """Folder of the model's device file. Default: devices/ beside the model's folder."""
    data_dir: Annotated[Path | None, tyro.conf.arg(help=_DATA_DIR_HELP)] = None
    steps: int = 50
    """Of PGD and APGD."""
    queries: int = 1000
    """An image, of the attacks that only ask."""
    seed: int = 0


@dataclass(frozen=True)
class Recipes:
    """List the recipes with what they cost."""


def _run(command: Run) -> int:
    from groundglass.old_report import build
    from groundglass.studies import run_study
    from groundglass.terminal import Terminal

    started = time.perf_counter()
    with Terminal(kept=f"in {command.out}") as terminal:
        ran = run_study(
            command.study,
            command.recipe,
            command.out,
            data=command.data,
            seed=command.seed,
            device_seed=command.device_seed,
            device_kind=command.device_kind,
            data_dir=command.data_dir,
            precision=None if command.precision == "auto" else command.precision,
            reuse=command.reuse,
            jobs=command.jobs,
            progress=terminal.progress,
            listener=terminal,
        )
        terminal.close()
        page = build(command.out)
    if ran == 0:
        print(f"{command.out} is complete: nothing was run again")
    else:
        print(f"done: {ran} cells in {(time.perf_counter() - started) / 60:.1f} minutes")
    print(f"report: {page}")
    return 0


def _seeds(command: Seeds) -> int:
    from groundglass.results.seeds import over_seeds, table

    print(table(over_seeds(command.folders), len(command.folders)))
    return 0


def _redraw(command: Redraw) -> int:
    from groundglass.studies.redraw_model import redraw_model
    from groundglass.terminal import Terminal

    with Terminal() as terminal:
        done = redraw_model(
            command.model,
            command.out,
            data=command.data,
            device_dir=command.device_dir,
            data_dir=command.data_dir,
            seed=command.seed,
            device_seed=command.device_seed,
            progress=terminal.progress,
        )
    print(f"accuracy on {done.test_images} test images:")
    print(f"  {done.before:7.2%}  before, device {done.old_fingerprint}")
    print(f"  {done.untuned:7.2%}  redrawn, classifier not tuned")
    print(f"  {done.tuned:7.2%}  redrawn and tuned on {done.train_images} training images, device {done.fingerprint}")
    features = "read from the cache" if done.features_cached else "kept beside the model for the next redraw"
    print(f"seconds: {done.draw_seconds:.1f} drawing, {done.tune_seconds:.1f} tuning, ", end="")
    print(f"{done.feature_seconds:.1f} features ({features})")
    print(f"device: {done.device} (holds the secret; without it the model guesses)")
    print(f"model: {done.model}")
    return 0


def _audit(command: Audit) -> int:
    from groundglass.audit import AuditConfig
    from groundglass.old_report import build
    from groundglass.studies.audit_model import audit_model
    from groundglass.terminal import Terminal

    with Terminal() as terminal:
        found = audit_model(
            command.model,
            command.out,
            data=command.data,
            weights=command.weights,
            device_dir=command.device_dir,
            data_dir=command.data_dir,
            matrix=command.matrix,
            norm=command.norm,
            eps=command.eps,
            claimed=command.claimed,
            images=command.images,
            config=AuditConfig(steps=command.steps, queries=command.queries),
            seed=command.seed,
            progress=terminal.progress,
        )
    page = build(command.out)
    if found is None:
        print(f"{command.out} holds this audit already: nothing was run again")
    else:
        _print_audit(found)
    print(f"report: {page}")
    return 0


def _print_audit(found: Any) -> None:
    from rich.console import Console
    from rich.table import Table

    attempts = Table(
        "attack", "tried on", "broke", "gradients", "forward passes", "s", title="attacks, each on what is left"
    )
    for attempt in found.attempts:
        counts = (attempt.tried, attempt.broke, attempt.gradients, attempt.forwards)
        attempts.add_row(attempt.name, *(f"{count:,}" for count in counts), f"{attempt.seconds:.1f}")
    table = Table("check", "", "measured", "expected", title="checks")
    for check in found.checks:
        table.add_row(check.name, check.status, check.measured, check.threshold)
    console = Console()
    console.print(attempts)
    console.print(table)
    for check in found.failed:
        console.print(f"{check.name}: {check.advice}", highlight=False)
    console.print(f"\n{found.sentence}", highlight=False)
    console.print(f"seconds: {found.seconds:.0f}")


def _recipes(command: Recipes) -> int:
    from rich.console import Console
    from rich.table import Table

    from groundglass.studies import ALL, STUDIES

    table = Table("study", "recipe", "data", "cost", "expect", title="groundglass run STUDY --recipe RECIPE --out DIR")
    for study in (ALL, *STUDIES):
        for recipe in study.recipes:
            table.add_row(study.name, recipe.name, ", ".join(recipe.data), recipe.cost, recipe.expect)
    Console().print(table)
    return 0


Command = Run | Report | Tables | Compact | Seeds | Redraw | Retrieve | Audit | Device | Recipes
_COMMANDS: dict[str, Callable[..., Command]] = {
    "run": Run,
    "report": Report,
    "tables": Tables,
    "compact": Compact,
    "seeds": Seeds,
    "redraw": Redraw,
    "retrieve": Retrieve,
    "audit": Audit,
    "device": Device,
    "recipes": Recipes,
}


class _Terminated(KeyboardInterrupt):
    """The process was asked to end (SIGTERM): like Ctrl-C, with another exit code."""


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM stops the work as Ctrl-C does, and not without a word."""

    def stop(signum: int, frame: object) -> None:
        raise _Terminated

    if threading.current_thread() is not threading.main_thread():  # no other may set it
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _code(stop: KeyboardInterrupt) -> int:
    """The exit code of a process that a signal has stopped, as shells count it."""
    return 128 + (signal.SIGTERM if isinstance(stop, _Terminated) else signal.SIGINT)


def _is_study(word: str) -> bool:
    from groundglass.studies import ALL, STUDIES

    return any(study.name == word for study in (ALL, *STUDIES))


def main(arguments: list[str] | None = None) -> int:
    """The `groundglass` command. Returns the exit code.

    0; 1 for an error that the user can mend; 2 for words that are no command; 130 after Ctrl-C, 143 after SIGTERM.
    """
    # Read when torch is loaded, which is later. Its threads then sleep between operations, where they would keep the
    # cores busy that the threads of the device and of the convolutions need, and those of any other process.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    given = sys.argv[1:] if arguments is None else arguments
    if given and given[0] not in _COMMANDS and not given[0].startswith("-") and _is_study(given[0]):
        print(f"groundglass: {given[0]} is a study: `groundglass run {' '.join(given)}`", file=sys.stderr)
        return 2
    command: Command = tyro.extras.subcommand_cli_from_dict(
        _COMMANDS,
        prog="groundglass",
        description="What a secret analog layer buys a neural network against adversarial attack, and what it costs to break.",
        args=arguments,
        config=(tyro.conf.OmitArgPrefixes,),  # the options of `device new` are --out, not --command.out
    )
    handlers: dict[type, Any] = {
        Run: _run,
        Report: run_report,
        Tables: run_tables,
        Compact: run_compact,
        Seeds: _seeds,
        Redraw: _redraw,
        Retrieve: run_retrieve,
        Audit: _audit,
        Device: run_device,
        Recipes: _recipes,
    }
    try:
        with _terminable():
            code: int = handlers[type(command)](command)
        return code
    except KeyboardInterrupt as stop:
        how = "ended by SIGTERM" if isinstance(stop, _Terminated) else "interrupted"
        print(f"\n{how}: {stop}" if str(stop) else f"\n{how}", file=sys.stderr)
        return _code(stop)
    except (ValueError, OSError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not _is_ours(error):
            raise
        print(f"groundglass: {_said(error)}", file=sys.stderr)
        return 1


def _said(error: Exception) -> str:
    """An error without its number: `[Errno 11]` helps nobody."""
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error)
    return error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"


def _is_ours(error: RuntimeError) -> bool:
    """A RuntimeError that is a result (training diverged), not a bug."""
    return type(error).__module__.startswith("groundglass.")


if __name__ == "__main__":
    sys.exit(main())
