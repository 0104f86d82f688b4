"""Records in, one page out. The page is a file that needs nothing else: no network, no script, no other file."""

import base64
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from markupsafe import Markup

from groundglass.core import atomic_write
from groundglass.core.statistics import Proportion
from groundglass.core.text import duration, listed, percent, visible
from groundglass.core.untrusted import within
from groundglass.report import audits, cost, gallery, shared
from groundglass.report.drawing import Folder, drawing_style
from groundglass.report.glossary import WORDS, defined, plain
from groundglass.report.section import Section
from groundglass.report.style import BASELINE, css_names
from groundglass.report.table import Table
from groundglass.report.words import clean_accuracies
from groundglass.results import Run
from groundglass.results.manifest import STUDY_FILE, check_folder
from groundglass.studies.registry import STUDIES, Study

PAGE = "report.html"
FIGURES = "figures"


def build(folder: Path, *, out: Path | None = None, studies: Sequence[Study] = STUDIES) -> Path:
    """Make figures/*.svg, figures/*.png and report.html of a run folder, from its records alone.

    The same records give the same files, byte for byte. Works while the run is under way: the page says what is
    missing.

    Args:
        folder: with study.json and records.jsonl.
        out: where figures/ and report.html go; made when missing. None: into the run folder.
        studies: whose sections it has, in order; yours beside them.

    Returns:
        The page's path.

    Raises:
        FileNotFoundError: no study in the folder.
        NotADirectoryError: `out` is a file.
        FileExistsError: `out` is the run folder of another study, whose page it would replace.
        DamagedFileError: a record or its arrays were altered; names the file.
        DiskFullError: no room; an older page stays as it was.
    """
    folder = Path(folder)
    place = folder if out is None else Path(out)
    check_folder(place)
    if place.resolve() != folder.resolve() and (place / STUDY_FILE).exists():
        raise FileExistsError(f"{place} is the run folder of another study, with a page of its own: name another")
    # A stranger's run folder may have a link there; elsewhere it is the user's own.
    figures = within(folder, FIGURES) if out is None else place / FIGURES
    run, drawings = Run.open(folder), Folder(figures)
    with drawing_style():
        sections = [
            (study, section, _rendered(study, section))
            for study in studies
            if (section := study.report.section(run.of(study.name, maybe=True), drawings)) is not None
        ]
        head = audits.headline(run)
        page = (
            _environment()
            .get_template("page.html.j2")
            .render(
                run=run,
                head=head,
                public_seed=shared.public_seed(run),
                given=shared.given_device(run),
                clean=_beside(run, head.network),
                sections=sections,
                progress=run.progress,
                audits=audits.tables(run),
                audit_figure=audits.figure(run, drawings),
                evidence=[(one, audits.evidence(one)) for one in audits.audits(run) if one.result.checks],
                where=audits.where,
                verdict_words=audits.verdict,
                walls=gallery.walls(run),
                networks=shared.networks(run),
                training=shared.training(run, drawings),
                checks=shared.checks(run),
                costs=cost.tables(run),
                provenance=shared.provenance(run),
                words=WORDS,
                colours=[(variable, ink) for variable, ink in css_names().values()],
            )
        )
    with atomic_write(place / PAGE) as file:
        # Markup was escaped as it was made. Invisible characters, and what UTF-8 cannot encode, are replaced here.
        file.write(visible(page).encode())
    return place / PAGE


def _beside(run: Run, network: str) -> tuple[Proportion, Proportion] | None:
    """Clean accuracy on the whole test set of a network and of VGG-16, where both are known."""
    known = clean_accuracies(run)
    return (known[network], known[BASELINE]) if network != BASELINE and {network, BASELINE} <= known.keys() else None


def _rendered(study: Study, section: Section) -> Markup:
    """The section by its study's own template."""
    told = {"name": study.name, "s": section, "verdict": section.verdict, "r": section.verdict.reasons}
    return Markup(_template(study.package).render({**told, **section.facts}))


@cache
def _template(package: str) -> Any:
    """Compiled once, which takes longer than the page's words."""
    return _environment().from_string(files(package).joinpath("page.html.j2").read_text(encoding="utf-8"))


def _csv_uri(table: Table) -> str:
    return "data:text/csv;base64," + base64.b64encode(table.csv.encode()).decode()


@cache
def _environment() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    def typeset(value: Any) -> Any:
        return plain(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    environment = Environment(
        loader=PackageLoader("groundglass.report"),
        autoescape=True,
        finalize=typeset,
        undefined=StrictUndefined,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "share": lambda one: f"{percent(one.share)}%",
        "points": lambda value: f"{value:.0f} points" if round(abs(value)) != 1 else f"{value:.0f} point",
        "duration": duration,
        "listed": lambda names, last="and": listed(list(names), last),
        "define": defined,
        "csv": _csv_uri,
        "html": lambda table: table.html(defined),
    }
    return environment
