"""Builds a release and tries it as a user would: `make dist` and `make sbom`.

python release/dist.py build        dist/: sdist and wheel of both distributions of the last commit, built twice, checked
python release/dist.py try          the wheels in an empty environment: README's attack without an extra, then a study
python release/dist.py list         dist/: bill of materials and licences of that environment; then pip-audit
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from divide import TOP, divide

ROOT = Path(__file__).parents[1]
DIST = ROOT / "dist"
USER = ROOT / "build" / "user"
# Bytes of each wheel. They hold source and templates alone.
LARGEST = 1_000_000
TOOLS = Path(sys.executable).parent


def run(*command: object, **options: object) -> None:
    print("$", *command, flush=True)
    code = subprocess.run([str(part) for part in command], check=False, **options).returncode  # type: ignore[call-overload]
    if code:
        sys.exit(f"{Path(str(command[0])).name} ended with {code}")


def said(*command: str) -> str:
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def build() -> None:
    """All four, from the files of the last commit and with its time: then the same commit gives the same wheels."""
    if said("git", "status", "--porcelain", "--untracked-files=no"):
        print("what is not committed is not built")
    shutil.rmtree(DIST, ignore_errors=True)
    os.environ["SOURCE_DATE_EPOCH"] = said("git", "log", "-1", "--format=%ct").strip()
    digests = []
    with tempfile.TemporaryDirectory() as made:
        for number, kinds in enumerate(([], ["--wheel"])):  # wheels by way of the sdist, and without it
            source, studies, out = (Path(made, f"{name}-{number}") for name in ("source", "studies", "out"))
            source.mkdir()
            # The modes of files are in a wheel: those of the commit, whatever the umask.
            archive = ["git", "-C", ROOT, "-c", "tar.umask=0022", "archive", "HEAD", "--output", source / "all.tar"]
            run(*archive)
            with tarfile.open(source / "all.tar") as tar:
                tar.extractall(source, filter="tar")
            (source / "all.tar").unlink()
            divide(source, studies)
            for folder in (source, studies):
                run(sys.executable, "-m", "build", "--outdir", out, *kinds, folder, stdout=subprocess.DEVNULL)
            digests.append({one.name: hashlib.sha256(one.read_bytes()).hexdigest() for one in out.glob("*.whl")})
        if digests[0] != digests[1]:
            sys.exit(f"two builds of one commit differ: {digests[0]} and {digests[1]}")
        shutil.copytree(Path(made, "out-0"), DIST)
    check_wheels()
    check_sdist()
    run(sys.executable, "-m", "twine", "check", "--strict", *sorted(DIST.iterdir()))
    for name, digest in sorted(digests[0].items()):
        print(f"dist/{name}: {(DIST / name).stat().st_size:,} bytes, sha256 {digest}, twice")


def wheels() -> tuple[Path, Path]:
    """Of groundglass and of groundglass-studies."""
    found = sorted(DIST.glob("*.whl"))
    if [one.name.partition("-")[0] for one in found] != ["groundglass", "groundglass_studies"]:
        sys.exit(f"{DIST} has not two wheels, but {[one.name for one in found]}: `make dist` makes them")
    return found[0], found[1]


def check_wheels() -> None:
    """All files of the package, each in one of the two, and nothing else."""
    tracked = said("git", "ls-tree", "-r", "--name-only", "HEAD", "src").splitlines()
    every = {name.removeprefix("src/") for name in tracked}
    above = {name for name in every if name.split("/")[1] in TOP}
    for wheel, right in zip(wheels(), (every - above, above), strict=True):
        with zipfile.ZipFile(wheel) as file:
            names = set(file.namelist())
        found = {name for name in names if not re.match(r"groundglass(_studies)?-[^/]+\.dist-info/", name)}
        if found != right:
            sys.exit(f"not in {wheel.name}: {sorted(right - found)}; in it by mistake: {sorted(found - right)}")
        if not any(name.endswith("/licenses/LICENSE") for name in names):
            sys.exit(f"{wheel.name} has no licence")
        if (size := wheel.stat().st_size) > LARGEST:
            sys.exit(f"{wheel.name} has {size:,} bytes, {LARGEST:,} are allowed")


def check_sdist() -> None:
    for start, last in (
        ("groundglass-", "src/groundglass/py.typed"),
        ("groundglass_studies-", "src/groundglass/report/templates"),
    ):
        (sdist,) = DIST.glob(f"{start}*.tar.gz")
        with tarfile.open(sdist) as tar:
            names = {name.partition("/")[2] for name in tar.getnames()}
        if missing := {"LICENSE", "README.md", "pyproject.toml", last} - names:
            sys.exit(f"not in {sdist.name}: {sorted(missing)}")


def install(extras: str, *, anew: bool = False) -> Path:
    """Of the wheels what these extras ask for, in the environment of a user."""
    if anew or not USER.exists():
        shutil.rmtree(USER, ignore_errors=True)
        run(sys.executable, "-m", "venv", USER)
    python = USER / "bin" / "python"
    given = ("--constraint", ROOT / "constraints.txt", "--find-links", DIST)
    run(python, "-m", "pip", "install", "--quiet", *given, f"{wheels()[0]}{extras}")
    run(python, "-m", "pip", "check")
    return python


def attempt(study: str) -> None:
    """Somewhere else than in the repository, where no file of it can help."""
    code = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
    first = next(block for block in code if "gg.PGD()" in block)
    # What needs an extra says so; here is what needs none.
    alone = "\n".join(line for line in first.splitlines() if "to_frame" not in line)
    with tempfile.TemporaryDirectory() as elsewhere:
        python = install("", anew=True)
        run(python, "-W", "error::RuntimeWarning", "-c", alone, cwd=elsewhere)
        told = subprocess.run(
            [python, "-m", "groundglass"], cwd=elsewhere, capture_output=True, text=True, check=False
        ).stderr
        if 'pip install "groundglass[cli]"' not in told:
            sys.exit(f"without the extra `cli` the command says {told!r}, not what to type")
        python = install("[studies]")
        command = python.parent / "groundglass"
        run(command, "--version", cwd=elsewhere)
        run(command, "run", study, "--recipe", "quick", "--data", "shapes", "--out", "quick", cwd=elsewhere)
        if not list(Path(elsewhere, "quick").glob("*.html")):
            sys.exit("the study made no page")


def materials() -> None:
    """Bill of materials (CycloneDX) and licences of what `groundglass[studies]` installs; then known vulnerabilities."""
    python = install("[studies]")
    stem = DIST / "-".join(wheels()[0].name.split("-")[:2])
    bill = Path(f"{stem}.cdx.json")
    run(TOOLS / "cyclonedx-py", "environment", python, "--output-reproducible", "--output-file", bill)
    told = json.loads(bill.read_text())
    for component in told["components"]:  # the wheels came from a folder of this machine, which is nobody's business
        links = component.get("externalReferences", [])
        component["externalReferences"] = [link for link in links if not link["url"].startswith("file:")]
    bill.write_text(json.dumps(told, indent=2, sort_keys=True) + "\n")
    licences = ("--format", "markdown", "--order", "license", "--output-file", f"{stem}.licences.md")
    run(TOOLS / "pip-licenses", "--python", python, *licences)
    # A local build, 2.13.0+cpu, has the faults of its version.
    held = {
        one["name"]: one["version"].partition("+")[0]
        for one in told["components"]
        if not one["name"].startswith("groundglass")
    }
    with tempfile.TemporaryDirectory() as made:
        listed = Path(made, "installed.txt")
        listed.write_text("".join(f"{name}=={version}\n" for name, version in sorted(held.items())))
        # Strict: a library that its database does not know, or a database that does not answer, is an error, too.
        run(TOOLS / "pip-audit", "--strict", "--disable-pip", "--no-deps", "--requirement", listed)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("step", choices=("build", "try", "list"))
    asked.add_argument("--study", default="all")
    given = asked.parse_args()
    {"build": build, "try": lambda: attempt(given.study), "list": materials}[given.step]()


if __name__ == "__main__":
    main()
