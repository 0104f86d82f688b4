"""Figures into files, and into the page: the same bytes each time, and in the reader's colours on the page."""

import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from groundglass.core import atomic_write
from groundglass.core.plots import load_matplotlib
from groundglass.core.text import visible
from groundglass.report.axes import without_glyphs
from groundglass.report.style import css_names, rc_params

_PNG_DOTS_PER_INCH = 230  # 990 pixels wide
# A figure may have the name of a network, which is any text: in that of a file, and of the page's identifiers, these stay.
_NO_NAME = re.compile(r"[^\w.,=+-]")


@dataclass(frozen=True)
class Drawing:
    """A figure on the page.

    Attributes:
        name: of its files, without suffix.
        svg: the picture, to be put into the page as it is.
        alt: what it shows, for those who don't see it.
        caption: what to see in it.
    """

    name: str
    svg: Markup
    alt: str
    caption: str


class Folder:
    """Where the figures of a run are kept: NAME.svg and NAME.png."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, name: str, draw: Callable[[], Any], *, alt: str, caption: str) -> Drawing:
        """Write the matplotlib figure that `draw` makes as SVG and PNG, and give it back for the page.

        Raises:
            DiskFullError: no room; a figure that was there before is untouched.
        """
        name, figure, pictures = _NO_NAME.sub("-", name)[:100], draw(), {}
        for suffix, metadata in (("svg", {"Date": None, "Creator": None}), ("png", {"Software": None})):
            buffer = io.BytesIO()
            with without_glyphs():
                figure.savefig(buffer, format=suffix, dpi=_PNG_DOTS_PER_INCH, metadata=metadata)
            pictures[suffix] = buffer.getvalue()
            with atomic_write(self._folder / f"{name}.{suffix}") as file:
                file.write(pictures[suffix])
        return Drawing(name, for_page(pictures["svg"].decode(), name, alt), alt, caption)


@contextmanager
def drawing_style() -> Iterator[None]:
    """The look of every figure, whatever the user's own settings of matplotlib are; theirs are back afterwards."""
    matplotlib = load_matplotlib()
    # Not `rcdefaults`: that reads the user's style files too. The backend and the like do not change the look, and stay.
    kept = {
        name for name in matplotlib.rcParams if name.startswith(("backend", "interactive", "toolbar", "webagg", "tk."))
    }
    defaults = {name: value for name, value in matplotlib.rcParamsDefault.items() if name not in kept}
    with matplotlib.rc_context(defaults | rc_params()):
        yield


def for_page(svg: str, name: str, alt: str) -> Markup:
    """An SVG file as an element of a page: named, scaled to its column, in the colours of the reader's theme.

    Identifiers get the figure's name before them: a page has several figures, and a document one name space.
    """
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(\sid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", svg).replace("xlink:href", "href")
    for colour, (variable, _) in css_names().items():
        svg = re.sub(rf"(?<=: ){colour}\b", f"var({variable})", svg)
    return Markup(svg.replace("<svg", f'<svg role="img" aria-label="{Markup.escape(visible(alt))}"', 1))
