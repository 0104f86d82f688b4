"""What Markdown leaves out for readers on a phone, or with a keyboard or a screen reader alone."""

import logging
import re
from typing import Any

from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

log = logging.getLogger("mkdocs.plugins.readable")
_LIST = re.compile(r"^(?!\s|[-*|#>]|\d+\. ).+\n(?:[-*]|1\.) ", re.MULTILINE)


def on_page_markdown(markdown: str, page: Page, config: Any, files: Files) -> None:
    """The usual host shows a list that follows a paragraph at once; here it needs an empty line."""
    for found in _LIST.finditer(re.sub(r"^```.*?^```", "", markdown, flags=re.DOTALL | re.MULTILINE)):
        log.warning("%s: put an empty line before the list after %r", page.file.src_uri, found[0].split("\n")[0][:60])


def on_page_content(text: str, page: Page, config: Any, files: Files) -> str:
    """Tables scroll in a box of their own, which takes the keyboard."""
    text = re.sub(r"<table>", '<div class="wide" tabindex="0"><table class="data">', text)
    return text.replace("</table>", "</table></div>")


def on_post_page(output: str, page: Page, config: Any) -> str:
    """The theme's search has no name, and a block of code scrolls by pointer alone."""
    return re.sub(r"<pre(?=[ >])", '<pre tabindex="0"', _named(output))


def on_post_template(output: str, template_name: str, config: Any) -> str:
    """The page for an address that is not there is no page of the site, but has its search."""
    return _named(output)


def _named(output: str) -> str:
    return output.replace(
        'data-md-component="search" role="dialog"', 'data-md-component="search" role="dialog" aria-label="Search"'
    )
