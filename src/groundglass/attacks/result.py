"""What an attack did, one row an image: the same record for every attack."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from groundglass.attacks.access import UNIT, Access, GradientAccess, Model, open_access
from groundglass.attacks.criteria import Criterion, Untargeted, as_criterion
from groundglass.attacks.query_access import LabelAccess
from groundglass.attacks.result_files import Part, load_parts, save_parts
from groundglass.core import as_images, as_labels, pieces
from groundglass.core.bounds import Bounds
from groundglass.core.imported import library
from groundglass.core.schema import read, written
from groundglass.core.settings import Count, fit

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Setup:
    """With what a result was made, as text: enough to make it again.

    Attributes:
        attack, ball, criterion: as Python would write them.
        bounds: the range of the images.
    """

    attack: str
    ball: str
    criterion: str
    seed: int
    bounds: tuple[float, float] = UNIT


@dataclass(frozen=True, repr=False)
class AttackResult:
    """One row an image, in the order of the images that were given. Its repr is short, and says if gradients were missing.

    Attributes:
        adversarial: the image that the attack leaves: inside the ball, the first that fools the model or else the one
            of highest loss. An image that meets the criterion as it is (untargeted: that the model gets wrong) is
            returned unchanged, with success False.
        success: the criterion is met on `adversarial`, and was not on the image; untargeted: the model was right, and is wrong.
        clean_correct: the image itself does not meet the criterion; untargeted: the model is right on it.
        iterations: moves from the start of the winning run to `adversarial`.
        gradients: forward-and-backward passes that the image took.
        loss_queries: forward passes to climb without a gradient.
        check_queries: forward passes to see whether the image fools the model, the clean one included.
        zero_gradients: how many gradients, or estimates of one from queries, were zero everywhere.
        norm: length of the perturbation, pixel units, in the norm of the ball.
        loss: at `adversarial`, the loss that the attack climbs; NaN where the attack never asked.
        setup: with what it was made; None of a result that no attack of this package made.
    """

    adversarial: Float[Tensor, "n c h w"]
    success: Bool[Tensor, "n"]
    clean_correct: Bool[Tensor, "n"]
    iterations: Int64[Tensor, "n"]
    gradients: Int64[Tensor, "n"]
    loss_queries: Int64[Tensor, "n"]
    check_queries: Int64[Tensor, "n"]
    zero_gradients: Int64[Tensor, "n"]
    norm: Float[Tensor, "n"]
    loss: Float[Tensor, "n"]
    setup: Setup | None = None

    def __post_init__(self) -> None:
        lengths = {name: len(getattr(self, name)) for name in COLUMNS}
        assert len(set(lengths.values())) == 1, f"one row an image in every field, not {lengths}"
        assert not bool((self.success & ~self.clean_correct).any()), "only an image that was right can be fooled"

    def __len__(self) -> int:
        return len(self.success)

    def __repr__(self) -> str:
        standing = self.standing
        told = [
            f"AttackResult of {len(self)} images",
            f"{standing} before the attack: {self.clean_accuracy:.1%}",
            f"{standing} after it: {self.robust_accuracy:.1%}",
        ]
        if self.setup is not None and self.setup.ball == repr(None) and bool(self.success.any()):
            told.append(
                f"length of the change where it fooled: {float(self.norm[self.success].median()):.3g} in the median"
            )
        attacked = self.clean_correct
        for name, counts in (("gradients", self.gradients), ("queries", self.queries)):
            if bool(counts.any()) and bool(attacked.any()):
                told.append(f"{name} for an attacked image: {float(counts[attacked].double().mean()):.1f} on average")
        if self.zero_gradients.any():
            told.append(f"{self.zero_gradient_share:.1%} of the gradients were zero everywhere")
        if self.unclimbed.any():
            told.append(
                f"{int(self.unclimbed.sum())} of {int(self.robust.sum())} robust images got no other: the attack did not move "
                "them. Climb another loss ('margin', 'dlr') or another gradient, or ask without one (Square)"
            )
        return "\n  ".join(told)

    @property
    def standing(self) -> str:
        """What an image is called that does not meet the criterion: only of an untargeted attack is it one that is right."""
        return "right" if self.setup is None or self.setup.criterion == repr(Untargeted()) else "criterion not met"

    @property
    def robust(self) -> Bool[Tensor, "n"]:
        """Right before and after the attack."""
        return self.clean_correct & ~self.success

    @property
    def unclimbed(self) -> Bool[Tensor, "n"]:
        """Robust only because the attack had no gradient: each was zero everywhere, so the image was never moved."""
        return self.robust & (self.gradients > 0) & (self.zero_gradients == self.gradients)

    @property
    def robust_accuracy(self) -> float:
        """Share of all images that are right before and after the attack."""
        return _share(self.robust)

    @property
    def clean_accuracy(self) -> float:
        """Share of all images that are right before the attack."""
        return _share(self.clean_correct)

    @property
    def success_rate(self) -> float:
        """Share fooled among the images that were right at first; 0 if there were none."""
        return _share(self.success[self.clean_correct])

    @property
    def queries(self) -> Int64[Tensor, "n"]:
        """Queries of each image, for a loss or for a check; of an image that was fooled, until then."""
        return self.loss_queries + self.check_queries

    def success_within(self, budget: int) -> float:
        """Share fooled with at most `budget` queries each, among the images that were right at first."""
        return _share((self.success & (self.queries <= budget))[self.clean_correct])

    def success_curve(self) -> tuple[Int64[Tensor, "k"], Float[Tensor, "k"]]:
        """The cumulative success rate (the paper's Figure 3): at each of these queries a step up, to these shares.

        Among the images that were right at first; empty if none was fooled.
        """
        at, counts = torch.unique(self.queries[self.success], return_counts=True)
        return at, counts.cumsum(0).float() / max(1, int(self.clean_correct.sum()))

    @property
    def zero_gradient_share(self) -> float:
        """Share of gradients that were zero everywhere: above 0, an image may be robust only for want of a gradient."""
        return int(self.zero_gradients.sum()) / max(1, int(self.gradients.sum()))

    def to_frame(self) -> "pd.DataFrame":
        """A row an image, a column a quantity; without the images themselves."""
        pd = library("pandas", "a table of results")
        columns = {name: getattr(self, name).detach().cpu().numpy() for name in COLUMNS if name != "adversarial"}
        columns["queries"] = self.queries.cpu().numpy()
        return pd.DataFrame(columns)

    def save(self, path: Path | str) -> None:
        """Write one safetensors file, atomically; `AttackResult.load` reads it.

        Raises:
            DiskFullError, OSError: nothing was written.
        """
        save_parts(path, [self._part])

    @staticmethod
    def load(path: Path | str) -> "AttackResult":
        """What `save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            DamagedFileError: truncated, altered, or not such a file.
            ValueError: it holds a sweep.
        """
        parts, balls = load_parts(path, COLUMNS)
        if balls:
            raise ValueError(f"{path} holds a sweep: Sweep.load(path)")
        return AttackResult._of(parts[0], path)

    @property
    def _part(self) -> Part:
        """As a file has it."""
        setup = None if self.setup is None else written(self.setup)
        return {name: getattr(self, name) for name in COLUMNS}, setup

    @staticmethod
    def _of(part: Part, path: Path | str) -> "AttackResult":
        columns, setup = part
        made = None if setup is None else read(Setup, setup, f"{path}: how it was made")
        return AttackResult(**columns, setup=made)

    def plot_curve(self, ax: Any = None) -> Any:
        """The share fooled, in % of the images that were right at first, against what was spent on an image: queries (the
        paper's Figure 3) or, where gradients were asked for, gradients. A matplotlib figure; drawn into `ax` if given."""
        from groundglass.attacks.showing import curve

        asked = bool(self.loss_queries.any()) or not bool(self.gradients.any())
        spent = self.queries if asked else self.gradients
        at, counts = torch.unique(spent[self.success], return_counts=True)
        shares = counts.cumsum(0).double() / max(1, int(self.clean_correct.sum()))
        x, y = [0, *at.tolist(), int(spent.max()) if len(self) else 0], [0.0, *shares.tolist()]
        label = "queries" if asked else "gradients"
        return curve(x, [*y, y[-1]], label, "fooled (%)", ax=ax, steps=True)

    def plot_examples(
        self,
        images: Float[Tensor, "n c h w"],
        count: int = 6,
        *,
        labels: Any = None,
        model: Model | None = None,
        classes: Sequence[str] | None = None,
    ) -> Any:
        """Some images before and after the attack, with the change, amplified; those that fool the model first.

        Args:
            images: the originals, as they were given to the attack.
            labels: their classes, to be written above them.
            model: what was attacked, which is asked about the pictures that are shown: the class that it sees is written below.
            classes: their names; without them they are numbers.
        """
        from groundglass.attacks.showing import examples

        # Parts that were made in several ways do not say their range.
        images = as_images(images, bounds=(-math.inf, math.inf) if self.setup is None else self.setup.bounds)
        if images.shape != self.adversarial.shape:
            raise ValueError(
                f"{list(images.shape)} images for a result of {list(self.adversarial.shape)}: give the same"
            )
        told = None if labels is None else as_labels(labels, images)
        access = None if model is None else LabelAccess(model, bounds=UNIT if self.setup is None else self.setup.bounds)
        return examples(images, self.adversarial.to(images), self.success, fit(Count, count, "count"),
                        labels=told, access=access, classes=classes)  # fmt: skip

    def subset(self, index: Tensor | slice | Sequence[int]) -> "AttackResult":
        """The rows that `index` names, in its order."""
        rows = index if isinstance(index, Tensor | slice) else list(index)
        return replace(self, **{name: getattr(self, name)[rows] for name in COLUMNS})

    @staticmethod
    def concat(parts: Sequence["AttackResult"]) -> "AttackResult":
        """All rows of some results, one after the other.

        Raises:
            ValueError: there are none; their images have different bounds, or a different shape.
        """
        if not parts:
            raise ValueError("no results to concatenate")
        for what, found in (
            ("bounds", {part.setup.bounds for part in parts if part.setup is not None}),
            ("shapes", {tuple(part.adversarial.shape[1:]) for part in parts}),
        ):
            if len(found) > 1:
                raise ValueError(f"the images of these results have different {what}: {sorted(found)}")
        columns = {name: torch.cat([getattr(part, name) for part in parts]) for name in COLUMNS}
        setups = {part.setup for part in parts}
        return AttackResult(**columns, setup=setups.pop() if len(setups) == 1 else None)

    def confirmed(
        self,
        access: Access | Model,
        labels: Int64[Tensor, "n"],
        *,
        criterion: Criterion | Callable[[Tensor, Tensor], Tensor] | None = None,
        batch_size: int = 256,
        votes: int = 1,
    ) -> "AttackResult":
        """The same attack, its successes checked again: one more forward pass for each, in other batches.

        For an attack that ran on a copy of the model set up for speed (`frozen_for_attack`): give the access of the
        model itself. A success that is not confirmed is withdrawn; none is added.

        Args:
            criterion: of the attack, if it was not untargeted.
            votes: of a model with noise: an image is asked about so often, and fools it if more than half of the answers
                say so.

        Raises:
            ValueError: labels or a criterion of other images; or no criterion, where the attack had another than the untargeted.
        """
        votes, goal = fit(Count, votes, "votes"), as_criterion(criterion)
        if criterion is None and self.setup is not None and self.setup.criterion != repr(goal):
            raise ValueError(f"the attack was for {self.setup.criterion}: give it as criterion=, for these images")
        if not isinstance(access, Access):
            bounds = UNIT if self.setup is None else self.setup.bounds
            access = open_access(access, GradientAccess, "a confirmation", bounds=bounds)
        labels = as_labels(labels, self.adversarial).long()
        goal.check(labels)
        claimed = self.success.nonzero().squeeze(1)
        success, checks = self.success.clone(), self.check_queries.clone()
        for rows in pieces(claimed, batch_size):
            images = Bounds(*access.bounds).to_unit(self.adversarial[rows])
            wrong = sum(access.wrong(images, labels[rows], goal.at(rows)).int() for _ in range(votes))
            success[rows] = 2 * wrong > votes
            checks[rows] += votes
        return replace(self, success=success, check_queries=checks)


#: What a result has for each image.
COLUMNS = tuple(field.name for field in fields(AttackResult) if field.name != "setup")


def worst_case(results: Sequence[AttackResult]) -> Bool[Tensor, "n"]:
    """The images that none of several attacks on the same images fools."""
    if not results:
        raise ValueError("no results to combine")
    if len({len(r) for r in results}) > 1:
        raise ValueError(f"results of {[len(r) for r in results]} images are not of the same images")
    return reduce(torch.logical_and, [r.robust for r in results])


def _share(flags: Tensor) -> float:
    return int(flags.sum()) / max(1, len(flags))
