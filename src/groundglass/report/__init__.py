"""Reports: what all pages share. A study's own page is in its folder."""

from groundglass.report.page import build

__all__ = ["build"]
