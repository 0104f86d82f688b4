"""The files of the zoo: the networks that they say they are, and refused where they are not."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch

import groundglass as gg
from groundglass.core import DamagedFileError
from groundglass.data import load as load_data
from groundglass.models import DefendedNetwork, accuracy
from groundglass.models import zoo as zoo_module
from groundglass.models.zoo import MOST, PINNED, ZOO_VARIABLE, card, demonstration_device, find
from groundglass.optics import SimulatedOPU

CLONE = Path(__file__).parents[2]
DATA = os.environ.get("GROUNDGLASS_DATA", "")


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for files of the zoo, and no other place where they could be."""
    monkeypatch.setenv(ZOO_VARIABLE, str(tmp_path / "given"))
    monkeypatch.setattr(zoo_module, "__file__", str(tmp_path / "lib/site-packages/groundglass/models/zoo.py"))
    monkeypatch.setattr(zoo_module, "user_cache", lambda: tmp_path / "cache")
    (tmp_path / "given").mkdir()
    return tmp_path / "given"


@pytest.mark.parametrize("name", PINNED)
def test_a_network_of_the_zoo_answers_as_float32_in_eval_mode(name: str) -> None:
    network = gg.load(name)
    assert not network.training
    assert {one.dtype for one in network.parameters()} == {torch.float32}
    assert network(torch.rand(3, 3, 32, 32)).shape == (3, 10)
    assert find(name).stat().st_size <= MOST
    assert isinstance(network, DefendedNetwork) == (name == "vgg-opu-demo")


def test_its_device_is_the_public_one_and_says_so() -> None:
    network = gg.load("vgg-opu-demo")
    assert isinstance(network, DefendedNetwork)
    assert isinstance(network.device, SimulatedOPU)
    assert network.device.public
    assert network.device.fingerprint == demonstration_device().fingerprint
    assert demonstration_device(64, 100).in_features == 64


@pytest.mark.parametrize("name", ["vgg-16", "vgg-opu-demo"])
def test_the_card_is_of_the_committed_run(name: str) -> None:
    """The weights are those that the run of README and results has recorded, by their checksum."""
    told = card(name)
    lines = (CLONE / "docs/results/white-box/seed-0/records.jsonl").read_text().splitlines()
    (record,) = (one for one in map(json.loads, lines) if one["key"] == told.key)
    assert told.original in record["files"].values()
    assert told.original_accuracy == record["result"]["clean_accuracy"]
    assert abs(told.accuracy - told.original_accuracy) < 0.005
    assert told.command == PINNED[name].command


def test_the_hardened_network_has_the_settings_of_the_committed_run() -> None:
    """It was trained again, on another processor: the same cell, other roundings, and about the same accuracy."""
    told = card("vgg-16-at")
    lines = (CLONE / "docs/results/cifar10/records.jsonl").read_text().splitlines()
    (record,) = (one for one in map(json.loads, lines) if one["key"] == told.key)
    assert abs(told.original_accuracy - record["result"]["clean_accuracy"]) < 0.02
    assert abs(told.accuracy - told.original_accuracy) < 0.005
    assert told.command == PINNED["vgg-16-at"].command


@pytest.mark.parametrize("name", PINNED)
def test_a_network_of_the_zoo_is_a_model_by_its_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, wanted = torch.rand(3, 3, 32, 32), gg.load(name)
    for text in (f"zoo:{name}", name):
        assert torch.equal(gg.load_model(text)(images), wanted(images))
        with pytest.raises(ValueError, match="its own weights"):
            gg.load_model(text, std=(1, 1, 1))
    # A file of the user's that has its name is what is meant.
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(b"something else")
    with pytest.raises(DamagedFileError):
        gg.load_model(name)
    assert torch.equal(gg.load_model(f"zoo:{name}")(images), wanted(images))


def test_attacks_and_audits_take_a_network_of_the_zoo_by_name() -> None:
    images = torch.rand(2, 3, 32, 32)
    labels = gg.load("vgg-16")(images).argmax(1)
    by_name = gg.FGSM()("zoo:vgg-16", images, labels, gg.Linf(0.02))
    assert torch.equal(by_name.adversarial, gg.FGSM()(gg.load("vgg-16"), images, labels, gg.Linf(0.02)).adversarial)
    few = gg.AuditConfig(steps=2, queries=2, query_images=1, probes=2, draws=1, targets=1)
    found = gg.audit("vgg-opu-demo", images, gg.load("vgg-opu-demo")(images).argmax(1), gg.Linf(0.02), config=few)
    assert "PGD, dfa-fresh" in [attempt.name for attempt in found.attempts]
    with pytest.raises(ValueError, match="did you mean 'vgg-opu-demo'"):
        gg.load_model("zoo:vgg-opu-dem")


def test_every_file_of_the_clone_is_pinned() -> None:
    assert {path.stem for path in (CLONE / "zoo").glob("*.safetensors")} == PINNED.keys()


def test_a_file_that_is_nowhere_is_asked_for(elsewhere: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"zoo RUN --out zoo") as told:
        gg.load("vgg-16")
    assert str(elsewhere) in str(told.value)
    with pytest.raises(ValueError, match="did you mean 'vgg-opu-demo'"):
        gg.load("vgg-opu")


def test_the_first_folder_that_has_it_counts(elsewhere: Path, tmp_path: Path) -> None:
    whole = CLONE / "zoo/vgg-16.safetensors"
    cached = tmp_path / "cache/zoo/vgg-16.safetensors"
    cached.parent.mkdir(parents=True)
    shutil.copy(whole, cached)
    assert find("vgg-16") == cached
    (elsewhere / "vgg-16.safetensors").symlink_to(whole)
    assert find("vgg-16").parent == elsewhere


def test_another_network_under_its_name_is_refused(elsewhere: Path) -> None:
    shutil.copy(CLONE / "zoo/vgg-opu-demo.safetensors", elsewhere / "vgg-16.safetensors")
    with pytest.raises(DamagedFileError, match=r"vgg-16\.safetensors is not the network"):
        gg.load("vgg-16")
    (elsewhere / "vgg-16.safetensors").write_bytes(bytes(MOST + 1))
    with pytest.raises(DamagedFileError, match="at most"):
        gg.load("vgg-16")


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.skipif(not DATA, reason="NOT TESTED ON REAL CIFAR: GROUNDGLASS_DATA is not set")
def test_it_is_as_good_as_its_card_says() -> None:
    few = load_data("cifar10", download=False).test.head(500)
    for name in PINNED:
        assert abs(accuracy(gg.load(name), few) - card(name).accuracy) < 0.06  # over three standard errors
