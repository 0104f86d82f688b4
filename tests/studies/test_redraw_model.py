import errno
import json
import os
import shutil
import stat
from dataclasses import replace

import pytest
import torch

from groundglass import cli
from groundglass.models import ModelSpec, accuracy, build, load_model, save_model
from groundglass.optics import DeviceStore, SimulatedOPU
from groundglass.studies import redraw_model as redraw_module
from groundglass.studies.cells import cached_bits as features_module
from groundglass.studies.cells import redraw as tuning_module
from groundglass.studies.redraw_model import redraw_model
from groundglass.training.classifier import fit_classifier
from groundglass.training.encoding import encode_bits
from tests.studies.tiny import pictures

CLASSES, N, M = 10, 64, 256
DEVICE_SEED = 27182818284590452353
SPEC = ModelSpec(width=0.05, classes=CLASSES, mean=(0.5,) * 3, std=(0.5,) * 3, device_in=N, device_out=M)


DATA = pictures("pictures", mean=SPEC.mean, std=SPEC.std, n_train=800, n_test=200)
FEWER = pictures("fewer", mean=SPEC.mean, std=SPEC.std, n_train=20, n_test=10, classes=3)


@pytest.fixture(autouse=True)
def data(monkeypatch):
    sets = {"pictures": DATA, "fewer": FEWER}
    monkeypatch.setattr(redraw_module, "load", lambda name, data_dir=None: sets[name])


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A network with its device, as a study leaves them. Random features tell these images apart."""
    folder = tmp_path_factory.mktemp("fitted")
    store = DeviceStore(folder / "run" / "devices")
    device = SimulatedOPU.create(N, M, seed=1)
    store.put(device)
    network = build(SPEC, device=device, seed=3).train()
    with torch.no_grad():
        for _ in range(20):  # BatchNorm's statistics
            network(DATA.train.floats(slice(0, 100)))
    network.eval()
    fit_classifier(network, encode_bits(network, DATA.train), DATA.train.labels, seed=0)
    save_model(folder / "run" / "models" / "vgg-opu.safetensors", network, SPEC)
    return folder


@pytest.fixture
def model(fitted, tmp_path):
    """A copy of it: RUN/models/vgg-opu.safetensors."""
    shutil.copytree(fitted, tmp_path, dirs_exist_ok=True)
    return tmp_path / "run" / "models" / "vgg-opu.safetensors"


def test_a_redraw_tunes_the_new_model_and_leaves_the_old_one(model):
    store = DeviceStore(model.parent.parent / "devices")
    (old,) = store.fingerprints()
    kept = model.read_bytes()
    out = model.with_name("redrawn.safetensors")
    done = redraw_model(model, out, data="pictures", device_seed=DEVICE_SEED)
    assert done.before > 0.9
    assert done.untuned < 0.4
    assert done.tuned > done.before - 0.02
    assert (done.old_fingerprint, done.train_images, done.test_images) == (old, 800, 200)
    assert model.read_bytes() == kept
    assert set(store.fingerprints()) == {old, done.fingerprint}
    assert stat.S_IMODE(done.device.stat().st_mode) == 0o600
    # The file has what was measured; with the new device only.
    new, before = load_model(out, find_device=store.find), load_model(model, find_device=store.find)
    assert accuracy(new, DATA.test) == pytest.approx(done.tuned)
    assert accuracy(before, DATA.test) == pytest.approx(done.before)
    with pytest.raises(ValueError, match="not the one"):
        load_model(out, find_device=lambda fingerprint: store.find(old))
    changed = {k for k, v in new.state_dict().items() if not torch.equal(v, before.state_dict()[k])}
    assert changed == {f"network.head.{name}" for name in ("readout.weight", "readout.bias", "optical._extra_state")}


def test_features_are_computed_once_for_a_model_and_all_redrawn_from_it(model, monkeypatch):
    first = redraw_model(model, model.with_name("first.safetensors"), data="pictures", device_seed=1)

    def refuse(*args, **kwargs):
        raise AssertionError("computed again")

    with monkeypatch.context() as patch:
        patch.setattr(features_module, "encode_bits", refuse)
        again = redraw_model(model, model.with_name("again.safetensors"), data="pictures", device_seed=1)
        next_one = redraw_model(first.model, model.with_name("next.safetensors"), data="pictures")
    assert (first.features_cached, again.features_cached, next_one.features_cached) == (False, True, True)
    # The same seeds, the same device and weights; and the cache has the bits that were computed.
    find = DeviceStore(model.parent.parent / "devices").find
    one, two = (load_model(path, find_device=find).state_dict() for path in (first.model, again.model))
    assert first.fingerprint == again.fingerprint
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert next_one.before == first.tuned
    # Another network's features are not taken for its own.
    other = load_model(model, find_device=find)
    with torch.no_grad():
        other.network.features[0].weight.mul_(-1)
    save_model(model.with_name("other.safetensors"), other, SPEC)
    redrawn = redraw_model(
        model.with_name("other.safetensors"), model.with_name("other-redrawn.safetensors"), data="pictures"
    )
    assert not redrawn.features_cached


def test_no_secret_leaves_the_device_file(model, capfd):
    out = model.with_name("redrawn.safetensors")
    arguments = ["redraw", str(model), "--data", "pictures", "--out", str(out), "--device-seed", str(DEVICE_SEED)]
    assert cli.main(arguments) == 0
    shown = capfd.readouterr()
    (device_line,) = (line for line in shown.out.splitlines() if line.startswith("device: "))
    path = next((model.parent.parent / "devices").glob(f"{device_line.split('/')[-1].split('.')[0]}*"))
    secret = json.loads(path.read_text())["seed"]
    forms = {secret, str(int(secret, 16)), str(DEVICE_SEED), f"{DEVICE_SEED:x}"}
    for form in forms:
        assert form not in shown.out + shown.err
        for file in model.parent.rglob("*"):
            assert form.encode() not in file.read_bytes()
    # What it does say.
    assert shown.out.count("%") == 3
    assert path.stem in shown.out
    assert "seconds: " in shown.out
    assert f"model: {out}" in shown.out


def test_what_cannot_be_redrawn_is_refused_before_any_work(model, capsys, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("work was done")

    monkeypatch.setattr(features_module, "encode_bits", refuse)
    monkeypatch.setattr(SimulatedOPU, "redraw", refuse)
    plain = model.with_name("vgg-16.safetensors")
    spec = ModelSpec(width=0.05, classes=CLASSES, mean=SPEC.mean, std=SPEC.std)
    save_model(plain, build(spec, seed=0), spec)
    odd = model.with_name("odd.safetensors")
    other = replace(SPEC, encoding="bits-batch")
    save_model(odd, build(other, device=SimulatedOPU.create(N, M, seed=1), seed=0), other)
    elsewhere = model.with_name("elsewhere.safetensors")
    save_model(
        elsewhere,
        load_model(model, find_device=DeviceStore(model.parent.parent / "devices").find),
        replace(SPEC, trained_on="squares"),
    )
    there = model.with_name("there.safetensors")
    there.write_text("mine")
    out = model.with_name("out.safetensors")
    empty = model.parent.parent / "empty"
    files = {p: p.read_bytes() for p in model.parent.parent.rglob("*") if p.is_file()}
    for arguments, said in (
        ([model, "--data", "pictures", "--out", there], "another --out"),
        ([plain, "--data", "pictures", "--out", out], "nothing to redraw"),
        ([odd, "--data", "pictures", "--out", out], "variant for comparison"),
        ([model, "--data", "pictures", "--out", out, "--device-dir", empty], "by --device-file"),
        ([model, "--data", "fewer", "--out", out], "10 classes, and fewer has 3: name the data set"),
        ([elsewhere, "--data", "pictures", "--out", out], "trained on squares, not on pictures: give --data squares"),
        (["zoo:vgg-opu-demo", "--data", "pictures", "--out", out], "place_device"),
        ([model.with_name("nowhere"), "--data", "pictures", "--out", out], "no model file"),
    ):
        assert cli.main(["redraw", *map(str, arguments)]) == 1
        shown = capsys.readouterr()
        assert said in shown.err
        assert shown.out == ""
    assert {p: p.read_bytes() for p in model.parent.parent.rglob("*") if p.is_file()} == files


def test_a_device_folder_of_ones_own(model, tmp_path):
    elsewhere = tmp_path / "safe"
    (model.parent.parent / "devices").rename(elsewhere)
    done = redraw_model(model, tmp_path / "new" / "m.safetensors", data="pictures", device_file=elsewhere)
    assert done.device.parent == elsewhere
    assert done.model.is_file()


def test_a_seed_that_gives_the_same_device_is_refused(model):
    first = redraw_model(model, model.with_name("first.safetensors"), data="pictures", device_seed=1)
    with pytest.raises(ValueError, match="give another"):
        redraw_model(first.model, model.with_name("second.safetensors"), data="pictures", device_seed=1)
    assert not model.with_name("second.safetensors").exists()


def test_an_interrupted_redraw_leaves_no_model_and_no_device(model, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(tuning_module, "fit_classifier", interrupt)
    out = model.with_name("out.safetensors")
    assert cli.main(["redraw", str(model), "--data", "pictures", "--out", str(out)]) == 130
    assert not out.exists()
    assert len(DeviceStore(model.parent.parent / "devices").fingerprints()) == 1


def test_a_folder_that_takes_no_device_is_noticed_before_the_tuning(model, monkeypatch):
    devices, opened = str(model.parent.parent / "devices"), os.open

    def read_only(path, flags, *more, **named):
        if flags & os.O_CREAT and str(path).startswith(devices):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return opened(path, flags, *more, **named)

    monkeypatch.setattr(os, "open", read_only)
    monkeypatch.setattr(redraw_module, "tune", lambda *given, **named: pytest.fail("tuned first"))
    with pytest.raises(PermissionError, match=r"nothing can be written into .*devices"):
        redraw_model(model, model.with_name("new.safetensors"), data="pictures")
    monkeypatch.undo()
    assert not model.with_name("new.safetensors").exists()
    assert len(list((model.parent.parent / "devices").iterdir())) == 1


def test_two_redraws_of_one_name_are_both_kept(model, monkeypatch):
    """The other one's file appears at the last moment: after every look at the place."""
    out, written = model.with_name("new.safetensors"), os.fsync

    def other_is_faster(fd):
        written(fd)
        if not out.exists() and ".new.safetensors." in os.readlink(f"/proc/self/fd/{fd}"):
            out.write_bytes(b"the other one's")

    monkeypatch.setattr(os, "fsync", other_is_faster)
    done = redraw_model(model, out, data="pictures")
    assert out.read_bytes() == b"the other one's"
    assert done.model != out
    store = DeviceStore(done.device.parent)
    assert accuracy(load_model(done.model, find_device=store.find), DATA.test) == pytest.approx(done.tuned)
