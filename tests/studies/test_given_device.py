"""A study whose device somebody else holds: the figures of the device itself, by readings alone; what needs more is left out."""

import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from groundglass import cli
from groundglass.attacks import checkpoint as attack_checkpoint
from groundglass.audit import kept
from groundglass.core import BudgetExceededError
from groundglass.core.states import passed
from groundglass.optics import DeviceStore, LightOnOPU, RemoteOPU, SimulatedOPU
from groundglass.optics.counted import counted
from groundglass.optics.remote.connection import TOKEN
from groundglass.optics.remote.errors import FrameBudgetError, MatrixRedrawnError
from groundglass.report import build
from groundglass.results import OtherStudyError, Run
from groundglass.results.kinds import AUDIT, RETRIEVE, TRAIN
from groundglass.studies import find_study
from groundglass.studies.engine.context import Context
from groundglass.studies.engine.forecast import forecast
from groundglass.studies.engine.frames import frames_of
from groundglass.studies.engine.given import GivenDevice, Placing
from groundglass.studies.engine.plan import Plan
from groundglass.studies.engine.planned import planned
from groundglass.studies.engine.worker import Setup
from groundglass.training import checkpoint as checkpoints
from tests.service.serving import Bench, bench, remote
from tests.studies.tiny import DATA, MAKERS, SIZES, Listener, enter, network, results, run

FEW: dict[str, Any] = {"queries": (8,), "periods": (), "sizes": (), "noises": (), "bits": (), "saturations": ()}


def few(*given: Any, **options: Any) -> Any:
    """Networks of one epoch: what is compared is the device's doing."""
    config: Any = MAKERS["retrieval"](*given, **options)
    quick = {name: replace(getattr(config, name), epochs=1) for name in ("baseline", "hybrid")}
    return replace(config, n_images=12, **quick, **FEW)


def device() -> SimulatedOPU:
    return SimulatedOPU.create(*SIZES, seed=31415926535897)


@pytest.fixture(scope="module")
def patch() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        enter(patch, "retrieval", few)
        patch.setattr("groundglass.studies.engine.forecast._MEASURE", 0.01)
        yield patch


@pytest.fixture(scope="module")
def service() -> Iterator[Bench]:
    with bench() as one:
        one.serve("lab", device())
        yield one


@pytest.fixture(scope="module")
def here(patch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the device in this process."""
    folder = tmp_path_factory.mktemp("here") / "run"
    run("retrieval", folder, optical_device=device())
    return folder


@pytest.fixture(scope="module")
def there(patch: pytest.MonkeyPatch, service: Bench, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the device at a service, which workers open for themselves."""
    folder = tmp_path_factory.mktemp("there") / "run"
    token = service.token("student")
    with pytest.MonkeyPatch.context() as env:
        env.setenv(TOKEN, token)
        # Not forked: the process that they would be forked from may be older than the token.
        run("retrieval", folder, optical_device=RemoteOPU(service.address("lab")), jobs=2, threads=1)
    written = [path for path in folder.rglob("*") if path.is_file()]
    assert len(written) > 5
    assert not any(token.split("_", 2)[2].encode() in path.read_bytes() for path in written)
    return folder


@pytest.mark.slow
def test_a_remote_device_gives_the_records_of_the_device_itself(here: Path, there: Path) -> None:
    """Bit for bit, with the same keys."""
    assert results(here) == results(there)
    assert len(results(here)) > 10


@pytest.mark.slow
def test_every_frame_is_counted(here: Path, there: Path, service: Bench) -> None:
    frames = {r.key: r.frames for r in Run.open(there).records}
    assert frames == {r.key: r.frames for r in Run.open(here).records}
    total = sum(count or 0 for count in frames.values())
    assert total == service.frames("student") > 0
    assert int(Run.open(there).retrievals["device_frames"].iloc[0]) == 8 * SIZES[0]
    assert f"{total:,} frames" in build(there).read_text(encoding="utf-8")


@pytest.mark.slow
def test_what_needs_u_is_left_out_and_said(here: Path) -> None:
    found = Run.open(here)
    assert set(found.attacks["rule"]) == {"bp", "bpda-drawn", "bpda-fit-linear", "dfa", "bpda-retrieved"}
    left = {(one["kind"], one["why"]) for one in found.manifest["left_out"]}
    assert left == {("attack", "needs U")}
    assert len(found.manifest["left_out"]) == 2
    (retrieved,) = (one for one in found.entries(RETRIEVE) if one.config.purpose == "price")
    assert retrieved.result.error is None
    assert retrieved.result.failed_share is None
    assert retrieved.result.told_share == 0.0  # as far as the attacker can tell: and so it is
    # Devices of other sizes and cameras are the study's own, and their U is known.
    assert all(one.result.error for one in found.entries(RETRIEVE) if one.config.purpose == "method")
    (audit,) = (one for one in found.entries(AUDIT) if one.config.model == "VGG-OPU")
    assert "exact" not in {attempt.name for attempt in audit.result.attempts}
    (trained,) = (one for one in found.entries(TRAIN) if one.config.model.get("device_in"))
    assert trained.result.device is not None
    assert trained.result.device.fingerprint == device().fingerprint
    page = build(here).read_text(encoding="utf-8")
    assert "needs U (2 × attack)" in page


@pytest.mark.slow
def test_networks_are_loaded_again_by_fingerprint(there: Path, service: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN, service.token("stranger"))
    with pytest.raises(PermissionError, match="not sent"):
        network(there, "VGG-OPU")
    DeviceStore(there / "devices").keep(
        RemoteOPU(service.address("lab"))
    )  # the address, given anew by whoever trusts it
    assert network(there, "VGG-OPU")(DATA.test.floats(slice(0, 2))).shape == (2, 10)


def test_what_workers_are_sent_has_no_token(service: Bench, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(service.token("sender"))
    file.chmod(0o600)
    remote = RemoteOPU(service.address("lab"), token_file=file)
    setup = Setup.of(Context(tmp_path, dataset=DATA, optical=remote, where="cpu"), 1)
    secret = file.read_text().split("_", 2)[2].encode()
    assert setup.token_file == file
    cells = Placing(GivenDevice.of(remote)).cells(find_study("retrieval").cells(few(), DATA))
    assert secret not in pickle.dumps((setup, cells))
    with pytest.raises(TypeError, match="token"):
        pickle.dumps(remote)


@pytest.mark.slow
def test_another_device_is_another_study(here: Path, service: Bench) -> None:
    listener = Listener()
    run("retrieval", here, optical_device=service.client("lab"), listener=listener)  # the same: nothing is left to do
    assert listener.names == []
    with pytest.raises(OtherStudyError, match="fingerprint"):
        run("retrieval", here, optical_device=SimulatedOPU.create(*SIZES, seed=9))
    with pytest.raises(OtherStudyError):
        run("retrieval", here)


@pytest.mark.slow
def test_the_plan_tells_the_frames_and_a_small_budget_is_refused_before_any_work(
    patch: pytest.MonkeyPatch, here: Path, service: Bench, tmp_path: Path
) -> None:
    taken = sum(r.frames or 0 for r in Run.open(here).records)
    poor = service.client("lab", service.token("poor", frames=taken // 10))
    found = forecast("retrieval", "tiny", optical_device=poor, precision="float32")
    assert found.frames is not None
    assert taken / 2 < found.frames < 2 * taken
    assert found.frames_left == taken // 10
    assert len(found.left_out) == 2
    with pytest.raises(FrameBudgetError) as raised:
        run("retrieval", tmp_path / "run", optical_device=poor)
    assert isinstance(raised.value, BudgetExceededError)
    assert raised.value.details["needed"] == found.frames
    assert service.frames("poor") == 0
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_an_interrupted_cell_asks_for_what_is_left(
    patch: pytest.MonkeyPatch, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of a training, an attack and an audit the run's own folder says what the device need not be asked again."""
    monkeypatch.setattr(checkpoints, "SECONDS", -1.0)
    monkeypatch.setattr(attack_checkpoint, "SECONDS_BETWEEN_SAVES", -1.0)
    folder, given = tmp_path / "run", counted(device())
    settings: dict[str, Any] = {"optical_device": given, "changes": ["hybrid.epochs=2"]}

    def left() -> int:
        found = forecast("retrieval", "tiny", out=folder, precision="float32", **settings).frames
        assert found is not None
        return found

    def killed(module: Any, saves: int, cell: str) -> None:
        """Interrupt this cell when it has saved so often."""
        listener, save, saved = Listener(), module.save_state, []

        def saving(path: Path, *what: Any) -> None:
            save(path, *what)
            if listener.order[-1].startswith(f"+{cell}"):
                saved.append(path)
                if len(saved) == saves:
                    raise KeyboardInterrupt

        monkeypatch.setattr(module, "save_state", saving)
        with pytest.raises(KeyboardInterrupt):
            run("retrieval", folder, listener=listener, **settings)
        monkeypatch.setattr(module, "save_state", save)

    whole = left()
    # Steps of 20 images, 15 an epoch, and a save more at its end.
    killed(checkpoints, 20, "VGG-OPU")
    assert left() == whole - 15 * 20 - 4 * 20
    for module, saves, cell in ((kept, 1, "audit of VGG-OPU"), (attack_checkpoint, 2, "VGG-OPU <- bpda-drawn")):
        killed(module, saves, cell)
        begun = left()
        (path,) = (one for one in (folder / "checkpoints").iterdir() if passed(one))
        moved = path.rename(tmp_path / "moved")
        assert 8 <= passed(moved) < given.frames
        assert 0 < left() - begun <= passed(moved)
        moved.rename(path)


class Apparatus:
    """A stand-in for a real device: a simulated one behind `transform`."""

    def __init__(self) -> None:
        self._device, self.n_components = device(), SIZES[1]

    def transform(self, bits: Any) -> Any:
        return self._device.measure(torch.as_tensor(bits)).numpy()


@pytest.mark.slow
def test_a_real_device_gives_the_same_network(patch: pytest.MonkeyPatch, here: Path, tmp_path: Path) -> None:
    """It has a name for a fingerprint, and a mean reading of its own calibration: what is asked of it is the same."""
    real = LightOnOPU(Apparatus(), *SIZES, mean_reading=device().mean_reading, fingerprint="lab-2")
    with pytest.raises(ValueError, match="in this process alone"):
        run("retrieval", tmp_path / "run", optical_device=real, jobs=2)
    with pytest.raises(ValueError, match="token"):
        run("retrieval", tmp_path / "run", optical_device=remote(device()), jobs=2)
    with pytest.raises(KeyboardInterrupt):
        run("retrieval", tmp_path / "run", optical_device=real, listener=Listener(at="audit of VGG-16"))
    (theirs,) = (r for r in Run.open(tmp_path / "run").records if r.name == "VGG-OPU")
    (ours,) = (r for r in Run.open(here).records if r.name == "VGG-OPU")
    assert theirs.frames == ours.frames
    assert theirs.result["clean_accuracy"] == ours.result["clean_accuracy"]


@pytest.mark.parametrize("study", [name for name in MAKERS if name != "all"])
def test_no_study_has_a_cell_that_asks_for_more_than_readings(study: str) -> None:
    placing = Placing(GivenDevice.of(device()))
    cells, told = planned(find_study(study), MAKERS[study](), DATA, placing=placing)
    left = placing.left_out
    every, _ = planned(find_study(study), MAKERS[study](), DATA)
    assert len(cells) + len(left) == len(every)
    assert not any(cell.needs() for cell in cells if hasattr(cell, "needs"))
    keys = {one["key"] for one in told}
    plan = Plan.of(cells)
    assert all(set(unit.inputs) <= keys for unit in plan.units.values()), "inputs are there"
    assert [cell.name for cell in cells if cell.kind == "device" and cell.given] == ["device 48 -> 96"]  # type: ignore[attr-defined]
    assert sum(frames_of(plan, key) for key in keys) > 0
    # No key of a study with devices of its own depends on any of this: tests/golden holds those.
    assert all(not cell.given for cell in every if cell.kind == "device")  # type: ignore[attr-defined]


def test_a_study_that_has_no_such_device_is_refused(patch: pytest.MonkeyPatch) -> None:
    placing = Placing(GivenDevice.of(SimulatedOPU.create(7, 9, seed=1)))
    planned(find_study("retrieval"), few(), DATA, placing=placing)
    with pytest.raises(ValueError, match="--optical-device"):
        placing.left_out  # noqa: B018


def test_a_redraw_half_way_ends_the_study_with_what_to_do(
    patch: pytest.MonkeyPatch, service: Bench, tmp_path: Path
) -> None:
    service.serve("restless", device())
    restless = service.client("restless")
    with pytest.raises(KeyboardInterrupt):
        run("retrieval", tmp_path / "run", optical_device=restless, listener=Listener(at="audit of VGG-OPU"))
    restless.redraw()
    new = restless.reopened()
    with pytest.raises(MatrixRedrawnError):
        run("retrieval", tmp_path / "run", optical_device=restless)
    with pytest.raises(OtherStudyError, match="fingerprint"):
        run("retrieval", tmp_path / "run", optical_device=new)


def test_the_command_line_never_has_the_token(
    patch: pytest.MonkeyPatch, service: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    token = service.token("typist", frames=50)
    (tmp_path / "token").write_text(token)
    (tmp_path / "token").chmod(0o600)
    at = ["--optical-device", service.address("lab"), "--token-file", str(tmp_path / "token")]
    plan = ["plan", "retrieval", "--recipe", "tiny", "--precision", "float32", *at]
    assert cli.main(plan) == 0
    shown = capsys.readouterr()
    assert "the token's budget has 50 left" in shown.out
    assert "needs U (2 × attack)" in shown.out
    command = ["run", "retrieval", "--recipe", "tiny", "--precision", "float32", "--jobs", "1"]
    assert cli.main([*command, "--out", str(tmp_path / "run"), *at]) == 1
    refused = capsys.readouterr()
    assert "50 left" in refused.err
    assert cli.main([*command, "--out", str(tmp_path / "run"), *at[:2]]) == 1
    assert "--token-file" in capsys.readouterr().err
    for text in (shown.out, shown.err, refused.out, refused.err):
        assert token.split("_", 2)[2] not in text
