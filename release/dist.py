"""Builds a release and tries it as a user would: `make dist` and `make sbom`.

python release/dist.py build        dist/: sdist and wheel of the last commit, built twice, checked
python release/dist.py try          the wheel in an empty environment: README's attack without an extra, then a study
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

ROOT = Path(__file__).parents[1]
DIST = ROOT / "dist"
USER = ROOT / "build" / "user"
# Bytes of the wheel. It holds source and templates alone.
LARGEST = 1_400_000
TOOLS = Path(sys.executable).parent


def run(*command: object, **options: object) -> None:
    print("$", *command, flush=True)
    code = subprocess.run([str(part) for part in command], check=False, **options).returncode  # type: ignore[call-overload]
    if code:
        sys.exit(f"{Path(str(command[0])).name} ended with {code}")


def said(*command: str) -> str:
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def build() -> None:
    """Both, from the files of the last commit and with its time: then the same commit gives the same wheel."""
    if said("git", "status", "--porcelain", "--untracked-files=no"):
        print("what is not committed is not built")
    shutil.rmtree(DIST, ignore_errors=True)
    os.environ["SOURCE_DATE_EPOCH"] = said("git", "log", "-1", "--format=%ct").strip()
    wheels = []
    with tempfile.TemporaryDirectory() as made:
        for number, kinds in enumerate(([], ["--wheel"])):  # a wheel by way of the sdist, and one without it
            source, out = Path(made, f"source-{number}"), Path(made, f"out-{number}")
            source.mkdir()
            # The modes of files are in a wheel: those of the commit, whatever the umask.
            archive = ["git", "-C", ROOT, "-c", "tar.umask=0022", "archive", "HEAD", "--output", source / "all.tar"]
            run(*archive)
            with tarfile.open(source / "all.tar") as tar:
                tar.extractall(source, filter="tar")
            (source / "all.tar").unlink()
            run(sys.executable, "-m", "build", "--outdir", out, *kinds, source, stdout=subprocess.DEVNULL)
            wheels += out.glob("*.whl")
        first, second = (hashlib.sha256(wheel.read_bytes()).hexdigest() for wheel in wheels)
        if first != second:
            sys.exit(f"two builds of one commit differ: {first} and {second}")
        shutil.copytree(wheels[0].parent, DIST)
    check_wheel()
    check_sdist()
    run(sys.executable, "-m", "twine", "check", "--strict", *DIST.iterdir())
    print(f"dist/{wheel().name}: {wheel().stat().st_size:,} bytes, sha256 {first}, twice")


def wheel() -> Path:
    found = sorted(DIST.glob("groundglass-*.whl"))
    if len(found) != 1:
        sys.exit(f"{DIST} holds {len(found)} wheels: `make dist` makes one")
    return found[0]


def check_wheel() -> None:
    """All files of the package, and nothing else."""
    tracked = said("git", "ls-tree", "-r", "--name-only", "HEAD", "src").splitlines()
    right = {name.removeprefix("src/") for name in tracked}
    with zipfile.ZipFile(wheel()) as file:
        names = set(file.namelist())
    found = {name for name in names if not re.match(r"groundglass-[^/]+\.dist-info/", name)}
    if found != right:
        sys.exit(f"not in the wheel: {sorted(right - found)}; in it by mistake: {sorted(found - right)}")
    if not any(name.endswith("/licenses/LICENSE") for name in names):
        sys.exit("the wheel has no licence")
    if (size := wheel().stat().st_size) > LARGEST:
        sys.exit(f"the wheel has {size:,} bytes, {LARGEST:,} are allowed")


def check_sdist() -> None:
    (sdist,) = DIST.glob("*.tar.gz")
    with tarfile.open(sdist) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    needed = {"LICENSE", "README.md", "pyproject.toml", "src/groundglass/py.typed", "src/groundglass/report/templates"}
    if missing := needed - names:
        sys.exit(f"not in the sdist: {sorted(missing)}")


def install(extras: str, *, anew: bool = False) -> Path:
    """The wheel with these extras, in the environment of a user."""
    if anew or not USER.exists():
        shutil.rmtree(USER, ignore_errors=True)
        run(sys.executable, "-m", "venv", USER)
    python = USER / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt", f"{wheel()}{extras}")
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
        python = install("[studies]")
        command = python.parent / "groundglass"
        run(command, "--version", cwd=elsewhere)
        run(command, "run", study, "--recipe", "quick", "--data", "shapes", "--out", "quick", cwd=elsewhere)
        if not list(Path(elsewhere, "quick").glob("*.html")):
            sys.exit("the study made no page")


def materials() -> None:
    """Bill of materials (CycloneDX) and licences of what `groundglass[studies]` installs; then known vulnerabilities."""
    python = install("[studies]")
    stem = DIST / "-".join(wheel().name.split("-")[:2])
    bill = Path(f"{stem}.cdx.json")
    run(TOOLS / "cyclonedx-py", "environment", python, "--output-reproducible", "--output-file", bill)
    told = json.loads(bill.read_text())
    for component in told["components"]:  # the wheel came from a folder of this machine, which is nobody's business
        links = component.get("externalReferences", [])
        component["externalReferences"] = [link for link in links if not link["url"].startswith("file:")]
    bill.write_text(json.dumps(told, indent=2, sort_keys=True) + "\n")
    licences = ("--format", "markdown", "--order", "license", "--output-file", f"{stem}.licences.md")
    run(TOOLS / "pip-licenses", "--python", python, *licences)
    # A local build, 2.13.0+cpu, has the faults of its version.
    held = {one["name"]: one["version"].partition("+")[0] for one in told["components"] if one["name"] != "groundglass"}
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
