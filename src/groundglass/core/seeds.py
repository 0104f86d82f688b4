"""Random streams. Every draw in the package starts from a seed and a path of names, so that a stream does
not depend on what else was drawn, in which order, or in which batch."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from groundglass.core.settings import fit


def check_seed(seed: int) -> None:
    """Refuse a negative seed: some libraries take -1 as a new seed each time, and here it would not be one."""
    if fit(int, seed, "seed") < 0:
        raise ValueError(
            f"`seed` (={seed}) must not be negative: the same number repeats the same draws, so give 0, 1, 2, ..."
        )


def derive_seed(seed: int, *path: str | int) -> int:
    """A seed in [0, 2**63) for the stream that `path` names: `derive_seed(0, "pgd", 17)`.

    Different paths give independent streams; the same path gives the same stream on every machine.
    """
    text = "/".join([str(int(seed)), *(f"{type(p).__name__}:{p}" for p in path)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *path: str | int) -> torch.Generator:
    """A CPU generator for the stream that `path` names. Draw on the CPU, then move: CUDA's streams differ."""
    return torch.Generator(device="cpu").manual_seed(derive_seed(seed, *path))


@contextmanager
def own_streams(seed: int | None = None) -> Iterator[None]:
    """What torch's global streams give in this block leaves no trace in them afterwards: on the processor and on every CUDA card.

    Not `torch.manual_seed` in a fork of the processor's stream alone: it seeds the cards too, and, where CUDA is not in use yet,
    whatever the caller draws there later.

    Args:
        seed: of all of them in the block; None: they go on from where they are.
    """
    with torch.random.fork_rng(devices=_cards(), device_type="cuda"):
        if seed is not None:
            torch.default_generator.manual_seed(seed)
            if torch.cuda.is_initialized():
                torch.cuda.manual_seed_all(seed)
        yield


def global_streams() -> list[Tensor]:
    """The states of torch's global streams: of the processor, and of each card where CUDA is in use."""
    return [torch.get_rng_state(), *(torch.cuda.get_rng_state(card) for card in _cards())]


def _cards() -> list[int]:
    # A card's state is kept on the processor: to look at it costs next to nothing, and uses no card that was not in use.
    return list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
