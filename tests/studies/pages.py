"""What a study's template says of a folder."""

import re
from pathlib import Path

import pytest

from groundglass.report import build
from groundglass.report.drawing import Folder
from groundglass.studies.registry import find_study
from tests.runs import undrawn


def takeaway(folder: Path, out: Path, study: str) -> str:
    """The first sentence of the study's section on the page."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Folder, "save", undrawn)
        page = build(folder, out=out, studies=(find_study(study),)).read_text()
    (said,) = re.findall(
        r'<p class="takeaway[^>]*>(.*?)</p>', page[page.index(f'<section id="{study}">') :], re.DOTALL
    )[:1]
    return " ".join(said.split())
