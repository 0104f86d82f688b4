"""Where tensors are computed: on the processor, or on a graphics card by CUDA."""

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from groundglass.core import platform

#: As users name it: "auto", "cpu", "cuda", "cuda:1", or torch's own object.
Device = str | torch.device

_CARD = re.compile(r"cuda(:(0|[1-9][0-9]{0,3}))?")
#: cuBLAS adds up in one order only with a workspace of fixed size, and reads this once, when it starts.
WORKSPACE, FIXED = "CUBLAS_WORKSPACE_CONFIG", (":4096:8", ":16:8")
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


def lacks_card(device: Device) -> bool:
    """Whether `device` is "cuda", any card, and none is here."""
    return str(device).strip().lower() == "cuda" and not torch.cuda.is_available()


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
    """What a record says of the device: "cpu", or the card with its memory and what drives it; and whether what it computes under
    `repeatable` is. Of a card on another machine no more is known than its name."""
    if where.type != "cuda" or not torch.cuda.is_available():
        return {"device": str(where)}
    fixed = _fixed_workspace()  # before CUDA begins
    card, cudnn = torch.cuda.get_device_properties(where), torch.backends.cudnn.version()
    found: dict[str, str | int | None] = {
        "device": str(where),
        "card": card.name,
        "card_memory": card.total_memory,
        "cuda": torch.version.cuda,
        "cudnn": cudnn,
        "driver": _driver(),
        "repeatable": "yes, and without TF32" if fixed else f"no: {WORKSPACE} was not {FIXED[0]} when CUDA began",
    }
    return {name: "unknown" if value is None else value for name, value in found.items()}


def _driver(file: str = "/proc/driver/nvidia/version") -> str | None:
    """The version of NVIDIA's driver; None where its file is not there, or not as it used to be."""
    with suppress(OSError, UnicodeDecodeError):
        found = re.search(r"\s(\d+(?:\.\d+)+)\s", Path(file).read_text(encoding="utf-8"))
        return None if found is None else found[1]
    return None


@contextmanager
def repeatable(where: torch.device) -> Iterator[None]:
    """What a card computes in this block comes out the same each time, bit for bit, on this card and with these libraries.

    Deterministic algorithms, none chosen by a race, and sums in float32 where that is asked for (no TF32). What has no such
    algorithm is computed all the same, and torch warns of it. Settings are put back afterwards, except cuBLAS's workspace. On the
    processor nothing is set.
    """
    if where.type != "cuda":
        yield
        return
    _fixed_workspace()
    cudnn, filling = torch.backends.cudnn, cast(Any, torch.utils.deterministic)
    mode, filled = torch.get_deterministic_debug_mode(), filling.fill_uninitialized_memory
    chosen, raced = cudnn.deterministic, cudnn.benchmark
    try:
        torch.set_deterministic_debug_mode(max(mode, 1))
        filling.fill_uninitialized_memory = False  # it finds bugs, and costs time
        cudnn.deterministic, cudnn.benchmark = True, False
        with _without_tf32():
            yield
    finally:
        torch.set_deterministic_debug_mode(mode)
        filling.fill_uninitialized_memory = filled
        cudnn.deterministic, cudnn.benchmark = chosen, raced


@contextmanager
def _without_tf32() -> Iterator[None]:
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    try:
        convolutions, _, products = cudnn.allow_tf32, matmul.allow_tf32, torch.get_float32_matmul_precision()
    except RuntimeError:  # a user has set what torch 2.9 has in their place, and both are not to be mixed
        newer: Any = cudnn
        parts: tuple[Any, ...] = (newer.conv, newer.rnn, matmul)
        before = [part.fp32_precision for part in parts]
        try:
            for part in parts:
                part.fp32_precision = "ieee"
            yield
        finally:
            for part, precision in zip(parts, before, strict=True):
                part.fp32_precision = precision
        return
    try:
        cudnn.allow_tf32 = False
        torch.set_float32_matmul_precision("highest")
        yield
    finally:
        cudnn.allow_tf32 = convolutions
        torch.set_float32_matmul_precision(products)


def _fixed_workspace() -> bool:
    """Whether cuBLAS has a workspace of fixed size. It is given one, unless the user has said otherwise or CUDA has begun."""
    if not torch.cuda.is_initialized():
        os.environ.setdefault(WORKSPACE, FIXED[0])
    return os.environ.get(WORKSPACE) in FIXED


def device_of(model: object) -> torch.device | None:
    """Where a module's weights are; None for one without, and for a function."""
    weights = model.parameters() if isinstance(model, nn.Module) else ()
    return next((one.device for one in weights), None)


def finish(where: torch.device) -> None:
    """Wait until a card has done all that it was given; on the processor all is done already."""
    if where.type == "cuda":
        torch.cuda.synchronize(where)


def seconds_of(work: Callable[[], object], where: torch.device) -> float:
    """Of some work, on a device that has nothing else of ours to do."""
    finish(where)
    started = time.perf_counter()
    work()
    finish(where)
    return time.perf_counter() - started


def watch_memory(where: torch.device) -> None:
    """Begin again to measure peak memory: of this process, see `platform.most_memory`, and on the card, see `most_memory`."""
    platform.watch_memory()
    if where.type == "cuda":
        torch.cuda.reset_peak_memory_stats(where)


def most_memory(where: torch.device) -> int | None:
    """The most bytes that tensors have taken on the card since `watch_memory`; None on the processor."""
    return torch.cuda.max_memory_allocated(where) if where.type == "cuda" else None


def free_memory(where: torch.device) -> int | None:
    """Bytes that further tensors may take on the device; None: not known."""
    if where.type != "cuda":
        return platform.available_memory()
    free, _ = torch.cuda.mem_get_info(where)
    # Torch keeps what was freed, for the next ones.
    return free + torch.cuda.memory_reserved(where) - torch.cuda.memory_allocated(where)


def memory_taken(work: Callable[[], object], where: torch.device) -> int | None:
    """Bytes that some work takes while it runs, above what is held before: on the card, or else in this process; None where that
    is not known. It begins again to measure the peak, see `watch_memory`."""
    watch_memory(where)
    before = torch.cuda.memory_allocated(where) if where.type == "cuda" else platform.most_memory()
    work()
    after = most_memory(where) if where.type == "cuda" else platform.most_memory()
    return None if before is None or after is None else max(0, after - before)
