import pytest
import torch

from groundglass.core.accelerator import _driver, described, torch_device
from tests.cards import Cards


def test_auto_is_the_card_where_there_is_one(monkeypatch):
    Cards(monkeypatch, 0)
    assert torch_device() == torch.device("cpu")
    Cards(monkeypatch, 2)
    assert torch_device() == torch.device("cuda")
    assert torch_device("CUDA:1") == torch.device("cuda:1")
    assert torch_device(torch.device("cuda:0")) == torch.device("cuda:0")
    assert torch_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("gpu", "auto .*, cpu, cuda or cuda:N, not 'gpu'"),
        ("cuda:", "cuda:N"),
        ("cuda:-1", "cuda:N"),
        ("models/a.device", "`device_file`"),
        ("cuda:2", r"there is no cuda:2 here: give cuda:0 \(Toy H1 number 0\), cuda:1"),
        ("mps", "float64"),
        (torch.device("meta"), "'meta'"),
    ],
)
def test_what_cannot_be_computed_on_is_refused(monkeypatch, name, match):
    Cards(monkeypatch, 2)
    with pytest.raises(ValueError, match=match):
        torch_device(name)


def test_why_there_is_no_cuda_is_said(monkeypatch):
    with pytest.raises(TypeError, match="not int"):
        torch_device(1)
    Cards(monkeypatch, 0)
    with pytest.raises(ValueError, match="no card"):
        torch_device("cuda")
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: False)
    with pytest.raises(ValueError, match="built without CUDA"):
        torch_device("cuda:0")


def test_a_record_says_what_it_was_computed_on(monkeypatch, tmp_path):
    assert described(torch.device("cpu")) == {"device": "cpu"}
    Cards(monkeypatch, 1)
    told = described(torch.device("cuda"))
    assert told.keys() == {"device", "card", "card_memory", "cuda", "cudnn", "driver"}
    assert (told["card"], told["cuda"], told["cudnn"]) == ("Toy H1", "12.8", 91002)
    file = tmp_path / "version"
    file.write_text(
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\nGCC version: 12\n"
    )
    assert _driver(str(file)) == "550.54.15"
    file.write_bytes(b"\xff\xfe nothing")
    assert _driver(str(file)) is None
    assert _driver(str(tmp_path / "none")) is None
