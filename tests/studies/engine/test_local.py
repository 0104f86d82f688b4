import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import wait

import pytest
import torch

from groundglass.core import DamagedFileError
from groundglass.core.locks import leased
from groundglass.results import RecordStore
from groundglass.studies import run_study
from groundglass.studies.engine import local, schedule
from groundglass.studies.engine.cell import key_of, run_cells
from groundglass.studies.engine.context import Context
from groundglass.studies.engine.executor import WorkerEndedError
from groundglass.studies.engine.local import Local, fitting_jobs
from groundglass.studies.engine.run import manifest
from groundglass.studies.engine.schedule import run_on
from groundglass.studies.engine.worker import CellFailedError, Setup
from tests.studies.engine import toys
from tests.studies.engine.study import diamond
from tests.studies.engine.toys import Toy
from tests.studies.tiny import Listener, fork_workers, pictures

SEED = 31415926535897
MANIFEST = manifest("toy", "toy", "toy", {}, [], 0, where=torch.device("cpu"))
DATA = pictures("toys", n_train=20, n_test=10)


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Run cells in a folder, `jobs` at a time, or in this process if 0; what was heard and said stays on it. See `spawn`."""
    fork_workers(monkeypatch)

    def run(cells, jobs=2):
        run.heard, run.said = Listener(), []

        def progress(what, done, total, **figures):
            run.said.append((what, figures))

        context = Context(tmp_path, dataset=DATA, device_seed=SEED, progress=progress, listener=run.heard)
        with RecordStore.open(tmp_path, MANIFEST) as store:
            context.arrays = store.arrays
            if not jobs:
                return run_cells(cells, store, context)
            threads = max(1, local.usable_cores() // jobs)
            return run_on(Local(jobs).start(Setup.of(context, threads)), cells, store, context)

    return run


@pytest.fixture
def spawn(start, monkeypatch):
    """The same with workers that start as those of a study do."""
    monkeypatch.setattr(local, "_START", multiprocessing.get_context("spawn"))
    return start


def results(folder):
    return {r.name: r.result["total"] for r in RecordStore.read(folder).records}


@pytest.fixture
def hostile_folder(tmp_path_factory, monkeypatch):
    """The current folder has files that are named as modules that every start of a process needs."""
    folder = tmp_path_factory.mktemp("elsewhere")
    for name in ("socket", "selectors", "tempfile", "traceback", "json"):
        (folder / f"{name}.py").write_text("raise SystemExit('a file of the current folder was run')\n")
    monkeypatch.chdir(folder)


def test_each_cell_has_what_it_needs_whoever_runs_it(spawn, tmp_path, hostile_folder):
    assert spawn(diamond()) == 4
    assert "PYTHONSAFEPATH" not in os.environ
    assert results(tmp_path) == {"first": 1, "left": 2, "right": 3, "last": 6}
    store = RecordStore.read(tmp_path)
    assert all(r.result["images"] == 10 and not r.result["has_seed"] for r in store.records)
    assert all(r.seconds >= 100 and r.memory > 2**20 for r in store.records)
    assert not list(tmp_path.glob("*.scratch"))
    assert sorted(spawn.heard.names) == ["first", "last", "left", "right"]
    assert (spawn.heard.order[0], spawn.heard.order[-2]) == ("+first", "+last")
    assert {what for what, _ in spawn.said} == {f"{n}, adding" for n in ("first", "left", "right", "last")}


def test_it_finds_what_one_process_finds(start, tmp_path):
    start(diamond())
    alone = tmp_path / "alone"
    with RecordStore.open(alone, MANIFEST) as store:
        assert run_cells(diamond(), store, Context(alone, dataset=DATA, arrays=store.arrays)) == 4
    assert results(alone) == results(tmp_path)


def test_it_goes_on_where_it_was(start, tmp_path):
    assert start(diamond()[:2]) == 2
    (tmp_path / "first.pid").unlink()
    assert start(diamond()) == 2
    assert not (tmp_path / "first.pid").exists()
    assert start(diamond()) == 0


def test_cells_run_at_the_same_time_each_with_its_share_of_the_cores(start, tmp_path, monkeypatch):
    monkeypatch.setattr(local, "usable_cores", lambda: 6)
    start([Toy(f"cell {i}", seconds=1) for i in range(4)], jobs=2)
    pids = {(tmp_path / f"cell {i}.pid").read_text() for i in range(4)}
    assert len(pids) == 2
    assert str(os.getpid()) not in pids
    assert {figures["threads"] for _, figures in start.said} == {3}


@pytest.mark.slow
def test_ctrl_c_while_a_worker_starts_is_left_to_the_parent(spawn, monkeypatch, capfd):
    monkeypatch.setattr(local._Starts, "Process", lambda self, **given: toys.Interrupted(**given))
    assert spawn(diamond()[:1]) == 1
    assert "Traceback" not in capfd.readouterr().err
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_no_more_processes_than_cells(start, tmp_path):
    start([Toy("one")], jobs=5)
    assert (tmp_path / "one.pid").read_text() != str(os.getpid())


def test_what_a_cell_raises_is_raised_and_what_was_done_stays(start, tmp_path):
    with pytest.raises(DamagedFileError, match="bad is damaged") as raised:
        start([Toy("good"), Toy("bad", does="fail", seconds=1), Toy("long", seconds=60)])
    assert "toys.py" in "".join(raised.value.__notes__)
    assert results(tmp_path) == {"good": 1}
    assert not alive(int((tmp_path / "long.pid").read_text()))
    assert start([Toy("good"), Toy("bad")]) == 1


@pytest.mark.parametrize(
    ("does", "error", "match"),
    [
        ("fail oddly", CellFailedError, "it, as it is a test"),
        ("die", WorkerEndedError, r"at work on it has ended \(exit code -9.*--jobs"),
    ],
)
def test_a_worker_that_cannot_send_its_error_is_heard_of(does, error, match, start):
    with pytest.raises(error, match=match):
        start([Toy("it", does=does)])


@pytest.mark.slow
def test_the_one_that_has_ended_is_named_also_before_its_memory_is_given_back(spawn, monkeypatch):
    monkeypatch.setattr(local._START, "Process", toys.Lingering)
    with pytest.raises(WorkerEndedError, match=r"at work on it has ended \(exit code -9"):
        spawn([Toy("other", seconds=60), Toy("it", does="die", seconds=0.5)])


def test_an_input_that_is_never_made_is_a_bug(start):
    left = diamond()[1]
    with pytest.raises(AssertionError, match="before its inputs"):
        start([left])


def test_the_secret_is_in_nothing_that_is_pickled(start, monkeypatch):
    sent = []
    dumps = pickle.dumps
    monkeypatch.setattr(pickle, "dumps", lambda *given: sent.append(dumps(*given)) or sent[-1])
    start([Toy("one")])
    assert len(sent) >= 2
    for form in (str(SEED).encode(), SEED.to_bytes(6, "little"), SEED.to_bytes(6, "big")):
        assert not any(form in one for one in sent)


ORPHANS = """
from pathlib import Path
from groundglass.data.shapes import load_shapes
from groundglass.results import RecordStore
from groundglass.studies.engine.context import Context
from groundglass.studies.engine.local import Local
from groundglass.studies.engine.schedule import run_on
from groundglass.studies.engine.worker import Setup
from tests.studies.engine.toys import Toy

if __name__ == "__main__":
    folder = Path({folder!r})
    with RecordStore.open(folder, {manifest!r}) as store:
        context = Context(folder, dataset=load_shapes(n_train=2, n_test=2, seed=0))
        run_on(Local(2).start(Setup.of(context, 1)), [Toy("a", seconds=60), Toy("b", seconds=60)], store, context)
"""


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="looks into /proc")
def test_workers_end_with_their_parent_however_it_ends(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(ORPHANS.format(folder=str(tmp_path / "run"), manifest=MANIFEST))
    path = os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")])
    parent = subprocess.Popen([sys.executable, str(script)], env={**os.environ, "PYTHONPATH": path})
    pids = [tmp_path / "run" / f"{name}.pid" for name in "ab"]
    wait_for(lambda: parent.poll() is not None or all(p.exists() and p.read_text() for p in pids))
    workers = [int(p.read_text()) for p in pids]
    assert all(alive(pid) for pid in workers)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    wait_for(lambda: not any(alive(pid) for pid in workers))


def test_a_script_without_a_main_guard_is_told_so(start, monkeypatch, tmp_path):
    monkeypatch.setattr(local, "_begin", toys.end_without_a_guard)
    with pytest.raises(WorkerEndedError, match=r'before it began.*if __name__ == "__main__":') as raised:
        start([Toy("one")])
    assert "memory" not in str(raised.value)
    monkeypatch.setattr(multiprocessing.current_process(), "_inheriting", True, raising=False)
    with pytest.raises(RuntimeError, match="__main__"):
        run_study("white-box", "quick", tmp_path / "run", data="shapes", jobs=2)
    assert not (tmp_path / "run").exists()


def wait_for(true, seconds=250):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("cores", "memory", "jobs"), [(2, 2**40, 2), (64, 2**40, 8), (4, 7 * 2**30, 2), (4, 2**30, 1), (4, None, 4)]
)
def test_as_many_as_fit(monkeypatch, cores, memory, jobs):
    monkeypatch.setattr(local, "usable_cores", lambda: cores)
    monkeypatch.setattr(local, "available_memory", lambda: memory)
    assert fitting_jobs(torch.device("cpu")) == jobs
    assert fitting_jobs(torch.device("cuda:1")) == 1


def test_the_first_of_the_plan_starts_first(start):
    cells = [Toy(f"cell {i}") for i in range(6)]
    start(cells)
    assert [name[1:] for name in start.heard.order if name[0] == "+"] == [cell.name for cell in cells]
    assert len({key_of(cell) for cell in cells}) == 6


def test_what_measures_time_runs_last_and_by_itself(start):
    times = [Toy("time 1", alone=True), Toy("time 2", alone=True)]
    start([*times, Toy("other"), Toy("from times", tuple(times)), Toy("another")])
    order = start.heard.order
    assert order[:2] == ["+other", "+another"]
    assert sorted(order[2:4]) == ["-another", "-other"]
    assert order[4:] == ["+time 1", "-time 1", "+time 2", "-time 2", "+from times", "-from times"]


def test_a_worker_that_dies_with_a_message_unread_is_named(start, monkeypatch):
    monkeypatch.setattr(local, "_begin", toys.die_at_once)
    with pytest.raises(WorkerEndedError, match="at work on one has ended"):
        start([Toy("one")], jobs=2)


@pytest.mark.slow
def test_a_worker_that_is_killed_while_it_starts_is_not_waited_for(spawn, monkeypatch):
    """It ends without having read anything. There is more to read than a pipe holds."""
    with local._environment(1):  # starts Python's own helper, which is to live
        monkeypatch.setattr(multiprocessing.spawn, "_python_exe", b"/bin/false")
    caught = []

    def run():
        with pytest.raises(WorkerEndedError, match="before it began") as raised:
            spawn([Toy("one")])
        caught.append(raised)

    assert len(pickle.dumps(DATA)) > 2**16
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(60)
    assert caught


def test_a_worker_that_is_killed_while_it_answers_is_not_waited_for(start, monkeypatch):
    monkeypatch.setattr(local, "_MOMENT", 0.3)
    caught = []

    def run():
        with pytest.raises(WorkerEndedError, match=r"at work on it has ended \(exit code -9") as raised:
            start([Toy("it", does="die answering"), Toy("other", seconds=60)])
        caught.append(raised)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(60)
    assert caught


def test_what_others_have_found_is_kept_before_an_error_is_raised(start, tmp_path, monkeypatch):
    def both(futures, **given):
        """Whoever fails first, when both have something to say."""
        return wait(futures)

    with monkeypatch.context() as patch:
        patch.setattr(schedule, "wait", both)
        with pytest.raises(DamagedFileError):
            start([Toy("good"), Toy("bad", does="fail")])
    assert results(tmp_path) == {"good": 1}
    start([Toy("good"), Toy("bad")])
    assert results(tmp_path) == {"good": 1, "bad": 1}


@pytest.mark.parametrize("jobs", [0, 2], ids=["in this process", "in a worker"])
def test_a_cell_that_a_left_behind_worker_still_runs_is_not_begun_beside_it(start, tmp_path, jobs):
    """Its lease is taken by a live process: whoever comes after says so and waits until that has ended."""
    start([Toy("first")])
    cell, seen = Toy("one"), []
    with leased(tmp_path / "checkpoints", key_of(cell)):
        thread = threading.Thread(target=start, args=([cell], jobs))
        thread.start()
        wait_for(lambda: any("waiting" in what for what, _ in start.said) or (tmp_path / "one.pid").exists())
        seen.append((tmp_path / "one.pid").exists())
    thread.join()
    assert seen == [False]
    assert results(tmp_path) == {"first": 1, "one": 1}
    assert not list((tmp_path / "checkpoints").glob("*.lease"))


def test_of_many_workers_each_takes_what_most_waits_for(start):
    """The last of the plan begins the longest chain; with two workers the plan's order stays."""
    chain = Toy("chain 1")
    cells = [*(Toy(f"cell {i}", seconds=0.3) for i in range(4)), chain, Toy("chain 2", (chain,))]
    start(cells, jobs=3)
    assert start.heard.order[0] == "+chain 1"
