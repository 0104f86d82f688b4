"""Choices of LightOn's interface. How inputs lie on a display changes nothing of a simulated device: those are only kept."""

from enum import Enum


class OutputRescaling(Enum):
    """How `linear_transform` scales its result."""

    variance = 1  # of a Gaussian input of variance 1, the output has variance 1
    norm = 2  # the norm is kept, on average
    none = 3  # entries of the projection have variance 1


class InputRoiStrategy(Enum):
    """Where the features lie on the display."""

    full = 1
    small = 2
    auto = 3


class FeaturesFormat(Enum):
    """How they lie there."""

    lined = 1
    macro_2d = 2
    auto = 3
    none = 4
