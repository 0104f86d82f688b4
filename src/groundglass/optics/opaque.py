"""Operators that no tracer, exporter or compiler of torch sees into.

What records a network (`torch.jit.trace`, `torch.export`, `make_fx`, `torch.compile`, ONNX) keeps every tensor that an
operation meets, and the matrix of a device would be one. So a measurement, and a backward rule, is one operator here, of
its inputs and of a number that says whom to ask. The number is drawn at random, means nothing elsewhere, and is no secret.
The same operators are what lets `torch.func` and `vmap` pass a device that computes in numpy or by light.
"""

import secrets
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from typing import Any, TypeVar, cast
from weakref import WeakValueDictionary

import torch
from torch import Tensor
from torch.autograd import forward_ad

from groundglass.core.sealed import Sealed

F = TypeVar("F", bound=Callable[..., Any])


class Opaque(Sealed):
    """Base of the objects that operators ask. It lives as long as its owner does; a graph does not keep it alive."""

    __slots__ = ("_number",)

    def _enter(self) -> None:
        """From now on operators find it by a number of its own."""
        self._number = secrets.randbits(62)
        _LIVE[self._number] = self

    def _answer(self, inputs: Tensor, exposure: float) -> Tensor:
        """What `measure` returns for plain tensors."""
        raise NotImplementedError

    def _pull_back(self, bits: Tensor, grad: Tensor) -> Tensor:
        """What `vjp` returns for plain tensors."""
        raise NotImplementedError


_LIVE: WeakValueDictionary[int, Opaque] = WeakValueDictionary()


def _ask(number: int) -> Opaque:
    found = _LIVE.get(number)
    if found is None:
        raise RuntimeError(
            "this graph was recorded from a network whose optical device or backward rule is not in this process, or is gone: "
            "a graph holds no device. Load the network with its device (load_model(path, find_device=...)), keep it, and "
            "record it again"
        )
    return found


_LIBRARY = torch.library.Library("groundglass", "DEF")
# A measurement has state of its own, frames that are counted: a graph of CUDA's kernels would repeat what it once recorded.
_LIBRARY.define(
    "measure(Tensor inputs, int device, int outputs, ScalarType dtype, float exposure) -> Tensor",
    tags=(torch.Tag.cudagraph_unsafe,) if hasattr(torch.Tag, "cudagraph_unsafe") else (),
)
_LIBRARY.define("vjp(Tensor bits, Tensor grad, int rule) -> Tensor")
_LIBRARY.define("vjp_again(Tensor bits, Tensor grad, Tensor along, int rule) -> Tensor")
_OPERATORS: Any = torch.ops.groundglass


def measure(device: Opaque, inputs: Tensor, *, outputs: int, dtype: torch.dtype, exposure: float = 1.0) -> Tensor:
    """`device._answer(inputs, exposure)`, [batch, outputs] of `dtype`, as one operator without a gradient."""
    found: Tensor = _OPERATORS.measure(inputs, device._number, outputs, dtype, exposure)
    return found


def vjp(rule: Opaque, bits: Tensor, grad: Tensor) -> Tensor:
    """`rule._pull_back(bits, grad)`, of the shape of `bits`, as one operator. Linear in `grad`, and differentiable in it."""
    if torch.is_grad_enabled() and is_followed(grad):
        again: Tensor = _VJP.apply(bits, grad, rule)
        return again
    found: Tensor = _OPERATORS.vjp(bits, grad, rule._number)
    return found


class _VJP(torch.autograd.Function):
    """`vjp` in a graph: for second derivatives, and for `torch.func`, which asks for them always."""

    generate_vmap_rule = True

    @staticmethod
    def forward(bits: Tensor, grad: Tensor, rule: Opaque) -> Tensor:
        found: Tensor = _OPERATORS.vjp(bits, grad, rule._number)
        return found

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Opaque], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:2])
        ctx.rule = inputs[2]

    @staticmethod
    def backward(ctx: Any, *along: Tensor) -> tuple[None, Tensor, None]:
        return None, _OPERATORS.vjp_again(*ctx.saved_tensors, *along, ctx.rule._number), None


def _measure(inputs: Tensor, device: int, outputs: int, dtype: torch.dtype, exposure: float) -> Tensor:
    return _ask(device)._answer(inputs, exposure)


class _Autograd:
    """Autograd as usual, for code that computes a gradient inside an operator, where autograd is off."""

    def __enter__(self) -> None:
        self._was = torch._C._dispatch_tls_is_dispatch_key_excluded(torch._C.DispatchKey.AutogradFunctionality)
        torch._C._dispatch_tls_set_dispatch_key_excluded(torch._C.DispatchKey.AutogradFunctionality, False)

    def __exit__(self, *raised: object) -> None:
        torch._C._dispatch_tls_set_dispatch_key_excluded(torch._C.DispatchKey.AutogradFunctionality, self._was)


def _unhooked() -> AbstractContextManager[Any]:
    """What is saved for a gradient in here is shown to no hook of the caller's: one may write it to a disk.

    No generator is around torch's own: one that a Ctrl-C cuts off would end later, when these hooks are no longer the last.
    """
    autograd: Any = torch._C._autograd
    if not autograd._saved_tensors_hooks_is_enabled():  # in `torch.func`, where there are none
        return nullcontext()
    return torch.autograd.graph.saved_tensors_hooks(_as_it_is, _as_it_is)


def _as_it_is(saved: Tensor) -> Tensor:
    return saved


def _vjp(bits: Tensor, grad: Tensor, rule: int) -> Tensor:
    with _Autograd(), torch.no_grad(), _unhooked():
        found = _ask(rule)._pull_back(bits, grad)
    # An operator's result is memory of its own: a rule may return what it was given.
    given = {tensor.untyped_storage().data_ptr() for tensor in (bits, grad)}
    return found.clone() if found.untyped_storage().data_ptr() in given else found


def _vjp_again(bits: Tensor, grad: Tensor, along: Tensor, rule: int) -> Tensor:
    with _Autograd(), torch.enable_grad(), _unhooked():
        grad = grad.detach().clone().requires_grad_()
        found = _ask(rule)._pull_back(bits, grad)
        if not found.requires_grad:
            return torch.zeros_like(grad)
        (back,) = torch.autograd.grad(found, grad, along, allow_unused=True, materialize_grads=True)
    return back


def _rows(*tensors: Tensor, dims: tuple[int | None, ...], size: int) -> list[Tensor]:
    """Batches of batches, as more rows."""
    whole = [
        tensor.expand(size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
        for tensor, dim in zip(tensors, dims, strict=True)
    ]
    return [tensor.flatten(0, 1) for tensor in whole]


def _measure_many(info: Any, dims: tuple[int | None, ...], inputs: Tensor, *rest: Any) -> tuple[Tensor, int]:
    rows = _rows(inputs, dims=dims[:1], size=info.batch_size)
    return _OPERATORS.measure(*rows, *rest).unflatten(0, (info.batch_size, len(rows[0]) // info.batch_size)), 0


def _vjp_many(info: Any, dims: tuple[int | None, ...], bits: Tensor, grad: Tensor, rule: int) -> tuple[Tensor, int]:
    rows = _rows(bits, grad, dims=dims[:2], size=info.batch_size)
    return _OPERATORS.vjp(*rows, rule).unflatten(0, (info.batch_size, len(rows[0]) // info.batch_size)), 0


def _vjp_again_many(info: Any, dims: tuple[int | None, ...], *given: Any) -> tuple[Tensor, int]:
    rows = _rows(*given[:3], dims=dims[:3], size=info.batch_size)
    return _OPERATORS.vjp_again(*rows, given[3]).unflatten(0, (info.batch_size, len(rows[0]) // info.batch_size)), 0


for _name, _kernel, _shape, _many in (
    (
        "measure",
        _measure,
        lambda x, device, outputs, dtype, exposure: x.new_empty(len(x), outputs, dtype=dtype),
        _measure_many,
    ),
    ("vjp", _vjp, lambda bits, grad, rule: torch.empty_like(bits), _vjp_many),
    ("vjp_again", _vjp_again, lambda bits, grad, along, rule: torch.empty_like(grad), _vjp_again_many),
):
    _LIBRARY.impl(_name, _kernel, "CompositeExplicitAutograd")
    torch.library.register_fake(f"groundglass::{_name}", _shape, lib=_LIBRARY)
    torch.library.register_vmap(f"groundglass::{_name}", _many, lib=_LIBRARY)


def applied(function: type[torch.autograd.Function]) -> Callable[..., Tensor]:
    """`function.apply`, several times faster unless `torch.func` is at work, which needs `setup_context`."""

    class Plain(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *inputs: Any) -> Any:
            function.setup_context(ctx, inputs, None)
            return function.forward(*inputs)

        backward = staticmethod(function.backward)
        jvp = staticmethod(function.jvp)

    def apply(*inputs: Any) -> Tensor:
        active = torch._C._are_functorch_transforms_active()
        found: Tensor = (function if active else Plain).apply(*inputs)
        return found

    return apply


def is_recorded() -> bool:
    """Whether tensors are stand-ins now, whose values cannot be looked at: in a tracer, an exporter, or `torch.func`."""
    return bool(
        torch._C._get_tracing_state() is not None
        or torch._C._are_functorch_transforms_active()
        or torch._C._len_torch_dispatch_stack()
    )


def is_followed(tensor: Tensor) -> bool:
    """Whether a derivative may be asked of what comes of it: in `torch.func` and in forward mode `requires_grad` does not say."""
    return bool(
        tensor.requires_grad
        or torch._C._are_functorch_transforms_active()
        or forward_ad.unpack_dual(tensor).tangent is not None
    )


def uncompiled(*, recursive: bool) -> Callable[[F], F]:
    """`torch.compiler.disable`, which imports the compiler: here once somebody else has.

    `torch.compile` runs the function as it is written, and compiles what it calls unless `recursive`.
    """

    def decorate(function: F) -> F:
        disabled: list[F] = []

        @wraps(function)
        def call(*args: Any, **options: Any) -> Any:
            if "torch._dynamo" not in sys.modules or torch.compiler.is_exporting():
                return function(*args, **options)
            if not disabled:
                disabled.append(torch.compiler.disable(function, recursive=recursive))
            return disabled[0](*args, **options)

        cast("Any", call)._torchdynamo_disable = True
        return cast("F", call)

    return decorate
