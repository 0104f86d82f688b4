"""Graphics cards that are not there: what torch says of CUDA, and the cards' random streams, held on the processor."""

from types import SimpleNamespace

import pytest
import torch


class Cards:
    """So many cards, as torch describes them. Nothing can be computed on them.

    Attributes:
        streams: one generator a card, in place of its random stream.
        started: whether CUDA is in use.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, count: int, *, started: bool = True) -> None:
        self.streams = [torch.Generator().manual_seed(100 + card) for card in range(count)]
        self.started = started
        self.held = dict.fromkeys(range(count), 0)
        cuda, named = torch.cuda, SimpleNamespace(name="Toy H1", total_memory=64 * 2**30)
        for name, said in {
            "is_available": lambda: count > 0,
            "device_count": lambda: count,
            "is_initialized": lambda: self.started,
            "current_device": lambda: 0,
            "get_device_name": lambda card: f"Toy H1 number {self.place(card)}",
            "get_device_properties": lambda card: named,
            "get_rng_state": lambda card: self.streams[self.place(card)].get_state(),
            "set_rng_state": lambda state, card: self.streams[self.place(card)].set_state(state),
            "manual_seed_all": self.seed_all,
            "max_memory_allocated": lambda card: self.held[self.place(card)],
            "reset_peak_memory_stats": lambda card: self.held.update({self.place(card): 0}),
            "mem_get_info": lambda card: (32 * 2**30, 64 * 2**30),
            "memory_reserved": lambda card: 3 * 2**30,
            "memory_allocated": lambda card: 2**30,
        }.items():
            monkeypatch.setattr(cuda, name, said)
        monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
        monkeypatch.setattr(torch.version, "cuda", "12.8")
        monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91002)

    @staticmethod
    def place(card: int | str | torch.device) -> int:
        return card if isinstance(card, int) else torch.device(card).index or 0

    def seed_all(self, seed: int) -> None:
        for stream in self.streams:
            stream.manual_seed(seed)

    @property
    def states(self) -> list[list[int]]:
        return [stream.get_state().tolist() for stream in self.streams]
