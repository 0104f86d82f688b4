"""Which forward pass through a defended network a call of its block belongs to.

What belongs to a pass is kept with the pass, by thread, and never on a module. So a block may be called several times in one
pass, defended networks may lie inside each other, and threads may share a network. Under activation checkpointing a block
runs again while the gradient is computed; it finds its pass by the logits' gradient, which always comes first.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from groundglass.optics.backward import BackwardRule, Blocked, check_rule, stitch
from groundglass.optics.opaque import applied, is_followed, uncompiled


class ReachedError(Exception):
    """Raised when a pass that should end at the block has reached it, with the features, those before their ReLU, and what the
    block was given."""


@dataclass(eq=False)
class Pass:
    """One forward pass.

    Attributes:
        block: the block whose calls belong to the pass.
        rule: the rule by which gradients cross the block.
        until_features: whether to end at the first call of the block.
        hidden: of each call, the tensor where the gradient re-enters.
        bits: of each call, what entered the device.
        made: of each call, whether a graph was made. Reentrant checkpointing makes it later.
        out: what the last call gave.
    """

    block: nn.Module
    rule: BackwardRule
    until_features: bool = False
    hidden: list[Tensor] = field(default_factory=list)
    bits: list[Tensor] = field(default_factory=list)
    made: list[bool] = field(default_factory=list)
    out: Tensor | None = None

    def __post_init__(self) -> None:
        check_rule(self.rule)

    @uncompiled(recursive=True)
    def leave(self, hidden: Tensor, bits: Tensor, out: Tensor) -> Tensor:
        """A call of the block ends: its output, remembered."""
        self.hidden.append(hidden)
        self.bits.append(bits)
        self.made.append(is_followed(hidden))
        self.out = out
        return out

    @uncompiled(recursive=True)
    def finish(self, logits: Tensor) -> Tensor:
        """The network's output, with gradients to all calls of the block."""
        self.out = None
        if torch._C._get_tracing_state() is not None:
            return logits  # TorchScript cannot save a custom gradient
        direct = self.rule.site == "logits"
        for hidden, bits in zip(self.hidden, self.bits, strict=True):
            if direct and is_followed(hidden):
                _check_rows(hidden, logits)
                # float32 under autocast.
                logits = stitch(logits if logits.dtype == torch.float64 else logits.float(), hidden, bits, self.rule)
        self.hidden.clear()  # a pass does not keep its graph
        if logits.requires_grad and not (direct and all(self.made)):
            return _announce(logits, self)
        return logits


@dataclass(eq=False)
class _Again:
    """A call of the block that checkpointing repeats: it does the same again, so that the same tensors are saved.

    Attributes:
        error: at the logits.
        late: the original call made no graph, so this call is the one that counts.
    """

    rule: BackwardRule
    error: Tensor
    late: bool
    until_features = False

    def leave(self, hidden: Tensor, bits: Tensor, out: Tensor) -> Tensor:
        if not self.late or self.rule.site == "readings" or not hidden.requires_grad:
            return out
        _check_rows(hidden, self.error)
        return stitch(out, hidden, bits, self.rule, error=self.error)


class _Bare:
    """A call outside any pass: no gradient passes the device."""

    rule = Blocked()
    until_features = False

    def leave(self, hidden: Tensor, bits: Tensor, out: Tensor) -> Tensor:
        return out


class _Lost(_Bare):
    """A repeated call whose pass is not known: its gradient would silently be missing."""

    def leave(self, hidden: Tensor, bits: Tensor, out: Tensor) -> Tensor:
        refused: Tensor = _Refuse.apply(out, hidden) if hidden.requires_grad else out
        return refused


@dataclass(eq=False)
class _Entry:
    this: Pass
    error: Tensor


class _Here(threading.local):
    """Per thread: passes that are running, and passes whose gradient is being computed, with the error at their logits."""

    def __init__(self) -> None:
        self.running: list[Pass] = []
        self.backward: list[_Entry] = []


_HERE = _Here()


def _differentiating() -> bool:
    """Whether we are called from a backward pass."""
    return bool(torch._C._current_graph_task_id() != -1)


@contextmanager
def running(this: Pass) -> Iterator[Pass]:
    """Calls of `this.block` from this thread belong to the pass."""
    if not _HERE.running and not _differentiating():
        _HERE.backward.clear()  # left over from a backward pass that ended in an error
    _HERE.running.append(this)
    try:
        yield this
    finally:
        _HERE.running.remove(this)


@uncompiled(recursive=True)
def pass_of(block: nn.Module, bits: Tensor) -> Pass | _Again | _Bare:
    """The pass that a call of `block` with these bits belongs to: the innermost that is running, or the one it repeats."""
    for one in reversed(_HERE.running):
        if one.block is block:
            return one
    if not _differentiating():
        return _Bare()
    # The latest is the one whose layers are being differentiated: passes end in the reverse of their order.
    found = [
        _Again(one.this.rule, one.error, not made)
        for one in reversed(_HERE.backward)
        if one.this.block is block
        for its, made in zip(one.this.bits, one.this.made, strict=True)
        if torch.equal(its, bits)
    ]
    return found[0] if found else _Lost()


def _check_rows(hidden: Tensor, logits: Tensor) -> None:
    if len(hidden) != len(logits):
        raise ValueError(
            f"the optical block got {len(hidden)} rows and the network gave {len(logits)}: a rule that takes the error at the "
            "logits needs one row of them for each row of features. Use a rule that takes it at the readings, or put the "
            "block where a row is an image"
        )


class _Announce(torch.autograd.Function):
    """Identity on the logits. Its backward is the first of a pass, and marks the pass as being differentiated until that ends."""

    generate_vmap_rule = True

    @staticmethod
    def forward(logits: Tensor, this: Pass) -> Tensor:
        return logits.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.this = inputs[1]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        there, entry = _HERE.backward, _Entry(ctx.this, grads[0])
        there.append(entry)
        # The engine may call this from another thread.
        engine: Any = torch.autograd.Variable._execution_engine
        engine.queue_callback(lambda: there.remove(entry) if entry in there else None)
        return grads[0], None


_announce = applied(_Announce)


class _Refuse(torch.autograd.Function):
    """Identity whose gradient is refused."""

    @staticmethod
    def forward(ctx: Any, out: Tensor, hidden: Tensor) -> Tensor:
        return out.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        raise RuntimeError(
            "an optical block was run again in a backward pass that did not come from its network's logits, or with other bits: "
            "its gradient is not known. Use checkpoint(..., use_reentrant=False), and layers that give the same twice"
        )
