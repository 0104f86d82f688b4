"""Files of the zoo, out of run folders."""

from pathlib import Path

import pytest
import torch

from groundglass import cli
from groundglass.models import ModelSpec, accuracy, build, load_model, save_model
from groundglass.models.files import read_card
from groundglass.models.zoo import demonstration_device
from groundglass.optics import SimulatedOPU
from groundglass.studies import zoo as zoo_module
from groundglass.studies.zoo import make_zoo
from tests.runs import RunFolder
from tests.studies.tiny import pictures

DATA = pictures("pictures", n_train=20, n_test=50, classes=3)
PLAIN = ModelSpec(width=0.05, classes=3, mean=(0.5,) * 3, std=(0.5,) * 3)
DEFENDED = ModelSpec(width=0.05, classes=3, mean=(0.5,) * 3, std=(0.5,) * 3, device_in=16, device_out=40)
PUBLIC = demonstration_device(16, 40)


@pytest.fixture(autouse=True)
def data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoo_module, "load", lambda name, data_dir=None: {"pictures": DATA}[name])


def run_folder(folder: Path, device: SimulatedOPU = PUBLIC, study: str = "white-box") -> Path:
    """A run of two networks, and one that the zoo has no name for."""
    made = RunFolder(folder, study, data="pictures", changed=["epochs: 8 -> 2"])
    for name in ("VGG-16 AT" if study == "adversarial-training" else "VGG-16", "VGG-OPU", "VGG-DFA"):
        path = f"models/{name}.safetensors"
        training = {"credit": "bp", "epochs": 2, "precision": "float32"}
        config = {"training": training, "name": name, "data": "pictures"}
        made.fill(zoo_module.TRAIN, config, {"clean_accuracy": 0.5, "n_test": 50, "checkpoint": path}, name)
        spec, own = (DEFENDED, device) if "OPU" in name else (PLAIN, None)
        network = build(spec, device=own, seed=1).eval()
        save_model(folder / path, network, spec)
    made.store.close()
    return folder


def test_networks_are_rounded_measured_and_say_where_they_are_from(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run, out = run_folder(tmp_path / "run"), tmp_path / "zoo"
    assert cli.main(["zoo", str(run), "--out", str(out)]) == 0
    assert "50 test images" in capsys.readouterr().out
    assert sorted(path.name for path in out.iterdir()) == ["vgg-16.safetensors", "vgg-opu-demo.safetensors"]
    network = load_model(out / "vgg-opu-demo.safetensors", find_device=lambda _: PUBLIC)
    before = load_model(run / "models/VGG-OPU.safetensors", find_device=lambda _: PUBLIC).state_dict()
    for name, tensor in network.state_dict().items():
        wanted = (
            before[name].to(torch.bfloat16).to(before[name].dtype) if before[name].is_floating_point() else before[name]
        )
        assert torch.equal(tensor, wanted), name
    told = read_card(out / "vgg-opu-demo.safetensors")
    assert told is not None
    assert (told["accuracy"], told["images"]) == (accuracy(network, DATA.test), 50)
    assert told["command"].endswith("--precision float32 --seed 0 (changed: epochs: 8 -> 2)")


def test_the_same_run_gives_the_same_checksum(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run")
    first, again = (make_zoo([run], tmp_path / out) for out in ("a", "b"))
    assert [one.checksum for one in first] == [one.checksum for one in again]
    assert len({one.checksum for one in first}) == 2


def test_a_run_of_adversarial_training_gives_its_network(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run", study="adversarial-training")
    assert {made.path.stem for made in make_zoo([run], tmp_path / "zoo")} == {"vgg-16-at", "vgg-opu-demo"}


def test_what_cannot_be_in_the_zoo_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, out = run_folder(tmp_path / "run"), tmp_path / "zoo"
    secret = run_folder(tmp_path / "secret", SimulatedOPU.create(16, 40))
    with pytest.raises(ValueError, match="--device-seed raw:7"):
        make_zoo([secret], out)
    with pytest.raises(ValueError, match="both have a VGG-16"):
        make_zoo([run, run], out)
    other = RunFolder(tmp_path / "other", data="pictures")
    other.network("VGG-DFA")
    other.store.close()
    with pytest.raises(ValueError, match="it has VGG-DFA"):
        make_zoo([other.folder], out)
    with monkeypatch.context() as patch:
        patch.setattr(zoo_module, "MOST", 1000)
        with pytest.raises(ValueError, match="at most 1,000"):
            make_zoo([run], out)
    assert not out.exists()
    make_zoo([run], out)
    with pytest.raises(FileExistsError):
        make_zoo([run], out)
