"""What is kept, what is said of an earlier benchmark, and the command."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from groundglass import cli
from groundglass.bench import Benchmark, Job, Spread, against, benchmark, registry
from groundglass.bench import run as bench_run
from groundglass.bench.children import Ended, run_code, run_module
from groundglass.core import DamagedFileError
from groundglass.core.schema import written
from tests.bench.fakes import TINY, made, row

STEADY = [1.00, 1.01, 1.02, 1.01, 1.00]
FLOOR = [0.5] * 5


def steady(name: str, factor: float = 1.0, *, floor: float = 1.0):
    return row(name, [factor * t for t in STEADY], [floor * t for t in FLOOR])


def verdicts(now: Benchmark, then: Benchmark) -> dict[str, str]:
    return {one.job: one.verdict for one in against(now, then)}


def test_a_benchmark_is_kept_whole(tmp_path):
    whole = made(row("a", [1, 2, 4], [1, 1, 1], [4, 4, 4]), replace(row("b", [1.0]), skipped={"ART": "no"}))
    whole.save(tmp_path / "one.json")
    assert Benchmark.load(tmp_path / "one.json") == whole
    told = json.loads((tmp_path / "one.json").read_text())
    assert told["rows"][0]["ours"] | {"low": 1.5, "median": 2, "high": 3} == told["rows"][0]["ours"]
    assert told["rows"][0]["share"] == vars(Spread.of([1, 0.5, 0.25]))
    assert told["rows"][0]["ratio"]["median"] == 2
    assert told["machine"]["processor"] == "one"


@pytest.mark.parametrize(
    "wrong", [{"rows": []}, {"seconds": []}, {"seconds": [1.0, 0.0, 1.0]}, {"seconds": [1.0]}, {"twice": True}]
)
def test_a_file_that_contradicts_itself_is_refused(wrong, tmp_path):
    made(row("a", [1, 2, 4], [1, 1, 1])).save(tmp_path / "one.json")
    told = json.loads((tmp_path / "one.json").read_text())
    if "twice" in wrong:
        told["rows"] *= 2
    elif "seconds" in wrong:
        told["rows"][0]["floor"] |= {"seconds": wrong["seconds"], "wall": wrong["seconds"]}
    else:
        told |= {"rows": {}}
    (tmp_path / "one.json").write_text(json.dumps(told))
    with pytest.raises(DamagedFileError, match=r"one\.json"):
        Benchmark.load(tmp_path / "one.json")


def test_slower_than_both_spreads_is_slower():
    then = made(steady("same"), steady("slow"), steady("quick"), steady("gone"))
    now = made(steady("same", 1.005), steady("slow", 1.3), steady("quick", 0.7), steady("new"))
    assert verdicts(now, then) == {
        "same": "the same",
        "slow": "slower",
        "quick": "faster",
        "new": "new",
        "gone": "not measured now",
    }
    found = {one.job: one for one in against(now, then)}
    assert found["slow"].time == pytest.approx(1.3)
    assert found["slow"].over_floor == pytest.approx(1.3)


def test_within_the_spread_nothing_is_said():
    wide = row("a", [1.0, 1.5, 2.0, 2.5, 3.0], FLOOR)
    wider = row("a", [1.3, 1.9, 2.4, 3.0, 3.6], FLOOR)
    assert verdicts(made(wider), made(wide)) == {"a": "the same"}
    # Nor of a few percent, however steady.
    assert verdicts(made(steady("a", 1.04)), made(steady("a"))) == {"a": "the same"}


def test_a_slower_machine_is_no_slower_library():
    then = made(steady("a"))
    assert verdicts(made(steady("a", 2, floor=2)), then) == {"a": "the same"}
    # A faster floor, of a new torch say, leaves the time as it was.
    assert verdicts(made(steady("a", floor=0.5)), then) == {"a": "the same"}
    # Of another machine the share of its floor counts.
    assert verdicts(made(steady("a", 2, floor=2), processor="two"), then) == {"a": "the same"}
    assert verdicts(made(steady("a", 4, floor=2), processor="two"), then) == {"a": "slower"}
    assert verdicts(made(row("a", STEADY), processor="two"), then) == {"a": "not comparable"}


def test_a_slow_day_is_no_slower_library_when_another_floor_was_the_fastest():
    then, now = steady("a"), steady("a", 1.5, floor=1.5)
    assert now.floor is not None
    now = replace(now, floor=replace(now.floor, what="another"))
    assert verdicts(made(now), made(then)) == {"a": "the same"}
    assert verdicts(made(now, processor="two"), made(then)) == {"a": "not comparable"}


def test_a_turn_or_two_say_nothing():
    for turns in (1, 2):
        then, now = (row("a", [time] * turns, [0.5] * turns) for time in (1.0, 2.0))
        (change,) = against(made(now), made(then))
        assert (change.verdict, bool(change.why)) == ("not comparable", True)


def test_other_work_is_not_compared():
    then = made(steady("a"))
    others = (
        made(replace(steady("a", 3), what="more")),
        made(steady("a", 3), threads=2),
        replace(made(steady("a", 3)), seed=1),
    )
    for now in others:
        (change,) = against(now, then)
        assert change.verdict == "not comparable"
        assert change.why


@pytest.fixture
def measured(monkeypatch):
    """Jobs `a` and `b`, whose process is not begun: it says what it is told to; `c` fails."""
    jobs = {name: Job(name, "something", "the least", lambda _: None) for name in "abc"}
    said = {"a": 1.0, "b": 1.0}

    def child(*words, threads):
        told = json.loads(words[-1])
        if told["job"] == "c":
            raise RuntimeError("too little of everything")
        return Ended(json.dumps(written(steady(told["job"], said[told["job"]]))), 0)

    monkeypatch.setattr(bench_run, "JOBS", jobs)
    monkeypatch.setattr(bench_run, "run_module", child)
    return said


def test_a_file_goes_on(measured, tmp_path):
    file = tmp_path / "one.json"
    benchmark(["a"], keep=file)
    assert set(benchmark(["b"], keep=file).jobs) == set(Benchmark.load(file).jobs) == {"a", "b"}
    measured["a"] = 3.0
    found = benchmark(["a"], keep=file)
    assert found == Benchmark.load(file)
    assert {name: one.ours.spread.median for name, one in found.jobs.items()} == pytest.approx({"b": 1.01, "a": 3.03})
    for other in ({"seed": 1}, {"threads": 2}, {"sizes": TINY}, {"turns": 6}):
        with pytest.raises(ValueError, match=next(iter(other))):
            benchmark(["a"], keep=file, **other)
    began: list[str] = []
    benchmark(["a", "b", "a"], begin=began.append)
    assert began == ["a", "b"]
    with pytest.raises(ValueError, match="did you mean"):
        benchmark(["aa"])


def test_two_at_once_keep_the_jobs_of_both(measured, tmp_path):
    file = tmp_path / "one.json"
    benchmark(["a"], keep=file, begin=lambda name: benchmark(["b"], keep=file) and None)
    assert set(Benchmark.load(file).jobs) == {"a", "b"}
    assert [path.name for path in tmp_path.iterdir()] == ["one.json"]


def test_a_folder_that_is_no_run_is_refused_before_the_first_job(measured, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"study\.json"):
        benchmark(["a"], run=tmp_path, begin=lambda name: pytest.fail(name))


def test_the_command_says_what_is_slower(measured, tmp_path, capsys):
    then = str(tmp_path / "then.json")
    assert cli.main(["bench", "--only", "a", "b", "--json", then]) == 0
    measured["b"] = 2.0
    asked = ["bench", "--only", "a", "b", "--against", then]
    assert cli.main(asked) == 0
    lines = capsys.readouterr().out.splitlines()
    said = {words[1]: words for line in lines if len(words := line.split()) > 3 and "slower" in words}
    assert set(said) == {"b"}
    assert cli.main([*asked, "--fail"]) == 1
    assert "b" in capsys.readouterr().err.splitlines()[-1]
    assert cli.main(["bench", "--only", "a", "--fail"]) == 1
    assert cli.main(["bench", "--only", "a", "c", "--json", str(tmp_path / "other.json")]) == 1
    assert "too little of everything" in capsys.readouterr().err
    assert set(Benchmark.load(tmp_path / "other.json").jobs) == {"a"}


def test_all_jobs_are_listed(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    assert cli.main(["bench", "--list"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in registry.JOBS)
    assert "{" not in shown


def test_the_last_release_has_every_job_of_then_and_can_be_compared_with():
    release = Benchmark.load(Path(__file__).parents[2] / "benchmarks" / "release.json")
    assert set(release.jobs) <= set(registry.JOBS)
    assert len(release.jobs) > len(registry.JOBS) / 2
    assert set(verdicts(release, release).values()) == {"the same"}


def test_a_process_of_its_own_says_why_it_ended():
    assert run_code("import sys; print(sys.argv[1:])", "a", "b").printed == "['a', 'b']\n"
    assert run_module("platform").printed.strip()
    with pytest.raises(RuntimeError, match="no good"):
        run_code("raise ValueError('no good')")
    with pytest.raises(RuntimeError, match="signal 9"):
        run_code("import os; os.kill(os.getpid(), 9)")
    few, many = (run_code(f"x = b'1' * {count}").peak_bytes for count in (1, 2**27))
    if few is None:
        pytest.skip("this system does not tell its memory")
    assert many - few > 2**26
