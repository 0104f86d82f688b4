import subprocess
import sys
from pathlib import Path

import pytest

from groundglass.data import Augment, data_folder, load, registry
from tests.data.conftest import TINY, write_layout


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    """Small data sets under the real names, and no way to the network but loopback."""
    monkeypatch.setattr(registry, "CIFAR10", TINY["cifar10"])
    monkeypatch.setattr(registry, "CIFAR100", TINY["cifar100"])
    monkeypatch.setattr(registry, "load_shapes", lambda: registry_shapes(40, 20))
    monkeypatch.setenv("GROUNDGLASS_CIFAR_URL", "http://127.0.0.1:9")
    monkeypatch.delenv("GROUNDGLASS_DATA", raising=False)


registry_shapes = registry.load_shapes


HALF, OWN = ((0.5, 0.5, 0.5),) * 2, ((0.507, 0.486, 0.440), (0.267, 0.256, 0.276))


@pytest.mark.parametrize(
    ("name", "sizes", "statistics", "augment"),
    [
        ("cifar10", (20, 6, 10), HALF, None),
        ("cifar100", (9, 5, 100), OWN, Augment(crop=4, flip=True, rotation=15.0)),
        ("shapes", (40, 20, 10), HALF, None),
    ],
)
def test_a_data_set_comes_as_the_paper_has_it(name, sizes, statistics, augment, tmp_path):
    folder = write_layout(TINY[name], tmp_path) if name in TINY else None
    for data_dir in (tmp_path, folder):  # the folder itself may be named
        data = load(name, data_dir=data_dir, download=False)
        assert (data.name, len(data.train), len(data.test), data.num_classes) == (name, *sizes)
        assert ((data.mean, data.std), data.augment) == (statistics, augment)


def test_an_unknown_name_offers_the_nearest():
    with pytest.raises(ValueError, match="unknown data set 'cifar-10': did you mean 'cifar10'"):
        load("cifar-10")


def test_what_is_not_there_and_may_not_be_downloaded(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        load("cifar10", data_dir=tmp_path, download=False)
    for part in (str(tmp_path), "cifar-10-batches-bin/", "data_batch_1.bin", "--data-dir", "GROUNDGLASS_DATA"):
        assert part in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_there_is_downloaded_once(served, loopback, tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "CIFAR10", served(TINY["cifar10"]))
    monkeypatch.setenv("GROUNDGLASS_CIFAR_URL", loopback)
    (tmp_path / "data").mkdir()
    assert len(load("cifar10", data_dir=tmp_path / "data").test) == 6
    monkeypatch.setenv("GROUNDGLASS_CIFAR_URL", "http://127.0.0.1:9")
    assert len(load("cifar10", data_dir=tmp_path / "data").test) == 6


def test_a_misspelt_folder_is_not_downloaded_into(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"no folder .*dta, which --data-dir names: .* make the folder"):
        load("cifar10", data_dir=tmp_path / "dta")
    monkeypatch.setenv("GROUNDGLASS_DATA", str(tmp_path / "dta"))
    with pytest.raises(FileNotFoundError, match="dta, which GROUNDGLASS_DATA names"):
        load("cifar10")
    assert list(tmp_path.iterdir()) == []


def test_option_then_environment_then_cache(monkeypatch, tmp_path):
    assert data_folder().name == "groundglass"
    monkeypatch.setenv("GROUNDGLASS_DATA", "~/somewhere")
    assert data_folder() == Path.home() / "somewhere"
    assert data_folder(tmp_path) == tmp_path
    monkeypatch.setenv("GROUNDGLASS_DATA", "")
    assert data_folder().name == "groundglass"
    write_layout(TINY["cifar10"], tmp_path)
    monkeypatch.setenv("GROUNDGLASS_DATA", str(tmp_path))
    assert len(load("cifar10", download=False).test) == 6


def test_importing_brings_in_no_network_code():
    code = "import sys, groundglass.data; print({'platformdirs', 'requests', 'rich'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
