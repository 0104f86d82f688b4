"""Tables in Markdown files are those of the records: the blocks are found, made anew, and a wrong number fails."""

from pathlib import Path

import pytest

from groundglass.old_report.markdown_blocks import refresh, tables

ROOT = Path(__file__).parent.parent.parent
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md")])
BEGIN, END = "<!-- groundglass tables run white-box -->", "<!-- end -->"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_tables_in_the_docs_are_those_of_the_committed_records(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert refresh(text, ROOT) == text, "make them anew with `groundglass tables --update FILE.md`, from the repository"


@pytest.fixture
def root(complete: Path, tmp_path: Path) -> Path:
    (tmp_path / "run").symlink_to(complete)
    return tmp_path


def test_a_block_gets_its_table_and_all_else_stays(root: Path) -> None:
    before, after = "# Results\n\nSaid by hand: 12.3\n\n", "\nMore.\n| 1 | not ours |\n"
    made = refresh(f"{before}{BEGIN}\nold\n{END}\n{after}", root)
    assert made == f"{before}{BEGIN}\n\n{tables([root / 'run'])['white-box']}\n\n{END}\n{after}"
    assert refresh(made, root) == made


def test_a_wrong_number_is_found(root: Path) -> None:
    right = refresh(f"{BEGIN}\n{END}", root)
    assert "82.7" in right
    assert refresh(right.replace("82.7", "92.7", 1), root) == right


def test_two_blocks_of_one_page(root: Path) -> None:
    text = f"{BEGIN}\n{END}\nand\n{BEGIN.replace('white-box', 'cost')}\n{END}\n"
    made = refresh(text, root)
    assert made.index("VGG-OPU ← `dfa`") < made.index("\nand\n") < made.index("| white-box |")


def test_a_block_may_have_some_tables_and_columns_alone(root: Path) -> None:
    whole = refresh(f"{BEGIN}\n{END}\n", root)
    few = refresh(f"{BEGIN.replace('box', 'box titles=L∞ columns=untouched,5.1/')}\n{END}\n", root)
    (head,) = [line for line in few.splitlines() if line.startswith("| network")]
    assert "L2" in whole
    assert "L2" not in few
    assert [column.strip()[:9] for column in head.split("|")[2:-1]] == ["untouched", "5.1/255 ("]
    for line in few.splitlines():
        if line.startswith("| VGG"):  # each cell is one of the whole table's line
            own = next(one for one in whole.splitlines() if one.startswith(f"|{line.split('|')[1]}|"))
            assert all(cell in own for cell in line.split("|"))


def test_a_block_shown_as_code_is_text(root: Path) -> None:
    text = f"```\n{BEGIN}\n{END}\n```\n"
    assert refresh(text, root) == text
    assert refresh(f"{text}{BEGIN}\n{END}\n", root) != f"{text}{BEGIN}\n{END}\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"a\n{BEGIN}\ntable\n", "line 2: the block has no"),
        (f"{BEGIN}\ntable\n{BEGIN}\n{END}\n", "line 1: the block has no"),
        (f"<!-- groundglass tables white-box -->\n{END}\n", "line 1: a block names a run folder and a section"),
        (f"<!-- groundglass tables run whitebox -->\n{END}\n", "line 1: unknown section"),
        (f"{BEGIN.replace('box', 'box columnz=a')}\n{END}\n", "line 1: unknown choice.*columns"),
        (f"{BEGIN.replace('box', 'box titles=gone')}\n{END}\n", "line 1: .*none that was chosen"),
        (f"<!-- groundglass tables run transfer -->\n{END}\n", "line 1: .* no records for the section"),
    ],
)
def test_a_block_that_cannot_be_made_says_where(root: Path, text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        refresh(text, root)


def test_a_block_of_a_folder_that_is_gone(root: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        refresh(f"<!-- groundglass tables gone white-box -->\n{END}\n", root)
