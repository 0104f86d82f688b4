import json

import pytest
import torch

from groundglass.core import DamagedFileError, load_state, save_state

IDENTITY = {"attack": "NES", "settings": {"samples": 4, "loss": "ce"}, "seed": 3, "ball": "Linf(eps=0.1)"}
TENSORS = {
    "floats": torch.tensor([1.5, torch.nan, -torch.inf]),
    "numbers": torch.arange(6).view(2, 3),
    "flags": torch.tensor([True, False]),
    "signs": torch.tensor([1, -1], dtype=torch.int8),
    "nothing": torch.zeros(0, 3, 4, 4),
    "a/name with/slashes": torch.ones(()),
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "folder" / "state.safetensors"


def test_what_is_saved_loads_back_equal(path):
    notes = {"step": 3, "names": ["a", "é"], "none": None}
    save_state(path, TENSORS, notes, IDENTITY)
    tensors, found = load_state(path, IDENTITY)
    assert found == notes
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype
        assert tensors[name].shape == tensor.shape
        assert torch.equal(tensors[name].nan_to_num(7.0), tensor.nan_to_num(7.0))


def test_the_same_state_is_the_same_file(path):
    """Audits name networks by the bytes of their files."""
    tensors = {"b": torch.arange(5.0), "a": torch.ones(3, dtype=torch.uint8), "ä": torch.zeros(2, 2)}
    written = set()
    for _ in range(20):
        save_state(path, tensors, {"done": "∞"}, {"seed": 1})
        written.add(path.read_bytes())
    assert len(written) == 1
    assert torch.equal(load_state(path, {"seed": 1})[0]["b"], tensors["b"])


def test_views_shared_and_trained_tensors_can_be_saved(path):
    base = torch.arange(12.0).view(3, 4)
    save_state(path, {"t": base.T, "row": base[1], "same": base, "grad": base.clone().requires_grad_()}, {}, {})
    tensors, _ = load_state(path, {})
    assert torch.equal(tensors["t"], base.T)
    assert torch.equal(tensors["row"], base[1])
    assert torch.equal(tensors["same"], base)
    assert not tensors["grad"].requires_grad


def test_a_state_takes_the_place_of_the_one_before(path):
    save_state(path, {"x": torch.zeros(100)}, {}, IDENTITY)
    save_state(path, {"y": torch.ones(1)}, {}, IDENTITY)
    assert list(load_state(path, IDENTITY)[0]) == ["y"]
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_tuples_and_lists_are_one_identity(path):
    save_state(path, {}, {}, {"eps": (0.1, 0.2)})
    load_state(path, {"eps": [0.1, 0.2]})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 4}, "seed was 3, is 4"),
        ({"attack": "Square"}, "attack was 'NES', is 'Square'"),
        ({"settings": {"samples": 6, "loss": "ce"}}, "settings was .*4.* is .*6"),
        ({"new": 1}, "new was None, is 1"),
        ({"seed": ...}, "seed was 3, is None"),  # gone
    ],
)
def test_a_state_of_other_work_is_refused_with_what_differs(path, change, message):
    save_state(path, TENSORS, {}, IDENTITY)
    with pytest.raises(ValueError, match=f"another run: {message}") as error:
        load_state(path, {name: value for name, value in (IDENTITY | change).items() if value is not ...})
    assert not isinstance(error.value, DamagedFileError)
    assert str(path) in str(error.value)
    assert "delete it" in str(error.value)


def test_a_truncated_file_is_damaged_wherever_it_was_cut(path):
    save_state(path, TENSORS, {}, IDENTITY)
    whole = path.read_bytes()
    for length in [*range(12), len(whole) // 2, len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(DamagedFileError, match=r"damaged .*delete it to start afresh"):
            load_state(path, IDENTITY)


def test_other_files_are_damaged(path):
    from safetensors.torch import save_file

    path.parent.mkdir()
    broken = {"notes": "{}", "identity": json.dumps(IDENTITY)[:-3]}
    for metadata in (None, {"notes": "{}"}, broken):
        save_file({"x": torch.zeros(2)}, path, metadata=metadata)
        with pytest.raises(DamagedFileError, match="damaged"):
            load_state(path, IDENTITY)
    path.write_text("not a state")
    with pytest.raises(DamagedFileError):
        load_state(path, IDENTITY)


def test_a_file_that_is_not_there_is_not_called_damaged(path):
    with pytest.raises(FileNotFoundError):
        load_state(path, IDENTITY)
