"""Reports: what all pages share. A study's own page is in its folder."""

from groundglass.core.imported import require

require("a page of results", "pandas", "matplotlib", "jinja2")

from groundglass.report.page import build  # noqa: E402

__all__ = ["build"]
