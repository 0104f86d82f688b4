"""What an index of packages gets of this repository: two distributions, and a description that can be read without it.

`groundglass` attacks, audits, certifies and trains. `groundglass-studies` has the layers above, which nothing below them imports
(pyproject.toml, importlinter): command line, studies, pages, benchmarks. The extras of the first ask for the second, so a user
types `pip install "groundglass[studies]"` as ever; who only attacks gets two thirds of the code. In a clone both are one:
`pip install .` brings all of it.
"""

import re
import shutil
import tomllib
from pathlib import Path

#: Folders of the package in `groundglass-studies`: the keys of `groundglass.core.lazy.PARTS`.
TOP = ("bench", "cli", "report", "studies")
#: Extras of `groundglass` that ask for `groundglass-studies`; all others that need it contain one of these.
ASKING = ("cli", "reports")

STUDIES = """\
[build-system]
requires = {requires}
build-backend = "setuptools.build_meta"

[project]
name = "groundglass-studies"
version = "{version}"
description = "Command line, studies and pages of groundglass: installed by groundglass[studies], and of no use without it"
readme = "README.md"
license = "MIT"
license-files = ["LICENSE"]
requires-python = "{python}"
dependencies = ["groundglass=={version}"]

[tool.setuptools.packages.find]
where = ["src"]
namespaces = true

[tool.setuptools.package-data]
"groundglass.report" = ["templates/*"]
"groundglass.studies" = ["*/page.html.j2"]
"""

README = """\
# groundglass-studies

Command line, studies and pages of `groundglass`. It has no use of its own:

    pip install "groundglass[studies]"
"""


def divide(source: Path, studies: Path) -> None:
    """Move what `groundglass-studies` has out of a copy of the repository, and give each its pyproject.toml and README.

    Args:
        source: the copy; what is left in it is `groundglass`.
        studies: a folder outside it that is not there, for the other.
    """
    package = Path("src", "groundglass")
    (version,) = re.findall(r'^__version__ = "(.+)"$', (source / package / "__init__.py").read_text(), re.M)
    path = source / "pyproject.toml"
    text = path.read_text()
    project = tomllib.loads(text)
    for extra in ASKING:
        text, changed = re.subn(rf"^{extra} = \[", rf'{extra} = ["groundglass-studies=={version}", ', text, flags=re.M)
        if changed != 1:
            raise ValueError(f"pyproject.toml has the extra {extra} {changed} times, in a line `{extra} = [...`")
    path.write_text(text)
    (studies / package).mkdir(parents=True)
    for name in TOP:
        shutil.move(source / package / name, studies / package / name)
    shutil.copy(source / "LICENSE", studies)
    (studies / "README.md").write_text(README)
    (studies / "pyproject.toml").write_text(
        STUDIES.format(
            requires=project["build-system"]["requires"],
            python=project["project"]["requires-python"],
            version=version,
        ).replace("'", '"')
    )
    readme = source / "README.md"
    address = project["project"].get("urls", {}).get("Repository")
    readme.write_text(description(readme.read_text(), address, version))


def description(text: str, address: str | None, version: str) -> str:
    """README as an index of packages shows it, where no file of the repository is beside it.

    Args:
        text: Markdown.
        address: of the repository, on a host that has a file of a version at ADDRESS/blob/vVERSION/FILE and a picture at
            ADDRESS/raw/...; None: links to files become plain text, and pictures go.
        version: whose files are meant.
    """

    def link(found: re.Match[str]) -> str:
        mark, label, target = found.groups()
        if re.match(r"[a-z]+:", target):
            return found[0]
        if target.startswith("#") or address is None:
            return "" if mark else label
        kind = "raw" if mark else "blob"
        return f"{mark}[{label}]({address.rstrip('/')}/{kind}/v{version}/{target})"

    parts = re.split(r"(^```.*?^```$)", text, flags=re.M | re.S)
    return "".join(part if number % 2 else _LINK.sub(link, part) for number, part in enumerate(parts))


# A label may hold code: [`defences`](...).
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
