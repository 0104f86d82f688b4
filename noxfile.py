"""The versions that groundglass is said to work with, tried: `make matrix`, or `nox -s lowest`.

Each session tries a part of the tests: the core, devices and attacks, in one process.
"""

import tomllib
from pathlib import Path

import nox

nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = (
    False  # a machine seldom has all of them: a session without its Python is skipped
)
nox.options.sessions = ["pythons", "attacker", "lowest", "newest"]

ROOT = Path(__file__).parent
PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
TOOLS = ("pytest", "pytest-xdist", "pytest-timeout", "hypothesis")
# What needs no other people's attacks, no pictures and no service.
PART = (
    "tests/test_package.py",
    "tests/test_first_script.py",
    "tests/kernels",
    "tests/optics/test_entries.py",
    "tests/optics/test_dense.py",
    "tests/optics/test_structured.py",
    "tests/optics/test_without_numba.py",
    "tests/attacks/test_pgd.py",
    "tests/attacks/test_apgd.py",
    "tests/attacks/test_frozen.py",
    "tests/attacks/test_square.py",
    "tests/attacks/test_result.py",
    "tests/core/test_states.py",
    "tests/results/test_export.py",
)

# The same of what compares no compiled code with plain code.
ATTACKER = (
    "tests/test_package.py",
    "tests/test_first_script.py",
    "tests/optics/test_dense.py",
    "tests/attacks/test_pgd.py",
    "tests/attacks/test_square.py",
)


def tried(session: nox.Session, *paths: str) -> None:
    session.run(
        "pytest",
        "-n",
        "0",
        "-p",
        "no:cacheprovider",
        *(session.posargs or paths),
        env={"GROUNDGLASS_ZOO": str(ROOT / "zoo")},
    )


def lower_bounds() -> list[str]:
    """What the core and `studies` need, each at the oldest version that pyproject.toml allows."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    lines = [
        *project["dependencies"],
        *(line for name in ("fast", "reports", "cli", "studies") for line in extras[name]),
    ]
    return [line.partition(",")[0].replace(">=", "==") for line in lines if not line.startswith("groundglass[")]


@nox.session(python=PYTHONS)
def pythons(session: nox.Session) -> None:
    """Each Python, with the versions of constraints.txt."""
    session.install("-c", "constraints.txt", "scipy", *TOOLS, ".[studies]")
    tried(session, *PART)


@nox.session(python="3.11")
def attacker(session: nox.Session) -> None:
    """Without any extra: no numba, no matplotlib, no pandas, no command line."""
    session.install("-c", "constraints.txt", *TOOLS, ".")
    session.run(
        "python", "-c", "import importlib.util as u; assert not any(map(u.find_spec, ['numba', 'pandas', 'tyro']))"
    )
    tried(session, *ATTACKER)


@nox.session(python="3.11")
def lowest(session: nox.Session) -> None:
    """The oldest version of each dependency. torch of that age comes with CUDA, gigabytes of it."""
    session.install("scipy<1.16", *TOOLS, *lower_bounds())
    session.install("--no-deps", ".")
    session.run("python", "-m", "pip", "check")
    tried(session, *PART)


@nox.session(python=PYTHONS[-1])
def newest(session: nox.Session) -> None:
    """The newest version of each, on the newest Python."""
    session.install("--upgrade", "scipy", *TOOLS, ".[studies]")
    tried(session, *PART)
