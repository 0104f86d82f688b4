"""From the records of a run to figures and one page. Computes nothing but layout and intervals."""

from groundglass.old_report.page import build

__all__ = ["build"]
