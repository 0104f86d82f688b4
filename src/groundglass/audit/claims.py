"""What is claimed, as it is given: a gradient by its name, a view, an attack, or a number."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, cast

from torch import nn

from groundglass.attacks import GradientAttack, QueryAttack
from groundglass.attacks.access import Model
from groundglass.audit.ledger import GivenAttack
from groundglass.audit.subject import OWN, Mode, Subject, as_module
from groundglass.core.names import lookup
from groundglass.core.settings import In, fit, plain_number
from groundglass.core.text import listed
from groundglass.models.rescaled import rescaled

#: One claim: the name of a gradient ("own", a rule, a view) or several joined by "+", of an attack, a view, an attack, or
#: the robust accuracy that somebody states.
ClaimLike = str | float | Model | GivenAttack


@dataclass(frozen=True)
class Asked:
    """A claim, understood.

    Attributes:
        name: in the result.
        base: gradients among the attacks that are made anyway, on all images that are right.
        modes: other gradients that the audit knows, by their names, made when they are needed.
        view: or one that is brought.
        attack: or an attack.
        stated: or a number.
    """

    name: str
    base: tuple[str, ...] = ()
    modes: tuple[tuple[str, Callable[[], Mode]], ...] = ()
    view: Mode | None = None
    attack: GivenAttack | None = None
    stated: float | None = None

    def by(self, steps: int) -> str:
        """How it is measured."""
        if self.stated is not None:
            return "stated"
        if self.attack is not None:
            return f"{type(self.attack).__name__}, brought" if _is_ours(self.attack) else "an attack that was brought"
        each = [self.view.name] if self.view else [*self.base, *(name for name, _ in self.modes)]
        whose = "the model's own gradient" if each == [OWN] else listed(each)
        return f"PGD-{steps} through {whose}"


def check_claim(claimed: float) -> float:
    """Refuse a stated figure that is not a share."""
    found: float = fit(Annotated[float, In("[0, 1]", "0.45, not 45")], claimed, "claim")
    return found


def each_of(
    claim: ClaimLike | Sequence[ClaimLike] | Mapping[str, ClaimLike] | None,
) -> list[tuple[str, Any]] | None:
    """The claims that are given, by the names that they are given; None for none.

    Raises:
        ValueError: an empty list, or a share that is none.
        TypeError: neither a name, a number, a model nor an attack.
    """
    if claim is None:
        return None
    if isinstance(claim, Mapping):
        found = list(claim.items())
    elif isinstance(claim, list | tuple):
        found = [("", one) for one in claim]
    else:
        found = [("", cast("ClaimLike", claim))]
    if not found:
        raise ValueError("no claim is given: give one, or None for those of the model's kind")
    return [(name, _number_or(one)) for name, one in found]


def understood(
    given: Sequence[tuple[str, Any]] | None, who: Subject, attacks: Mapping[str, GivenAttack]
) -> tuple[Asked, ...]:
    """Each claim; None stands for those of the model's kind: its own gradient, and of a defended network the paper's rules too.

    Raises:
        ValueError: an unknown name, a gradient that is not there, or two claims of one name.
    """
    if given is None:
        paper = ["+".join(who.paper)] if who.paper else []
        given = [("", one) for one in (*paper, OWN) if one != OWN or _has_own(who)]
    _check_attacks(attacks, who)
    if sum(isinstance(one, float) and not name for name, one in given) > 1:
        given = [(name or f"stated {one:g}" if isinstance(one, float) else name, one) for name, one in given]
    found = tuple(_one(name, one, who, attacks) for name, one in given)
    twice = {one.name for one in found if sum(one.name == other.name for other in found) > 1}
    if twice:
        raise ValueError(
            f"claims must have different names, and {listed(sorted(twice))} is there twice: give it once, or in a dict, by other "
            "names"
        )
    return found


def _has_own(who: Subject) -> bool:
    return any(mode.name == OWN for mode in who.base)


def _number_or(claim: Any) -> Any:
    """A number where it is one, as text or not; else what it was."""
    if isinstance(claim, str):
        try:
            return check_claim(float(claim))
        except ValueError:
            if claim and not claim.strip("0123456789+-.,/% "):
                raise ValueError(f"`claim` (={claim!r}) must be a share in [0, 1]: 0.45, not 45 or 45%") from None
            return claim.strip()
    number = None if isinstance(claim, bool) else plain_number(claim)
    if number is not None:
        return check_claim(number)
    if not (_is_ours(claim) or isinstance(claim, nn.Module) or _takes(claim, 1) or _takes(claim, 4)):
        raise TypeError(
            "a claim is the name of a gradient, a number, a model of images, or an attack of (model, images, labels, ball), "
            f"not {claim!r:.60}"
        )
    return claim


def _one(name: str, claim: Any, who: Subject, attacks: Mapping[str, GivenAttack]) -> Asked:
    if isinstance(claim, float):
        return Asked(name or "stated", stated=claim)
    if isinstance(claim, str):
        return _named(name or claim, claim, who, attacks)
    if _is_ours(claim):
        return Asked(name or type(claim).__name__, attack=claim)
    if isinstance(claim, nn.Module) or _takes(claim, 1):
        called = name or "view"
        if called in who.names:
            raise ValueError(
                f"a claim that is a view may not be called {called!r}, as a gradient of this audit is: give it another name, in "
                "a dict"
            )
        return Asked(called, view=Mode(called, rescaled(as_module(claim), who.bounds)))
    return Asked(name or getattr(claim, "__name__", "attack"), attack=claim)


def _named(name: str, text: str, who: Subject, attacks: Mapping[str, GivenAttack]) -> Asked:
    if text in attacks:
        return Asked(name, attack=attacks[text])
    # The training feedback B is a defended network's own gradient.
    parts = [OWN if part == "dfa" and who.paper else part for part in text.split("+")]
    base = tuple(part for part in parts if any(mode.name == part for mode in who.base))
    made = []
    for part in parts:
        if part in base:
            continue
        if part in attacks:
            raise ValueError(f"the claim {text!r} joins gradients, and {part!r} is an attack: give each as a claim")
        lookup("claim", part, dict.fromkeys((*who.names, *attacks)))
        make = who.mode(part)
        if make is None or isinstance(make, str):
            raise ValueError(f"the claim {part!r} cannot be measured: {make}")
        made.append((part, make))
    return Asked(name, base=base, modes=tuple(made))


def _check_attacks(attacks: Mapping[str, GivenAttack], who: Subject) -> None:
    """Refuse what cannot be called as an attack, and a name that a gradient has.

    Raises:
        ValueError: either; says what to do.
    """
    for name, attack in attacks.items():
        if name in who.names:
            raise ValueError(f"`attacks` may not be called {name}: this is a gradient of the audit, or of `views`")
        if isinstance(attack, type) or not (_is_ours(attack) or _takes(attack, 4, unknown=True)):
            raise ValueError(
                f"the attack {name!r} must be an attack of this package, as PGD(), or a function of (model, images, labels, "
                f"ball) that returns images, not {attack!r:.60}"
            )


def _is_ours(attack: Any) -> bool:
    return isinstance(attack, GradientAttack | QueryAttack)


def _takes(function: Any, arguments: int, *, unknown: bool = False) -> bool:
    """Whether something can be called with so many arguments; `unknown` where it does not tell."""
    if not callable(function):
        return False
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return unknown
    try:
        signature.bind(*(None,) * arguments)
    except TypeError:
        return False
    return True
