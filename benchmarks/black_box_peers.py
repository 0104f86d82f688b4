"""Black-box attacks beside their published codes: the same network, images, settings and budgets, in turns, in one run.

    python benchmarks/black_box_peers.py --model RUN/models/vgg-16.safetensors --data-dir DIR \
        --port adversarial-robustness-by-design --bandits blackbox-bandits --parsimonious parsimonious-blackbox-attack

Each peer's option names the checkout of its repository; without it, that peer is left out. None of their code is here.
`published_codes.py` loads it from their files, and says what it mends.

- `--port`: lightonai/adversarial-robustness-by-design, NES, bandits and parsimonious, in torch;
- `--bandits`: MadryLab/blackbox-bandits, NES and bandits, in torch;
- `--parsimonious`: snu-mllab/parsimonious-blackbox-attack, cifar10, in TensorFlow 1, of which it needs a session alone:
  the one it gets here asks the same torch network;
- torchattacks, if it is installed: Square.

All of them attack the same images, which the network gets right. Queries are loss queries: NES and bandits leave their
success checks out of their counts, so these are left out of ours as well (ours may ask as many loss queries, and checks on
top). The peers get the network as it is, in eval mode without gradients of parameters; ours a `frozen_for_attack` copy of
it, and with `--plain` the network as it is, too: so one sees what the copy does, and what the attacks do. Ours says who is
fooled; successes that the network itself does not confirm are counted below the tables, and are none of ours.

NES: their noise is randn / sqrt(dimension of the prior). The port's prior is 16 x 16 and its noise has the size of the
image, so its `fd_eta` is half of our `sigma` where MadryLab's (no tiling) is the same: equal noise for everyone.

Intervals are 95%: Wilson's for success rates, the bootstrap's for median queries of the images that were fooled. They are
wide for a comparison on the same images, so the images that one side alone fools are given too, with McNemar's exact test.
The exit code is 1 if an interval of a peer and ours do not meet.
"""

import math
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from torch import Tensor, nn

from groundglass.attacks import NES, Bandits, Linf, Parsimonious, ScoreAccess, Square, frozen_for_attack
from groundglass.attacks.search import QueryAttack
from groundglass.core.platform import machine, versions
from groundglass.core.statistics import wilson
from groundglass.data import load
from groundglass.models import load_model
from groundglass.optics import DeviceStore
from published_codes import (
    Contender,
    Effort,
    MadryBandits,
    Outcome,
    Port,
    SnuParsimonious,
    Turn,
    predict,
    run,
    torchattacks_square,
)

OURS, OURS_PLAIN = "groundglass", "groundglass, plain network"


@dataclass(frozen=True)
class Arguments:
    model: Path
    """File of a network that a study has trained."""
    data: str = "cifar10"
    data_dir: Path | None = None
    port: Path | None = None
    """Checkout of lightonai/adversarial-robustness-by-design."""
    bandits: Path | None = None
    """Checkout of MadryLab/blackbox-bandits."""
    parsimonious: Path | None = None
    """Checkout of snu-mllab/parsimonious-blackbox-attack."""
    only: tuple[str, ...] = ()
    """Cases whose names contain one of these, in any case of letters; all if none is given."""
    plain: bool = False
    """Run ours on the network as it is, too."""
    images: int = 50
    """Attacked; all of them classified right."""
    budget: int = 2000
    """Loss queries an image."""
    batch_size: int = 256
    """Rows in a pass of ours; images that the batched peers attack together."""
    sigma: float = 0.1
    """NES: length of a probe."""
    turns: int = 2
    """For times. What was fooled is told by the first."""
    threads: int = 2
    seed: int = 0


@dataclass(frozen=True)
class Case:
    """The same attack by several codes, and how ours is to be run to be the same."""

    name: str
    eps: float
    ours: QueryAttack
    per_image: int
    peers: dict[str, Contender]


# ---- the cases


def make_cases(a: Arguments) -> tuple[list[Case], list[str]]:
    """What is compared, and what is left out and why."""
    left_out: list[str] = []
    for option, path in (("port", a.port), ("bandits", a.bandits), ("parsimonious", a.parsimonious)):
        if path is None:
            left_out.append(f"the code of --{option}: no folder was given")
    effort = Effort(a.budget, a.batch_size)
    port = Port(a.port, effort) if a.port else None
    madry = MadryBandits(a.bandits, effort) if a.bandits else None
    snu = SnuParsimonious(a.parsimonious, effort) if a.parsimonious else None
    eps = 8 / 256
    cases = []

    # They stop when t, counted before a step, reaches max_queries: one more, and the last step of the budget is made.
    samples = 50
    steps = a.budget // samples
    peers: dict[str, Contender] = {}
    settings: dict[str, Any] = {"nes": True, "gradient_iters": samples // 2, "max_queries": samples * steps + 1}
    if port:
        settings_port = settings | {"fd_eta": a.sigma / 2, "online_lr": 0.1, "exploration": 0.1}
        peers["LightOn's port"] = port.gradient(eps, **settings_port)
    if madry:
        settings_madry = settings | {"fd_eta": a.sigma, "tiling": False}
        peers["MadryLab"] = madry.gradient(eps, **settings_madry)
    nes = NES(samples=samples, sigma=a.sigma, step_size=0.01)
    cases.append(Case("NES", eps, nes, 1 + steps * nes.cost(), peers))

    steps = a.budget // 2
    peers = {}
    settings = {
        "nes": False, "gradient_iters": 1, "max_queries": 2 * steps + 1, "fd_eta": 0.1, "online_lr": 0.1,
        "exploration": 0.1,
    }  # fmt: skip
    if port:
        peers["LightOn's port"] = port.gradient(eps, **settings)
    if madry:
        peers["MadryLab"] = madry.gradient(eps, **settings, tiling=True)
    bandits = Bandits(fd_eta=0.1, online_lr=0.1, exploration=0.1, tile_size=16, step_size=0.01)
    cases.append(Case("bandits", eps, bandits, 1 + steps * bandits.cost(), peers))

    for no_hier in (True, False):
        attack = Parsimonious(block_size=4, mini_batch=64, hierarchical=not no_hier, iterations=1, group=1)
        name = "parsimonious" + ("" if no_hier else ", hierarchical")
        if port:
            peers = {"LightOn's port": port.parsimonious(eps, no_hier)}
            cases.append(Case(name, eps, attack, 1 + a.budget, peers))
        if snu:
            peers = {"snu": snu.parsimonious(no_hier)}
            cases.append(Case(f"{name}, whole numbers", 8 / 255, attack, 1 + a.budget, peers))

    try:
        peers = {"torchattacks": torchattacks_square(eps, effort)}
    except ImportError as error:
        left_out.append(f"torchattacks: {error}")
    else:
        cases.append(Case("Square", eps, Square(), 1 + a.budget, peers))
    chosen = [c for c in cases if c.peers and (not a.only or any(o.lower() in c.name.lower() for o in a.only))]
    return chosen, left_out


def ours_as_contender(case: Case, network: nn.Module, a: Arguments, unconfirmed: dict[str, int]) -> Contender:
    def contender(model: nn.Module, images: Tensor, labels: Tensor, seed: int) -> Outcome:
        access = ScoreAccess(model, per_image=case.per_image)
        told = case.ours(access, images, labels, Linf(case.eps), seed=seed, batch_size=a.batch_size)
        assert bool(told.clean_correct.all()), "all images were right on the network itself"
        assert int(told.loss_queries.max()) <= a.budget, "more loss queries than the peers may ask"
        fooled = told.success & (predict(network, told.adversarial) != labels)
        unconfirmed[case.name] = int((told.success & ~fooled).sum())
        return Outcome(fooled.numpy(), told.loss_queries.numpy())

    return contender


# ---- statistics


def same_share(hits: int, others: int, count: int) -> float:
    """p of the two-proportion z-test."""
    pooled = (hits + others) / (2 * count)
    if pooled in (0.0, 1.0):
        return 1.0
    return math.erfc(abs(hits - others) / count / math.sqrt(2 * pooled * (1 - pooled) / count) / math.sqrt(2))


def mcnemar(alone: int, other_alone: int) -> float:
    """p of the exact test: an image that one side alone fools is as likely to be of one side as of the other."""
    count, few = alone + other_alone, min(alone, other_alone)
    return min(1.0, 2 * sum(math.comb(count, k) for k in range(few + 1)) / 2**count)


def median_interval(values: np.ndarray) -> tuple[float, float, float]:
    """The median and its bootstrap interval; of fewer than 10 values there is none: NaN."""
    if len(values) < 10:
        return float(np.median(values)) if len(values) else math.nan, math.nan, math.nan
    drawn = np.random.default_rng(0).integers(len(values), size=(2000, len(values)))
    low, high = np.percentile(np.median(values[drawn], axis=1), [2.5, 97.5])
    return float(np.median(values)), float(low), float(high)


def apart(first: tuple[float, float], second: tuple[float, float]) -> bool:
    """NaN is apart from nothing."""
    return first[1] < second[0] or second[1] < first[0]


# ---- the report


def report(case: Case, turns: dict[str, list[Turn]], images: int) -> list[str]:
    """Print a case; what is apart in it."""
    print(
        f"\n{case.name}, eps {case.eps:.5f}\n{'':28}{'success':>9}{'95%':>14}{'queries':>9}{'95%':>16}"
        f"{'wall s':>9}{'CPU s':>8}{'in model':>10}{'rows/image':>12}{'rows/pass':>11}"
    )
    shares: dict[str, tuple[float, float]] = {}
    medians: dict[str, tuple[float, float]] = {}
    for name, done in turns.items():
        told = done[0].outcome
        shares[name] = wilson(int(told.fooled.sum()), images)
        median, *interval = median_interval(told.queries[told.fooled])
        medians[name] = (interval[0], interval[1])
        inside = statistics.median(t.inside / t.wall for t in done)
        low, high = shares[name]
        print(
            f"{name:28}{told.fooled.mean():9.1%}{f'{low:.1%}-{high:.1%}':>14}"
            f"{median:9.0f}{f'{medians[name][0]:.0f}-{medians[name][1]:.0f}':>16}"
            f"{statistics.median(t.wall for t in done):9.2f}{statistics.median(t.cpu for t in done):8.2f}"
            f"{inside:10.1%}{done[0].rows / images:12.1f}{done[0].rows / done[0].calls:11.1f}"
        )
    found = []
    for mine in (name for name in (OURS, OURS_PLAIN) if name in turns):
        for peer in case.peers:
            ours, theirs = turns[mine][0].outcome.fooled, turns[peer][0].outcome.fooled
            alone, other = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
            wall = [t.wall / o.wall for t, o in zip(turns[peer], turns[mine], strict=True)]
            cpu = [t.cpu / o.cpu for t, o in zip(turns[peer], turns[mine], strict=True)]
            print(
                f"  {peer} / {mine}: wall {statistics.median(wall):.2f} x ({min(wall):.2f} to {max(wall):.2f}), "
                f"CPU {statistics.median(cpu):.2f} x ({min(cpu):.2f} to {max(cpu):.2f}); "
                f"equal success: p {same_share(int(ours.sum()), int(theirs.sum()), images):.2f}, "
                f"fooled by one side alone: {other} / {alone}, p {mcnemar(alone, other):.2f}"
            )
            both = ours & theirs
            if both.any():
                ratio = turns[peer][0].outcome.queries[both] / np.maximum(turns[mine][0].outcome.queries[both], 1)
                middle, low, high = median_interval(ratio)
                print(
                    f"    queries of the {both.sum()} that both fool: median ratio {middle:.2f} ({low:.2f} to {high:.2f})"
                )
            if apart(shares[mine], shares[peer]):
                found.append(f"{case.name}: success of {mine} and of {peer}")
            if apart(medians[mine], medians[peer]):
                found.append(f"{case.name}: median queries of {mine} and of {peer}")
    sys.stdout.flush()
    return found


def main(a: Arguments) -> int:
    torch.set_num_threads(a.threads)
    print(f"{machine()}, {torch.get_num_threads()} threads, {versions()}")
    dataset = load(a.data, data_dir=a.data_dir)
    network = (
        load_model(a.model, find_device=DeviceStore(a.model.resolve().parent.parent / "devices").find)
        .eval()
        .requires_grad_(False)
    )
    test = dataset.test.head(4 * a.images)
    right = predict(network, test.floats()) == test.labels
    chosen = right.nonzero().squeeze(1)[: a.images]
    images, labels = test.floats(chosen), test.labels[chosen]
    count = len(images)
    print(
        f"{a.data}: accuracy {right.float().mean():.1%} on {len(test)} test images; {count} that are right are attacked, "
        f"at most {a.budget} loss queries an image"
    )
    frozen = frozen_for_attack(network)
    for rows in {1, count, a.batch_size}:  # compilation, and each size's first pass
        predict(frozen, images[:1].expand(rows, -1, -1, -1).contiguous())
        predict(network, images[:1].expand(rows, -1, -1, -1).contiguous())

    cases, left_out = make_cases(a)
    for what in left_out:
        print(f"LEFT OUT: {what}")
    found: list[str] = []
    unconfirmed: dict[str, int] = {}
    for case in cases:
        ours = ours_as_contender(case, network, a, unconfirmed)
        entries: list[tuple[str, Contender, nn.Module]] = [(OURS, ours, frozen)]
        if a.plain:
            entries.append((OURS_PLAIN, ours, network))
        entries += [(name, peer, network) for name, peer in case.peers.items()]
        turns: dict[str, list[Turn]] = {name: [] for name, _, _ in entries}
        for turn in range(a.turns):
            for name, contender, model in entries if turn % 2 == 0 else entries[::-1]:
                turns[name].append(run(contender, model, images, labels, a.seed + turn))
        found += report(case, turns, count)
    print(f"\nsuccesses of ours that the network itself did not confirm: {sum(unconfirmed.values())}")
    for what in found:
        print(f"INTERVALS DO NOT MEET: {what}")
    if not cases:
        print("nothing to compare")
    return 1 if found or not cases else 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Arguments, description=__doc__)))
