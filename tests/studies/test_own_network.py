"""A network of one's own, all the way: defend, train in a plain loop, save, redraw and audit, by the commands."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from groundglass import cli
from groundglass.models import accuracy, defend, load_defended, save_defended
from groundglass.optics import DeviceStore, SimulatedOPU
from groundglass.results import Run
from groundglass.studies import redraw_model as redraw_module
from groundglass.studies.audit_model import read_network
from tests.studies.tiny import pictures

N, M = 64, 256
DATA = pictures("pictures", n_train=400, n_test=100)


class Residual(nn.Module):
    """A block with a shortcut, as of a ResNet."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.one, self.two = (
            nn.Conv2d(channels, out, 3, stride, 1, bias=False),
            nn.Conv2d(out, out, 3, 1, 1, bias=False),
        )
        self.norm, self.norm2 = nn.BatchNorm2d(out), nn.BatchNorm2d(out)
        self.short = nn.Conv2d(channels, out, 1, stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.norm2(self.two(F.relu(self.norm(self.one(x))))) + self.short(x))


class Net(nn.Module):
    """A ResNet in small, for images of any size."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(0.4), persistent=False)
        self.stem = nn.Conv2d(channels, 8, 5, 4, 2)
        self.layers = nn.Sequential(Residual(8, 8, 1), Residual(8, 16, 2))
        self.fc = nn.Linear(16 * 16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.fc(F.adaptive_avg_pool2d(self.layers(self.stem(x - self.mean)), 4).flatten(1))
        return found


FACTORIES = """
from tests.studies.test_own_network import Net

def colour():
    return Net(3)

def grey():
    return Net(1)
"""


def trained(network: nn.Module, device: SimulatedOPU, images: torch.Tensor, labels: torch.Tensor) -> nn.Module:
    made = defend(network, at="fc", device=device, seed=1).train()
    optimiser = torch.optim.SGD(made.parameters(), 0.1, momentum=0.9)
    for _ in range(4):
        for part in torch.arange(len(images)).split(50):
            optimiser.zero_grad()
            F.cross_entropy(made(images[part]), labels[part]).backward()
            optimiser.step()
    return made.eval()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "ournets.py").write_text(FACTORIES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "ournets", raising=False)
    return tmp_path


AUDIT = ["--eps", "0.1", "--images", "20", "--steps", "2", "--queries", "20", "--claim", "own"]


@pytest.mark.slow
def test_a_network_is_redrawn_and_audited(here: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(redraw_module, "load", lambda name, data_dir=None: DATA)
    torch.manual_seed(0)
    device = SimulatedOPU.create(N, M, seed=1)
    device.save(here / "mine.device")
    made = trained(Net(3), device, DATA.train.floats(), DATA.train.labels)
    save_defended(made, here / "net.safetensors")
    clean = accuracy(made, DATA.test)
    assert clean > 0.6
    given = ["ournets:colour", "--weights", "net.safetensors", "--device-file", "mine.device"]
    assert cli.main(["redraw", *given, "--data", "pictures", "--out", "new.safetensors"]) == 0
    shown = capsys.readouterr().out
    assert f"{clean:7.2%}  before" in shown
    # The new device lies beside the old one, and only with it the new file is read.
    new = load_defended(here / "new.safetensors", network=Net(3), device=here)
    assert new.device.fingerprint != device.fingerprint
    assert accuracy(new, DATA.test) > clean - 0.2
    assert DeviceStore(here).path(new.device.fingerprint).exists()
    changed = {name for name, value in new.state_dict().items() if not torch.equal(value, made.state_dict()[name])}
    assert changed == {f"network.fc.{name}" for name in ("readout.weight", "readout.bias", "optical._extra_state")}
    np.savez("pictures.npz", images=DATA.test.images.numpy(), labels=DATA.test.labels.numpy())
    given[2:] = ["new.safetensors", "--device-file", "."]
    assert cli.main(["audit", *given, "--data", "pictures.npz", "--out", "audited", *AUDIT]) == 0
    (entry,) = Run.open(here / "audited").audits.itertuples()
    assert entry.n_images == 20
    # What cannot be is said, before any work.
    capsys.readouterr()
    for changes, said in (
        (["ournets:colour", "--weights", "new.safetensors", "--device-file", "mine.device"], "not the one"),
        (["ournets:grey", "--weights", "net.safetensors", "--device-file", "mine.device"], "'stem'"),
        (["new.safetensors"], "--weights"),
        (["ournets:colour", "--weights", "net.safetensors"], "by --device-file"),
    ):
        assert cli.main(["redraw", *changes, "--data", "pictures", "--out", "other.safetensors"]) == 1
        assert said in capsys.readouterr().err
    assert not (here / "other.safetensors").exists()


@pytest.mark.parametrize(("factory", "channels", "size"), [("grey", 1, 28), ("colour", 3, 64)])
def test_a_network_of_other_images_is_trained_kept_and_audited(here: Path, factory, channels, size) -> None:
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(100) % 10
    images = torch.rand(10, channels, size, size, generator=g)[labels] * 0.9 + 0.1 * torch.rand(
        100, channels, size, size, generator=g
    )
    device = SimulatedOPU.create(N, M, seed=2)
    DeviceStore("devices").put(device)
    torch.manual_seed(1)
    made = trained(Net(channels), device, images, labels)
    Path("models").mkdir()
    save_defended(made, "models/net.safetensors")
    found = read_network(f"ournets:{factory}", Path("models/net.safetensors"), None)  # devices/ beside models/
    assert torch.equal(found(images), made(images))
    np.savez("images.npz", images=images[:20].numpy(), labels=labels[:20].numpy())
    given = [f"ournets:{factory}", "--weights", "models/net.safetensors", "--data", "images.npz"]
    assert cli.main(["audit", *given, "--out", "audited", *AUDIT]) == 0
    assert (Path("audited") / "report.html").exists()
