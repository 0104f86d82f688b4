"""matplotlib, loaded when something is drawn and not before."""

import os
import sys
from contextlib import suppress
from typing import Any

from groundglass.core.imported import require


def load_matplotlib() -> Any:
    """matplotlib, imported whatever backend the environment names: a notebook's backend may not be installed here.

    Our figures need none: they are drawn by `Figure` and Agg, without pyplot. For programs that do need one, the variable
    still counts, if it can.

    Raises:
        MissingLibraryError: it is not installed.
        ValueError: its settings file is not text.
    """
    require("a figure", "matplotlib")
    asked = os.environ.pop("MPLBACKEND", None) if "matplotlib" not in sys.modules else None
    try:
        import matplotlib
    except UnicodeDecodeError as error:
        raise ValueError(
            f"matplotlib cannot read its settings ({error}): look for a file `matplotlibrc` in the current folder or in "
            "~/.config/matplotlib, and write it as UTF-8 or remove it"
        ) from error
    finally:
        if asked is not None:
            os.environ["MPLBACKEND"] = asked
    if asked:
        with suppress(ValueError):
            matplotlib.rcParams["backend"] = asked
    return matplotlib


def new_figure(*, width: float = 5.5, height: float = 3.6) -> Any:
    """An empty figure of so many inches: without pyplot, so that nothing is shown or stays open."""
    load_matplotlib()
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")
