"""What stands in for the derivative of the optical layer, inside an ordinary autograd graph.

The device cannot be differentiated: its matrix is unknown. A defender who trains, or an attacker who climbs, needs a
`BackwardRule` for a gradient through it. The forward pass is the same under every rule.
"""

from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from groundglass.core import generator, uniform
from groundglass.core.sealed import Sealed
from groundglass.optics.opaque import Opaque, applied, uncompiled, vjp


@runtime_checkable
class BackwardRule(Protocol):
    """A stand-in for the derivative of bits -> readings, or of bits -> logits.

    Attributes:
        name: the name used in records and reports.
        site: where the gradient is picked up. "readings": at the device's normalised output, the ordinary place.
            "logits": at the network's output, past all that stands between (direct feedback alignment).
    """

    @property
    def name(self) -> str: ...

    @property
    def site(self) -> Literal["readings", "logits"]: ...

    def vjp(self, bits: Float[Tensor, "batch n"], grad: Float[Tensor, "batch k"]) -> Float[Tensor, "batch n"]:
        """The gradient at the input of the binarisation, from the gradient at `site` (k = M readings or C logits)."""
        ...


class Blocked:
    """No gradient passes. The loss still teaches what lies above the device."""

    name = "blocked"
    site: Literal["readings", "logits"] = "logits"

    def vjp(self, bits: Float[Tensor, "batch n"], grad: Float[Tensor, "batch k"]) -> Float[Tensor, "batch n"]:
        return torch.zeros_like(bits)


class Held(Sealed):
    """A rule's matrices, on whatever device they are asked for: they may be U, or as good as U."""

    __slots__ = ("_places",)

    _unpickled = "holds matrices that may be a device's, and cannot be pickled: make the rule again where it is needed"

    def __init__(self, *matrices: Tensor) -> None:
        self._places = {matrices[0].device: matrices}

    def on(self, device: torch.device) -> tuple[Tensor, ...]:
        """The matrices there. Threads may ask for different devices at once."""
        if device not in self._places:
            (matrices, *_) = self._places.values()
            self._places[device] = tuple(matrix.to(device) for matrix in matrices)
        return self._places[device]


class _Rule(Opaque):
    """A rule, as operators use it."""

    __slots__ = ("rule",)

    def __init__(self, rule: BackwardRule) -> None:
        self.rule = rule
        self._enter()

    def _pull_back(self, bits: Tensor, grad: Tensor) -> Tensor:
        return self.rule.vjp(bits, grad)


class _Stitch(torch.autograd.Function):
    """Identity on `output`; in the backward pass the gradient is sent on to `source` as well, by the rule.

    `output` does not depend on `source` in the graph (the device lies between), so nothing is counted twice.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(output: Tensor, source: Tensor, bits: Tensor, rule: _Rule, error: Tensor | None) -> Tensor:
        # A copy: torch forbids in-place changes to a view that a custom function returns.
        return output.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, source, bits, ctx.rule, ctx.error = inputs
        ctx.source_dtype = source.dtype
        ctx.save_for_backward(bits)
        ctx.set_materialize_grads(False)  # `jvp` looks at which there are

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        (grad,) = grads
        if grad is None:
            return None, None, None, None, None
        (bits,) = ctx.saved_tensors
        to_source = None
        if ctx.needs_input_grad[1]:
            error = grad if ctx.error is None else ctx.error
            to_source = vjp(ctx.rule, bits.float(), error.float()).to(ctx.source_dtype)
        return (grad if ctx.needs_input_grad[0] else None), to_source, None, None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        along: Tensor = tangents[0]
        if tangents[1] is None:  # of weights above the device
            return along.clone()
        raise NotImplementedError(
            "an optical device has no forward-mode derivative, as a backward rule is no Jacobian: use torch.func.vjp, grad or "
            "jacrev in place of jvp, jacfwd or hessian"
        )


_apply_stitch = applied(_Stitch)


@uncompiled(recursive=True)
def check_rule(rule: object) -> None:
    """Refuse what is not a rule, such as the name of one."""
    if not hasattr(rule, "vjp"):
        name = rule if isinstance(rule, str) else "exact"
        raise TypeError(
            f"{rule!r:.60} is not a backward rule: groundglass.adaptive.make_rule({name!r}, network, seed=0) makes it by name"
        )


def stitch(output: Tensor, source: Tensor, bits: Tensor, rule: BackwardRule, *, error: Tensor | None = None) -> Tensor:
    """Reconnect `source` (the input of the binarisation) to `output`, across the device, by `rule`.

    Returns `output` unchanged in value. Its gradient goes to `output` as usual, and through `rule.vjp` to `source`.

    Args:
        error: what the rule gets in place of the gradient at `output`, if it is known already.
    """
    return _apply_stitch(output, source, bits, _Rule(rule), error)


class RandomFeedback:
    """Direct feedback alignment (Nøkland 2016): the error at the logits, through a fixed random matrix B.

    With the B that trained the network this is the paper's training signal and its `DFA` attack. With a fresh B it
    is what the paper's published code attacked with.

    Args:
        feedback: B, [classes, n].
        name: the name in records.
    """

    site: Literal["readings", "logits"] = "logits"

    def __init__(self, feedback: Float[Tensor, "classes n"], name: str = "dfa") -> None:
        self.name = name
        self._feedback = feedback

    @classmethod
    def fresh(cls, classes: int, in_features: int, *, seed: int, name: str = "dfa-fresh") -> "RandomFeedback":
        """A new feedback matrix: from the same distribution, but not the defender's draw."""
        return cls(draw_feedback(classes, in_features, seed=seed), name)

    def vjp(self, bits: Float[Tensor, "batch n"], grad: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch n"]:
        if grad.shape[-1] != len(self._feedback):
            raise ValueError(
                f"B is for {len(self._feedback)} logits, and the network gave {grad.shape[-1]}: run the network once before the "
                "rule is made, or give `classes` to `defend`"
            )
        if self._feedback.device != grad.device:
            with torch.inference_mode(False):  # it is kept there, and may be part of a graph later
                self._feedback = self._feedback.to(grad.device)
        return grad @ self._feedback.to(grad.device, grad.dtype)

    def __repr__(self) -> str:
        classes, n = self._feedback.shape
        return f"RandomFeedback(name={self.name!r}, classes={classes}, n={n})"


def draw_feedback(classes: int, in_features: int, *, seed: int) -> Float[Tensor, "classes n"]:
    """B: uniform in [-1, 1] / sqrt(n), so that the synthetic gradient of a sample has the size of its error."""
    draw = uniform(classes, in_features, generator=generator(seed, "feedback"))
    return (2 * draw - 1) / in_features**0.5


def feedback_size(in_features: int) -> float:
    """Root mean square of an entry of such a B, by its law: of all that are drawn, not of one."""
    return (3 * in_features) ** -0.5
