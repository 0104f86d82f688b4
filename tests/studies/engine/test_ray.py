"""Studies on Ray: two nodes on this machine, which `ray.cluster_utils` starts. `-m "not ray"` leaves out what starts Ray."""

import ipaddress
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from groundglass.core import DamagedFileError
from groundglass.optics import DeviceStore
from groundglass.optics.true_matrix import true_matrix
from groundglass.results import RecordStore
from groundglass.studies.engine.cell import Prepared, run_cells, with_inputs
from groundglass.studies.engine.context import Context
from groundglass.studies.engine.executor import Task, WorkerEndedError
from groundglass.studies.engine.ray import Ray
from groundglass.studies.engine.run import manifest
from groundglass.studies.engine.schedule import run_on
from groundglass.studies.engine.worker import CellFailedError, Setup, opened
from groundglass.studies.kit import targets as target_cells
from tests.optics.test_sealed import secrets_of
from tests.studies.engine.steps import Steps, diary
from tests.studies.engine.test_local import alive, wait_for
from tests.studies.engine.toys import Toy
from tests.studies.tiny import DATA, DEVICE_SEED, settled, white_box

pytestmark = pytest.mark.slow

MANIFEST = manifest("steps", "steps", "steps", {}, [], 0, where=torch.device("cpu"))


def raylet(node):
    """The process of a node that starts its workers."""
    return node.all_processes["raylet"][0].process.pid


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Two nodes, of one core and of two, on this machine's own address, for those who have a token."""
    token = tmp_path_factory.mktemp("token") / "token"
    token.write_text(secrets.token_hex(32))
    token.chmod(0o600)
    folder = Path(f"/tmp/gg{secrets.token_hex(3)}")  # sockets' paths must be short
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        }.items():
            patch.setenv(name, value)
        pytest.importorskip("ray")
        from ray.cluster_utils import Cluster

        Path("/tmp/ray").mkdir(exist_ok=True)  # it notes there where it is
        made = Cluster()
        first = made.add_node(num_cpus=1, include_dashboard=False, temp_dir=str(folder))
        second = made.add_node(num_cpus=2, temp_dir=str(folder))
        yield SimpleNamespace(
            address=made.address,
            folder=folder,
            raylets=[raylet(first), raylet(second)],
            kill_second=lambda: made.remove_node(second, allow_graceful=False),
        )
        made.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


class Shared:
    """One folder and one connection for all tests: workers take seconds to start."""

    def __init__(self, address, folder):
        self.folder, self.slots = folder, None
        self._executor = Ray(address, retries=1).start(Setup.of(Context(folder, dataset=DATA, where="cpu"), 1))
        self.submit, self.messages, self.end = self._executor.submit, self._executor.messages, self._executor.close

    def close(self):
        """Not yet: a study is over."""

    def answer(self, *cells):
        """What cells find that are given at once."""
        return [self.submit(Task(cell, (), Prepared())) for cell in cells]

    def run(self, cells, **given):
        return run_here(cells, self.folder, self, **given)


def run_here(cells, folder, executor=None, **given):
    context = Context(folder, dataset=DATA, where="cpu", **given)
    with RecordStore.open(folder, MANIFEST) as store:
        context.arrays = store.arrays
        return run_cells(cells, store, context) if executor is None else run_on(executor, cells, store, context)


@pytest.fixture(scope="module")
def shared(cluster, tmp_path_factory):
    hostile = tmp_path_factory.mktemp("elsewhere")
    for name in ("socket", "selectors", "tempfile", "traceback", "json"):
        (hostile / f"{name}.py").write_text("raise SystemExit('a file of the current folder was run')\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(hostile)
        made = Shared(cluster.address, tmp_path_factory.mktemp("runs") / "shared")
    yield made
    made.end()


def found(folder):
    """Every result and its arrays, bit for bit, by the cell's name."""
    store = RecordStore.read(folder)
    return {
        r.name: (r.key, settled(r.result), {name: array.tobytes() for name, array in store.arrays(r).items()})
        for r in store.records
    }


def same_as_here(cells, folder, here, **given):
    run_here([replace(cell, gate="") if isinstance(cell, Steps) else cell for cell in cells], here, **given)
    on_ray, undisturbed = found(folder), found(here)
    assert {name: on_ray[name] for name in undisturbed} == undisturbed


@pytest.mark.ray
def test_it_finds_what_one_process_finds_bit_for_bit(shared, tmp_path):
    _, defended = target_cells(white_box(), DATA)
    cells = with_inputs([defended])
    assert shared.run(cells, device_seed=DEVICE_SEED) == len(cells) >= 2
    same_as_here(cells, shared.folder, tmp_path / "here", device_seed=DEVICE_SEED)


@pytest.mark.ray
def test_the_secret_is_in_nothing_that_ray_keeps(shared, cluster):
    """After the test above: a device was drawn from a seed that was given, and a network was trained with it."""
    store = DeviceStore(shared.folder / "devices")
    (device,) = map(store.find, store.fingerprints())
    matrix = true_matrix(device).numpy()
    secret = {form.encode() for form in {*secrets_of(device), str(DEVICE_SEED), f"{DEVICE_SEED:x}"}}
    secret |= {DEVICE_SEED.to_bytes(6, order) for order in ("little", "big")}
    secret |= {
        row.tobytes() for row in (*device._medium.tiles[0][:8], *matrix[:8], *np.ascontiguousarray(matrix.T)[:8])
    }
    kept = {path: path.read_bytes() for path in cluster.folder.rglob("*") if path.is_file() and not path.is_symlink()}
    kept |= {place: content for pid in cluster.raylets for place, content in object_store(pid)}
    kept |= environments(cluster.folder)
    image, threads = DATA.train.images[0].numpy().tobytes(), b"OPENBLAS_NUM_THREADS=1"
    assert sum(image in content for content in kept.values()) >= 1, "the detector detects"
    assert sum(threads in content for content in kept.values()) >= 1
    assert [place for place, content in kept.items() if any(form in content for form in secret)] == []


def object_store(pid):
    """What lies in the memory that a node's workers share."""
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            if "plasma" in os.readlink(link) and (fd := os.open(link, os.O_RDONLY)):
                end, at, parts = os.lseek(fd, 0, os.SEEK_END), 0, []
                with suppress(OSError):  # only holes are left
                    while (start := os.lseek(fd, at, os.SEEK_DATA)) < end:
                        at = os.lseek(fd, start, os.SEEK_HOLE)
                        parts.append(os.pread(fd, at - start, start))
                os.close(fd)
                yield str(link), b"".join(parts)


def environments(folder):
    """Of all processes that Ray has started: their environments and command lines."""
    kept = {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if str(folder).encode() in (
                both := b"\n".join((process / name).read_bytes() for name in ("environ", "cmdline"))
            ):
                kept[process] = both.replace(b"\0", b"\n")
    return kept


@pytest.mark.ray
def test_what_measures_time_has_a_node_to_itself(shared, cluster):
    before, after = ([Steps(f"{when} {i}", gate="go") for i in range(3)] for when in ("before", "after"))
    answers = shared.answer(*before)
    wait_for(lambda: all(diary(shared.folder, cell.name) for cell in before))
    answers += shared.answer(Steps("timed", alone=True), *after)
    (shared.folder / "go").touch()
    for answer in answers:
        answer.result(60)
    timed = diary(shared.folder, "timed")
    assert {entry.node for entry in timed} == {cluster.raylets[1]}, "the largest"
    others = [diary(shared.folder, cell.name) for cell in (*before, *after)]
    beside = [each for each in others if each[0].node == timed[0].node]
    assert len(beside) >= 2
    assert all(each[-1].when < timed[0].when or each[0].when > timed[-1].when for each in beside)


@pytest.mark.ray
def test_what_goes_wrong_in_a_cell_arrives_and_a_cell_that_kills_its_process_is_begun_again(shared):
    bad, odd, lethal = shared.answer(Toy("bad", does="fail"), Toy("odd", does="fail oddly"), Toy("lethal", does="die"))
    with pytest.raises(DamagedFileError, match="bad is damaged") as raised:
        opened(bad.result(60))
    assert "toys.py" in "".join(raised.value.__notes__)
    with pytest.raises(CellFailedError, match="odd, as it is a test"):
        opened(odd.result(60))
    with pytest.raises(WorkerEndedError, match="lethal has ended, 2 times"):
        lethal.result(60)


DRIVER = """
from pathlib import Path
from tests.studies.engine.steps import Steps
from tests.studies.engine.test_ray import CELLS, Context, DATA, Ray, Setup, run_here

if __name__ == "__main__":
    folder = Path({folder!r})
    executor = Ray({address!r}).start(Setup.of(Context(folder, dataset=DATA, where="cpu"), 1))
    run_here(CELLS, folder, executor)
"""
CELLS = with_inputs([Steps("long", gate="back", inputs=(Steps("short", steps=1),))])


def started(script, place, **given):
    (place / "script.py").write_text(script.format(**given))
    path = os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, place / "script.py"], env={**os.environ, "PYTHONPATH": path}, start_new_session=True
    )


@pytest.mark.ray
def test_the_driver_dies_and_comes_back(shared, cluster, tmp_path):
    driver = started(DRIVER, tmp_path, folder=str(shared.folder), address=cluster.address)
    wait_for(lambda: driver.poll() is not None or len(diary(shared.folder, "long")) >= 3)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    (shared.folder / "back").touch()
    assert shared.run(CELLS) == 1
    assert len(diary(shared.folder, "short")) == 1, "it was kept"
    goes_on_without_a_step_lost(shared.folder, "long")
    same_as_here(CELLS, shared.folder, tmp_path / "here")


def goes_on_without_a_step_lost(folder, name):
    entries = diary(folder, name)
    one, *others = dict.fromkeys(entry.pid for entry in entries)
    lives = [[entry.step for entry in entries if entry.pid == pid] for pid in (one, *others)]
    assert len(lives) == 2
    assert [entry.step for entry in entries] == [*lives[0], *lives[1]], "never two at a time"
    assert lives[0][-1] >= 1
    assert lives[1][0] in (lives[0][-1], lives[0][-1] + 1)


@pytest.mark.ray
def test_the_cells_of_a_killed_node_go_on_elsewhere(shared, cluster, tmp_path):
    """The last one that has two nodes."""
    cells = [Steps(f"cell {i}", gate="killed") for i in range(3)]
    lost = []

    def progress(what, done, total, **figures):
        if not lost:
            wait_for(lambda: all(len(diary(shared.folder, cell.name)) > 3 for cell in cells))
            lost.extend(cell.name for cell in cells if diary(shared.folder, cell.name)[0].node == cluster.raylets[1])
            cluster.kill_second()
            # Its workers end by themselves, soon.
            wait_for(lambda: not any(alive(diary(shared.folder, name)[0].pid) for name in lost))
            (shared.folder / "killed").touch()

    assert shared.run(cells, progress=progress) == 3
    assert len(lost) == 2
    for name in lost:
        goes_on_without_a_step_lost(shared.folder, name)
    same_as_here(cells, shared.folder, tmp_path / "here")


@pytest.mark.ray
def test_what_is_under_way_ends_when_an_executor_is_closed(shared):
    """The last one of the shared executor."""
    (answer,) = shared.answer(Steps("endless", gate="never"))
    wait_for(lambda: diary(shared.folder, "endless"))
    shared.end()
    wait_for(lambda: not alive(diary(shared.folder, "endless")[0].pid))
    assert not answer.done() or answer.exception()


LOCAL = """
import os, signal, sys
from pathlib import Path
from groundglass.core import write_json
from tests.studies.engine.steps import Steps
from tests.studies.engine.test_ray import Context, DATA, Ray, Setup, run_here

if __name__ == "__main__":
    folder = Path({folder!r})
    settings = lambda: {{name: value for name, value in os.environ.items() if "AUTH" in name}}
    before = settings(), signal.getsignal(signal.SIGTERM)
    executor = Ray().start(Setup.of(Context(folder, dataset=DATA, where="cpu"), 1))
    assert (settings(), signal.getsignal(signal.SIGTERM)) == before
    write_json(folder.parent / "started", str(executor._folder))
    run_here([Steps("endless", gate="never")], folder, executor)
"""


@pytest.mark.ray
def test_one_that_a_study_starts_is_private_and_ends_with_ctrl_c(tmp_path):
    pytest.importorskip("ray")
    driver = started(LOCAL, tmp_path, folder=str(tmp_path / "run"))
    wait_for(lambda: driver.poll() is not None or (tmp_path / "started").exists())
    folder = Path(json.loads((tmp_path / "started").read_text()))
    assert (folder.stat().st_mode & 0o777, (folder / "token").stat().st_mode & 0o777) == (0o700, 0o600)
    family = [int(process.name) for process in environments(folder)]
    assert len(family) > 3
    places = [place for pid in family for place in listens(pid)]
    assert len(places) > 2
    assert all((getattr(place, "ipv4_mapped", None) or place).is_loopback for place in places)
    os.killpg(driver.pid, signal.SIGINT)
    assert driver.wait(60) == -signal.SIGINT
    wait_for(lambda: not any(alive(pid) for pid in family))
    assert not folder.exists()


def listens(pid):
    """The addresses at which a process can be reached."""
    sockets = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            sockets.add(os.readlink(link))
    for net in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{net}").read_text().splitlines()[1:]:
            _, local, _, state, *rest = line.split()
            if state == "0A" and f"socket:[{rest[5]}]" in sockets:
                raw = bytes.fromhex(local.split(":")[0])
                yield ipaddress.ip_address(b"".join(raw[i : i + 4][::-1] for i in range(0, len(raw), 4)))
