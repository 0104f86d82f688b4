import pytest
import torch

from groundglass.core.accelerator import (
    WORKSPACE,
    _driver,
    described,
    free_memory,
    most_memory,
    repeatable,
    torch_device,
    watch_memory,
)
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
    assert told.keys() == {"device", "card", "card_memory", "cuda", "cudnn", "driver", "repeatable"}
    assert (told["card"], told["cuda"], told["cudnn"]) == ("Toy H1", "12.8", 91002)
    file = tmp_path / "version"
    file.write_text(
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\nGCC version: 12\n"
    )
    assert _driver(str(file)) == "550.54.15"
    file.write_bytes(b"\xff\xfe nothing")
    assert _driver(str(file)) is None
    assert _driver(str(tmp_path / "none")) is None


def settings():
    cudnn = torch.backends.cudnn
    return (
        torch.get_deterministic_debug_mode(),
        torch.get_float32_matmul_precision(),
        torch.utils.deterministic.fill_uninitialized_memory,
        cudnn.deterministic,
        cudnn.benchmark,
        cudnn.allow_tf32,
    )


def test_a_card_is_made_to_repeat_itself_and_put_back(monkeypatch):
    monkeypatch.setenv(WORKSPACE, ":16:8")
    Cards(monkeypatch, 1)
    before = settings()
    with repeatable(torch.device("cpu")):
        assert settings() == before
    torch.set_float32_matmul_precision("high")
    try:
        with repeatable(torch.device("cuda")):
            assert settings() == (1, "highest", False, True, False, False)
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before[1])
    assert settings() == before


@pytest.mark.skipif(not hasattr(torch.backends.cudnn, "conv"), reason="torch before 2.9 has no such settings")
def test_a_card_repeats_itself_where_torchs_newer_settings_are_used(monkeypatch):
    monkeypatch.setenv(WORKSPACE, ":16:8")
    Cards(monkeypatch, 1)
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    parts = (cudnn.conv, cudnn.rnn, matmul)
    before = [part.fp32_precision for part in parts]
    try:
        cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision = "tf32", "ieee"
        with repeatable(torch.device("cuda")):
            assert [part.fp32_precision for part in parts] == ["ieee"] * 3
            assert cudnn.deterministic
        assert [part.fp32_precision for part in parts] == ["tf32", "ieee", before[2]]
    finally:
        for part, precision in zip(parts, before, strict=True):
            part.fp32_precision = precision


@pytest.mark.parametrize(
    ("given", "started", "repeats"),
    [(None, False, True), (None, True, False), (":16:8", True, True), (":0:0", False, False)],
)
def test_a_record_says_whether_a_card_repeats_itself(monkeypatch, given, started, repeats):
    monkeypatch.setenv(WORKSPACE, given or "")  # put back in the end, whatever is set meanwhile
    if given is None:
        monkeypatch.delenv(WORKSPACE)
    cards = Cards(monkeypatch, 1, started=started)
    assert described(torch.device("cuda"))["repeatable"].startswith("yes" if repeats else f"no: {WORKSPACE}")
    cards.started = True  # it was given before
    assert described(torch.device("cuda"))["repeatable"].startswith("yes" if repeats else "no")


def test_the_memory_of_a_card(monkeypatch):
    cards, second = Cards(monkeypatch, 2), torch.device("cuda:1")
    cards.held = {0: 5, 1: 7}
    assert most_memory(second) == 7
    watch_memory(second)
    assert cards.held == {0: 5, 1: 0}
    assert free_memory(second) == 34 * 2**30
    watch_memory(torch.device("cpu"))
    assert most_memory(torch.device("cpu")) is None
    assert free_memory(torch.device("cpu")) > 2**20
