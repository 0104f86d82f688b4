"""`groundglass harden`: from a trained network of anybody's to a hardened one in files, and its audits."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from groundglass import cli
from groundglass.audit import Audit, AuditConfig, audit
from groundglass.data import load
from groundglass.models import ModelSpec, accuracy, build, load_defended, load_model, save_model
from groundglass.optics import DeviceStore, SimulatedOPU
from groundglass.studies import audit_model as audit_module
from groundglass.studies import harden_model as harden_module
from groundglass.studies import pictures as pictures_module
from groundglass.studies.harden_audit import audit_both
from groundglass.studies.harden_model import harden_model
from groundglass.training import BackProp, TrainingConfig, train
from groundglass.training import checkpoint as checkpoints
from tests.studies.test_own_network import Net
from tests.studies.tiny import pictures

N, M = 48, 96
DEVICE_SEED = 27182818284590452353
SPEC = ModelSpec(width=0.05, classes=10, mean=(0.5,) * 3, std=(0.5,) * 3, trained_on="pictures")
DATA = pictures("pictures", n_train=300, n_test=100)
FEWER = pictures("fewer", n_train=20, n_test=10, classes=3)
SMALLEST = AuditConfig(steps=3, queries=4, query_images=2, probes=4, fit_images=40, targets=1, draws=1, labels=40)
SMALL = ["--inputs", str(N), "--outputs", str(M), "--epochs", "3"]


@pytest.fixture(autouse=True)
def data(monkeypatch: pytest.MonkeyPatch) -> None:
    sets = {"pictures": DATA, "fewer": FEWER}
    for module in (harden_module, pictures_module):
        monkeypatch.setattr(module, "load", lambda name, data_dir=None: sets.get(name) or load(name))
    monkeypatch.setattr(harden_module, "HARDENING", TrainingConfig(epochs=3, batch_size=20))


def warmed(network: nn.Module) -> nn.Module:
    with torch.no_grad():
        for _ in range(10):  # BatchNorm's statistics: random features tell these images apart
            network.train()(DATA.train.floats(slice(0, 100)))
    return network.eval()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plain") / "models" / "vgg-16.safetensors"
    network = build(SPEC, seed=3)
    train(network, DATA.train, TrainingConfig(epochs=4, batch_size=20, learning_rate=0.02), credit=BackProp(), seed=0)
    save_model(path, network, SPEC)
    return path


@pytest.fixture
def model(plain: Path, tmp_path: Path) -> Path:
    """A copy of it: RUN/models/vgg-16.safetensors."""
    path = tmp_path / "run" / "models" / plain.name
    path.parent.mkdir(parents=True)
    path.write_bytes(plain.read_bytes())
    return path


def hardened(model: Path, out: Path, *more: str) -> int:
    return cli.main(["harden", str(model), "--data", "pictures", "--out", str(out), *SMALL, *more])


def test_a_hardened_model_is_a_model_file_with_a_device_of_its_own(model: Path) -> None:
    out, kept = model.with_name("vgg-opu.safetensors"), model.read_bytes()
    done = harden_model(str(model), out, data="pictures", inputs=N, outputs=M)
    assert min(done.before, done.after) > 0.9
    assert done.before == accuracy(load_model(model), DATA.test)
    store = DeviceStore(model.parent.parent / "devices")
    assert store.fingerprints() == [done.fingerprint]
    network = load_model(out, find_device=store.find)
    assert accuracy(network, DATA.test) == pytest.approx(done.after)
    before = load_model(model).state_dict()
    own = network.state_dict()
    assert all(torch.equal(own[f"network.{name}"], value) for name, value in before.items() if "features" in name)
    assert model.read_bytes() == kept
    assert {path.name for path in model.parent.iterdir()} == {model.name, out.name}, "nothing else is left"
    assert (done.at, done.train_images, done.test_images, done.public) == ("head", 300, 100, False)
    assert done.device.stat().st_mode & 0o777 == 0o600


def test_a_network_of_ones_own_is_named_beside_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    net = warmed(Net(3))
    torch.save(net.state_dict(), tmp_path / "net.pt")
    (tmp_path / "mine.py").write_text(
        "from tests.studies.test_own_network import Net\ndef colour():\n    return Net(3)\n"
    )
    device = SimulatedOPU.create(N, M, seed=4)
    device.save(tmp_path / "lab.device")
    out = tmp_path / "net-opu.safetensors"
    given = {"weights": "net.pt", "device_file": Path("lab.device")}
    done = harden_model("mine.py:colour", out, data="pictures", **given)
    assert (done.at, done.fingerprint, done.device) == ("fc", device.fingerprint, Path("lab.device"))
    assert done.after > 0.8
    again = load_defended(out, network=Net(3), device=device)
    assert accuracy(again, DATA.test) == pytest.approx(done.after)
    words = done.command("pictures").split()
    assert words[:3] == ["groundglass", "audit", "mine.py:colour"]
    assert words[words.index("--weights") + 1] == str(out)


def test_both_audits_see_the_same_images_and_are_compared(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = harden_model(str(model), model.with_name("x.safetensors"), data="pictures", inputs=N, outputs=M)
    folder = model.parent.parent / "audits"
    found = audit_both(done, folder, data="pictures", eps="0.1", images=20, config=SMALLEST)
    assert found.after.clean is not None
    assert found.after.clean.total == 20
    assert found.after.first is not None
    assert found.after.first.name == "dfa-fresh+fa"
    assert found.worst is not None
    assert found.worst.paired
    assert found.worst.second.count == found.after.worst.count  # type: ignore[union-attr]
    assert {path.name for path in folder.iterdir()} == {"before", "after"}


def test_of_images_without_a_test_split_those_are_audited_that_were_held_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before, after, by the command that is printed, and when the matrix is drawn again; all others may be learned from."""
    monkeypatch.chdir(tmp_path)
    np.savez("mine.npz", images=DATA.train.images.numpy(), labels=DATA.train.labels.numpy())
    held_out = load("mine.npz").test
    assert not torch.equal(held_out.labels, DATA.train.labels[: len(held_out)])
    Path("mine.py").write_text("from tests.studies.test_own_network import Net\ndef colour():\n    return Net(3)\n")
    torch.manual_seed(0)
    net = Net(3)
    train(net, DATA.train, TrainingConfig(epochs=2, batch_size=20, learning_rate=0.02), credit=BackProp(), seed=0)
    torch.save(net.state_dict(), "net.pt")
    SimulatedOPU.create(N, M, seed=4).save(tmp_path / "lab.device")
    given = {"weights": "net.pt", "device_file": Path("lab.device")}
    done = harden_model("mine.py:colour", Path("opu.safetensors"), data="mine.npz", **given)
    seen = []

    def audited(network: nn.Module, images: torch.Tensor, labels: torch.Tensor, *rest: object, **options: Any) -> Audit:
        seen.append((images, labels, options["natural"]))
        if len(seen) > 2:
            raise ValueError("seen")
        return audit(network, images, labels, *rest, **options)

    monkeypatch.setattr(audit_module, "audit", audited)
    audit_both(done, Path("audits"), data="mine.npz", eps="0.1", images=20, config=SMALLEST)
    Path("mine.npz").rename("renamed.npz")
    redraw = ["redraw", "mine.py:colour", "--weights", "opu.safetensors", "--device-file", "lab.device"]
    assert cli.main([*redraw, "--data", "renamed.npz", "--out", "again.safetensors"]) == 0
    (drawn,) = (path for path in tmp_path.glob("*.device") if path.name != "lab.device")
    for file, device in (("opu.safetensors", Path("lab.device")), ("again.safetensors", drawn)):
        shared = {"data": "renamed.npz", "eps": "0.1", "images": 20, "config": SMALLEST}
        with pytest.raises(ValueError, match="seen"):
            audit_module.audit_model("mine.py:colour", tmp_path / file[:5], weights=file, device_file=device, **shared)
    assert len(seen) == 4
    for images, labels, natural in seen:
        assert torch.equal(images, held_out.head(20).floats())
        assert torch.equal(labels, held_out.labels[:20])
        assert len(natural) == len(DATA.train) - len(held_out)


def test_the_command_says_what_it_did_and_no_secret(model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = model.with_name("vgg-opu.safetensors")
    assert hardened(model, out, "--device-seed", str(DEVICE_SEED)) == 0
    shown = capfd.readouterr()
    (path,) = (model.parent.parent / "devices").glob("*.device")
    secret = json.loads(path.read_text())["seed"]
    for form in {secret, str(int(secret, 16)), str(DEVICE_SEED), f"{DEVICE_SEED:x}"}:
        assert form not in shown.out + shown.err
        for file in model.parent.rglob("*"):
            assert form.encode() not in file.read_bytes()
    assert shown.out.count("%") == 2
    assert f"groundglass audit {out} --data pictures" in shown.out
    assert "public" in shown.out


def test_the_first_images_of_what_it_was_trained_on_will_do() -> None:
    for name in ("pictures", "pictures[:100]"):
        SPEC.check_data(name, 10)
    with pytest.raises(ValueError, match="give --data pictures"):
        SPEC.check_data("others[:100]", 10)


def test_what_is_said_of_audits_that_are_not_made_is_refused(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = model.with_name("new.safetensors")
    assert (
        cli.main(["harden", str(model), "--data", "shapes", "--out", str(out), "--eps", "0.01", "--images", "9"]) == 1
    )
    assert "--eps, --images" in capsys.readouterr().err
    assert not out.exists()


def test_an_interrupted_one_goes_on_with_its_device(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "SECONDS", 0.0)
    out, computed = model.with_name("vgg-opu.safetensors"), []

    def killing(what: str, done: int, total: int, **figures: float) -> None:
        if what == "fine-tuning" and 2 * done > total:
            raise KeyboardInterrupt

    def watching(what: str, done: int, total: int, **figures: float) -> None:
        computed.append((what, done))

    options = {"data": "pictures", "inputs": N, "outputs": M}
    with pytest.raises(KeyboardInterrupt):
        harden_model(str(model), out, **options, progress=killing)
    store = DeviceStore(model.parent.parent / "devices")
    begun = store.fingerprints()
    secret = json.loads(store.path(begun[0]).read_text())["seed"]
    left = [path for path in model.parent.iterdir() if path != model]
    assert len(left) == 2, "a checkpoint and the features"
    assert not any(form.encode() in path.read_bytes() for path in left for form in (secret, str(int(secret, 16))))
    assert not out.exists()
    done = harden_model(str(model), out, **options, progress=watching)
    assert [done.fingerprint] == begun == store.fingerprints()
    assert min(at for what, at in computed if what == "fine-tuning") > 300, "not from the beginning"
    assert not [what for what, _ in computed if what.startswith("features")], "nor were the features computed again"
    assert {path.name for path in model.parent.iterdir()} == {model.name, out.name}


def test_killed_while_the_model_is_written_it_leaves_no_features(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, save = model.with_name("vgg-opu.safetensors"), harden_module._save
    options = {"data": "pictures", "inputs": N, "outputs": M}

    def killed(*given: Any) -> None:
        raise KeyboardInterrupt

    def killed_later(*given: Any) -> None:
        save(*given)
        raise KeyboardInterrupt

    for stop in (killed, killed_later):
        monkeypatch.setattr(harden_module, "_save", stop)
        with pytest.raises(KeyboardInterrupt):
            harden_model(str(model), out, **options)
        left = {path.suffix for path in model.parent.iterdir()} - {model.suffix}
        assert left == {".checkpoint"}
        assert not list(model.parent.glob("features-*"))
    assert len(DeviceStore(model.parent.parent / "devices").fingerprints()) == 1


def test_it_goes_on_from_another_folder_and_where_the_files_have_gone(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = model.parent.parent
    monkeypatch.chdir(root)
    options = {"data": "pictures", "inputs": N, "outputs": M, "epochs": 1}
    out, kept = Path("models/opu.safetensors"), Path("audits/kept.safetensors")
    first = harden_model(str(model), out, **options, kept=kept)
    root.rename(root.with_name("moved"))
    monkeypatch.chdir(root.with_name("moved") / "models")
    monkeypatch.setattr(harden_module, "fine_tune", lambda *_, **__: pytest.fail("it was hardened again"))
    second = harden_model(model.name, Path("opu.safetensors"), **options, kept=".." / kept)
    assert (second.fingerprint, second.after) == (first.fingerprint, first.after)
    assert second.model.samefile("opu.safetensors")
    assert second.device.parent.samefile("../devices")
    assert second.device.exists()


@pytest.mark.slow
def test_an_interrupted_command_goes_on_with_its_audits(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Killed in the second audit. What was hardened is not hardened again, and all ends as without an interruption."""
    monkeypatch.setattr(audit_module, "AuditConfig", lambda: SMALLEST)
    options = ["--images", "20", "--eps", "0.1", "--device-seed", str(DEVICE_SEED)]
    root = model.parent.parent
    out, audits = model.with_name("opu.safetensors"), root / "audits"
    command = [*options, "--audit", str(audits)]
    with monkeypatch.context() as patch:
        calls = []

        def killed(*args: Any, **given: Any) -> Audit:
            calls.append(1)
            if len(calls) == 2:
                raise KeyboardInterrupt
            return audit(*args, **given)

        patch.setattr(audit_module, "audit", killed)
        assert hardened(model, out, *command) == 130
    assert "the same command continues" in capsys.readouterr().err
    content = out.read_bytes()
    with monkeypatch.context() as patch:
        for name in ("cached_features", "fine_tune", "accuracy"):
            patch.setattr(harden_module, name, None)
        assert hardened(model, out, *command) == 0
    shown = capsys.readouterr().out
    assert out.read_bytes() == content
    assert hardened(model, model.with_name("whole.safetensors"), *options, "--audit", str(root / "whole")) == 0
    same = [line for line in capsys.readouterr().out.splitlines() if "%" in line or "points" in line]
    assert same == [line for line in shown.splitlines() if "%" in line or "points" in line]
    assert len(same) > 4
    for changed in (["--seed", "1"], ["--epochs", "2"], ["--device-seed", "5"]):
        assert hardened(model, out, *command, *changed) == 1
    assert out.read_bytes() == content


def test_a_resumed_hardening_asks_a_service_for_what_is_left(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "SECONDS", 0.0)
    asked: list[int] = []
    monkeypatch.setattr(harden_module, "check_frames", lambda needed, left, what: asked.append(needed))

    def killing(what: str, done: int, total: int, **figures: float) -> None:
        if what == "fine-tuning" and 2 * done > total:
            raise KeyboardInterrupt

    options = {"data": "pictures", "inputs": N, "outputs": M}
    with pytest.raises(KeyboardInterrupt):
        harden_model(str(model), model.with_name("opu.safetensors"), **options, progress=killing)
    harden_model(str(model), model.with_name("opu.safetensors"), **options)
    assert asked[0] == 2 + 3 * len(DATA.train) + len(DATA.test)
    assert asked[0] - 2 * len(DATA.train) <= asked[1] <= asked[0] - len(DATA.train) - 100


def test_what_cannot_be_hardened_is_refused_before_any_work(
    model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("work was done")

    for name in ("cached_features", "fine_tune", "accuracy"):
        monkeypatch.setattr(harden_module, name, refuse)
    folder = model.parent
    opu = folder / "opu.safetensors"
    spec = ModelSpec(**{**vars(SPEC), "device_in": N, "device_out": M})
    save_model(opu, build(spec, device=SimulatedOPU.create(N, M, seed=1), seed=0), spec)
    there = folder / "there.safetensors"
    there.write_text("mine")
    lab = folder / "lab.device"
    SimulatedOPU.create(N, M, seed=1).save(lab)
    (folder / "odd.py").write_text(
        "from torch import nn\n"
        "def convs(): return nn.Sequential(nn.Conv2d(3, 10, 32), nn.Flatten())\n"
        "def grey(): return nn.Sequential(nn.Conv2d(1, 4, 32), nn.Flatten(), nn.Linear(4, 10))\n"
    )
    audits = folder / "audits"
    (audits / "before").mkdir(parents=True)
    files = {path: path.read_bytes() for path in folder.parent.rglob("*") if path.is_file()}
    out = folder / "out.safetensors"
    for words, said in (
        ([str(model), "--out", str(there)], "there already"),
        ([str(opu), "--out", str(out)], "`groundglass redraw` gives it another matrix"),
        (["zoo:vgg-opu-demo", "--out", str(out)], "`groundglass redraw`"),
        ([str(folder / "nowhere"), "--out", str(out)], "no model file"),
        ([str(model), "--out", str(out), "--data", "fewer"], "trained on pictures, not on fewer"),
        ([f"{folder}/odd.py:convs", "--out", str(out)], "no Linear"),
        ([f"{folder}/odd.py:grey", "--out", str(out)], "fails on the images of pictures"),
        ([f"{folder}/odd.py:convs", "--out", str(out), "--data", "fewer"], "10 classes, and fewer has 3"),
        ([str(model), "--out", str(out), "--at", "features"], "holds no Linear"),
        ([str(model), "--out", str(out), "--at", "haed"], "did you mean 'head'"),
        ([str(model), "--out", str(out), "--device-file", str(lab), "--outputs", "9"], "leave out inputs, outputs"),
        ([str(model), "--out", str(out), "--device-file", str(folder / "no.device")], "no device file"),
        ([str(model), "--out", str(out), "--inputs", "0"], "`inputs`"),
        ([str(model), "--out", str(out), "--epochs", "0"], "epochs"),
        ([str(model), "--out", str(out), "--audit", str(folder / "a"), "--norm", "l2"], "--norm l2 needs a radius"),
        ([str(model), "--out", str(out), "--audit", str(folder / "a"), "--eps", "8"], "pixel units"),
        ([str(model), "--out", str(out), "--audit", str(folder / "a"), "--images", "101"], "1..100"),
        ([str(model), "--out", str(out), "--audit", str(audits), "--images", "9"], "before"),
    ):
        more = [] if "--data" in words else ["--data", "pictures"]
        assert cli.main(["harden", *words, *more]) == 1, said
        shown = capsys.readouterr()
        assert said in shown.err
        assert shown.out == ""
    assert {
        path: path.read_bytes() for path in folder.parent.rglob("*") if path.is_file() and "pycache" not in str(path)
    } == files


def test_another_network_does_not_go_on_with_the_weights_of_the_first(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "SECONDS", 0.0)
    out, options = model.with_name("new.safetensors"), {"data": "pictures", "inputs": N, "outputs": M}
    seen: list[int] = []

    def killing(what: str, done: int, total: int, **figures: float) -> None:
        if what == "fine-tuning" and 2 * done > total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        harden_model(str(model), out, **options, frozen="nothing", progress=killing)
    other = model.with_name("other.safetensors")
    save_model(other, warmed(build(SPEC, seed=4)), SPEC)

    def watching(what: str, done: int, total: int, **figures: float) -> None:
        if what == "fine-tuning":
            seen.append(done)

    harden_model(str(other), out, **options, frozen="nothing", progress=watching)
    assert min(seen) < 300, "from its own beginning"


def test_a_device_file_and_a_device_at_a_service_are_refused_together(model: Path) -> None:
    device = SimulatedOPU.create(N, M)
    path = model.parent / "mine.device.json"
    device.save(path)
    with pytest.raises(ValueError, match="leave one of them out"):
        harden_model(
            str(model), model.with_name("new.safetensors"), data="pictures", device_file=path, optical_device=device
        )
