"""Whatever a file holds: it reads as before, or there is one error that names it. Never another one, never a write
elsewhere, never more memory than a limit, never a wait.

The seed is fixed. What breaks one of these is added to `BROKEN` of its kind's test, or mended.
"""

import os
import random
import re
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from groundglass.core import DamagedFileError
from groundglass.optics.retrieval.readings import MatrixChangedError
from tests.hostile.kinds import KINDS, FileKind
from tests.test_house import FILES

MEMORY = 2**30
SECONDS = 20
#: What takes the place of a field of JSON.
VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0.5, 1e300, 2**70, "", "x", "../../x", "\x1b[31m<script>", [], [[]], {}, {"x": {}}),
)
DEEP: Any = []
for _ in range(90):
    DEEP = [DEEP]


@contextmanager
def limited() -> Iterator[None]:
    """So much more memory than now, and so long."""
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)

    def late(*_: object) -> None:
        raise AssertionError(f"more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Bench:
    """A genuine file in a folder of its own, and what it reads as."""

    def __init__(self, kind: FileKind, folder: Path) -> None:
        self.kind, self.folder = kind, folder
        self.at = kind.make(folder / "inside").relative_to(folder / "inside")
        shutil.copytree(folder / "inside", folder / "whole")
        self.victim = folder / "x"
        self.victim.write_text("mine")
        self.outside = sorted(p.name for p in folder.iterdir())
        self.before = kind.read(self.fresh())

    def fresh(self) -> Path:
        shutil.rmtree(self.folder / "inside")
        shutil.copytree(self.folder / "whole", self.folder / "inside")
        return self.folder / "inside" / self.at

    def tried(self, what: str, path: Path, *, same: bool) -> None:
        """Read what `path` is now."""
        try:
            with limited():
                found = self.kind.read(path)
            noticed = not same or found == self.before
        except MatrixChangedError:
            error = None  # readings that were altered do not fit each other
        except (ValueError, OSError) as caught:
            error: Exception | None = caught
        else:
            assert noticed, f"{what}: altered, and not noticed"
            error = None
        if error is not None:
            said = isinstance(error, DamagedFileError) or type(error).__module__.startswith("groundglass")
            plain = type(error) in (ValueError, FileNotFoundError, FileExistsError, IsADirectoryError, PermissionError)
            assert said or plain, f"{what}: {error!r}"
            names = (path.name, path.parent.name, self.at.stem)
            assert any(name in str(error) for name in names), f"{what}: {error!r} names no file"
            assert "\x1b" not in str(error), f"{what}: {error!r}"
        assert sorted(p.name for p in self.folder.iterdir()) == self.outside, what
        assert self.victim.read_text() == "mine", what


@pytest.fixture(params=KINDS)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    (tmp_path / "inside").mkdir()
    return Bench(KINDS[request.param], tmp_path)


@pytest.mark.one_in(3)
def test_bytes(bench: Bench) -> None:
    draw = random.Random(7)
    whole = bench.fresh().read_bytes()
    cases: dict[str, bytes] = {f"cut at {n}": whole[:n] for n in (0, 1, 9, len(whole) // 2, len(whole) - 1)}
    for _ in range(12):
        bit = draw.randrange(8 * len(whole)) if draw.random() < 0.5 else draw.randrange(8 * min(200, len(whole)))
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        cases[f"bit {bit}"] = bytes(changed)
    at = draw.randrange(len(whole))
    cases |= {
        "doubled": whole + whole,
        "a hole": whole[:at] + bytes(20) + whole[at + 20 :],
        "more": whole[:at] + draw.randbytes(30) + whole[at:],
        "zeros": bytes(500),
        "noise": draw.randbytes(500),
        "deep": b"[" * 100_000,
        "a header of 2**60 bytes": (2**60).to_bytes(8, "little") + whole[8:],
    }
    for what, data in cases.items():
        path = bench.fresh()
        path.write_bytes(data)
        # A line that is gone, or never had an end, is a result that is made again.
        torn = bench.at.suffix == ".jsonl" and not what.startswith("bit")
        bench.tried(what, path, same=bench.kind.checked and not torn)


def test_what_is_no_file(bench: Bench) -> None:
    for what in ("folder", "pipe", "link to a device", "link to itself", "broken link", "gone"):
        path = bench.fresh()
        path.unlink()
        if what == "folder":
            path.mkdir()
        elif what == "pipe":
            os.mkfifo(path)
        elif what != "gone":
            path.symlink_to({"link to a device": "/dev/zero", "link to itself": path}.get(what, "nowhere"))
        bench.tried(what, path, same=False)


def places(value: Any, put: Callable[[Any], Any]) -> Iterator[tuple[str, Callable[[Any], Any]]]:
    """Every field, and how to put another value there."""
    yield "", put
    if isinstance(value, dict):
        for key, entry in value.items():
            for name, inner in places(entry, lambda new, key=key: put({**value, key: new})):  # type: ignore[misc]
                yield f".{key}{name}", inner
    elif isinstance(value, list) and value:
        for name, inner in places(value[0], lambda new: put([new, *value[1:]])):
            yield f"[0]{name}", inner


@pytest.mark.one_in(3)
def test_fields_of_other_types(bench: Bench) -> None:
    draw = random.Random(9)
    for part, value in bench.kind.parts(bench.fresh()).items():
        for name, made in places(value, lambda new: new):
            for new in draw.sample(VALUES, 3):
                path = bench.fresh()
                bench.kind.put(path, part, made(new))
                bench.tried(f"{part}{name} = {new!r}", path, same=False)
        path = bench.fresh()
        bench.kind.put(path, part, DEEP)
        bench.tried(f"{part} is deep", path, same=False)


#: What reads a file. Whoever does is here, with the kinds of files that the tests above alter.
READS = re.compile(
    r"read_json\(|read_format\(|read_bytes\(|load_state\(|read_notes\(|_FILE\.load\(|read_npz\(|read_npy\(|safe_open\(|torch\.load\(|load_file\("
    r"|np\.load\(|fromfile\(|open_memmap\(|json\.loads\(|tarfile\.open\(|read_text\(|read_lines\(|open\([^()]*[\"']rb[\"']"
    r"|sqlite3\.connect\("
)
READERS: dict[str, tuple[str, ...] | str] = {
    "groundglass.core.untrusted": "what the others read by",
    "groundglass.core.arrays": "the same",
    "groundglass.core.states": "the same",
    "groundglass.attacks.adversarial_files": ("adversarial images",),
    "groundglass.attacks.checkpoint": ("gradient checkpoint",),
    "groundglass.attacks.result_files": ("attack result",),
    "groundglass.attacks.scheduler": ("query checkpoint",),
    "groundglass.audit.kept": ("kept audit",),
    "groundglass.bench.results": ("benchmark",),
    "groundglass.bench.run": "what a process of ours prints",
    "groundglass.bench.probe": "what the process that begins it has said",
    "groundglass.bench.subjects": "the same",
    "groundglass.certify.tally": ("certificates",),
    "groundglass.data.download": "an archive whose checksum is known",
    "groundglass.models.files": ("model", "defended network"),
    "groundglass.models.weight_files": ("weights", "torch weights"),
    "groundglass.optics.retrieval.folder": ("retrieval.json", "retrieved matrix", "readings"),
    "groundglass.optics.lighton": ("real device",),
    "groundglass.optics.remote.kept": ("remote device",),
    "groundglass.optics.secret_file": ("device",),
    "groundglass.optics.store": ("moving device", "drifting device", "saved draws"),
    "groundglass.optics.streams.bit_file": ("bits",),
    "groundglass.optics.streams.reading_file": ("ledger",),
    "groundglass.service.guard": ("guard",),
    "groundglass.results.bundle": ("bundle",),
    "groundglass.results.journal": ("records.jsonl",),
    "groundglass.results.manifest": ("study.json",),
    "groundglass.results.records": ("arrays",),
    "groundglass.data.image_files": ("pictures", "picture"),
    "groundglass.studies.audit_model": ("given matrix",),
    "groundglass.studies.hardened": ("hardening",),
    "groundglass.studies.cells.cached_bits": ("cached bits", "cached features"),
    "groundglass.studies.cells.certify": ("certify checkpoint",),
    "groundglass.studies.cells.draws": ("draws checkpoint",),
    "groundglass.service.database": ("service's database",),
    "groundglass.service.policy": ("served device",),
    "groundglass.optics.remote.connection": "a token of the user's own",
    "groundglass.training.checkpoint": ("training checkpoint",),
    "groundglass.results.made": "a digest",
    "groundglass.results.compact": "by the readers of results",
    "groundglass.studies.engine.reuse": "a copy of what its record has pinned",
    "groundglass.core.imported": "code that the user has named, for its digest",
    "groundglass.studies.cells.retrieve": "what its record has pinned",
    "groundglass.studies.cells.cost": "what a process of ours prints",
    "groundglass.studies.cells.cost_probe": "the same",
    "groundglass.report.page": "the package's own",
    "groundglass.service.page.routes": "the package's own",
    "groundglass.kernels.jit.llvm": "the package's own, and the cache of compiled kernels: see tests/kernels",
    "groundglass.cli.commands": "the package's own",
    "groundglass.cli.retrieve": "looks for a name",
    "groundglass.cli.results": "Markdown of the user's own",
    "groundglass.cli.options": "a seed of the user's own",
    "groundglass.compat.torchattacks.bound": "a checked file of tensors, as attack results are",
    "groundglass.core.platform": "the system's",
    "groundglass.core.accelerator": "the same",
    "groundglass.core.hardening": "the same",
    "groundglass.core.locks": "the system's, and who has a lock: some letters for a message, see its tests",
    "groundglass.core.settings": "there and back",
    "groundglass.data.cifar": "of fixed size, see tests/data",
}


def test_no_reader_is_left_out() -> None:
    found = {name for name, path in FILES.items() if READS.search(path.read_text())}
    assert found == READERS.keys(), found ^ READERS.keys()
    kinds = {kind for kinds in READERS.values() if isinstance(kinds, tuple) for kind in kinds}
    assert kinds == KINDS.keys()
