"""Commands with a device at a service: redraw, retrieve, audit, info and measure give what they give with the device itself."""

import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from groundglass import cli
from groundglass.audit import AuditConfig
from groundglass.core.states import passed
from groundglass.models import ModelSpec, build, load_model, predict_logits, save_model
from groundglass.optics import DeviceStore, RemoteOPU, SimulatedOPU, true_matrix
from groundglass.optics.remote.connection import TOKEN
from groundglass.optics.remote.errors import FrameBudgetError, MatrixRedrawnError, RoleRefusedError
from groundglass.optics.retrieval import row_errors
from groundglass.results import Run
from groundglass.service.policy import Redraw
from groundglass.studies import harden_model as harden_module
from groundglass.studies import pictures as pictures_module
from groundglass.studies import redraw_model as redraw_module
from groundglass.studies.audit_model import CHECKPOINT, audit_model
from groundglass.studies.harden_model import harden_model
from groundglass.studies.redraw_model import redraw_model
from groundglass.training import TrainingConfig
from groundglass.training.classifier import fit_classifier
from groundglass.training.encoding import encode_bits
from tests.service.serving import Bench, bench
from tests.studies.tiny import pictures

N, M = 64, 256
SPEC = ModelSpec(width=0.05, classes=10, mean=(0.5,) * 3, std=(0.5,) * 3, device_in=N, device_out=M)
DATA = pictures("pictures", mean=SPEC.mean, std=SPEC.std, n_train=400, n_test=100)
BITS = torch.randint(0, 2, (20, N), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@pytest.fixture(scope="module")
def service() -> Iterator[Bench]:
    with bench() as one:
        yield one


@pytest.fixture(autouse=True)
def data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redraw_module, "load", lambda name, data_dir=None: DATA)
    monkeypatch.setattr(pictures_module, "load", lambda name, data_dir=None: DATA)


class Lab:
    """A device at the service, and a network that was fitted to it, in RUN/models as a study leaves it."""

    def __init__(self, service: Bench, name: str, folder: Path, overlap: float = 0.0) -> None:
        self.service, self.name, self.address = service, name, service.address(name)
        self.device = SimulatedOPU.create(N, M, seed=1)
        service.serve(name, self.device, policy=Redraw(overlap=overlap))
        network = build(SPEC, device=self.device, seed=3).train()
        with torch.no_grad():
            for _ in range(10):  # BatchNorm's statistics
                network(DATA.train.floats(slice(0, 100)))
        fit_classifier(network.eval(), encode_bits(network, DATA.train), DATA.train.labels, seed=0)  # type: ignore[arg-type]
        self.model = folder / "run" / "models" / "vgg-opu.safetensors"
        self.new = self.model.with_name("new.safetensors")
        self.clean = predict_logits(network, DATA.test.floats())
        save_model(self.model, network, SPEC)
        self.devices = DeviceStore(folder / "run" / "devices")

    def client(self, who: str, *roles: str, **budgets: int) -> RemoteOPU:
        return RemoteOPU(self.address, token=self.service.token(who, roles=roles or ("measure", "redraw"), **budgets))

    def frames(self, who: str) -> int:
        return self.service.frames(who)


@pytest.fixture
def lab(service: Bench, tmp_path: Path, request: pytest.FixtureRequest) -> Lab:
    return Lab(service, f"lab-{len(service.service.devices)}", tmp_path)


def test_a_redraw_by_the_service_is_followed_by_a_fit_through_it(lab: Lab) -> None:
    who = f"{lab.name}-a"
    client = lab.client(who)
    done = redraw_model(lab.model, lab.new, data="pictures", optical_device=client)
    assert done.before == pytest.approx(float((lab.clean.argmax(1) == DATA.test.labels).float().mean()))
    assert done.untuned < 0.4 < 0.6 < min(done.before, done.tuned)
    assert done.old_fingerprint == lab.device.fingerprint != done.fingerprint == client.reopened().fingerprint
    assert lab.frames(who) == len(DATA.train) + 3 * len(DATA.test)
    # The new model finds its device by its fingerprint; the old one has none any more.
    assert done.device == lab.devices.folder / f"{done.fingerprint}.remote"
    assert not list(lab.devices.folder.glob("*.device"))
    lab.devices.lend(client.reopened())
    network = load_model(lab.new, find_device=lab.devices.find)
    right = (predict_logits(network, DATA.test.floats()).argmax(1) == DATA.test.labels).float().mean()
    assert float(right) == pytest.approx(done.tuned)
    with pytest.raises(MatrixRedrawnError):
        client.measure(BITS)


def test_what_the_operator_has_drawn_is_fitted_to_without_a_further_redraw(lab: Lab) -> None:
    operator, who = lab.client(f"{lab.name}-operator"), f"{lab.name}-b"
    operator.redraw()
    now = operator.reopened().fingerprint
    done = redraw_model(lab.model, lab.new, data="pictures", optical_device=lab.client(who, "measure"))
    assert done.fingerprint == now
    assert math.isnan(done.before)
    assert done.untuned < 0.4 < 0.6 < done.tuned  # of a matrix that is another one every time
    assert lab.frames(who) == len(DATA.train) + 2 * len(DATA.test)


def test_a_redraw_that_cannot_be_followed_is_not_asked_for(lab: Lab) -> None:
    needed = len(DATA.train) + 3 * len(DATA.test)
    poor = lab.client(f"{lab.name}-poor", frames=needed - 1)
    with pytest.raises(FrameBudgetError) as raised:
        redraw_model(lab.model, lab.new, data="pictures", optical_device=poor)
    assert raised.value.details == {"needed": needed, "left": needed - 1}
    with pytest.raises(RoleRefusedError):
        redraw_model(lab.model, lab.new, data="pictures", optical_device=lab.client(f"{lab.name}-c", "measure"))
    with pytest.raises(ValueError, match="device-seed"):
        redraw_model(lab.model, lab.new, data="pictures", optical_device=poor, device_seed=3)
    assert lab.client(f"{lab.name}-d").fingerprint == lab.device.fingerprint
    assert not lab.new.exists()


def test_an_audit_is_that_of_the_device_itself_but_for_exact_u(lab: Lab, tmp_path: Path) -> None:
    config = AuditConfig(steps=3, queries=10, query_images=4, probes=4, fit_images=60, draws=2, labels=60)
    options = {"data": "pictures", "images": 12, "eps": "0.05", "config": config}
    here = audit_model(str(lab.model), tmp_path / "here", optical_device=lab.device, **options)
    who = f"{lab.name}-auditor"
    there = audit_model(str(lab.model), tmp_path / "there", optical_device=lab.client(who, "measure"), **options)
    assert here is not None
    assert there is not None
    assert torch.equal(here.broken_by, there.broken_by)
    assert [a.name for a in here.attempts] == [a.name for a in there.attempts]
    assert "exact" not in {attempt.name for attempt in there.attempts}
    (record,) = Run.open(tmp_path / "there").records
    assert record.frames == lab.frames(who) > 0
    (itself,) = Run.open(tmp_path / "here").records
    assert itself.frames == record.frames


def test_a_network_without_the_layer_takes_no_device(lab: Lab, tmp_path: Path) -> None:
    plain = tmp_path / "plain.safetensors"
    spec = ModelSpec(width=0.05, classes=10, mean=(0.5,) * 3, std=(0.5,) * 3)
    save_model(plain, build(spec, seed=0), spec)
    with pytest.raises(ValueError, match=r"no optical layer|without an optical layer"):
        audit_model(str(plain), tmp_path / "out", data="pictures", images=4, optical_device=lab.device)
    assert not (tmp_path / "out").exists()


def test_the_commands_take_an_address(
    lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    token = lab.service.token(f"{lab.name}-typist", roles=("measure", "redraw"), frames=5000)
    monkeypatch.setenv(TOKEN, token)
    shown = ""

    def command(*words: str) -> str:
        nonlocal shown
        code = cli.main(list(words))
        out, err = capsys.readouterr()
        shown += out + err
        assert code == 0, err
        return out

    told = command("device", "info", lab.address)
    assert lab.device.fingerprint in told
    assert "5,000 frames" in told
    np.save(tmp_path / "bits.npy", BITS.numpy())
    command("device", "measure", lab.address, "--bits", str(tmp_path / "bits.npy"), "--out", str(tmp_path / "r.npy"))
    assert np.array_equal(np.load(tmp_path / "r.npy"), lab.device.measure(BITS).numpy())
    out = tmp_path / "retrieved"
    told = command("retrieve", lab.address, "--out", str(out), "--queries", "12N", "--rows", "8")
    assert "not known" in told
    found = torch.from_numpy(np.load(out / "matrix.npy"))
    assert float(row_errors(found, true_matrix(lab.device)[:8]).median()) < 0.05
    assert json.loads((out / "retrieval.json").read_text())
    assert lab.service.frames(f"{lab.name}-typist") == 20 + 12 * N
    new = str(lab.new)
    told = command("redraw", str(lab.model), "--out", new, "--data", "pictures", "--optical-device", lab.address)
    assert "says where it is" in told
    # The new model finds its device without being told where: its file was signed with this token.
    command(
        *("audit", new, "--out", str(tmp_path / "audit"), "--data", "pictures", "--images", "4", "--eps", "0.05"),
        *("--steps", "2", "--queries", "5"),
    )
    told = command("redraw", new, "--out", str(lab.new.with_name("newer.safetensors")), "--data", "pictures")
    assert "redrawn and tuned" in told
    assert cli.main(["redraw", new, "--out", str(tmp_path / "a" / "third.safetensors"), "--data", "pictures"]) == 1
    assert "--optical-device" in capsys.readouterr().err  # of a matrix that is gone the file alone does not help
    assert cli.main(["retrieve", lab.address, "--out", str(tmp_path / "more"), "--queries", "99999N"]) == 1
    assert "left" in capsys.readouterr().err
    secret = token.split("_", 2)[2]
    assert secret not in shown
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(secret.encode() in path.read_bytes() for path in files)


def test_an_audit_is_refused_before_its_first_frame_where_the_budget_is_too_small(lab: Lab, tmp_path: Path) -> None:
    who = f"{lab.name}-poor"
    with pytest.raises(FrameBudgetError) as raised:
        audit_model(
            str(lab.model), tmp_path / "out", data="pictures", images=50, optical_device=lab.client(who, frames=1000)
        )
    assert raised.value.details["needed"] > 1000
    assert lab.frames(who) == 0
    assert not (tmp_path / "out" / "records.jsonl").exists()


def test_an_audit_that_goes_on_asks_for_what_is_left(lab: Lab, tmp_path: Path) -> None:
    config = AuditConfig(steps=3, queries=10, query_images=4, probes=4, fit_images=60, draws=2, labels=60)
    options: dict = {"data": "pictures", "images": 12, "eps": "0.05", "config": config}
    whole, ended = lab.client(f"{lab.name}-w", "measure"), []

    def needed(name: str) -> int:
        with pytest.raises(FrameBudgetError) as raised:
            audit_model(
                str(lab.model), tmp_path / name, optical_device=lab.client(f"{lab.name}-{name}", frames=1), **options
            )
        return raised.value.details["needed"]

    def killing(what: str, done: int, total: int, **figures: float) -> None:
        ended.extend([what] if done == total and what.startswith("audit: ") else [])
        if len(ended) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        audit_model(str(lab.model), tmp_path / "out", optical_device=whole, progress=killing, **options)
    kept = passed(tmp_path / "out" / CHECKPOINT)
    assert 12 < kept < lab.frames(f"{lab.name}-w")
    assert 0 < needed("other") - needed("out") <= kept  # but for its end, which is always to come


def test_a_network_is_hardened_with_a_device_at_the_service(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harden_module, "load", lambda name, data_dir=None: DATA)
    monkeypatch.setattr(harden_module, "HARDENING", TrainingConfig(epochs=2, batch_size=20))
    spec = ModelSpec(width=0.05, classes=10, mean=SPEC.mean, std=SPEC.std)
    plain = lab.model.with_name("vgg-16.safetensors")
    network = build(spec, seed=3).train()
    with torch.no_grad():
        for _ in range(10):  # BatchNorm's statistics
            network(DATA.train.floats(slice(0, 100)))
    save_model(plain, network, spec)
    needed, who = 2 + 2 * len(DATA.train) + len(DATA.test), f"{lab.name}-h"
    poor = lab.client(f"{lab.name}-i", "measure", frames=needed - 1)
    options: dict = {"data": "pictures"}
    with pytest.raises(FrameBudgetError, match=f"{needed - 1:,} left"):
        harden_model(str(plain), lab.new, optical_device=poor, **options)
    with pytest.raises(ValueError, match="leave out"):
        harden_model(str(plain), lab.new, optical_device=poor, inputs=N, **options)
    client = lab.client(who, "measure", frames=needed)
    done = harden_model(str(plain), lab.new, optical_device=client, **options)
    assert done.after > 0.6
    assert done.fingerprint == lab.device.fingerprint
    assert done.device == lab.devices.folder / f"{done.fingerprint}.remote"
    assert lab.frames(who) <= needed
