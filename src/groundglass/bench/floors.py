"""What the machine at least takes: convolutions and products as oneDNN alone does them, and bytes that are read.

Each in float32 and, where this processor is right in it, in bfloat16; images in torch's layout and in channels-last. The fastest
counts, whatever the library itself uses: a step that only climbs may be rounded.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from groundglass.bench.job import Part
from groundglass.core import generator
from groundglass.core.numbers import normal
from groundglass.training.precision import bfloat16_is_right

Pass = Literal["forward", "images", "weights"]
_LAYOUTS = {"": torch.contiguous_format, ", channels last": torch.channels_last}


def dtypes() -> tuple[torch.dtype, ...]:
    """Those of which the fastest counts."""
    return (torch.float32, torch.bfloat16) if bfloat16_is_right() else (torch.float32,)


@dataclass(frozen=True, eq=False)
class _Layer:
    """A convolution, and the images that it gets."""

    conv: nn.Conv2d
    shape: torch.Size
    first: bool


def convolutions(
    model: nn.Module,
    images: Tensor,
    *passes: Pass,
    images_of_first: bool = True,
    times: float = 1.0,
) -> dict[str, Part]:
    """The convolutions of a network, without anything between them: a floor for each dtype and layout.

    Args:
        images: a batch of them.
        passes: what is done: "forward", the gradient at each convolution's "images", and at its "weights".
        images_of_first: whether the gradient at the images themselves is wanted, as an attack does and training does not.
        times: see `Part`.
    """
    layers = list(_layers(model, images))
    found = {}
    for dtype in dtypes():
        for told, layout in _LAYOUTS.items():
            steps = [
                step
                for layer in layers
                for step in _steps(layer, passes, dtype, layout, images_of_first or not layer.first)
            ]
            found[f"{_said(dtype)}{told}"] = Part(partial(_all, steps), times)
    return found


def products(left: Tensor, right: Tensor, *, times: float = 1.0) -> dict[str, Part]:
    """`left @ right`, a floor for each dtype; int8 where both hold whole numbers of that size and torch has such a product."""
    found = {}
    for dtype in dtypes():
        one, other = left.to(dtype), right.to(dtype)
        found[_said(dtype)] = Part(partial(torch.matmul, one, other), times)
    if not left.is_floating_point() and not right.is_floating_point():
        whole = (left.to(torch.int8), right.to(torch.int8).t().contiguous().t())
        try:
            torch._int_mm(*whole)
        except (RuntimeError, AttributeError):
            return found
        found["int8"] = Part(partial(torch._int_mm, *whole), times)
    return found


def reading(nbytes: int, *, times: float = 1.0) -> dict[str, Part]:
    """So many bytes, read once from wherever they are."""
    held = torch.ones(max(1, nbytes // 8), dtype=torch.int64, device="cpu")
    return {"bytes read": Part(held.sum, times)}


def _layers(model: nn.Module, images: Tensor) -> Iterator[_Layer]:
    seen: list[tuple[nn.Conv2d, torch.Size]] = []

    def note(module: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
        assert isinstance(module, nn.Conv2d)
        seen.append((module, given[0].shape))

    hooks = [module.register_forward_hook(note) for module in model.modules() if isinstance(module, nn.Conv2d)]
    try:
        with torch.no_grad():
            model(images)
    finally:
        for hook in hooks:
            hook.remove()
    for number, (conv, shape) in enumerate(seen):
        yield _Layer(conv, shape, number == 0)


def _steps(
    layer: _Layer, passes: tuple[Pass, ...], dtype: torch.dtype, layout: torch.memory_format, with_images: bool
) -> Iterator[Callable[[], object]]:
    random, conv = generator(0, "floor"), layer.conv

    def drawn(shape: torch.Size) -> Tensor:
        return normal(*shape, generator=random).to(dtype).contiguous(memory_format=layout)

    x, weight = drawn(layer.shape), drawn(conv.weight.shape)
    assert isinstance(conv.padding, tuple)
    geometry: dict[str, Any] = {
        "stride": conv.stride,
        "padding": conv.padding,
        "dilation": conv.dilation,
        "groups": conv.groups,
    }
    if "forward" in passes:
        yield partial(F.conv2d, x, weight, **geometry)
    wanted = ["images" in passes and with_images, "weights" in passes, False]
    if any(wanted):
        grad = drawn(F.conv2d(x, weight, **geometry).shape)
        way = (None, conv.stride, conv.padding, conv.dilation, False, (0, 0), conv.groups)
        yield partial(torch.ops.aten.convolution_backward, grad, x, weight, *way, wanted)


def _all(steps: list[Callable[[], object]]) -> None:
    with torch.no_grad():
        for step in steps:
            step()


def _said(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
