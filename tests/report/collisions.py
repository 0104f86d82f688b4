"""Texts of a figure that lie on each other."""

from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text


def collisions(figure: Any) -> list[tuple[str, str]]:
    """Pairs of texts of a figure that lie on each other: none, in a figure that can be read."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    with renderer._draw_disabled():  # lays out all texts, as `draw_without_rendering` does
        figure.draw(renderer)
    outside = {
        label
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]
        if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
        for label in (tick.label1, tick.label2)
    }
    texts = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip() and t not in outside]
    boxes = [t.get_window_extent(renderer).padded(-1) for t in texts]
    return [
        (texts[i].get_text(), texts[j].get_text())
        for i in range(len(texts))
        for j in range(i)
        if boxes[i].width > 0 and boxes[j].width > 0 and boxes[i].overlaps(boxes[j])
    ]
