"""Files of anybody's defended network: there and back, and what is refused."""

import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from groundglass.core import DamagedFileError
from groundglass.models import (
    DefendedNetwork,
    ModelSpec,
    build,
    defend,
    load_defended,
    load_model,
    read_spec,
    save_defended,
    save_model,
)
from groundglass.models.files import trained_on
from groundglass.optics import DeviceStore, LightOnOPU, SimulatedOPU
from groundglass.training import place_device

N, M, C = 16, 24, 5
SECRET = 987654321987654321
DEVICE = SimulatedOPU.create(N, M, seed=SECRET)


class Net(nn.Module):
    """Grey images of any size; BatchNorm, tied and parametrized weights, and a layer above `fc`."""

    def __init__(self, stride: int = 2, width: int = 6) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, width, 3, stride, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
        )
        self.one, self.two = nn.Linear(4 * width, 4 * width, bias=False), nn.Linear(4 * width, 4 * width, bias=False)
        self.two.weight = self.one.weight
        self.fc = nn.Linear(4 * width, 8)
        self.last = weight_norm(nn.Linear(8, C))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.last(self.fc(self.two(self.one(self.body(x)))).tanh())
        return logits


def images() -> torch.Tensor:
    return torch.rand(7, 1, 28, 28, generator=torch.Generator().manual_seed(1))


def defended(device: SimulatedOPU | None = DEVICE, **options: object) -> DefendedNetwork:
    torch.manual_seed(0)
    made = defend(Net(), at="fc", device=device, hidden=N, seed=4, **options).train()  # type: ignore[arg-type]
    made(images())  # BatchNorm's statistics
    return made.eval()


@pytest.fixture
def saved(tmp_path):
    made = defended(dropout=0.25)
    save_defended(made, tmp_path / "net.safetensors")
    return tmp_path / "net.safetensors", made


def test_any_network_comes_back_equal(saved, tmp_path) -> None:
    path, made = saved
    DEVICE.save(tmp_path / "mine.device")
    DeviceStore(tmp_path / "devices").put(DEVICE)
    architecture, wrapped = Net(), nn.DataParallel(Net())
    kept = {name: value.clone() for name, value in architecture.state_dict().items()}
    for network, device in (
        (Net, DEVICE),
        (architecture, tmp_path / "mine.device"),
        (wrapped, str(tmp_path / "devices")),
        (lambda: defend(Net(), at="fc", device=SimulatedOPU.create(N, M, seed=3), seed=1), DEVICE),
        (defended(), None),
    ):
        found = load_defended(path, network=network, device=device)
        assert not found.training
        assert found.device.fingerprint == DEVICE.fingerprint
        assert (
            found.block.dropout.p == 0.25 or isinstance(network, DefendedNetwork) or network not in (Net, architecture)
        )
        assert torch.equal(found(images()), made(images()))
        assert torch.equal(found.feedback, made.feedback)
        assert found.network.two.weight is found.network.one.weight
    assert load_defended(path, network=Net, device=DEVICE).block.dropout.p == 0.25
    # What was given is as it was.
    assert isinstance(architecture.fc, nn.Linear)
    assert isinstance(wrapped.module.fc, nn.Linear)
    assert all(torch.equal(value, kept[name]) for name, value in architecture.state_dict().items())


def test_it_says_what_the_network_was_trained_on_if_that_is_told(saved, tmp_path) -> None:
    path, made = saved
    assert trained_on(path) is None
    assert b"trained_on" not in path.read_bytes(), "a file as version 0.2 wrote it"
    save_defended(made, tmp_path / "told", trained_on="mine-0123456789abcdef")
    assert trained_on(tmp_path / "told") == "mine-0123456789abcdef"
    assert torch.equal(load_defended(tmp_path / "told", network=Net, device=DEVICE)(images()), made(images()))


@pytest.mark.slow
def test_a_fresh_process_reads_it(saved, tmp_path) -> None:
    path, made = saved
    DEVICE.save(tmp_path / "mine.device")
    code = (
        "import sys, torch\nfrom tests.models.test_defended_files import Net, images\n"
        "from groundglass.models import load_defended\n"
        "found = load_defended(sys.argv[1], network=Net, device=sys.argv[2])\n"
        "torch.save(found(images()).detach(), sys.argv[3])\n"
    )
    subprocess.run([sys.executable, "-c", code, path, tmp_path / "mine.device", tmp_path / "logits"], check=True)
    assert torch.allclose(torch.load(tmp_path / "logits", weights_only=True), made(images()), atol=1e-6)


def test_it_holds_no_secret_and_no_pickle(saved) -> None:
    content = saved[0].read_bytes()
    for secret in (
        str(SECRET).encode(),
        f"{SECRET:x}".encode(),
        SECRET.to_bytes(8, "little"),
        SECRET.to_bytes(8, "big"),
    ):
        assert secret not in content
    assert DEVICE.fingerprint.encode() in content
    assert b"GLOBAL" not in content


def test_variants_come_back_too(tmp_path) -> None:
    noticed = defended()
    noticed.destroy_feedback()
    features = defended(None)
    odd = defended(None, head="published-code", linear_out=12)
    placed = defended(None)
    place_device(placed, DEVICE)
    lab = defended(LightOnOPU(Camera(), N, M, mean_reading=3.0, fingerprint="lab-2 bench 4"))  # type: ignore[arg-type]
    for name, made in {"b": noticed, "features": features, "odd": odd, "placed": placed, "lab": lab}.items():
        save_defended(made, tmp_path / name)
        found = load_defended(tmp_path / name, network=Net, device=made.device)
        assert torch.equal(found(images()), made(images())), name
        assert (found.feedback is None) == (made.feedback is None)
        assert found.device is made.device


class Camera:
    """A real device of a kind."""

    def transform(self, bits):
        return (bits.sum(1, keepdims=True) + torch.arange(M).numpy() % 3).astype("uint8")


def test_another_device_is_refused(saved, tmp_path) -> None:
    path, _ = saved
    for device, said in (
        (SimulatedOPU.create(N, M, seed=2), f"not the one .*{DEVICE.fingerprint}"),
        (SimulatedOPU.create(N, M + 1, seed=SECRET), "built for a device 16 -> 24"),
        (None, f"needs its optical device .*{DEVICE.fingerprint}"),
    ):
        for network in (Net, defended(device or DEVICE)) if device else (Net,):
            with pytest.raises(ValueError, match=f"net.safetensors.*{said}"):
                load_defended(path, network=network, device=device)
    with pytest.raises(ValueError, match="not the one"):
        load_defended(path, network=defended(SimulatedOPU.create(N, M, seed=2)))
    DeviceStore(tmp_path / "devices").put(SimulatedOPU.create(N, M, seed=2))
    with pytest.raises(FileNotFoundError, match=DEVICE.fingerprint):
        load_defended(path, network=Net, device=tmp_path / "devices")
    save_defended(defended(None), tmp_path / "features")
    with pytest.raises(ValueError, match="without an optical layer"):
        load_defended(tmp_path / "features", network=Net, device=DEVICE)


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (lambda: Net(stride=1), r"'body.0'.*stride=\(2, 2\).*stride=\(1, 1\)"),
        (lambda: Net(width=8), "'body.0' is 'Conv2d"),
        (lambda: nn.Sequential(Net()), "not the architecture that was saved, 'Net': unknown module 'fc'"),
        (lambda: defend(Net(), at="last", device=DEVICE, seed=0), "at='fc'"),
        (lambda: defend(Net(), at="fc", device=DEVICE, encoding="bits-batch", seed=0), "encoding='bits'"),
        (lambda: defend(Net(), at="fc", device=None, hidden=N, seed=0), "device_out=24"),
        (lambda: nn.Linear(3, 4), "unknown module"),
    ],
)
def test_another_architecture_is_named(saved, network, said) -> None:
    with pytest.raises(ValueError, match=f"(?s)net.safetensors.*{said}"):
        load_defended(saved[0], network=network, device=DEVICE)


def test_weights_without_a_layer_of_torchs_are_told_by_name_and_shape(tmp_path) -> None:
    class Scaled(nn.Module):
        def __init__(self, size: int) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(size))
            self.fc = nn.Linear(4, C)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.fc(x.flatten(1)[:, :4] * self.scale[0])
            return logits

    save_defended(defend(Scaled(1), at="fc", device=DEVICE, seed=0), tmp_path / "m")
    with pytest.raises(ValueError, match=r"scale.*another shape"):
        load_defended(tmp_path / "m", network=lambda: Scaled(2), device=DEVICE)


def test_what_no_file_can_say_is_said(saved, tmp_path) -> None:
    path, made = saved
    with pytest.raises(ValueError, match="give the network"):
        load_defended(path)
    for read in (load_model, read_spec):
        with pytest.raises(ValueError, match=r"'Net'.*load_defended"):
            read(path)
    with pytest.raises(TypeError, match="torch module"):
        load_defended(path, network=lambda: 3, device=DEVICE)  # type: ignore[arg-type, return-value]
    with pytest.raises(ValueError, match="not a defended network"):
        save_defended(Net(), tmp_path / "plain")
    made.network.register_module("odd", Odd())
    with pytest.raises(ValueError, match=r"odd._extra_state.*dict"):
        save_defended(made, tmp_path / "odd")
    with pytest.raises(FileExistsError):
        save_defended(defended(), path, new=True)
    assert not (tmp_path / "odd").exists()
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(DamagedFileError, match="altered"):
        load_defended(path, network=Net, device=DEVICE)


class Odd(nn.Module):
    def get_extra_state(self) -> dict[str, int]:
        return {"x": 1}

    def set_extra_state(self, state: dict[str, int]) -> None:
        pass


def test_the_packages_own_files_are_read_by_the_same_call(tmp_path) -> None:
    spec = ModelSpec(width=0.05, classes=C, mean=(0.5,) * 3, std=(0.5,) * 3, device_in=N, device_out=M)
    made = build(spec, device=DEVICE, seed=1).eval()
    save_model(tmp_path / "own", made, spec)
    DEVICE.save(tmp_path / "mine.device")
    found, shown = load_defended(tmp_path / "own", device=tmp_path / "mine.device"), torch.rand(2, 3, 32, 32)
    assert torch.equal(found(shown), made(shown))
    with pytest.raises(ValueError, match="leave out"):
        load_defended(tmp_path / "own", network=Net, device=DEVICE)
    with pytest.raises(ValueError, match="not the one"):
        load_defended(tmp_path / "own", device=SimulatedOPU.create(N, M, seed=2))
