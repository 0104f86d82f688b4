"""How attacks by queries draw: for all images under attack at once, each from a stream of its own. Two ways, by name."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Generator, Tensor

from groundglass.core import generator, integers, normal, permutation, whole
from groundglass.core.reading import free_to_read, sent
from groundglass.kernels import streams

#: "mt19937", a generator of torch's on the CPU for each image and each draw; or "philox", by counters, all images at once, where
#: the images are. Either gives each image the same numbers on every machine and in any batch, and the two differ.
Draw = Literal["mt19937", "philox"]


class Draws(ABC):
    """Streams of some images. What an image gets depends on the seed, its number, the path and which draw it is alone.

    Args:
        seed: of all streams.
        numbers: of each image in its set.
        device: where the images are.
    """

    def __init__(self, seed: int, numbers: Sequence[int], device: torch.device) -> None:
        self._seed, self._numbers, self._device = seed, numbers, device

    @abstractmethod
    def normal(
        self, shape: Sequence[int], path: tuple[str, ...], slots: list[int], when: list[int], out: Tensor | None = None
    ) -> Tensor:
        """Standard normal numbers for these slots, float32 [k, *shape]; `when` tells one draw of an image from the next."""

    @abstractmethod
    def integers(
        self, below: int, shape: Sequence[int], path: tuple[str, ...], slots: list[int], when: list[int]
    ) -> Tensor:
        """Integers in [0, below), int64 [k, *shape]; `below` is at most 2^62, and far less, or that."""

    @abstractmethod
    def permutation(self, count: int, path: tuple[str, ...], slots: list[int], when: list[int]) -> Tensor:
        """0 to count - 1 in random order, int64 [k, count]."""


class Mersenne(Draws):
    """Torch's generator, MT19937, seeded for each image and each draw."""

    def normal(
        self, shape: Sequence[int], path: tuple[str, ...], slots: list[int], when: list[int], out: Tensor | None = None
    ) -> Tensor:
        return self._drawn(lambda g: normal(*shape, generator=g), path, slots, when, out)

    def integers(
        self, below: int, shape: Sequence[int], path: tuple[str, ...], slots: list[int], when: list[int]
    ) -> Tensor:
        return self._drawn(lambda g: integers(below, shape, generator=g), path, slots, when)

    def permutation(self, count: int, path: tuple[str, ...], slots: list[int], when: list[int]) -> Tensor:
        return self._drawn(lambda g: permutation(count, generator=g), path, slots, when)

    def _drawn(
        self,
        make: Callable[[Generator], Tensor],
        path: tuple[str, ...],
        slots: list[int],
        when: list[int],
        out: Tensor | None = None,
    ) -> Tensor:
        drawn = (
            make(generator(self._seed, *path, self._numbers[slot], draw))
            for slot, draw in zip(slots, when, strict=True)
        )
        if out is None:
            return sent(torch.stack(list(drawn)), self._device)
        if not free_to_read(out):
            out.copy_(sent(torch.stack(list(drawn)), self._device))
            return out
        for row, one in enumerate(drawn):
            out[row] = one
        return out


class Philox(Draws):
    """Philox4x32-10: seed and path are the key; image, draw and place are the counter."""

    def __init__(self, seed: int, numbers: Sequence[int], device: torch.device) -> None:
        super().__init__(seed, numbers, device)
        self._images = self._sent(list(numbers))

    def normal(
        self, shape: Sequence[int], path: tuple[str, ...], slots: list[int], when: list[int], out: Tensor | None = None
    ) -> Tensor:
        found = streams.normals(self._key(path), self._sent(when), self._of(slots), _entries(shape))
        found = found.view(len(slots), *shape)
        return found if out is None else out.copy_(found)

    def integers(
        self, below: int, shape: Sequence[int], path: tuple[str, ...], slots: list[int], when: list[int]
    ) -> Tensor:
        found = streams.integers(self._key(path), self._sent(when), self._of(slots), _entries(shape))
        return (found if below == 2**62 else found % below).view(len(slots), *shape)

    def permutation(self, count: int, path: tuple[str, ...], slots: list[int], when: list[int]) -> Tensor:
        return streams.integers(self._key(path), self._sent(when), self._of(slots), count).argsort(dim=1, stable=True)

    def _of(self, slots: list[int]) -> Tensor:
        if len(slots) == len(self._images):
            return self._images
        return self._images[self._sent(slots)]

    def _sent(self, numbers: list[int]) -> Tensor:
        return sent(whole(numbers), self._device)

    def _key(self, path: tuple[str, ...]) -> streams.Key:
        digest = hashlib.sha256("/".join(["philox", str(self._seed), *path]).encode()).digest()
        return int.from_bytes(digest[:4], "big"), int.from_bytes(digest[4:8], "big")


DRAWS: dict[str, type[Draws]] = {"mt19937": Mersenne, "philox": Philox}


def _entries(shape: Sequence[int]) -> int:
    return torch.Size(shape).numel()
