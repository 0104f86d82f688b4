"""The page: from records alone, by itself, the same every time, and honest about what it lacks."""

import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markupsafe import Markup

from groundglass import report
from groundglass.core import DamagedFileError
from groundglass.old_report import build
from groundglass.old_report.page import duration, typeset
from groundglass.results.records import RecordStore
from tests.old_report import synthetic_study

TEMPLATES = Path(report.__file__).parent / "templates"
FIGURES = ("figure-2", "training", "white-box-l2", "white-box-linf")


class Reader(HTMLParser):
    """Collects what a browser would: the text, the identifiers and whatever is referred to."""

    VOID = frozenset({"meta", "img", "br", "hr", "link", "input"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(page)
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(str(value))
            if name in ("href", "src", "srcset", "action", "data"):
                self.links.append(str(value))
            if value and "url(" in value:
                self.links += re.findall(r"url\(([^)]*)\)", value)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture(scope="session")
def read(page: str) -> Reader:
    return Reader(page)


def outputs(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in [folder / "report.html", *sorted((folder / "figures").iterdir())]}


def test_the_page_needs_nothing_else(page: str, read: Reader) -> None:
    assert read.open == [], "every element is closed"
    assert not {"script", "iframe", "link", "object", "form"} & set(read.tags)
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in read.links)
    assert "@import" not in page
    assert re.findall(r"https?://", page) == []
    assert "default-src 'none'" in page


def test_identifiers_are_unique_and_every_reference_is_met(read: Reader) -> None:
    assert len(read.ids) == len(set(read.ids))
    references = [link[1:] for link in read.links if link.startswith("#")]
    assert len(references) > 100, "markers and clips of the figures"
    assert set(references) <= set(read.ids)


def test_figures_come_as_png_and_svg(complete: Path) -> None:
    assert sorted(p.name for p in (complete / "figures").iterdir()) == sorted(
        f"{name}.{suffix}" for name in FIGURES for suffix in ("png", "svg")
    )
    for path in (complete / "figures").glob("*.png"):
        assert path.read_bytes().startswith(b"\x89PNG")


def test_the_same_records_give_the_same_bytes_anywhere(complete: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere"
    copy.mkdir()
    for name in ("study.json", "records.jsonl"):
        shutil.copy(complete / name, copy)
    shutil.copytree(complete / "arrays", copy / "arrays")
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from groundglass.old_report import build\n"
        "assert not {'matplotlib', 'jinja2'} & set(sys.modules), 'loaded before there is a page to build'\n"
        "print(build(Path(sys.argv[1])))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(copy)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(copy / "report.html")
    assert outputs(copy) == outputs(complete)


def test_the_page_itself_never_scrolls_sideways(page: str) -> None:
    """Whatever may be wider than a phone is in a container that scrolls, which the keyboard reaches and which has a name."""
    container = re.compile(r'<div class="scroll" tabindex="0" role="region" aria-label="[^"]+">\s*<table')
    for template in sorted(TEMPLATES.glob("*.j2")):
        source = template.read_text()
        assert len(container.findall(source)) == source.count("<table"), template.name
    assert ".scroll { overflow-x: auto;" in page
    assert re.search(r"figure > svg { [^}]*width: 100%", page)
    assert "img { max-width: 100%; }" in page


def test_pictures_are_told_in_words(page: str) -> None:
    figures = re.findall(r"<svg[^>]*>", page)
    assert len(figures) == len(FIGURES)
    for tag in figures:
        assert re.search(r'role="img" aria-label="[^"]{40,}"', tag), tag
    images = re.findall(r"<img[^>]*>", page)
    assert images
    assert all(re.search(r' alt="[^"]+"', tag) for tag in images)


def test_paper_has_the_light_colours_and_no_scrolling(page: str) -> None:
    themes = re.findall(r"@media ([^{]*)\(prefers-color-scheme", page)
    assert themes
    assert set(themes) == {"screen and "}, "a reader with a dark theme prints on white paper"
    rules = page[page.index("@media print {") : page.index("</style>")]
    for rule in (
        "print-color-adjust: exact",
        "break-inside: avoid",
        "break-after: avoid",
        ".scroll { overflow: visible;",
        "position: static",
    ):
        assert rule in rules


def test_every_number_of_the_records_is_in_the_tables(complete: Path, read: Reader) -> None:
    for record in RecordStore.read(complete).records:
        if record.kind == "attack":
            assert f"{100 * record.result['correct'] / record.result['n_images']:.1f}" in read.text
    # 593 of 1,000 under DFA at the paper's .02, with its Wilson interval.
    assert "59.3 56.2 – 62.3" in read.text or "59.3 56.2–62.3" in read.text


def test_sections_stand_in_order(read: Reader) -> None:
    anchors = ["answer", "white-box", "networks", "gallery", "attackers", "checks", "provenance"]
    assert [i for i in read.ids if i in anchors] == anchors


def test_provenance_tells_config_seed_versions_machine_and_time(read: Reader) -> None:
    for words in ("attack.restarts", "training.batch_size 128", "torch 2.13.0", "cores 2", "seed 0"):
        assert words in read.text
    assert re.search(r"Wall time: \d h \d+ min for 111 cells", read.text)
    assert "9f9f9f9f9f9f…" in read.text, "the device is named by the start of its fingerprint"


def test_an_incomplete_study_says_what_is_missing(tmp_path: Path) -> None:
    synthetic_study.write(tmp_path, keep=lambda r: r.kind == "train" or r.config.get("rule") in ("bp", "dfa"))
    text = Reader(build(tmp_path).read_text()).text
    kept = len(RecordStore.read(tmp_path).records)
    assert f"incomplete: {kept} of 111 cells are done" in text
    assert f"{kept - 2} of 104 done; {106 - kept} still missing" in text
    assert "VGG-OPU ← exact" in text
    assert "not decided" in text
    assert "likely gradient masking" not in text
    assert "Were the attacks at work?" not in text


def test_results_of_an_earlier_plan_are_on_no_page(tmp_path: Path) -> None:
    synthetic_study.write(tmp_path)
    stored = json.loads((tmp_path / "study.json").read_text())
    stored["cells"] = [cell for cell in stored["cells"] if "exact" not in cell["name"]]
    (tmp_path / "study.json").write_text(json.dumps(stored))
    dropped = 111 - len(stored["cells"])
    text = Reader(build(tmp_path).read_text()).text
    assert dropped > 1
    assert f"{dropped} results of an earlier version's plan are in the folder too" in text
    assert f"for {111 - dropped} cells" in text
    assert "VGG-OPU ← exact" not in text


@pytest.mark.parametrize("kinds", [(), ("train",)])
def test_a_study_that_has_just_begun_has_a_page(tmp_path: Path, kinds: tuple[str, ...]) -> None:
    synthetic_study.write(tmp_path, keep=lambda r: r.kind in kinds)
    text = Reader(build(tmp_path).read_text()).text
    assert f"incomplete: {2 * len(kinds)} of 111" in text
    assert ("Nothing has been measured yet" in text) == (not kinds)
    assert ("No attack has been recorded yet" in text) == bool(kinds)
    assert "Where this comes from" in text


def test_names_from_the_records_are_text_not_markup(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    config = {**synthetic_study.manifest()["config"], "classes": [evil] * 10}
    synthetic_study.write(tmp_path, keep=lambda r: r.kind == "attack" and r.config["rule"] == "exact", config=config)
    page = build(tmp_path).read_text()
    assert evil not in page
    assert "&lt;script&gt;" in page


def test_records_that_are_not_what_they_say_are_named(tmp_path: Path) -> None:
    def one(**changes: object) -> Path:
        folder = tmp_path / "-".join(changes)
        record, arrays = synthetic_study.attack("VGG-OPU", "dfa", eps=0.01, accuracy=0.5, gallery=2)
        record.result.update(changes)
        with RecordStore.open(folder, synthetic_study.manifest()) as store:
            store.add(record, {k: v for k, v in arrays.items() if k != "prediction"})
        return folder

    for wrong in ({"correct": 1001}, {"n_images": 0}, {"clean_correct": None}):
        with pytest.raises(DamagedFileError, match=r"VGG-OPU <- dfa"):
            build(one(**wrong))
    with pytest.raises(DamagedFileError, match="lacks prediction"):
        build(one(zero_gradient_share=0.5))


def test_altered_arrays_stop_the_page(complete: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(complete, tmp_path / "copy")
    path = next(iter(sorted((copy / "arrays").iterdir())))
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    before = (copy / "report.html").read_bytes()
    with pytest.raises(DamagedFileError, match="was altered since"):
        build(copy)
    assert (copy / "report.html").read_bytes() == before


def test_durations_read_well() -> None:
    spoken = [duration(s) for s in (0.04, 9.94, 42.4, 59.7, 185, 3600, 7805)]
    assert spoken == ["0.0 s", "9.9 s", "42 s", "1 min 0 s", "3 min 5 s", "1 h 0 min", "2 h 10 min"]


def test_text_is_typeset_and_markup_is_not() -> None:
    assert str(typeset("VGG-OPU <- dfa")) == "VGG-OPU ← dfa"
    assert str(typeset("give `a<b` & more")) == "give <code>a&lt;b</code> &amp; more"
    assert typeset(Markup("<svg>`x` <- </svg>")) == "<svg>`x` <- </svg>"
    assert typeset(3) == 3


def test_no_mark_of_code_or_arrow_of_ascii_is_left_on_the_page(page: str) -> None:
    text = re.sub(r"<(style|pre|code|svg).*?</\1>", "", page, flags=re.DOTALL)
    assert "`" not in text
    assert "&lt;-" not in text
    assert not re.search(r'="[^"]*<code>', page)


def test_the_page_of_another_run_is_not_replaced(complete: Path, tmp_path: Path) -> None:
    other = synthetic_study.write(tmp_path / "other")
    before = sorted(other.rglob("*"))
    with pytest.raises(FileExistsError, match="other is the run folder of another study"):
        build(complete, out=other)
    assert sorted(other.rglob("*")) == before
    assert build(other, out=other) == other / "report.html"
