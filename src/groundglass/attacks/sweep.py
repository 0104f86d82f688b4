"""An attack at several radii: an image that is fooled in a smaller ball is not attacked again in a larger one."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from groundglass.attacks.balls import Ball, Each
from groundglass.attacks.checkpoint import AttackCheckpoint
from groundglass.attacks.criteria import Criterion
from groundglass.attacks.result import COLUMNS, AttackResult
from groundglass.attacks.result_files import load_parts, save_parts
from groundglass.attacks.tensors import Images, Labels, Rows
from groundglass.core import counting
from groundglass.core.imported import library
from groundglass.core.settings import fit

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, repr=False)
class Sweep:
    """One result for each ball, in rising order of the radius, all of the same images.

    Robust accuracy never rises with the radius. An image that was fooled has, in every larger ball, the row with which it
    fell: its adversarial image, and what it cost there. Else its row is of that ball's own attack.

    Attributes:
        balls: of one kind.
        results: one a ball.
    """

    balls: tuple[Ball, ...]
    results: tuple[AttackResult, ...]

    def __len__(self) -> int:
        return len(self.results)

    def __iter__(self) -> Iterator[AttackResult]:
        return iter(self.results)

    def __getitem__(self, which: int) -> AttackResult:
        return self.results[which]

    @property
    def radii(self) -> tuple[float, ...]:
        """Of the balls, in the units of the images; where they differ by image, the largest of each."""
        return tuple(ball.radius for ball in self.balls)

    @property
    def robust_accuracy(self) -> tuple[float, ...]:
        """Share of all images that are right before and after the attack, a number a ball."""
        return tuple(result.robust_accuracy for result in self.results)

    def to_frame(self) -> "pd.DataFrame":
        """A row a ball: radius, robust accuracy, and what the images that were attacked in it took on average."""
        pd = library("pandas", "a table of results")
        rows = []
        for ball, result, before in zip(self.balls, self.results, (None, *self.results), strict=False):
            stood = result.clean_correct if before is None else before.robust
            spent = result.subset(stood.nonzero().squeeze(1))
            rows.append(
                {
                    "norm": ball.kind.__name__.lower(),
                    "radius": ball.radius,
                    "n_images": len(result),
                    "attacked": len(spent),
                    "robust_accuracy": result.robust_accuracy,
                    "success_rate": result.success_rate,
                    "mean_gradients": float(spent.gradients.double().mean()) if len(spent) else 0.0,
                    "mean_queries": float(spent.queries.double().mean()) if len(spent) else 0.0,
                }
            )
        return pd.DataFrame(rows)

    def save(self, path: Path | str) -> None:
        """Write one safetensors file, atomically; `Sweep.load` reads it.

        Raises:
            DiskFullError, OSError: nothing was written.
        """
        save_parts(path, [one._part for one in self.results], self.balls)

    @staticmethod
    def load(path: Path | str) -> "Sweep":
        """What `save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            DamagedFileError: truncated, altered, or not such a file.
            ValueError: it holds one result.
        """
        parts, balls = load_parts(path, COLUMNS)
        if not balls:
            raise ValueError(f"{path} holds one result: AttackResult.load(path)")
        return Sweep(tuple(balls), tuple(AttackResult._of(part, path) for part in parts))

    def plot_curve(self, ax: Any = None) -> Any:
        """Accuracy under attack, in %, against the radius, from the clean accuracy on. A matplotlib figure; drawn into `ax`
        if given."""
        from groundglass.attacks.showing import curve

        left = [self.results[0].clean_accuracy, *self.robust_accuracy]
        label = f"radius ({self.balls[0].kind.__name__})"
        return curve([0.0, *self.radii], left, label, "accuracy under attack (%)", ax=ax, steps=False)

    def __repr__(self) -> str:
        first = self.results[0]
        told = [f"Sweep over {len(first)} images", f"{first.standing} before the attack: {first.clean_accuracy:.1%}"]
        for ball, left in zip(self.balls, self.robust_accuracy, strict=True):
            told.append(f"{first.standing} after it, {ball.kind.__name__} {ball.radius:.4g}: {left:.1%}")
        return "\n  ".join(told)


def swept(
    once: Callable[..., AttackResult],
    images: Images,
    labels: Labels,
    balls: Sequence[Ball],
    *,
    criterion: Criterion,
    indices: Sequence[int] | Tensor | None,
    checkpoint: AttackCheckpoint | Path | str | None,
    progress: Any,
) -> Sweep:
    """Attack in the smallest ball, then what stands in the next.

    Raises:
        ValueError: no balls, balls of several kinds, the same radius twice, or balls that do not lie in each other.
    """
    balls = _rising(balls)
    criterion.check(labels)
    file = checkpoint.path if isinstance(checkpoint, AttackCheckpoint) else checkpoint
    path = None if file is None else Path(file)
    results: list[AttackResult] = []
    numbers = list(range(len(images))) if indices is None else [fit(int, i, "indices") for i in indices]
    if len(numbers) != len(images):
        raise ValueError(f"{len(numbers)} indices for {len(images)} images: one an image")
    rows = counting(len(images), images.device)
    for ball in balls:
        found = once(
            images[rows],
            labels[rows],
            ball.part(rows.tolist()),
            criterion=criterion.at(rows),
            indices=[numbers[row] for row in rows.tolist()],
            checkpoint=None if path is None else path.with_name(f"{path.stem}-{_called(ball, rows)}{path.suffix}"),
            progress=progress,
        )
        if results:
            found = laid(results[-1], found, rows)
        results.append(found)
        rows = found.robust.nonzero().squeeze(1)
    return Sweep(tuple(balls), tuple(results))


def _called(ball: Ball, rows: Rows) -> str:
    """What names the file of unfinished work in a ball: its radius, and which images come to it. So the work in a ball is found
    again when the sweep has other radii, and is never taken for that of others."""
    which = hashlib.sha256(rows.cpu().numpy().tobytes()).hexdigest()[:8]
    return f"{ball.radius:.9g}-{which}"


def _rising(balls: Sequence[Ball]) -> list[Ball]:
    """The smallest first."""
    if not balls or len({ball.kind for ball in balls}) > 1:
        raise ValueError(f"a sweep is over balls of one kind, at least one, not {list(balls)!r:.80}")
    rising = sorted(balls, key=lambda ball: ball.radius)
    if len({ball.radius for ball in balls}) < len(balls):
        raise ValueError(f"a sweep has each radius once, not {[ball.radius for ball in rising]}")
    for inner, outer in pairwise(rising):
        if bool((_radii(inner) > _radii(outer)).any()):
            raise ValueError(
                f"a sweep is over balls of which each lies in the next, not {inner!r} and {outer!r}: attack in each apart"
            )
    return rising


def _radii(ball: Any) -> Tensor:
    """One, one a channel, [c], or one an image, [n, 1]."""
    found = torch.tensor(ball.eps, dtype=torch.float64, device="cpu")
    return found[:, None] if isinstance(ball, Each) else found


def laid(before: AttackResult, found: AttackResult, rows: Rows) -> AttackResult:
    """The rows of `before`, those that were attacked again as they are now."""
    columns = {name: getattr(before, name).clone() for name in COLUMNS}
    for name, column in columns.items():
        column[rows] = getattr(found, name)
    return AttackResult(**columns, setup=found.setup)
