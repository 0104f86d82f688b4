"""The settings of the search at a fixed exposure."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SearchSettings:
    """How `FixedExposure` searches.

    Attributes:
        momentum: share of the last step that is added to the next.
        power_iterations: of the spectral start.
        search, polish: most steps of each; without a polish a row is as the search left it.
        tolerance: a row is at rest when a step is that small, relative to the row.
        near: rms distance of the fields from their intervals, over the rms field, at which the polish begins.
        accepted: rms distance from the readings, over what noise and rounding explain, up to which a row is right.
        starts: most starts of a row.

    Raises:
        ValueError: a setting out of its range.
    """

    momentum: float = 0.9
    power_iterations: int = 10
    search: int = 200
    polish: int = 60
    tolerance: float = 3e-4
    near: float = 0.01
    accepted: float = 1.15
    starts: int = 8

    def __post_init__(self) -> None:
        if not 0 <= self.momentum < 1:
            raise ValueError(f"`momentum` (={self.momentum}) must be in [0, 1)")
        for name, fewest in (("power_iterations", 1), ("search", 1), ("polish", 0), ("starts", 1)):
            if getattr(self, name) < fewest:
                raise ValueError(f"`{name}` (={getattr(self, name)}) must be at least {fewest}")
        for name, least in (("tolerance", 0.0), ("near", 0.0), ("accepted", 1.0)):
            if not getattr(self, name) > least:
                raise ValueError(f"`{name}` (={getattr(self, name)}) must be above {least:g}")
