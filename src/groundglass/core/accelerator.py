"""Where tensors are computed: on the processor, or on a graphics card by CUDA."""

import re
from contextlib import suppress
from pathlib import Path

import torch

#: As users name it: "auto", "cpu", "cuda", "cuda:1", or torch's own object.
Device = str | torch.device

_CARD = re.compile(r"cuda(:(0|[1-9][0-9]{0,3}))?")
_WORDS = "auto (a CUDA card where there is one), cpu, cuda or cuda:N"


def torch_device(device: Device = "auto") -> torch.device:
    """The device that `device` names: "auto" is the current CUDA card, or the processor where there is none.

    Raises:
        TypeError: neither a name nor a `torch.device`.
        ValueError: a name of nothing, or a card that is not here; says what is.
    """
    if not isinstance(device, str | torch.device):
        raise TypeError(f"`device` must be {_WORDS}, or a torch.device, not {type(device).__name__}")
    name = str(device).strip().lower()
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name in ("cpu", "cpu:0"):
        return torch.device("cpu")
    if name.split(":")[0] == "mps":
        raise ValueError(
            "`device` cannot be mps: Apple's cards have no float64, in which readings are made the same on every machine. Use cpu"
        )
    card = _CARD.fullmatch(name)
    if card is None:
        hint = "; the file of an optical device is another option, `device_file`" if set(name) & set("./") else ""
        raise ValueError(f"`device` must be {_WORDS}, not {str(device)!r:.80}{hint}")
    _check_card(None if card[2] is None else int(card[2]))
    return torch.device(name)


def _check_card(index: int | None) -> None:
    if not torch.backends.cuda.is_built():
        raise ValueError(
            f"this torch ({torch.__version__}) was built without CUDA: install one with it, see https://pytorch.org/get-started, "
            "or give cpu for `device`"
        )
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not count:
        raise ValueError(
            "CUDA finds no card here: `nvidia-smi` shows whether driver and card work, and CUDA_VISIBLE_DEVICES may hide it. "
            "Or give cpu for `device`"
        )
    if index is not None and index >= count:
        there = ", ".join(f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(count))
        raise ValueError(f"there is no cuda:{index} here: give {there}, or cpu")


def described(where: torch.device) -> dict[str, str | int]:
    """What a record says of the device: "cpu", or the card with its memory and what drives it."""
    if where.type != "cuda":
        return {"device": str(where)}
    card, cudnn = torch.cuda.get_device_properties(where), torch.backends.cudnn.version()
    found: dict[str, str | int | None] = {
        "device": str(where),
        "card": card.name,
        "card_memory": card.total_memory,
        "cuda": torch.version.cuda,
        "cudnn": cudnn,
        "driver": _driver(),
    }
    return {name: "unknown" if value is None else value for name, value in found.items()}


def _driver(file: str = "/proc/driver/nvidia/version") -> str | None:
    """The version of NVIDIA's driver; None where its file is not there, or not as it used to be."""
    with suppress(OSError, UnicodeDecodeError):
        found = re.search(r"\s(\d+(?:\.\d+)+)\s", Path(file).read_text(encoding="utf-8"))
        return None if found is None else found[1]
    return None
