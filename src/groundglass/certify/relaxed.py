"""Bounds of a network's outputs over an L-inf ball: intervals, and CROWN.

Interval bounds (IBP: Gowal et al. 2018) push a box through the layers, and lose at each. CROWN (Zhang et al. 2018) walks from the
outputs back to the image with a linear bound of each, which keeps what inputs have in common; the line that replaces a
ReLU needs an interval of what enters it, which "crown" finds in the same way and "crown-ibp" (Zhang et al. 2020) by intervals.

Convex relaxations of this kind are what Wong and Kolter (2018) train by; here a network is only looked at. Differences from
auto_LiRPA, the authors' library, which the registry has for torch up to 1.12 alone: no branch and bound, and no optimised slopes
(alpha-CROWN); units that intervals show to be on, or off, are not bounded again; the box is cut to [0, 1], where images are.

All of it is in float64, and true of the network in exact arithmetic. A network in float32 is off by rounding: a margin that is
smaller than that proves nothing, and `slack` says what is asked for. How far rounding takes it in all of a ball is estimated
from the images themselves, and not proven.
"""

from collections.abc import Iterator
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from groundglass.certify.chain import to_logits
from groundglass.certify.steps import Box, Dense, MaxPool, Rectify, Step
from groundglass.core import as_images, as_labels, check_eps, check_labels, counting
from groundglass.core.accelerator import device_of
from groundglass.core.settings import fit
from groundglass.models import predict_logits

Method = Literal["ibp", "crown-ibp", "crown"]

# Of the largest value that an output may have.
_LEAST = 1e-5
# Times what rounding does to the image in the middle of a ball.
_ROUNDING = 10
#: Numbers in the rows that are walked back at once.
_AT_ONCE = 2**19
#: By how much the network and its steps may differ, of the largest logit.
_SAME = 1e-3


def bounds(
    model: Any, images: Float[Tensor, "n c h w"], eps: float, *, method: Method = "crown"
) -> tuple[Float[Tensor, "n k"], Float[Tensor, "n k"]]:
    """Lower and upper bounds of each logit over all images within `eps` of each image, and in [0, 1]; float64.

    Args:
        model: images in [0, 1] -> logits: a plain network of layers that bounds know, in eval mode.
        eps: L-inf, pixel units.
        method: "ibp", quick and wide; "crown", the narrowest, which takes a pass back for every unit that may be on or off;
            "crown-ibp", in between: a pass back for each output.

    Raises:
        TypeError, ValueError: images that are not float NCHW in [0, 1]; eps not in [0, 1]; a layer that bounds cannot follow.
    """
    steps, images, eps, _ = _checked(model, images, eps, method)
    found = [_logits(steps, box, method) for box in boxes(images, eps)]
    return _stacked([low for low, _ in found]), _stacked([high for _, high in found])


def margins(
    model: Any, images: Float[Tensor, "n c h w"], labels: Any, eps: float, *, method: Method = "crown"
) -> Float[Tensor, "n"]:
    """By how much the label's logit is above all others for every image within `eps`, at least; float64.

    Above 0 no attack in the L-inf ball succeeds, but for rounding: `verified` leaves room for that.

    Bounds of differences of logits, which are nearer than differences of their bounds.

    Raises:
        TypeError, ValueError: as `bounds`; labels that do not fit.
    """
    return _margins(model, images, labels, eps, method)[0]


def _margins(model: Any, images: Any, labels: Any, eps: float, method: Method) -> tuple[Tensor, Tensor]:
    """And how far each image's logits are from those of the steps."""
    steps, images, eps, apart = _checked(model, images, eps, method)
    known = as_labels(labels, images).tolist()
    found = []
    for box, label in zip(boxes(images, eps), known, strict=True):
        classes = _classes(steps, box)
        check_labels(torch.tensor([label], dtype=torch.int64, device="cpu"), count=1, classes=classes)
        rows = -torch.eye(classes, dtype=torch.float64, device=box[0].device)
        rows[:, label] += 1
        others = Dense(rows[counting(classes, rows.device) != label], rows.new_zeros(classes - 1))
        found.append(_logits([*steps, others], box, method)[0].min())
    return torch.stack(found) if found else torch.zeros(0, dtype=torch.float64, device=images.device), apart


def verified(
    model: Any, images: Float[Tensor, "n c h w"], labels: Any, eps: float, *, method: Method = "crown"
) -> Bool[Tensor, "n"]:
    """Whether no image within `eps` (L-inf) of each is given another class than its label: the margin is proven, and above what
    rounding may take from it (`slack`). As `margins`."""
    images = as_images(images)
    found, apart = _margins(model, images, labels, eps, method)
    largest = predict_logits(model, images).abs().amax(1) if len(images) else images.new_zeros(0)
    return found > slack(largest.to(found), apart)


def slack(largest: Tensor, apart: Tensor) -> Tensor:
    """How far a bound must be from what it is compared with to be worth something.

    Args:
        largest: value that an output may have.
        apart: how far the network is from its steps, on the image itself: see `check_steps`.
    """
    return torch.maximum(_LEAST * largest, _ROUNDING * apart)


def boxes(images: Tensor, eps: float) -> Iterator[Box]:
    """The L-inf ball around each image, cut to [0, 1], float64 [1, c, h, w]."""
    for image in images.double():
        yield (image - eps).clamp(0, 1)[None], (image + eps).clamp(0, 1)[None]


def ranges(steps: list[Step], box: Box, method: Method) -> list[Box]:
    """A box of what enters each step, and of what leaves the last one."""
    found = [box]
    # Of one layer of weights intervals are exact, and of what acts on each value alone.
    mixing, exact = 0, True
    for place, step in enumerate(steps):
        if isinstance(step, Rectify) and method == "crown" and not exact:
            after = steps[place + 1] if place + 1 < len(steps) else None
            found[-1] = _narrowed(steps[:place], found, after if isinstance(after, MaxPool) else None)
        found.append(step.interval(found[-1]))
        mixing += not step.diagonal
        exact = exact and step.linear and mixing < 2
    return found


def walked_back(steps: list[Step], found: list[Box], rows: Tensor, *, to_images: bool) -> Box:
    """Bounds of rows of coefficients of what leaves the last step: lower and upper, each [S].

    Args:
        found: of `ranges`.
        rows: [S, *shape].
        to_images: all the way; else to the last step that is not linear, where the box is used.
    """
    first = 0 if to_images else max((i + 1 for i, step in enumerate(steps) if not step.linear), default=0)
    size = max(box[0].numel() for box in found)
    parts = [_walked(steps, found, part, first) for part in rows.split(max(1, _AT_ONCE // size))]
    uppers = [-_walked(steps, found, -part, first) for part in rows.split(max(1, _AT_ONCE // size))]
    return torch.cat(parts), torch.cat(uppers)


def _walked(steps: list[Step], found: list[Box], rows: Tensor, first: int) -> Tensor:
    """Lower bounds."""
    offsets = rows.new_zeros(len(rows))
    for place in range(len(steps) - 1, first - 1, -1):
        rows, added = steps[place].back(rows, found[place])
        offsets = offsets + added
    lower, upper = (end.flatten() for end in found[first])
    rows = rows.flatten(1)
    return offsets + rows.clamp_min(0) @ lower + rows.clamp_max(0) @ upper


def _narrowed(steps: list[Step], found: list[Box], pool: MaxPool | None) -> Box:
    """The box of what enters a ReLU, walked back for the units that may be on or off, or the largest of a window."""
    lower, upper = found[-1][0].clone(), found[-1][1].clone()
    shape, size = lower.shape, lower.numel()
    wide = (lower < 0) & (upper > 0)
    if pool is not None:
        wide |= pool.contested((lower.relu(), upper.relu()))
    open_units = wide.flatten().nonzero()[:, 0]
    for part in open_units.split(max(1, _AT_ONCE // size)):
        rows = lower.new_zeros(len(part), size)
        rows[counting(len(part), rows.device), part] = 1
        low, high = walked_back(steps, found, rows.view(len(part), *shape[1:]), to_images=True)
        flat_low, flat_high = lower.view(-1), upper.view(-1)
        flat_low[part] = torch.maximum(flat_low[part], low)
        flat_high[part] = torch.minimum(flat_high[part], high)
    return lower, upper


def _logits(steps: list[Step], box: Box, method: Method) -> Box:
    found = ranges(steps, box, method)
    rows = torch.eye(found[-1][0].shape[1], dtype=torch.float64, device=box[0].device)
    low, high = walked_back(steps, found, rows, to_images=method != "ibp")
    return torch.maximum(low, found[-1][0][0]), torch.minimum(high, found[-1][1][0])


def _classes(steps: list[Step], box: Box) -> int:
    value = box[0]
    for step in steps:
        value = step(value)
    return value.shape[1]


def _checked(model: Any, images: Any, eps: float, method: Method) -> tuple[list[Step], Tensor, float, Tensor]:
    steps = to_logits(model)
    images, eps = check_ball(model, images, eps, method)
    return steps, images, eps, check_steps(steps, images, predict_logits(model, images))


def check_ball(model: Any, images: Any, eps: float, method: Method) -> tuple[Tensor, float]:
    """Images where the model is, and the radius.

    Raises:
        TypeError, ValueError: as `bounds`.
    """
    fit(Method, method, "method")
    images, eps = as_images(images), fit(float, eps, "eps")
    check_eps(eps, upper=1, unit="(L-inf)")
    where = device_of(model)
    return images if where is None else images.to(where), eps


def check_steps(steps: list[Step], images: Tensor, wanted: Tensor) -> Tensor:
    """Refuse steps that do not compute what the network does: a hook, or a layer that is not what it seems.

    Args:
        wanted: what the network gives of the images.

    Returns:
        How far the two are apart, by rounding: float64 [n], where the images are.

    Raises:
        ValueError: the two differ by more than that.
    """
    if not len(images):
        return images.new_zeros(0, dtype=torch.float64)
    values = []
    for value in images.double().split(64):
        for step in steps:
            value = step(value)
        values.append(value)
    off = (torch.cat(values) - wanted.to(images.device).double()).abs().flatten(1).amax(1)
    if not bool(off.max() <= _SAME * wanted.abs().max().clamp_min(1e-6)):
        raise ValueError(
            f"the layers of this network one after the other do not give what it gives (they are {float(off.max()):.3g} apart): "
            "it does something between them that bounds do not see, such as a hook"
        )
    return off


def _stacked(rows: list[Tensor]) -> Tensor:
    return torch.stack(rows) if rows else torch.zeros(0, 0, dtype=torch.float64, device="cpu")
