"""Random streams. Every draw in the package starts from a seed and a path of names, so that a stream does
not depend on what else was drawn, in which order, or in which batch."""

import hashlib

import torch

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
