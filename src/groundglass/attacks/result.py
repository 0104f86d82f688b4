"""What an attack did, one row an image: the same record for every attack."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import reduce

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from groundglass.attacks.access import GradientAccess, LabelAccess, Model, ScoreAccess, open_access
from groundglass.core import as_labels, pieces
from groundglass.core.settings import Count, fit


@dataclass(frozen=True, repr=False)
class AttackResult:
    """One row an image, in the order of the images that were given. Its repr is short, and says if gradients were missing.

    Attributes:
        adversarial: the image that the attack leaves: inside the ball, the first that fools the model or else the one
            of highest loss. An image that the model gets wrong is returned unchanged, with success False.
        success: the model was right on the image and is wrong on `adversarial`.
        clean_correct: the model is right on the image itself.
        iterations: moves from the start of the winning run to `adversarial`.
        gradients: forward-and-backward passes that the image took.
        loss_queries: forward passes to climb without a gradient.
        check_queries: forward passes to see whether the image fools the model, the clean one included.
        zero_gradients: how many gradients, or estimates of one from queries, were zero everywhere.
        norm: length of the perturbation, pixel units, in the norm of the ball.
        loss: at `adversarial`, the loss that the attack climbs; NaN where the attack never asked.
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

    def __post_init__(self) -> None:
        lengths = {f.name: len(getattr(self, f.name)) for f in fields(self)}
        assert len(set(lengths.values())) == 1, f"one row an image in every field, not {lengths}"
        assert not bool((self.success & ~self.clean_correct).any()), "only an image that was right can be fooled"

    def __len__(self) -> int:
        return len(self.success)

    def __repr__(self) -> str:
        told = f"{len(self)} images, right before the attack {self.clean_accuracy:.1%}, after it {self.robust_accuracy:.1%}"
        if self.zero_gradients.any():
            told += f"; {self.zero_gradient_share:.1%} of the gradients were zero everywhere"
        if self.unclimbed.any():
            told += (
                f", and {int(self.unclimbed.sum())} of {int(self.robust.sum())} robust images got no other: the attack did "
                "not move them. Climb another loss ('margin', 'dlr') or another gradient, or ask without one (Square)"
            )
        return f"AttackResult({told})"

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

    def subset(self, index: Tensor | slice | Sequence[int]) -> "AttackResult":
        """The rows that `index` names, in its order."""
        rows = index if isinstance(index, Tensor | slice) else list(index)
        return AttackResult(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    @staticmethod
    def concat(parts: Sequence["AttackResult"]) -> "AttackResult":
        """All rows of some results, one after the other."""
        if not parts:
            raise ValueError("no results to concatenate")
        return AttackResult(**{f.name: torch.cat([getattr(p, f.name) for p in parts]) for f in fields(AttackResult)})

    def confirmed(
        self,
        access: GradientAccess | ScoreAccess | LabelAccess | Model,
        labels: Int64[Tensor, "n"],
        *,
        batch_size: int = 256,
        votes: int = 1,
    ) -> "AttackResult":
        """The same attack, its successes checked again: one more forward pass for each, in other batches.

        For an attack that ran on a copy of the model set up for speed (`frozen_for_attack`): give the access of the
        model itself. A success that is not confirmed is withdrawn; none is added.

        Args:
            votes: of a model with noise: an image is asked about so often, and fools it if more than half of the answers
                say so.
        """
        votes = fit(Count, votes, "votes")
        if not isinstance(access, ScoreAccess | LabelAccess):
            access = open_access(access, GradientAccess, "a confirmation")
        labels = as_labels(labels, self.adversarial)
        labels = labels.long()
        claimed = self.success.nonzero().squeeze(1)
        success, checks = self.success.clone(), self.check_queries.clone()
        for rows in pieces(claimed, batch_size):
            wrong = sum(access.wrong(self.adversarial[rows], labels[rows]).int() for _ in range(votes))
            success[rows] = 2 * wrong > votes
            checks[rows] += votes
        return replace(self, success=success, check_queries=checks)


def worst_case(results: Sequence[AttackResult]) -> Bool[Tensor, "n"]:
    """The images that none of several attacks on the same images fools."""
    if not results:
        raise ValueError("no results to combine")
    if len({len(r) for r in results}) > 1:
        raise ValueError(f"results of {[len(r) for r in results]} images are not of the same images")
    return reduce(torch.logical_and, [r.robust for r in results])


def _share(flags: Tensor) -> float:
    return int(flags.sum()) / max(1, len(flags))
