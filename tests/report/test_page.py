"""The page as a reader and a browser get it."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from groundglass.audit import Check, Claim
from groundglass.report import build
from groundglass.report.audits import headline
from groundglass.report.drawing import Folder
from groundglass.results import Run
from groundglass.results.kinds import DEVICE
from groundglass.results.kinds.network import CameraSettings, DeviceConfig, DeviceResult
from groundglass.studies import STUDIES, Study
from tests.report.collisions import collisions
from tests.runs import RESULTS, RunFolder, right, undrawn


class Visible(HTMLParser):
    """The text that is seen before anything is unfolded; drawings, which are looked at, aside."""

    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []
        self.hidden: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [value for name, value in attrs if name == "id" and value]
        if tag in ("style", "svg", "title") or (tag == "details" and "open" not in dict(attrs)):
            self.hidden.append(tag)
        elif tag == "summary" and self.hidden[-1:] == ["details"]:
            self.hidden.append("shown")
        elif tag == "details":
            self.hidden.append("open")

    def handle_endtag(self, tag: str) -> None:
        if (tag in ("style", "svg", "title", "details") and self.hidden) or (
            tag == "summary" and self.hidden[-1:] == ["shown"]
        ):
            self.hidden.pop()

    def handle_data(self, data: str) -> None:
        inner = [one for one in self.hidden if one not in ("open", "shown")]
        if not inner or (self.hidden[-1] == "shown" and len(inner) == 1 and inner[0] == "details"):
            self.text.append(data)


def seen(page: str) -> Visible:
    parser = Visible()
    parser.feed(page)
    return parser


def words(text: str) -> list[str]:
    return re.findall(r"[^\W\d_][^\s]*", text)


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """The page of every committed run, with the texts of its figures that lie on each other."""
    found, met = {}, []
    keep = Folder.save

    def save(self, name, draw, **told):
        figure = draw()
        met.extend((name, pair) for pair in collisions(figure))
        write = figure.savefig
        # Nobody looks at the PNG.
        figure.savefig = lambda file, *, format, **how: write(file, format=format, **how) if format == "svg" else None
        return keep(self, name, lambda: figure, **told)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Folder, "save", save)
        for name in ("cifar10", "cifar100", "full-width"):
            met.clear()
            page = build(RESULTS / name, out=tmp_path_factory.mktemp(name)).read_text(encoding="utf-8")
            found[name] = (page, list(met))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cifar10", "cifar100", "full-width"])
def test_no_label_of_any_figure_lies_on_another(everything: dict, name: str) -> None:
    assert everything[name][1] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_a_reviewer_has_two_minutes(everything: dict, name: str) -> None:
    assert len(words(" ".join(seen(everything[name][0]).text))) <= 1500


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cifar10", "cifar100", "full-width"])
def test_the_page_needs_nothing_else_and_its_names_are_unique(everything: dict, name: str) -> None:
    page = everything[name][0]
    assert not re.search(r"<script|<link|<iframe|src=\"(?!data:)|https?://(?!www\.w3\.org)", page)
    ids = seen(page).ids
    assert len(ids) == len(set(ids))


@pytest.mark.slow
def test_every_study_of_the_run_has_its_section_with_a_takeaway(everything: dict) -> None:
    page = everything["cifar10"][0]
    for name in (
        "white-box",
        "black-box",
        "transfer",
        "redraw",
        "retrieval",
        "ablation",
        "adversarial-training",
        "scale",
    ):
        section = re.search(rf'<section id="{name}">(.*?)</section>', page, re.DOTALL)
        assert section is not None, name
        takeaway = re.search(r'<p class="takeaway[^>]*>(.*?)</p>', section[1], re.DOTALL)
        assert takeaway is not None
        assert takeaway[1].strip()
        assert "text/csv" in section[1]


@pytest.mark.parametrize(
    ("audit", "finding"),
    [
        ({"claimed": 30, "worst": 0, "failed": ["claim stands"]}, "contradicted"),
        ({"claimed": 30, "worst": 29}, "not contradicted"),
        # A claim of 0% is never contradicted.
        ({"claimed": 0, "worst": 0, "failed": ["gradients are there"]}, "no robustness claimed"),
        ({"clean": 40, "claimed": 30, "worst": 0, "of": 48, "failed": ["claim stands"]}, "few"),
    ],
)
def test_the_card_judges_the_audit(tmp_path: Path, audit: dict, finding: str) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.audit("VGG-OPU", **audit)
    assert headline(folder.run()).finding == finding


def test_the_card_is_bad_if_any_claim_is_contradicted(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    check = Check(name="stated figure is borne out", status="failed", measured="", threshold="", source="")
    folder.audit(
        "VGG-OPU",
        claimed=30,
        worst=29,
        more=[Claim(name="stated", by="stated", figure=None, stated=0.9, checks=(check,))],
    )
    assert headline(folder.run()).finding == "contradicted"


def test_a_claim_is_never_shown_without_the_worst_case_and_what_was_skipped(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.attack("VGG-OPU", right(30), rule="dfa-fresh")
    folder.audit("VGG-OPU", failed=["claim stands"], skipped=["gradients no weaker than transfer"])
    folder.run()
    text = " ".join(seen(build(tmp_path / "run").read_text(encoding="utf-8")).text)
    assert "worst case" in text
    assert "gradients no weaker than transfer" in text


def test_without_an_audit_the_page_says_that_nothing_can_be_believed(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.attack("VGG-OPU", right(30), rule="dfa-fresh")
    folder.run()
    assert headline(Run.open(tmp_path / "run")).finding == "none"
    assert "can be believed" in build(tmp_path / "run").read_text(encoding="utf-8")


def test_the_same_records_give_the_same_bytes_and_hostile_names_are_text(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run", data="<b>data</b>")
    name = "VGG-OPU <script>alert(1)</script> $x$ [bold]"
    folder.network(name)
    folder.attack(name, right(30), rule="dfa")
    folder.audit(name)
    folder.run()
    first = build(tmp_path / "run").read_bytes()
    assert build(tmp_path / "run").read_bytes() == first
    assert b"<script" not in first
    assert b"<b>data" not in first


def test_an_unfinished_run_says_what_is_missing(tmp_path: Path) -> None:
    plan = [{"key": "0" * 12, "kind": "attack", "name": "VGG-OPU <- exact"}]
    RunFolder(tmp_path / "run", cells=plan).run()
    page = build(tmp_path / "run").read_text(encoding="utf-8")
    assert "0 of 1" in page
    assert "VGG-OPU ← exact" in page


@pytest.mark.one_in(5)
@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.name)
def test_a_page_is_made_after_every_result(study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are drawn, and not written to files, which takes longer than all else."""
    monkeypatch.setattr(Folder, "save", lambda self, name, draw, **told: (draw(), undrawn(self, name, draw, **told))[1])
    folder = RunFolder(tmp_path, study.name)
    for network in ("VGG-OPU", "VGG-16", "VGG-DFA", "VGG-RP"):
        folder.network(network)
        folder.attack(network, [True, False, True], clean=[True, True, True])
        folder.transfer(network, [True, False, True])
        assert "</html>" in build(tmp_path).read_text()
    folder.store.close()


def test_the_gallery_of_the_defended_network_is_open(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    pictures = {name: [[[[0.5] * 4] * 4] * 3] for name in ("original", "adversarial")} | {"clean_prediction": [0]}
    folder.attack("VGG-16", right(1, 2), gallery=1, arrays=pictures)
    folder.attack("VGG-OPU", right(1, 2), rule="dfa", gallery=1, arrays=pictures)
    folder.run()
    walls = re.findall(
        r'<details class="wall"( open)?>\s*<summary>(.*?)</summary>', build(tmp_path / "run").read_text()
    )
    assert [bool(is_open) for is_open, _ in walls] == [True, False]
    assert walls[0][1].startswith("VGG-OPU")


def test_a_page_of_another_run_is_not_replaced(tmp_path: Path) -> None:
    for name in ("one", "two"):
        RunFolder(tmp_path / name).run()
    with pytest.raises(FileExistsError, match="another study"):
        build(tmp_path / "one", out=tmp_path / "two")


def test_making_a_page_and_its_tables_needs_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from groundglass.report import build; "
        "from groundglass.report.markdown import tables; "
        f"build(Path({str(RESULTS / 'full-width')!r}), out=Path({str(tmp_path)!r})); "
        f"tables([Path({str(RESULTS / 'full-width')!r})]); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("seeds", "manifest", "public"),
    [
        ([None, True], {}, True),
        ([False], {}, False),
        ([None], {}, False),  # of an earlier version: not known, so nothing is said
        ([], {"public_seed": True}, True),
        ([], {"public_seed": False}, False),
    ],
)
def test_the_card_says_that_a_seed_is_public(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seeds: list[bool | None], manifest: dict, public: bool
) -> None:
    monkeypatch.setattr(Folder, "save", undrawn)
    folder = RunFolder(tmp_path / "run", **manifest)
    for public_seed in seeds:
        camera = CameraSettings(bits=8, saturation=0.01, read_noise=0, shot_noise=0, density=0.5)
        config = DeviceConfig(in_features=16, out_features=32, camera=camera)
        folder.add(DEVICE, "a device", config, DeviceResult(fingerprint="ab", mean_reading=1, public_seed=public_seed))
    run = folder.run()
    assert ("Public seed" in " ".join(seen(build(tmp_path / "run").read_text(encoding="utf-8")).text)) is public
    if seeds:
        assert list(run.frame("devices")["public_seed"]) == seeds
