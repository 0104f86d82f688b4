"""The paper's eps is in units of normalised images, ours in pixels of [0, 1].

The paper's code takes sign steps on images normalised by (pixel - mean) / std and clips each normalised value to
eps. A normalised unit is `std` pixel units, channel by channel, so its ball is exactly a box of half-width eps * std.
On CIFAR-10 (std .5) .05 is .025 of a pixel, 6.375/255; on CIFAR-100 (std .267 .256 .276) it is 3.40, 3.26 and 3.52/255.
"""

from collections.abc import Sequence

from groundglass.core.settings import Positive, fit


def paper_eps_to_pixels(eps: float, std: Sequence[float]) -> float | tuple[float, ...]:
    """The paper's radius, or step, in pixel units: one number if all channels have the same std, else one a channel.

    Args:
        eps: in units of the normalised images, 0.05 say.
        std: what the images are normalised by, one a channel.

    Returns:
        What `Linf` takes. In such a box `PGD.step_size` is that of the widest channel: `max` of a converted step.
    """
    _check(std)
    widths = tuple(eps * s for s in std)
    return widths[0] if len(set(widths)) == 1 else widths


def pixels_to_paper_eps(eps: float | Sequence[float], std: Sequence[float]) -> float:
    """The same radius on the paper's axis.

    Raises:
        ValueError: the box, measured in normalised units, is not a cube: no single number on that axis is right.
    """
    _check(std)
    widths = [eps] * len(std) if isinstance(eps, int | float) else list(eps)
    if len(widths) != len(std):
        raise ValueError(f"{len(widths)} radii for {len(std)} channels: give one number, or one a channel")
    found = [w / s for w, s in zip(widths, std, strict=True)]
    if max(found) - min(found) > 1e-6 * max(found):
        raise ValueError(
            f"the radius {eps} is {', '.join(f'{f:.4g}' for f in found)} in normalised units, another in each channel: "
            "it has no place on the paper's axis"
        )
    return found[0]


def _check(std: Sequence[float]) -> None:
    if not fit(tuple[Positive, ...], list(std), "std"):
        raise ValueError("`std` must have one value a channel, all above 0")
