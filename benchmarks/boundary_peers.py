"""HopSkipJump, SurFree and tiled evolution strategies beside other codes: the same network, images and queries, in one run.

    python benchmarks/boundary_peers.py --model zoo/vgg-16.safetensors --data cifar10 --images 20
    python benchmarks/boundary_peers.py --hsja HSJA --surfree SurFree

`--hsja` and `--surfree` are folders of the originals' code; without one, that peer is left out, as are foolbox, ART and
nevergrad where they are not installed. Without `--model` a small network of random blobs is attacked.

Whoever asks is counted: the distance is that of the nearest image which fooled the network among the first so many queries of
each image, ours and theirs alike, whatever the code itself returns. Evolution strategies are compared by what they fool.
"""

import importlib
import importlib.util
import io
import sys
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from torch import Tensor, nn

from groundglass.attacks import L2, Attack, HopSkipJump, LabelAccess, Linf, ScoreAccess, SurFree, TiledES
from groundglass.attacks.bandits import enlarged
from groundglass.attacks.search import LabelAttack
from groundglass.core.platform import machine, versions
from groundglass.data import load
from groundglass.models import load_model


class Spent(Exception):
    """All queries of an image are asked."""


class Meter(nn.Module):
    """A network that is asked about one image, and keeps the nearest point that fooled it after each query.

    Attributes:
        nearest: a distance a query.
    """

    def __init__(self, network: nn.Module, image: Tensor, label: int, norm: str, most: int) -> None:
        super().__init__()
        self.network, self.image, self.label, self.most = network, image, label, most
        self._ball = {"L2": L2, "Linf": Linf}[norm](1.0)
        self.nearest: list[float] = []
        self.worst = -np.inf  # the highest margin

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        x = x.detach().float()
        logits = self.network(x)
        best = self.nearest[-1] if self.nearest else np.inf
        # The image itself, as a library asks about it to see what it is, is no query; nor zeros, SurFree's padding of a batch.
        away = (self._ball.norm(x - self.image) * (x != 0).flatten(1).any(1)).tolist()
        for far, fooled in zip(away, (logits.argmax(1) != self.label).tolist(), strict=True):
            if far > 0:
                best = min(best, far) if fooled else best
                self.nearest.append(best)
        if len(self.nearest) >= self.most:
            raise Spent
        return logits


@dataclass(frozen=True)
class Arguments:
    model: Path | None = None
    """File of a network; if not given, a small one on blobs."""
    data: str = "cifar10"
    data_dir: Path | None = None
    hsja: Path | None = None
    surfree: Path | None = None
    images: int = 20
    queries: tuple[int, ...] = (200, 500, 1000)
    norms: tuple[str, ...] = ("L2", "Linf")
    eps: float = 0.03
    """L-inf, of evolution strategies."""
    es_queries: int = 300
    tiles: int = 4
    only: str = ""
    """Cases whose names contain this."""
    threads: int = 1


Peer = Callable[[Meter, Tensor, int, int], Any]  # of an image [1, c, h, w], its label and a seed


def ours(attack: Attack, most: int) -> Peer:
    def run(meter: Meter, image: Tensor, label: int, seed: int) -> None:
        kind = LabelAccess if isinstance(attack, LabelAttack) else ScoreAccess
        attack(kind(meter, per_image=most + 2), image, torch.tensor([label]), seed=seed)

    return run


def foolbox_hop(norm: str) -> Peer:
    foolbox = importlib.import_module("foolbox")

    def run(meter: Meter, image: Tensor, label: int, seed: int) -> None:
        torch.manual_seed(seed)
        wrapped = foolbox.PyTorchModel(meter, bounds=(0, 1), device="cpu")
        foolbox.attacks.HopSkipJumpAttack(constraint=norm.lower()).run(wrapped, image, torch.tensor([label]))

    return run


def art_hop(norm: str) -> Peer:
    evasion, estimators = (
        importlib.import_module(f"art.{n}") for n in ("attacks.evasion", "estimators.classification")
    )

    def run(meter: Meter, image: Tensor, label: int, seed: int) -> None:
        np.random.seed(seed)  # noqa: NPY002 (theirs draw from it)
        classes = meter.network(image).shape[1]
        shape = tuple(image.shape[1:])
        wrapped = estimators.PyTorchClassifier(
            meter, nn.CrossEntropyLoss(), shape, classes, clip_values=(0, 1), device_type="cpu"
        )
        attack = evasion.HopSkipJump(wrapped, norm=2 if norm == "L2" else np.inf, max_iter=64, verbose=False)
        attack.generate(image.numpy(), np.array([label]))

    return run


def loaded(folder: Path, name: str, **stubs: Any) -> Any:
    """A module of a folder, beside whose other modules it is imported."""
    before = {key: sys.modules.get(key) for key in stubs}
    sys.modules.update(stubs)
    sys.path.insert(0, str(folder))
    try:
        spec = importlib.util.spec_from_file_location(f"peer_{name}", folder / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    finally:
        sys.path.remove(str(folder))
        for key, value in before.items():
            if value is None:
                sys.modules.pop(key)
            else:
                sys.modules[key] = value


def original_hop(folder: Path, norm: str) -> Peer:
    module = loaded(folder, "hsja")

    def run(meter: Meter, image: Tensor, label: int, seed: int) -> None:
        np.random.seed(seed)  # noqa: NPY002 (theirs draw from it)

        class Model:
            def predict(self, x: np.ndarray) -> np.ndarray:
                batch = x if x.ndim == 4 else x[None]
                found: np.ndarray = meter(torch.from_numpy(batch).float()).numpy()
                return found

        module.hsja(Model(), image[0].double().numpy(), constraint=norm.lower(), num_iterations=64, verbose=False)

    return run


def original_surfree(folder: Path, tries: int, memory: int) -> Peer:
    module = loaded(folder, "surfree")

    def run(meter: Meter, image: Tensor, label: int, seed: int) -> None:
        torch.manual_seed(seed)
        settings: Any = {
            "steps": 10_000,
            "max_queries": 10**6,
            "T": tries,
            "rho": 0.98,
            "BS_max_iteration": 10,
            "n_ortho": memory,
        }
        with redirect_stdout(io.StringIO()):
            module.SurFree(**settings, quantification=False)(meter, image, torch.tensor([label]))

    return run


def evolution(data: Any, eps: float, queries: int, tiles: int) -> None:
    """Tiled evolution strategies beside nevergrad's: images fooled, and queries for an image."""
    ng = importlib.import_module("nevergrad")
    network, images, labels = data
    theirs = {"(1+1)": "OnePlusOne", "de": "DE", "cma": "DiagonalCMA"}
    for name, peer in theirs.items():
        found = TiledES(strategy=name, tiles=tiles)(  # type: ignore[arg-type]
            ScoreAccess(network, per_image=queries + 1), images, labels, Linf(eps)
        )
        spent = []
        for i, (image, label) in enumerate(zip(images.split(1), labels.split(1), strict=True)):
            array = ng.p.Array(shape=(image.shape[1], tiles, tiles))
            array.random_state.seed(i)
            search = ng.optimizers.registry[peer](array, budget=queries)
            for asked in range(1, queries + 1):
                point = search.ask()
                grid = torch.from_numpy(np.tanh(point.value)).float()[None]
                logits = network((image + eps * enlarged(grid, image)).clamp(0, 1))
                spent.append(asked)
                if int(logits.argmax(1)) != int(label):
                    break
                spent.pop()
                search.tell(point, -float(nn.functional.cross_entropy(logits, label)))
            else:
                spent.append(queries + 1)
        other = np.array(spent)
        mine = np.where(found.success.numpy(), found.queries.numpy() - 1, queries + 1)
        shares = [f"{(one <= queries).mean():.1%}, {one.clip(max=queries).mean():.0f}" for one in (mine, other)]
        print(
            f"  {name}: fooled, and mean queries, {queries} where not: {shares[0]}; nevergrad {shares[1]}", flush=True
        )


def report(name: str, peers: dict[str, Peer], data: Any, norm: str, marks: tuple[int, ...]) -> None:
    network, images, labels = data
    print(f"\n{name}, {norm}: mean distance of the nearest image that fools, after so many queries (standard error)")
    found: dict[str, np.ndarray] = {}
    for peer, run in peers.items():
        rows = []
        for i, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
            meter = Meter(network, image[None], label, norm, max(marks))
            with suppress(Spent):
                run(meter, image[None], label, i)
            seen = [*meter.nearest, *[meter.nearest[-1]] * max(0, max(marks) - len(meter.nearest))]
            rows.append([seen[mark - 1] for mark in marks])
        found[peer] = np.array(rows)
        cells = []
        for column in found[peer].T:
            some = column[np.isfinite(column)]
            cells.append(f"{some.mean():9.4f} ({some.std(ddof=1) / len(some) ** 0.5:.4f}, {len(some)})")
        print(f"  {peer:24}" + "".join(f"{cell:>26}" for cell in cells), flush=True)
    first = next(iter(found))
    for peer, rows in list(found.items())[1:]:
        ratio = np.log(found[first] / rows)
        shares = []
        for column in ratio.T:
            some = column[np.isfinite(column)]
            error = some.std(ddof=1) / len(some) ** 0.5
            shares.append("{:.3f} ({:.3f} to {:.3f})".format(*(np.exp(some.mean() + k * error) for k in (0, -2, 2))))
        print(f"  {first} / {peer}: " + ", ".join(shares))


def main(a: Arguments) -> None:
    torch.set_num_threads(a.threads)
    print(f"{machine()}, {torch.get_num_threads()} threads, {versions()}")
    if a.model is None:
        from tests.attacks.toy import blobs, trained

        network, (images, labels) = trained().eval(), blobs(a.images, seed=5)
    else:
        network = load_model(a.model).eval()
        test = load(a.data, data_dir=a.data_dir).test.head(2 * a.images)
        images, labels = test.floats(), test.labels
    network.requires_grad_(False)
    right = (network(images).argmax(1) == labels).nonzero().squeeze(1)[: a.images]
    data = network, images[right], labels[right]
    if a.only in "evolution":
        print(f"\nEvolution strategies over {a.tiles} x {a.tiles} tiles, L-inf {a.eps:g}, {a.es_queries} queries")
        try:
            evolution(data, a.eps, a.es_queries, a.tiles)
        except ImportError as error:
            print(f"LEFT OUT: nevergrad: {error}")
    for norm in a.norms:
        peers: dict[str, Peer] = {"groundglass": ours(HopSkipJump(norm=norm), max(a.queries))}
        if a.hsja:
            peers["the original"] = original_hop(a.hsja, norm)
        for name, make in (("foolbox", foolbox_hop), ("ART", art_hop)):
            try:
                peers[name] = make(norm)
            except ImportError as error:
                print(f"LEFT OUT: {name}: {error}")
        if a.only in "HopSkipJump":
            report("HopSkipJump", peers, data, norm, a.queries)
    if a.surfree and a.only in "SurFree":
        # With a longer memory the original counts its first direction many times, and its new ones are not orthogonal to that.
        for tries, memory in ((1, 1), (3, 1), (3, 100)):
            attack = SurFree(tries=tries, memory=memory)
            original = original_surfree(a.surfree, tries, memory)
            peers = {"groundglass": ours(attack, max(a.queries)), "the original": original}
            report(f"SurFree, T = {tries}, L = {memory}", peers, data, "L2", a.queries)


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
