"""The kinds of media: making one, and the memory that each needs."""

from typing import get_args

from groundglass.core import lookup
from groundglass.core.platform import available_memory
from groundglass.core.sealed import Seed, without_locals
from groundglass.optics.dense import DenseMedium
from groundglass.optics.medium import DeviceKind, MatrixKind, Medium
from groundglass.optics.procedural import ProceduralMedium
from groundglass.optics.structured import StructuredMedium, size_of

# The intensity of N inputs is |sum of integers|^2 in float64, which holds every integer up to 2^53: sums below 2^26 in each
# part. Of N Gaussian entries of std 32 the positive ones sum to 12.8 N: 5.4e7 of the 6.7e7 that may be.
MAX_INPUTS = 2**22

_MEDIA: dict[str, type[Medium]] = {medium.kind: medium for medium in (DenseMedium, ProceduralMedium, StructuredMedium)}
# The share of free memory that a device may take.
_SHARE = 0.9


class DoesNotFitError(ValueError):
    """A device that this machine has no memory for."""


def make_medium(
    kind: DeviceKind, seed: Seed, in_features: int, out_features: int, matrix: MatrixKind, *, draw: int = Medium.draw
) -> Medium:
    """A medium of this kind, drawn. `check_medium` says what is refused, and what `draw` is."""
    check_medium(kind, in_features, out_features, matrix, draw=draw)
    return _drawn(kind, seed, in_features, out_features, matrix, draw)


@without_locals
def _drawn(kind: DeviceKind, seed: Seed, in_features: int, out_features: int, matrix: MatrixKind, draw: int) -> Medium:
    if draw != Medium.draw:
        return DenseMedium(seed, in_features, out_features, matrix, draw)
    return _MEDIA[kind](seed, in_features, out_features, matrix)


def check_medium(
    kind: DeviceKind, in_features: int, out_features: int, matrix: MatrixKind, *, draw: int = Medium.draw
) -> None:
    """Refuse what is not a medium, or does not fit here.

    Args:
        draw: the recipe of a device file; 1 is of dense media alone. The others are those of `Medium`.
    """
    lookup("device kind", kind, _MEDIA)
    lookup("matrix", matrix, dict.fromkeys(get_args(MatrixKind)))
    check_fits(kind, in_features, out_features, matrix)
    if draw != Medium.draw and (draw, kind) != (1, DenseMedium.kind):
        raise ValueError(f"a {kind} device drawn by recipe {draw} is not known to this groundglass")


def bytes_needed(kind: DeviceKind, in_features: int, out_features: int, matrix: MatrixKind = "complex") -> int:
    """About how many bytes the medium and one frame of its light take."""
    frame = 9 * out_features + 4 * in_features
    if kind == "dense":
        return (2 if matrix == "complex" else 1) * in_features * out_features + frame
    if kind == "procedural":
        return frame
    n = size_of(in_features)
    # Diagonals, what their drawing takes, and the fields of a row.
    return 3 * n * -(-out_features // n) + 24 * n + frame


def check_fits(kind: DeviceKind, in_features: int, out_features: int, matrix: MatrixKind = "complex") -> None:
    """Refuse sizes that are out of range, or that this machine has no memory for; says which kind would do."""
    if not 1 <= in_features <= MAX_INPUTS:
        raise ValueError(f"`in_features` (={in_features}) must be 1 to {MAX_INPUTS}")
    if out_features < 1:
        raise ValueError(f"`out_features` (={out_features}) must be at least 1")
    free, needed = available_memory(), bytes_needed(kind, in_features, out_features, matrix)
    if free is None or needed <= _SHARE * free:
        return
    text = f"a {kind} device of {in_features} x {out_features} needs {_size(needed)} of memory, and {_size(free)} are free here"
    others = [k for k in ("procedural", "structured") if bytes_needed(k, in_features, out_features) <= _SHARE * free]
    if kind == "dense" and others:
        raise DoesNotFitError(
            f"{text}: kind='procedural' is the same device bit for bit and makes its matrix again for every measurement; "
            "kind='structured' is fast, and not i.i.d."
        )
    raise DoesNotFitError(f"{text}, for the light of one frame: make it smaller")


def _size(count: int) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.3g} {unit}"
        count /= 1024  # type: ignore[assignment]
    return f"{count:.3g} TiB"
