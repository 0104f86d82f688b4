"""Whether two modules are one function: the same outputs and gradients at some inputs, up to rounding.

For everything that replaces a model: a copy, a fused layer, a rule merged into another.
"""

import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from groundglass.core import generator, input_dtype, logits_of, own_streams
from groundglass.core.modes import evaluating
from groundglass.optics import MovingDevice, OpticalLayer, SimulatedOPU, without_devices

#: How many inputs are enough to tell two functions apart.
FEW = 8
# Relative to the outputs of the batch, less their mean over classes, and to an input's own gradient. Rounding of float32
# gives some 1e-5, of TF32 1e-3, and to a gradient that crosses a kink 1e-2; a layer that is left out 1.
_OUTPUTS, _TF32, _GRADIENTS = 1e-3, 1e-2, 5e-2
# A change of inputs, relative to them, that moves features about as far as another order of summation does.
_ROUNDING, _TRIES = 2e-5, 4

Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class _Answers:
    outputs: Float[Tensor, "n k"]
    gradient: Float[Tensor, "n d"] | None
    coarse: bool  # float32 products may have been rounded to ten bits


def same_function(one: Function, other: Function, inputs: Float[Tensor, "n ..."]) -> bool:
    """Whether `other` gives what `one` gives at the inputs: outputs, and the gradient of a fixed mixture of them.

    Both are run in eval mode, under the same draws, and with no device (see `same_draws`, `without_devices`): no
    random numbers, counts or frames of others are used up.

    A function with thresholds may answer differently after a difference in the last bit. Rows that differ count as the
    same where `one` itself moves as far when its inputs are changed by as little as rounding does.

    Raises:
        Whatever `one` raises. If `other` raises, it is another function.
    """
    with torch.inference_mode(False):
        inputs = (torch.from_numpy(inputs) if isinstance(inputs, np.ndarray) else inputs).detach().clone()
        given = answers(one, inputs)
        try:
            found = answers(other, inputs)
        except Exception:  # a stranger's module may raise anything
            return False
        apart = _apart(given, found)
        odd = apart > 1
        if not bool(odd.any()):
            return True
        if bool((_apart(given, answers(one, inputs)) > 1).any()):
            return False  # its draws cannot be repeated: nothing can be said
        moved = torch.zeros_like(apart)
        noise = generator(0, "rounding")
        for _ in range(_TRIES):
            change = torch.randn(inputs.shape, generator=noise, dtype=torch.float32, device="cpu").to(inputs)
            nearby = inputs + _ROUNDING * inputs.square().mean().sqrt() * change
            moved = torch.maximum(moved, _apart(given, answers(one, nearby)))
        return bool((apart <= 3 * moved)[odd].all())


def answers(function: Function, inputs: Tensor) -> _Answers:
    """Outputs and a gradient, in eval mode, under draws that are put back, and with no device."""
    module = function if isinstance(function, nn.Module) else None
    with (
        same_draws(module),
        evaluating(module),
        without_devices(),
        torch.enable_grad(),
    ):
        x = inputs.clone().requires_grad_()
        outputs = logits_of(function(x.to(x.dtype if module is None else input_dtype(module), copy=True)))
        if not isinstance(outputs, Tensor):
            raise TypeError(f"the model must return a tensor of logits, not {type(outputs).__name__}")
        gradient = None
        if outputs.requires_grad:
            drawn = generator(0, "mixture")
            mixture = torch.randn(outputs.shape, generator=drawn, dtype=torch.float32, device="cpu")
            # Of a sum: for the gradient of a vector torch loads its symbolic shapes, which takes a second of a process.
            (gradient,) = torch.autograd.grad((outputs * mixture.to(outputs)).sum(), x, allow_unused=True)
    rows = outputs.detach().reshape(len(inputs), -1)
    # On the CPU: not every accelerator has float64.
    told = None if gradient is None else gradient.flatten(1).cpu().double()
    return _Answers(rows.cpu().double(), told, rounds_coarsely(inputs.device))


def rounds_coarsely(where: torch.device) -> bool:
    """Whether float32 convolutions or matrix products there may round their factors to the ten bits of TF32."""
    if where.type != "cuda":
        return False
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    if not hasattr(matmul, "fp32_precision"):  # torch before 2.9
        return bool(cudnn.allow_tf32 or matmul.allow_tf32)
    # Once these were set, torch refuses to tell `allow_tf32`.
    return "tf32" in (cudnn.conv.fp32_precision, matmul.fp32_precision)  # type: ignore[attr-defined]


def _apart(one: _Answers, other: _Answers) -> Float[Tensor, "n"]:
    """How far apart the rows are, in units of what is allowed."""
    a, b = (answers.outputs.nan_to_num(posinf=1e30, neginf=-1e30) for answers in (one, other))
    if a.shape != b.shape or (one.gradient is None) != (other.gradient is None):
        return torch.full((len(a),), torch.inf, device="cpu", dtype=torch.float64)
    spread = (a - a.mean(1, keepdim=True)).norm(dim=1).square().mean().sqrt()
    allowed = (_TF32 if one.coarse else _OUTPUTS) * spread + 1e-5 * a.norm(dim=1) + 1e-30
    found = (a - b).norm(dim=1) / allowed
    if one.gradient is not None and other.gradient is not None:
        g, h = (gradient.nan_to_num(posinf=1e30, neginf=-1e30) for gradient in (one.gradient, other.gradient))
        size = g.norm(dim=1)
        allowed = _GRADIENTS * size + 1e-6 * size.amax() + 1e-30
        found = torch.maximum(found, (g - h).norm(dim=1) / allowed)
    return found


@contextmanager
def same_draws(module: nn.Module | None) -> Iterator[None]:
    """Whatever is drawn or counted in this block is drawn and counted again afterwards.

    Of torch, numpy and `random`; of generators, plain numbers and buffers that are attributes of the module and its
    parts; and the noisy frames of a device that one of them holds. State that is kept elsewhere is not covered.
    """
    parts = [] if module is None else list(module.modules())
    back = [restore for part in parts for restore in _kept(part)]
    of_numpy, of_python = np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        with own_streams():
            yield
    finally:
        np.random.set_state(of_numpy)  # noqa: NPY002
        random.setstate(of_python)
        for restore in back:
            restore()


def _kept(part: nn.Module) -> Iterator[Callable[[], Any]]:
    """A function that restores a module's own generators, numbers and buffers."""
    held = vars(part)
    numbers = {name: value for name, value in held.items() if isinstance(value, int | float | str | None)}
    yield lambda: held.update(numbers)
    for buffer in part._buffers.values():
        if buffer is not None:
            yield _put_back(buffer)
    if isinstance(part, OpticalLayer):
        return  # its device is not asked, and may be another thread's too
    for value in held.values():
        for one in value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else [value]:
            yield from _generator(one)


def _put_back(buffer: Tensor) -> Callable[[], None]:
    before, version = buffer.clone(), buffer._version

    def restore() -> None:
        if buffer._version != version:
            with torch.no_grad():
                buffer.copy_(before)

    return restore


def _generator(one: Any) -> Iterable[Callable[[], Any]]:
    if isinstance(one, SimulatedOPU):
        frames = one.frames
        return [lambda: one.skip_frames(frames - one.frames)]
    if isinstance(one, MovingDevice):
        return [restore for part in (one._draws, *one.devices) for restore in _generator(part)]
    if isinstance(one, torch.Generator):
        state = one.get_state()
        return [lambda: one.set_state(state)]
    if isinstance(one, np.random.Generator):
        bits = one.bit_generator
        counted = bits.state
        return [lambda: setattr(bits, "state", counted)]
    if isinstance(one, np.random.RandomState):
        old = one.get_state()
        return [lambda: one.set_state(old)]
    if isinstance(one, random.Random):
        twister = one.getstate()
        return [lambda: one.setstate(twister)]
    return []
