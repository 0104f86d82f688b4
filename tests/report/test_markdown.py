"""Tables in Markdown files are those of the records: the blocks are found and updated, and a wrong number fails."""

from pathlib import Path

import pytest

from groundglass.report.markdown import refresh, tables
from groundglass.report.markdown import refresh as refresh_docs
from groundglass.results import Run
from tests.runs import RunFolder, opened_once, parts_once, right

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md")])
BEGIN, END = "<!-- groundglass tables run white-box -->", "<!-- end -->"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_tables_in_the_docs_are_those_of_the_committed_records(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Run, "open", opened_once)
    monkeypatch.setattr("groundglass.report.markdown.parts", parts_once)
    text = page.read_text(encoding="utf-8")
    assert refresh_docs(text, ROOT) == text, "make them anew with `groundglass tables --update FILE.md`"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return made(tmp_path / "run").parent


def made(folder: Path, left: int = 30, **manifest: object) -> Path:
    run = RunFolder(folder, **manifest)
    key = run.network("VGG-OPU", clean=0.827)
    for norm in ("linf", "l2"):
        run.attack("VGG-OPU", right(left), rule="dfa", norm=norm, inputs=[key])
    run.store.close()
    return folder


def test_parts_without_records_are_left_out_or_refused(root: Path) -> None:
    assert list(tables([root / "run"])) == ["white-box", "cost"]
    with pytest.raises(ValueError, match="no records for the part 'transfer'"):
        tables([root / "run"], ["transfer"])
    with pytest.raises(ValueError, match="did you mean 'white-box'"):
        tables([root / "run"], ["whitebox"])


def test_folders_that_differ_in_their_seed_alone_are_one_table(root: Path) -> None:
    assert "| 30.0 (20.0–40.0) |" in tables([made(root / str(n), n, seed=n) for n in (20, 40)])["white-box"]
    with pytest.raises(ValueError, match="another recipe"):
        tables([root / "run", made(root / "paper", seed=2, recipe="paper")])
    with pytest.raises(ValueError, match="different seeds"):
        tables([root / "run", root / "run"])


def test_a_block_gets_its_table_and_all_else_stays(root: Path) -> None:
    before, after = "# Results\n\nSaid by hand: 12.3\n\n", "\nMore.\n| 1 | not ours |\n"
    text = refresh(f"{before}{BEGIN}\nold\n{END}\n{after}", root)
    assert text == f"{before}{BEGIN}\n\n{tables([root / 'run'])['white-box']}\n\n{END}\n{after}"
    assert "82.7" in text
    assert refresh(text.replace("82.7", "92.7", 1), root) == text, "a wrong number is found"
    assert refresh(f"```\n{BEGIN}\n{END}\n```\n", root) == f"```\n{BEGIN}\n{END}\n```\n", "code is text"


def test_a_page_may_have_two_blocks_and_a_block_some_tables_and_columns_alone(root: Path) -> None:
    few = BEGIN.replace("box", "box titles=L∞ columns=clean")
    first, second = refresh(f"{few}\n{END}\nand\n{BEGIN.replace('white-box', 'cost')}\n{END}\n", root).split("\nand\n")
    assert "| network ← attacker | clean accuracy |\n" in first
    assert "L2" not in first
    assert "| white-box |" in second
    chosen = BEGIN.replace("box", "box titles=L∞ 'rows=gone,VGG-OPU ← `dfa`' columns=clean")
    (row,) = [line for line in refresh(f"{chosen}\n{END}\n", root).splitlines() if line.startswith("| VGG")]
    assert row in first
    with pytest.raises(ValueError, match="none that was chosen"):
        refresh(f"{BEGIN.replace('box', 'box rows=gone')}\n{END}\n", root)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"a\n{BEGIN}\ntable\n", "line 2: the block has no"),
        (f"<!-- groundglass tables white-box -->\n{END}\n", "line 1: a block names a run folder and a part"),
        (f"<!-- groundglass tables run whitebox -->\n{END}\n", "line 1: unknown part"),
        (f"{BEGIN.replace('box', 'box columnz=a')}\n{END}\n", "line 1: unknown choice.*columns"),
        (f"{BEGIN.replace('box', 'box titles=gone')}\n{END}\n", "line 1: .*none that was chosen"),
    ],
)
def test_a_block_that_cannot_be_made_says_where(root: Path, text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        refresh(text, root)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        refresh(f"<!-- groundglass tables gone white-box -->\n{END}\n", root)
