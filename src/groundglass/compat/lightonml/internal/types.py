"""`from groundglass.compat.lightonml.internal.types import InputRoiStrategy`."""

from groundglass.compat.lightonml.types import FeaturesFormat, InputRoiStrategy

__all__ = ["FeaturesFormat", "InputRoiStrategy"]
