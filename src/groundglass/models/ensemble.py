"""Several optical layers in one network: defended parts, each with a device of its own, on features that they may share.

The paper leaves ensembles to future work. Their parts are read as one classifier, by the sum of their logits: a sum of linear
readouts is one linear readout of all readings together. Or they vote.
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from groundglass.models.defended import Defended, DefendedNetwork
from groundglass.optics.backward import BackwardRule


class MemberRules:
    """A backward rule for each part of an ensemble, as one: `make_rule(name, ensemble, ...)` makes them.

    Args:
        rules: one a part, in the parts' order.
        name: in records; None: the first rule's.
        undecided: the gradient of a vote: parts that are nearer to changing sides count more. Else all count alike. Only in
            an ensemble that votes.
    """

    def __init__(self, rules: Sequence[BackwardRule], name: str | None = None, *, undecided: bool = False) -> None:
        if not rules:
            raise ValueError("an ensemble's rules must be one a part, and there are none")
        self.rules = tuple(rules)
        self.name = self.rules[0].name if name is None else name
        self.undecided = undecided

    @property
    def site(self) -> Literal["readings", "logits"]:
        return self.rules[0].site

    def vjp(self, bits: Float[Tensor, "batch n"], grad: Float[Tensor, "batch k"]) -> Float[Tensor, "batch n"]:
        """Of all parts side by side, for parts of one size."""
        count = len(self.rules)
        rows = zip(self.rules, bits.chunk(count, 1), grad.chunk(count, 1), strict=True)
        return torch.cat([rule.vjp(its, error) for rule, its, error in rows], 1)

    def __repr__(self) -> str:
        how = ", undecided" if self.undecided else ""
        return f"MemberRules(name={self.name!r}, {len(self.rules)} x {self.rules[0]!r}{how})"


class DefendedEnsemble(Defended):
    """Defended parts that answer together: images -> logits.

    As one classifier the logits are the sum of the parts'. Where they vote, the logit of a class is the number of parts that vote
    for it plus the mean of their probabilities for it: so the class is the majority's, the mean decides between equals,
    and nothing that a part says is hidden from who asks. Votes have no derivative: their gradient is that of the mean of
    the parts' logits, which is never flat, or of a mean in which undecided parts count more (`MemberRules`).

    The forward pass asks every device once. Its graph goes around each by the training B of its part; `seen_through` gives
    it any other rule.

    Args:
        parts: what `defend` gives, two or more, of the same classes; all with a device, or none.
        body: images -> what each part takes; one tensor for all of them, or a tuple of one a part. None: parts take images.
        votes: the parts vote; else they are one classifier.

    Raises:
        TypeError: a part is no defended network.
        ValueError: one part, or one twice; parts of other classes; parts with a device beside parts without one.
    """

    def __init__(self, parts: Sequence[DefendedNetwork], *, body: nn.Module | None = None, votes: bool = False) -> None:
        super().__init__()
        parts = tuple(parts)
        _check(parts)
        self.body = nn.Identity() if body is None else body
        self._parts = nn.ModuleList(parts)
        self.votes = votes
        self._whole = body is None
        self.training = any(part.training for part in parts)

    @property
    def parts(self) -> tuple[DefendedNetwork, ...]:
        """What takes the body's features."""
        return tuple(self._parts)  # type: ignore[arg-type]

    @property
    def classes(self) -> int:
        """How many logits it gives; see `DefendedNetwork.classes`."""
        return self.parts[0].classes

    def member(self, number: int) -> DefendedNetwork:
        """A part as a defended network of its own, images -> its logits; all that it has is shared with the ensemble."""
        part = self.parts[number]
        if self._whole:
            return part
        outer = nn.Sequential(self.body, _Taken(number % len(self.parts)), part.network)
        return part.within(outer, f"2.{part.at}")

    def training_rule(self) -> MemberRules:
        """Each part's own: its B, or nothing where that was destroyed."""
        return MemberRules([part.training_rule() for part in self.parts])

    def destroy_feedback(self) -> None:
        """Forget the B of every part."""
        for part in self.parts:
            part.destroy_feedback()

    def run(self, images: Tensor, rule: BackwardRule) -> Tensor:
        """Logits, [batch, classes], with gradients by `rule`: `MemberRules`, or one rule for every part."""
        each = self.each(images, rule)
        if not self.votes:
            return each.sum(1)
        counted = F.one_hot(each.detach().argmax(2), each.shape[2]).sum(1)
        scores = counted + each.detach().float().softmax(2).mean(1)
        closer = isinstance(rule, MemberRules) and rule.undecided
        followed = (each * _nearness(each.detach(), scores.argmax(1))).sum(1) if closer else each.mean(1)
        # The value of the one, to the bit, and the gradient of the other.
        return scores.to(each.dtype) + (followed - followed.detach())

    def learned(self, images: Tensor, rule: BackwardRule | None = None) -> Tensor:
        """What training makes right: the logits, [batch, classes]; of parts that vote, each part's own, [batch, parts, classes],
        as each learns by its own error.

        Args:
            rule: None: that of training.
        """
        rule = self.training_rule() if rule is None else rule
        return self.each(images, rule) if self.votes else self.run(images, rule)

    def each(self, images: Tensor, rule: BackwardRule | None = None) -> Float[Tensor, "batch parts classes"]:
        """The logits of every part. The body is run once.

        Args:
            rule: None: that of training.

        Raises:
            ValueError: rules for another number of parts.
        """
        rule = self.training_rule() if rule is None else rule
        rules = rule.rules if isinstance(rule, MemberRules) else (rule,) * len(self.parts)
        if len(rules) != len(self.parts):
            raise ValueError(f"{len(rules)} rules are not for an ensemble of {len(self.parts)}: give one a part")
        rows = zip(self.parts, self._features(images), rules, strict=True)
        return torch.stack([part.run(features, its) for part, features, its in rows], 1)

    def each_below(self, images: Tensor) -> tuple[Float[Tensor, "batch n"], ...]:
        return tuple(part.below(features) for part, features in zip(self.parts, self._features(images), strict=True))

    def observe(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """`DefendedNetwork.observe` of every part, side by side: bits [batch, sum of N], logits [batch, parts * classes]."""
        seen = [part.observe(features) for part, features in zip(self.parts, self._features(images), strict=True)]
        return torch.cat([bits for bits, _ in seen], 1), torch.cat([logits for _, logits in seen], 1)

    def _features(self, images: Tensor) -> Sequence[Tensor]:
        found = self.body(images)
        if isinstance(found, Tensor):
            return (found,) * len(self.parts)
        if len(found) != len(self.parts):
            raise ValueError(
                f"`body` gives {len(found)} tensors to {len(self.parts)} parts: one for all of them, or one a part"
            )
        return tuple(found)

    def extra_repr(self) -> str:
        return "votes" if self.votes else "one classifier"


def check_one_layer(network: nn.Module) -> None:
    """Refuse an ensemble where a network of one layer is wanted. Raises: ValueError."""
    if isinstance(network, DefendedEnsemble):
        raise ValueError("this is for a network of one layer: give a part of the DefendedEnsemble, ensemble.member(0)")


class _Taken(nn.Module):
    """A part's own of what the body gives."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._number = number

    def forward(self, found: Tensor | Sequence[Tensor]) -> Tensor:
        return found if isinstance(found, Tensor) else found[self._number]


def _nearness(
    each: Float[Tensor, "batch parts classes"], answer: Int64[Tensor, "batch"]
) -> Float[Tensor, "batch parts 1"]:
    """How much each part counts, adding up to 1: by how near it is to leaving the class that the vote answers, or to coming back
    to it, in units of the parts' mean distance."""
    chosen = answer[:, None, None].expand(-1, each.shape[1], 1)
    own = each.gather(2, chosen)
    lead = (own - each.scatter(2, chosen, -torch.inf).amax(2, keepdim=True)).abs()
    return torch.softmax(-lead / lead.mean(1, keepdim=True).clamp_min(1e-12), 1)


def _check(parts: Sequence[DefendedNetwork]) -> None:
    for part in parts:
        if not isinstance(part, DefendedNetwork):
            raise TypeError(f"a part of an ensemble is what `defend` gives, not a {type(part).__name__}")
    if len(parts) < 2:
        raise ValueError(f"an ensemble is of two parts or more, not of {len(parts)}")
    if len({id(part.block) for part in parts}) < len(parts):
        raise ValueError("a part is in the ensemble twice: it would count twice, and learn twice")
    if len({part.classes for part in parts}) > 1:
        raise ValueError(f"the parts must have the same classes, not {[part.classes for part in parts]}")
    if len({(part.device is None, part.block.encoding == "float") for part in parts}) > 1:
        raise ValueError(
            "the parts must be of one kind: all with a device, or all without one, and all of bits or all of floats"
        )
