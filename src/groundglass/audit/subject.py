"""What is audited: a model, and the gradients by which attackers see it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from groundglass.adaptive import (
    RULES,
    STAND_INS,
    Pairs,
    StandInAccess,
    collapse,
    draw_seed,
    fit_facts,
    make_rule,
    observe,
    stand_in,
    unasked,
)
from groundglass.adaptive.stand_ins import stand_in_facts
from groundglass.attacks import PGD, GradientAccess, frozen_for_attack
from groundglass.attacks.access import UNIT, Model
from groundglass.attacks.fitted_rules import FEWEST_PAIRS
from groundglass.core import as_model, derive_seed
from groundglass.data import ImageSet
from groundglass.models import Defended, DefendedEnsemble, MemberRules
from groundglass.models.rescaled import rescaled
from groundglass.models.wrappers import unwrapped
from groundglass.optics import BackwardRule, MovingDevice, SimulatedOPU

#: What the paper's published code attacks with: its "DFA" has a fresh B, its "BPDA" is feedback alignment.
PAPER_RULES = ("dfa-fresh", "fa")
OWN = "own"
#: Attackers that know the defence: first what needs no secret, last what nobody but a simulator has.
ADAPTIVE_RULES = ("bit-flip", "own-head", "bpda-fit-linear", "bpda-fit-network", "bpda-retrieved", "exact")
#: Of these an attacker may draw another, and another.
DRAWN_RULES = (*PAPER_RULES, "bpda-drawn")
# What a network of another kind could be given: told where it is not there, and no name.
_A_VIEW = "a differentiable stand-in"
_FIRST_FIT = 500
# A surrogate that explains this much less with half the images has not had enough of them.
_STILL_GAINS = 0.01


@dataclass(frozen=True)
class Mode:
    """One way to differentiate the model: the same logits with another gradient.

    Attributes:
        name: of the rule or the view.
        model: that gives the gradient.
        fit: what a fitted one took and reached.
        access: what an attack is given: it opens one to the model.
        asks: it is a gradient of the model's loss, or stands for one; else it is that of a stand-in, and the model is
            asked at the end alone.
    """

    name: str
    model: Model
    fit: dict[str, Any] | None = None
    access: Callable[[Model], GradientAccess] = GradientAccess
    asks: bool = True

    def follow(self, attack: PGD) -> PGD:
        """The attack as it follows this gradient: to its end, where the model is not asked on the way."""
        return attack if self.asks else unasked(attack)


@dataclass(frozen=True)
class Subject:
    """A model, as it answers and as attackers differentiate it.

    Attributes:
        itself: what counts: logits of the model, unchanged.
        base: the gradients that every such model is attacked with: of a defended network those of the paper's code and of
            its training, of any other its own.
        adaptive: by name, in the order in which they are tried, how to make the others: it may take a fit. A string says
            why one is not there.
        draws: by the name of a rule, how to draw it for the so-manieth time, from 1 on.
        others: by name, gradients that a claim may be made with, and that are not among the attacks.
        paper: the claim of the paper for such a network: names of gradients; none for any other network.
        bounds: of the images that the model itself takes, as it was given.
        loss: that PGD climbs. Cross-entropy of the few votes of an ensemble pushes all other classes up alike: "margin" there.
    """

    itself: nn.Module
    base: tuple[Mode, ...]
    adaptive: dict[str, Callable[[], Mode] | str]
    draws: Mapping[str, Callable[[int], Mode]] = field(default_factory=dict)
    others: dict[str, Callable[[], Mode] | str] = field(default_factory=dict)
    paper: tuple[str, ...] = ()
    bounds: tuple[float, float] = UNIT
    loss: Literal["ce", "margin"] = "ce"

    def mode(self, name: str) -> Callable[[], Mode] | str | None:
        """How to make the gradient of this name, why it cannot be made, or None for an unknown one."""
        known: dict[str, Callable[[], Mode] | str] = {mode.name: lambda mode=mode: mode for mode in self.base}  # type: ignore[misc]
        return {**self.others, **self.adaptive, **known}.get(name)

    @property
    def names(self) -> tuple[str, ...]:
        """Of all gradients that are known by name."""
        found = dict.fromkeys([*(mode.name for mode in self.base), *self.adaptive, *self.others])
        return tuple(name for name in found if name != _A_VIEW)


def subject(
    model: Model,
    *,
    bounds: tuple[float, float] = UNIT,
    images: Tensor,
    views: Mapping[str, Model],
    natural: ImageSet | None,
    matrix: Tensor | Sequence[Tensor] | None,
    fit_images: int,
    labels: int,
    seed: int,
) -> Subject:
    """The gradients that a model offers, and that its design calls for.

    Args:
        model, bounds: see `audit`. All that is made of it takes images in [0, 1].
        images: some of those that are attacked: a copy made for attacks is compared with the model on them.
        views, natural, matrix, fit_images, labels: see `audit` and `AuditConfig`.
        seed: of the attackers' draws.

    Raises:
        ValueError: a view has the name of one of the audit's own gradients, or the matrix is of another shape.
    """
    module = as_module(model)
    itself = rescaled(module, bounds)
    taken = sorted(set(views) & {OWN, *RULES})
    if taken:
        raise ValueError(f"`views` may not be called {', '.join(taken)}: these are the audit's own gradients")
    given: dict[str, Callable[[], Mode] | str] = {
        name: lambda name=name, view=view: Mode(name, rescaled(as_module(view), bounds))  # type: ignore[misc]
        for name, view in views.items()
    }
    # A defence is known by its class, whatever is around it.
    inner = unwrapped(module)
    target = _fast(rescaled(inner, bounds) if isinstance(inner, Defended) else itself, images)
    if not isinstance(target, Defended):
        none: dict[str, Callable[[], Mode] | str] = {_A_VIEW: "none was given (`views`)"}
        return Subject(itself, (Mode(OWN, target),), given or none, bounds=bounds)
    optical = bool(target.devices)
    _check_matrix(matrix, target)

    def drawn(name: str, draw: int = 0) -> Mode:
        rule = make_rule(name, target, seed=draw_seed(derive_seed(seed, "rule", name), draw))
        if isinstance(target, DefendedEnsemble) and name in PAPER_RULES:
            rule = collapse(rule, target, images)  # of every layer the matrix of a whole device
        return Mode(name if draw == 0 else f"{name}, draw {draw + 1}", target.seen_through(rule))

    paper = PAPER_RULES if optical else PAPER_RULES[:1]
    own = () if any(part.feedback is None for part in target.parts) else (Mode(OWN, target),)
    base = (*(drawn(name) for name in paper), *own)
    rules = ADAPTIVE_RULES if optical else _of_head(target)
    known: dict[str, Any] = {
        "pairs": _observed_once(target, natural),
        "natural": natural,
        "matrix": matrix,
        "fit_images": fit_images,
        "labels": labels,
        "seed": seed,
    }
    found = {name: _adaptive(name, target, **known) for name in rules}
    if isinstance(target, DefendedEnsemble) and target.votes:
        # Made once: a rule is fitted to every part.
        found |= {name: make if isinstance(make, str) else cache(make) for name, make in found.items()}
        found |= {f"{name}, undecided": _undecided(found[name], target) for name in rules if name not in STAND_INS}
    may_draw = DRAWN_RULES if optical else paper
    draws = {name: partial(drawn, name) for name in may_draw}
    others: dict[str, Callable[[], Mode] | str] = {name: partial(drawn, name) for name in may_draw if name not in paper}
    if not own:
        others[OWN] = lambda: Mode(OWN, target)
    votes = isinstance(target, DefendedEnsemble) and target.votes
    return Subject(itself, base, {**found, **given}, draws, others, paper, bounds, "margin" if votes else "ce")


def _check_matrix(matrix: Tensor | Sequence[Tensor] | None, target: Defended) -> None:
    """Refuse what cannot be the network's U, or those of an ensemble's parts: ValueError."""
    if matrix is None:
        return
    wanted = [(device.out_features, device.in_features) for device in target.devices]
    given = [matrix] if isinstance(matrix, Tensor) else matrix
    if [tuple(one.shape) for one in given] != wanted or isinstance(matrix, Tensor) == isinstance(
        target, DefendedEnsemble
    ):
        shapes = [tuple(one.shape) for one in given]
        raise ValueError(
            f"`matrix` has the shapes {shapes}; the devices of this network have U of {wanted}"
            + (": give a list of matrices, one a part" if isinstance(target, DefendedEnsemble) else "")
        )


def _undecided(make: Callable[[], Mode] | str, target: DefendedEnsemble) -> Callable[[], Mode] | str:
    """The same attacker of a vote, who climbs most on the parts that are nearest to another class."""
    if isinstance(make, str):
        return make

    def again() -> Mode:
        known = make()
        rule = getattr(known.model, "rule", None)
        assert isinstance(rule, MemberRules)
        closer = MemberRules(rule.rules, rule.name, undecided=True)
        return replace(known, name=f"{known.name}, undecided", model=target.seen_through(closer))

    return again


def _of_head(target: Defended) -> tuple[str, ...]:
    """The true gradient of a linear head, or the one past its binarisation; and attackers who do not need it."""
    return ("bp" if target.parts[0].block.encoding == "float" else "ste", *STAND_INS)


def _adaptive(
    name: str,
    target: Defended,
    *,
    pairs: "Observed",
    natural: ImageSet | None,
    matrix: Tensor | Sequence[Tensor] | None,
    fit_images: int,
    labels: int,
    seed: int,
) -> Callable[[], Mode] | str:
    """How to make the mode, or why it cannot be made."""
    there = min(fit_images, 0 if natural is None else len(natural))
    if name.startswith("bpda-fit") and there < FEWEST_PAIRS:
        return f"{there or 'no'} natural images to fit a surrogate to (`natural` must have at least {FEWEST_PAIRS})"
    if name == "own-head" and (natural is None or len(natural.labels.unique()) < 2):
        return "no labelled images of two classes to fit a head to (`natural`)"
    if name == "bit-flip" and target.parts[0].block.encoding == "float":
        return "floats enter the layer: there are no bits"
    if name == "bpda-retrieved" and matrix is None:
        return "no retrieved matrix (`matrix`; `groundglass retrieve` makes one)"
    if name == "exact" and not all(isinstance(one, SimulatedOPU | MovingDevice) for one in target.devices):
        return "the device is not simulated: nobody has its matrix"
    of_rule = derive_seed(seed, "rule", name)

    def of_stand_in() -> Mode:
        climbed = stand_in(name, target, labelled=natural, labels=labels, seed=of_rule)
        return Mode(name, target, stand_in_facts(climbed), partial(StandInAccess, stand_in=climbed), asks=False)

    def make() -> Mode:
        if natural is not None and name.startswith("bpda-fit"):
            rule = _fitted(name, target, min(fit_images, len(natural)), pairs, of_rule)
        else:
            rule = make_rule(name, target, seed=of_rule, matrix=matrix if name == "bpda-retrieved" else None)
        return Mode(name, target.seen_through(rule), fit=fit_facts(rule))

    return of_stand_in if name in STAND_INS else make


#: Bits and logits of the natural images from one number up to another.
Observed = Callable[[int, int], Pairs]


def _observed_once(target: Defended, natural: ImageSet | None) -> Observed:
    """All surrogates are fitted to the same images: where a device reads the same every time, and counts nothing, they are run
    once."""

    def pairs(begin: int, end: int) -> Pairs:
        assert natural is not None
        return observe(target, replace(natural, images=natural.images[begin:end], labels=natural.labels[begin:end]))

    steady = all(type(one) is SimulatedOPU and not one.camera.noisy for one in target.devices)
    return cache(pairs) if steady else pairs


def _fitted(name: str, target: Defended, most: int, pairs: Observed, seed: int) -> BackwardRule:
    """Fitted on more and more natural images, until more explain no more: how many does the attacker need?"""
    done, count = 0, _FIRST_FIT
    seen: list[Pairs] = []
    best: BackwardRule | None = None
    reached = 0.0
    while done < most:
        count = min(count, most)
        seen.append(pairs(done, count))
        bits, logits = (torch.cat(column) for column in zip(*seen, strict=True))
        rule = make_rule(name, target, seed=seed, pairs=lambda pairs=(bits, logits): pairs)  # type: ignore[misc]
        explains = (fit_facts(rule) or {})["held_out_r2"]
        if best is not None and explains < reached + _STILL_GAINS:
            return best if reached >= explains else rule
        best, reached, done, count = rule, explains, count, 2 * count
    assert best is not None
    return best


class _Called(nn.Module):
    """A function as a module, so that it can be handled like one."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self._function = function

    def forward(self, images: Tensor) -> Tensor:
        return self._function(images)


def as_module(model: Model) -> nn.Module:
    """A function as a module; a module as it is."""
    model = as_model(model)
    return model if isinstance(model, nn.Module) else _Called(model)


def _fast(model: nn.Module, images: Tensor) -> nn.Module:
    """A copy made for attacks, if it was found to be the same; else the model itself."""
    if isinstance(model, _Called):
        return model
    try:
        copy = frozen_for_attack(model, images)
    except Exception:  # whatever a stranger's module raises when it is copied: it can be attacked as it is
        return model
    return copy if copy.verified else model
