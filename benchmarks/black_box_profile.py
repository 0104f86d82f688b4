"""Where the time of our black-box attacks goes, and whether time and memory stay in proportion to the images.

    python benchmarks/black_box_profile.py --model RUN/models/vgg-16.safetensors --data-dir DIR --images 200 --budget 500
    python benchmarks/black_box_profile.py --data shapes --images 1000 --budget 60   # a tiny network, no files

Every attack is run twice, on `images` and on ten times as many, each time in a process of its own, because the memory of
a process only grows. Nothing but the attack is measured: the images, the network, its `frozen_for_attack` copy and a small
attack to compile and to warm up come first.

- "in model": share of wall time in the model's forward passes;
- "of best": rows a second inside the model, against the same model alone on full batches of the same size;
- "memory": how far the process's peak lies above what it held when the attack began, and that over the size of the images
  given. Slots and batches take a fixed amount; below, what each image more took, over its own size: 1 is the least there
  can be, as the result holds an adversarial image for each;
- "per image", "per row": wall time, and how much of it the tenfold set takes: 1 if the cost does not grow.

Without a model, a tiny network that nobody trained; its own answers are the labels. Such a network is all overhead: what it
shows is the cost of the attacks' own work. `eps` is tiny then, so that no image is fooled, and all take the same queries.
The exit code is 1 if an attack's time a row grows by more than `growth`, in wall and in CPU time.
"""

import ctypes
import gc
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from torch import Tensor, nn

from groundglass.attacks import LabelAccess, Linf, ScoreAccess, frozen_for_attack
from groundglass.attacks.search import LabelAttack, QueryAttack
from groundglass.core.platform import machine, versions
from groundglass.data import load, load_shapes
from groundglass.models import load_model
from groundglass.optics import DeviceStore
from published_codes import Timed

ATTACKS = {
    "NES": "nes",
    "Bandits": "bandits",
    "Parsimonious": "parsimonious",
    "Square": "square",
    "RayS": "rays",
}


@dataclass(frozen=True)
class Arguments:
    model: Path | None = None
    """File of a network that a study has trained; without one, a tiny network."""
    data: str = "cifar10"
    data_dir: Path | None = None
    attacks: tuple[str, ...] = tuple(ATTACKS)
    images: int = 100
    """Of the smaller set; the larger one has `times` as many, one after the other from the test split, again and again."""
    times: int = 10
    budget: int = 200
    """Queries an image, all included."""
    eps: float | None = None
    """8/256; 1e-5 with the tiny network."""
    batch_size: int = 256
    turns: int = 1
    """The fastest one counts."""
    threads: int = 2
    growth: float = 1.3
    seed: int = 0
    child: Annotated[str, tyro.conf.arg(help="For the benchmark itself: measure this attack in this process.")] = ""


def tiny_network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 4, 8, stride=8), nn.ReLU(), nn.Flatten(), nn.Linear(64, 10)).eval()


def predict(model: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([model(x).argmax(1) for x in images.split(256)])


def given(a: Arguments) -> tuple[nn.Module, Tensor, Tensor]:
    """The network to attack, and images that it gets right."""
    if a.data == "shapes":
        source = load_shapes(1, min(a.images, 2000), seed=a.seed).test
    else:
        source = load(a.data, data_dir=a.data_dir).test
    if a.model is None:
        network = tiny_network().requires_grad_(False)
        pool = source.floats(slice(0, a.images))
        labels = predict(network, pool)
    else:
        network = (
            load_model(a.model, find_device=DeviceStore(a.model.resolve().parent.parent / "devices").find)
            .eval()
            .requires_grad_(False)
        )
        network = frozen_for_attack(network)
        pool = source.floats(slice(0, 2 * a.images))
        right = predict(network, pool) == source.labels[: len(pool)]
        pool, labels = pool[right], source.labels[: len(pool)][right]
    rows = torch.arange(a.images) % len(pool)
    return network, pool[rows], labels[rows]


def peak_bytes() -> int:
    """The most that this process ever held, or since `forget_peak`."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def forget_peak() -> None:
    """Let the peak be what is held now, without what was freed. On Linux alone: else, growth below the old peak is not seen."""
    gc.collect()
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    except (OSError, AttributeError):
        print("the peak of memory could not be reset: its growth is a lower bound", file=sys.stderr)


def attack_of(name: str) -> QueryAttack:
    return getattr(import_module(f"groundglass.attacks.{ATTACKS[name]}"), name)()


def measure(a: Arguments) -> dict[str, Any]:
    """One attack on one set, in this process."""
    torch.set_num_threads(a.threads)
    network, images, labels = given(a)
    attack, timed = attack_of(a.child), Timed(network).eval()
    eps = a.eps if a.eps is not None else (8 / 256 if a.model else 1e-5)
    access: Callable[..., Any] = LabelAccess if isinstance(attack, LabelAttack) else ScoreAccess

    def run(x: Tensor, y: Tensor, budget: int) -> Any:
        return attack(access(timed, per_image=budget), x, y, Linf(eps), seed=a.seed, batch_size=a.batch_size)

    few = min(len(images), 64)
    run(images[:few], labels[:few], attack.cost() + 1)
    rows = images[torch.arange(a.batch_size) % len(images)]
    best = 0.0
    for _ in range(5):
        start, done = time.perf_counter(), 0
        while time.perf_counter() - start < 0.2:
            with torch.no_grad():
                network(rows)
            done += len(rows)
        best = max(best, done / (time.perf_counter() - start))
    del rows
    forget_peak()
    timed.seconds, timed.rows, timed.calls = 0.0, 0, 0
    before = peak_bytes()
    wall, cpu = time.perf_counter(), time.process_time()
    told = run(images, labels, a.budget)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {
        "images": len(images),
        "wall": wall,
        "cpu": cpu,
        "inside": timed.seconds,
        "rows": timed.rows,
        "calls": timed.calls,
        "best": best,
        "memory": peak_bytes() - before,
        "given": images.numel() * images.element_size(),
        "fooled": told.success_rate,
    }


def in_process_of_its_own(name: str, images: int, a: Arguments) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", name, "--images", str(images), "--data", a.data]
    for option in ("budget", "batch_size", "threads", "seed", "eps", "model", "data_dir"):
        if getattr(a, option) is not None:
            command += ["--" + option.replace("_", "-"), str(getattr(a, option))]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name} on {images} images failed: see above")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main(a: Arguments) -> int:
    if a.child:
        print(json.dumps(measure(a)))
        return 0
    print(f"{machine()}, {a.threads} threads, {versions()}")
    network = f"{a.model}" if a.model else "a tiny network"
    print(f"{a.data}, {network}, {a.budget} queries an image, batches of {a.batch_size}")
    print(
        f"\n{'':14}{'images':>8}{'fooled':>8}{'wall s':>9}{'CPU s':>8}{'in model':>10}{'rows/s':>9}{'of best':>9}"
        f"{'rows/pass':>11}{'memory MB':>11}{'/ given':>9}{'ms/image':>10}{'us/row':>8}"
    )
    grown = []
    for name in a.attacks:
        try:
            attack_of(name)
        except ImportError as error:
            print(f"{name.upper()} IS NOT THERE YET, AND NOT MEASURED: {error}")
            continue
        costs, memory = [], []
        for images in (a.images, a.images * a.times):
            runs = [in_process_of_its_own(name, images, a) for _ in range(a.turns)]
            r = min(runs, key=lambda run: run["wall"] / run["rows"])
            inside_rate = r["rows"] / r["inside"]
            costs.append((r["wall"] / images, r["wall"] / r["rows"], r["cpu"] / r["rows"]))
            memory.append((r["memory"], r["given"]))
            print(
                f"{name:14}{images:8}{r['fooled']:8.1%}{r['wall']:9.2f}{r['cpu']:8.2f}{r['inside'] / r['wall']:10.1%}"
                f"{r['rows'] / r['wall']:9.0f}{inside_rate / r['best']:9.1%}{r['rows'] / r['calls']:11.1f}"
                f"{r['memory'] / 2**20:11.1f}{r['memory'] / r['given']:9.2f}{1e3 * r['wall'] / images:10.2f}"
                f"{1e6 * r['wall'] / r['rows']:8.1f}",
                flush=True,
            )
        slope = (memory[1][0] - memory[0][0]) / (memory[1][1] - memory[0][1])
        per_image, per_row, per_row_cpu = (many / few for few, many in zip(*costs, strict=True))
        print(
            f"{'':14}{a.times} times the images: {per_image:.2f} x the time an image, {per_row:.2f} x a row "
            f"({per_row_cpu:.2f} x in CPU time); an image more takes {slope:.2f} of its own size in memory"
        )
        if per_row > a.growth and per_row_cpu > a.growth:  # other work on the machine shows in wall time alone
            grown.append(name)
    if grown:
        print(f"\nCOST GROWS WITH THE NUMBER OF IMAGES: {', '.join(grown)}")
    return 1 if grown else 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Arguments, description=__doc__)))
