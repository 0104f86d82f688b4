"""Results as pictures: how many images are fooled as the attack goes on, what is left at each radius, and some images."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from groundglass.attacks.query_access import LabelAccess
from groundglass.attacks.tensors import Flags, Images, Labels
from groundglass.core.bounds import Bounds
from groundglass.core.plots import new_figure

# The largest round factor that keeps a change within the grey scale is taken.
_FACTORS = (1, 2, 5, 10, 20, 50, 100)


def curve(x: Sequence[float], y: Sequence[float], x_label: str, y_label: str, *, ax: Any, steps: bool) -> Any:
    """Shares, in %, drawn into `ax`, or into a figure of its own; returns the figure."""
    ax = new_figure().add_subplot() if ax is None else ax
    draw = ax.step if steps else ax.plot
    draw(x, [100 * share for share in y], **({"where": "post"} if steps else {"marker": "o"}))
    ax.set(xlabel=x_label, ylabel=y_label, ylim=(0, 100))
    ax.grid(alpha=0.3)
    return ax.figure


def examples(
    original: Images,
    adversarial: Images,
    fooled: Flags,
    count: int,
    *,
    labels: Labels | None = None,
    access: LabelAccess | None = None,
    classes: Sequence[str] | None = None,
) -> Any:
    """A figure of some images: as they were, the change (amplified; grey is none), and as they are.

    Those that fool the model come first. With labels and an access the classes stand above and below, by their names.
    """
    if not len(fooled):
        raise ValueError("the result has no images to show")
    order = torch.argsort(fooled.int(), descending=True, stable=True)[:count]
    before, after = original[order].detach().cpu().float(), adversarial[order].detach().cpu().float()
    low, high = float(torch.cat([before, after]).min()), float(torch.cat([before, after]).max())
    if low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    change, most = (after - before) / (high - low), 0.5
    fitting = [factor for factor in _FACTORS if factor * float(change.abs().max()) <= most + 1e-6]
    factor = fitting[-1] if fitting else 1
    rows = {"before": (before - low) / (high - low), f"change × {factor}": 0.5 + factor * change}
    rows["after"] = (after - low) / (high - low)
    figure = new_figure(width=1.3 * len(order) + 0.6, height=4.2)
    grid = figure.subplots(3, len(order), squeeze=False)
    for line, (name, pictures) in zip(grid, rows.items(), strict=True):
        for ax, picture in zip(line, pictures, strict=True):
            _show(ax, picture.clamp(0, 1))
        line[0].set_ylabel(name)
    if labels is not None:
        for ax, label in zip(grid[0], labels[order].tolist(), strict=True):
            ax.set_title(_name(label, classes))
    seen = None if access is None else _seen(access, adversarial[order])
    for place, (ax, hit) in enumerate(zip(grid[2], fooled[order].tolist(), strict=True)):
        said = "fooled" if hit else "not fooled"
        ax.set_xlabel(said if seen is None else f"{said}: {_name(seen[place], classes)}")
    return figure


def _seen(access: LabelAccess, images: Images) -> list[int]:
    """The class that the model sees in each, of images in its own bounds."""
    found: list[int] = access.labels(Bounds(*access.bounds).to_unit(images)).tolist()
    return found


def _name(label: int, classes: Sequence[str] | None) -> str:
    return str(label) if classes is None or label >= len(classes) else classes[label]


def _show(ax: Any, picture: Tensor) -> None:
    channels = picture.shape[0]
    if channels in (3, 4):
        ax.imshow(picture.permute(1, 2, 0).numpy())
    else:
        ax.imshow(picture.mean(0).numpy(), cmap="gray", vmin=0, vmax=1)
    ax.set(xticks=[], yticks=[])
