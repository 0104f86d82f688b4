"""The published black-box codes, loaded from their checkouts and mended on the way, never on disk; how a run is measured.

`Port`, `MadryBandits` and `SnuParsimonious` say what is mended. None of their code is here. For `black_box_peers.py`.
"""

import contextlib
import importlib
import importlib.util
import os
import sys
import time
import types
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from unittest.mock import MagicMock

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

OURS, OURS_PLAIN = "groundglass", "groundglass, plain network"


@dataclass(frozen=True)
class Effort:
    """What a peer may do.

    Attributes:
        budget: loss queries an image.
        batch_size: images that the batched peers attack together.
    """

    budget: int
    batch_size: int


# ---- what everyone is measured by


@dataclass(frozen=True)
class Outcome:
    """What an attack did, an entry an image."""

    fooled: np.ndarray
    queries: np.ndarray


@dataclass(frozen=True)
class Turn:
    """One run, with what went through the network."""

    outcome: Outcome
    wall: float
    cpu: float
    inside: float
    rows: int
    calls: int


class Timed(nn.Module):
    """A model that notes the time spent in it, and what passes through it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.seconds, self.rows, self.calls = 0.0, 0, 0

    def forward(self, x: Tensor) -> Tensor:
        start = time.perf_counter()
        out: Tensor = self.model(x)
        self.seconds += time.perf_counter() - start
        self.rows, self.calls = self.rows + len(x), self.calls + 1
        return out


class Contender(Protocol):
    """Attacks the images through the model, and through it alone."""

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor, seed: int) -> Outcome: ...


def run(contender: Contender, model: nn.Module, images: Tensor, labels: Tensor, seed: int) -> Turn:
    timed = Timed(model).eval()
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002  (the peers draw from it)
    wall, cpu = time.perf_counter(), time.process_time()
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        outcome = contender(timed, images, labels, seed)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return Turn(outcome, wall, cpu, timed.seconds, timed.rows, timed.calls)


# ---- the peers


@contextlib.contextmanager
def standing_in(**stubs: types.ModuleType) -> Iterator[None]:
    """These modules in the place of whatever is, or is not, installed; undone at the end."""
    names = {name.replace("__", "."): module for name, module in stubs.items()}
    before = {name: sys.modules.get(name) for name in names}
    sys.modules.update(names)
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = module


def stub(name: str, **contents: Any) -> types.ModuleType:
    module = types.ModuleType(name)
    vars(module).update(contents)
    return module


def mended(path: Path, name: str, changes: dict[str, str]) -> types.ModuleType:
    """The module in a file, after changes to its text. A text that is not there is an error: the file is another one."""
    source = path.read_text()
    for old, new in changes.items():
        if old not in source:
            raise SystemExit(f"{path}: `{old}` is not in it. This benchmark knows another version of the file")
        source = source.replace(old, new)
    spec = importlib.util.spec_from_loader(name, loader=None)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    exec(compile(source, str(path), "exec"), vars(module))
    return module


def _together(parts: list[tuple[Any, Any]]) -> Outcome:
    fooled = np.concatenate([np.atleast_1d(np.asarray(f, dtype=float)) for f, _ in parts]) > 0
    return Outcome(fooled, np.concatenate([np.atleast_1d(np.asarray(q, dtype=float)) for _, q in parts]))


class Port:
    """LightOn's torch port. Mended: `.cuda()` is `.cpu()` (one place, in the parsimonious attack's `_losses`)."""

    def __init__(self, folder: Path, a: Effort) -> None:
        path = folder / "black_box_attack_utils.py"
        self._code: Any = mended(path, "lighton_black_box", {".cuda()": ".cpu()"})
        self._a = a

    def gradient(self, eps: float, **settings: Any) -> Contender:
        """NES and bandits; as many images at a time as a batch of ours has rows."""

        def contender(model: nn.Module, images: Tensor, labels: Tensor, seed: int) -> Outcome:
            parts = []
            for x, y in zip(images.split(self._a.batch_size), labels.split(self._a.batch_size), strict=True):
                told = self._code.make_adversarial_examples(
                    x, y, model, epsilon=eps, image_lr=0.01, prior_size=16, log_progress=False, **settings
                )
                parts.append((told["success"], told["elapsed_budget"]))
            return _together(parts)

        return contender

    def parsimonious(self, eps: float, no_hier: bool) -> Contender:
        """Image by image: it knows no other way."""

        def contender(model: nn.Module, images: Tensor, labels: Tensor, seed: int) -> Outcome:
            attack = self._code.ParsimoniousAttack(
                model, targeted=False, loss_func="xent", max_queries=self._a.budget, epsilon=eps, batch_size=64,
                block_size=4, no_hier=no_hier, max_iters=1,
            )  # fmt: skip
            parts = []
            for i, (x, y) in enumerate(zip(images.split(1), labels.split(1), strict=True)):
                told = attack.perturb(x, y, index=1000 * seed + i)
                parts.append((told["success"], told["elapsed_budget"]))
            return _together(parts)

        return contender


class MadryBandits:
    """MadryLab's code. Mended:

    - `torchvision`, imported at the top for its networks and ImageNet, is a stub;
    - its `F.normalize` leaves images alone: our network normalises inside;
    - the folder of ImageNet is named, so that its absence is no error;
    - `set_default_tensor_type('torch.cuda.FloatTensor')` is dropped, `.cuda()` is `.cpu()`.
    """

    def __init__(self, folder: Path, a: Effort) -> None:
        functional = stub("torchvision.transforms.functional", normalize=lambda x, mean, std: x)
        transforms = stub("torchvision.transforms", functional=functional)
        datasets = stub("torchvision.datasets", ImageFolder=MagicMock())
        vision = stub("torchvision", models=MagicMock(), transforms=transforms, datasets=datasets)
        with standing_in(
            torchvision=vision,
            torchvision__transforms=transforms,
            torchvision__transforms__functional=functional,
            torchvision__datasets=datasets,
        ):
            changes = {
                'IMAGENET_PATH = ""': 'IMAGENET_PATH = "nowhere"',
                "ch.set_default_tensor_type('torch.cuda.FloatTensor')": "",
                ".cuda()": ".cpu()",
            }
            self._code: Any = mended(folder / "src" / "main.py", "madry_bandits", changes)
        self._a = a

    def gradient(self, eps: float, **settings: Any) -> Contender:
        def contender(model: nn.Module, images: Tensor, labels: Tensor, seed: int) -> Outcome:
            parts = []
            with torch.no_grad():  # as its own `main` does
                for x, y in zip(images.split(self._a.batch_size), labels.split(self._a.batch_size), strict=True):
                    args = types.SimpleNamespace(
                        batch_size=len(x), epsilon=eps, mode="linf", image_lr=0.01, log_progress=False, tile_size=16,
                        **settings,
                    )  # fmt: skip
                    told = self._code.make_adversarial_examples(x, y, args, model, x.shape[-1])
                    parts.append((told["success"], told["all_queries"]))
            return _together(parts)

        return contender


class Session:
    """What snu's code asks of TensorFlow: the loss that it climbs down, and the predicted class."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model

    def run(self, wanted: list[Any], feed_dict: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        x = torch.from_numpy(feed_dict["images"]).permute(0, 3, 1, 2).contiguous().float() / 255
        with torch.no_grad():
            logits = self._model(x)
        loss = F.cross_entropy(logits, torch.from_numpy(feed_dict["labels"]), reduction="none")
        return -loss.numpy(), logits.argmax(1).numpy()


class SnuParsimonious:
    """The original of the parsimonious attack. Mended: `tensorflow` and `cv2` are stubs, and the session asks torch.

    Its images are whole numbers in 0..255, [1, 32, 32, 3], and so is its radius: 8 of 255.
    """

    def __init__(self, folder: Path, a: Effort) -> None:
        place = folder / "cifar10" / "attacks"
        spec = importlib.util.spec_from_file_location(
            "attacks", place / "__init__.py", submodule_search_locations=[str(place)]
        )
        assert spec is not None
        assert spec.loader is not None
        package = importlib.util.module_from_spec(spec)
        tensorflow: Any = MagicMock()
        with standing_in(tensorflow=tensorflow, cv2=stub("cv2"), attacks=package):
            spec.loader.exec_module(package)
            for name in ("parsimonious_attack", "local_search_helper"):
                sys.modules.pop(f"attacks.{name}", None)
        self._code: Any = package
        self._a = a

    def parsimonious(self, no_hier: bool) -> Contender:
        def contender(model: nn.Module, images: Tensor, labels: Tensor, seed: int) -> Outcome:
            graph = types.SimpleNamespace(
                x_input="images", y_input="labels", logits=MagicMock(), predictions=MagicMock()
            )
            args = types.SimpleNamespace(
                loss_func="xent", max_queries=self._a.budget, epsilon=8, batch_size=64, block_size=4, no_hier=no_hier,
                max_iters=1, targeted=False,
            )  # fmt: skip
            attack, session = self._code.ParsimoniousAttack(graph, args), Session(model)
            whole = (images * 255).round().int().permute(0, 2, 3, 1).contiguous().numpy()
            parts = []
            for i in range(len(images)):
                told = attack.perturb(whole[i : i + 1], labels[i : i + 1].numpy(), 1000 * seed + i, session)
                parts.append((told[2], told[1]))
            return _together(parts)

        return contender


def torchattacks_square(eps: float, a: Effort) -> Contender:
    """Its count of queries is returned by one of its methods and dropped by the next: it is noted in between."""
    import torchattacks  # type: ignore[import-untyped]

    def contender(model: nn.Module, images: Tensor, labels: Tensor, seed: int) -> Outcome:
        # The start is a query of its own.
        attack = torchattacks.Square(model, eps=eps, n_queries=a.budget - 1, seed=seed, loss="margin")
        once, counts = attack.attack_single_run, []

        def noted(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
            queries, best = once(x, y)
            counts.append(queries)
            return queries, best

        attack.attack_single_run = noted
        adversarial = torch.cat(
            [attack(x, y) for x, y in zip(images.split(a.batch_size), labels.split(a.batch_size), strict=True)]
        )
        return Outcome((predict(model, adversarial) != labels).numpy(), torch.cat(counts).numpy())

    return contender


def predict(model: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([model(x).argmax(1) for x in images.split(256)])
