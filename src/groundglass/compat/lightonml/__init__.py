"""LightOn's calls on our devices: `from groundglass.compat.lightonml import OPU`.

    opu = OPU(n_components=10000)
    opu.fit1d(bits)
    readings = opu.transform(bits)

Constructors, defaults, shapes and types are those of lightonml 1.4.3, and of 1.3 where its tutorials need them. There is no
hardware behind: `OPU()` measures with a simulated device of 8 bits whose matrix is a fresh secret; `OPU(simulated=True)` has, as
there, floats and a matrix that is the same in every run; `OPU(opu_device=device)` takes any `OpticalDevice`, a real OPU or a
`RemoteOPU` too. docs/how-to/from-lightonml.md says call by call what differs.
"""

from groundglass.compat.lightonml import types
from groundglass.compat.lightonml.opu import OPU
from groundglass.compat.missing import missing

__all__ = ["OPU", "get_verbose_level", "set_verbose_level", "types"]

_verbose_level = 0


def set_verbose_level(verbose_level: int) -> None:
    """Kept for `get_verbose_level`. Nothing is printed at any level."""
    global _verbose_level
    _verbose_level = int(verbose_level)


def get_verbose_level() -> int:
    """What was set; 0 at first."""
    return _verbose_level


__getattr__ = missing(
    __name__,
    "lightonml",
    [*__all__, "encoding.base", "projections.sklearn", "projections.torch"],
    others="docs/how-to/from-lightonml.md says what stands in for others: for lightonml.datasets it is sklearn.datasets",
)
