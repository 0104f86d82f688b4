"""Equations: a fence of `math` becomes MathML, which browsers set themselves, without a script or a font of ours."""

import html
import re
from typing import Any

from latex2mathml.converter import convert

#: Bars are fences, not operators between two things.
_BAR = re.compile(r'<mo stretchy="false">(?=&#x0007C;|\|)')
_TAG = re.compile(r"\\tag\{([^}]*)\}")


def typeset(source: str, language: str, css_class: str, options: Any, md: Any, **rest: Any) -> str:
    """One line an equation, or one `aligned` block; `\\tag{...}` is its number. LaTeX is kept, for who copies it."""
    number = _TAG.search(source)
    latex = _TAG.sub("", source).strip()
    try:
        made = convert(latex, display="block")
    except Exception as error:
        raise ValueError(f"not an equation: {latex}: {error!r}") from error
    made = _BAR.sub('<mo stretchy="false" lspace="0.1em" rspace="0.1em">', made)
    label = f'<span class="number">({html.escape(number[1])})</span>' if number else ""
    return f'<div class="equation" tabindex="0" role="math">{made}{label}</div>'


def on_config(config: Any) -> Any:
    fences = config.mdx_configs.setdefault("pymdownx.superfences", {}).setdefault("custom_fences", [])
    fences.append({"name": "math", "class": "equation", "format": typeset})
    return config
