"""Records in, one page out. The page is a file that needs nothing else: no network, no script, no other file."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from groundglass.core import atomic_write
from groundglass.old_report.ablation import AblationSection
from groundglass.old_report.answer import AnswerSection
from groundglass.old_report.audit import AuditSection
from groundglass.old_report.cells import data_name
from groundglass.old_report.drawing import Folder, drawing_style
from groundglass.old_report.evidence import ChecksSection, ProvenanceSection, ThreatModelsSection, plain_words
from groundglass.old_report.gallery import GallerySection
from groundglass.old_report.hardened import HardenedSection
from groundglass.old_report.networks import NetworksSection
from groundglass.old_report.redraw import RedrawSection
from groundglass.old_report.retrieval import RetrievalSection
from groundglass.old_report.scale import ScaleSection
from groundglass.old_report.sections import Section
from groundglass.old_report.study import Study
from groundglass.old_report.style import css_names
from groundglass.old_report.transfer import TransferSection
from groundglass.old_report.white_box import WhiteBoxSection
from groundglass.results.manifest import STUDY_FILE
from groundglass.results.records import RecordStore

PAGE = "report.html"
FIGURES = "figures"
_CODE = re.compile(r"`([^`]+)`")

SECTIONS: tuple[Section, ...] = (
    AuditSection(),
    AnswerSection(),
    WhiteBoxSection(),
    TransferSection(),
    RedrawSection(),
    RetrievalSection(),
    AblationSection(),
    HardenedSection(),
    ScaleSection(),
    NetworksSection(),
    GallerySection(),
    ThreatModelsSection(),
    ChecksSection(),
    ProvenanceSection(),
)


def build(folder: Path, sections: Sequence[Section] = SECTIONS, *, out: Path | None = None) -> Path:
    """Make figures/*.svg, figures/*.png and report.html of a run folder, from its records alone.

    The same records give the same files, byte for byte. Works while the run is under way: the page says what is
    missing.

    Args:
        folder: with study.json and records.jsonl.
        sections: parts of the page, in order.
        out: where figures/ and report.html go; made when missing. None: into the run folder.

    Returns:
        The page's path.

    Raises:
        FileNotFoundError: no study in the folder.
        FileExistsError: `out` is the run folder of another study, whose page it would replace.
        DamagedFileError: a record or its arrays were altered; names the file.
        DiskFullError: no room; an older page stays as it was.
    """
    folder = Path(folder)
    place = folder if out is None else Path(out)
    if place.resolve() != folder.resolve() and (place / STUDY_FILE).exists():
        raise FileExistsError(f"{place} is the run folder of another study, with a page of its own: name another")
    study = Study(RecordStore.read(folder), Folder(place / FIGURES))
    with drawing_style():
        rendered = [part for section in sections if (part := section.render(study)) is not None]
    page = (
        _environment()
        .get_template("report.html.j2")
        .render(
            study=study,
            manifest=study.manifest,
            data=data_name(study.manifest["data"]),
            sections=rendered,
            progress=study.progress(),
            colours=[(variable, ink) for variable, ink in css_names().values()],
        )
    )
    with atomic_write(place / PAGE) as file:
        file.write(page.encode())
    return place / PAGE


def duration(seconds: float) -> str:
    """In words: "42 s", "3 min 5 s", "2 h 10 min"."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def typeset(value: Any) -> Any:
    """Plain text as the page shows it: `code` as code, and the arrow of a cell's name as an arrow. Markup stays as it is."""
    from markupsafe import Markup, escape

    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    text = value.replace(" <- ", " ← ")
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text)))) if "`" in text else text


def _environment() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("groundglass.old_report"),
        autoescape=True,
        finalize=typeset,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda share: f"{100 * share:.1f}"
    environment.filters["duration"] = duration
    environment.filters["plain"] = plain_words
    environment.filters["thousands"] = lambda value: f"{value:,.0f}"
    return environment
