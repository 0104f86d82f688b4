"""The parsimonious attack: which blocks of the image go up by eps and which go down, by lazy greedy local search."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from groundglass.attacks.balls import Linf
from groundglass.attacks.questions import Ask, Live, State
from groundglass.attacks.search import ScoreAttack
from groundglass.core import counting, whole
from groundglass.core.settings import Count

# What a slot does next. Within a mini-batch of blocks, the members are those that are at +eps.
_LOOK, _SCAN_IN, _LAZY_IN, _SCAN_OUT, _LAZY_OUT = range(5)
_ABSENT = -torch.inf


@dataclass(frozen=True, kw_only=True)
class Parsimonious(ScoreAttack):
    """Combinatorial search over the corners of the L-inf ball (Moon, An and Song 2019).

    Every block of every channel is at -eps, at first, or at +eps. Mini-batches of blocks in random order are searched:
    blocks go in (to +eps) as long as the loss rises, then out again. A gain is computed for each, kept in a queue, and
    only computed anew when it comes first (lazy greedy): gains shrink as others are taken, so most need no second look.
    Every question is a corner of the ball; no gradient is estimated, and nothing has to be differentiable.

    The defaults are what the paper's text says (section 3.2.1: block 4, batch 64, no hierarchical evaluation). Its code ran
    with hierarchical evaluation, blocks of 4, 2 and 1, and 20,000 queries; so its Figure 3 shows `hierarchical=True`.

    Equal losses: as in the original, a block that changes nothing goes in, and out again in the same turn. On a loss of
    steps such blocks cost two queries a round and lead nowhere.

    Differences from the original:
        - It evaluates 100 candidates in one pass and counts those up to the first that fools the model. Here `group`
          candidates are asked at a time, and all that were asked count. With 1 the sequences are the same.
        - Losses are in float64: of a confident network float32's differences are zero.
        - Blocks that do not divide the image are cut at its border; the original enlarges noise of a power of two.

    Attributes:
        block_size: side of the first blocks, pixels.
        mini_batch: blocks that are searched together.
        hierarchical: halve the side of the blocks whenever all of them have been searched, down to one pixel.
        iterations: insertions and deletions for one mini-batch before the next has its turn.
        group: candidates that an image asks about at once, where their order does not matter. More than 1 fills the
            model's batches when few images are left, and may spend some more queries on an image.
    """

    block_size: Count = 4
    mini_batch: Count = 64
    hierarchical: bool = False
    iterations: Count = 1
    group: Count = 1
    kinds = (Linf,)

    @property
    def title(self) -> str:
        """ "Hierarchical" where it halves its blocks: the paper's text has the one, its Figure 3 the other."""
        return "Hierarchical" if self.hierarchical else super().title

    def cost(self) -> int:
        return self.group

    def begin(self, live: Live) -> State:
        count, where = len(live), live.original.device

        def full(value: int | float | bool, *shape: int) -> Tensor:
            dtype = torch.float64 if isinstance(value, float) else None  # as losses are
            return torch.full((count, *shape), value, dtype=dtype, device=where)

        widths = live.ball.step(torch.ones_like(live.original), live.ball.radii)
        # Every pixel has one of two values: all corners of an image's box are mixed from these two.
        sides = [live.ball.project(live.original + s * widths, live.original) for s in (-1, 1)]
        state: State = {
            "x": sides[0].clone(),
            "below": sides[0],
            "above": sides[1],
            "up": torch.zeros_like(live.original, dtype=torch.bool),
            "size": full(min(self.block_size, *live.original.shape[2:])),
            "round": full(0),
            "part": full(0),
            "iteration": full(0),
            "phase": full(_LOOK),
            "current": full(0.0),
            "blocks": full(-1, self.mini_batch),
            "member": full(False, self.mini_batch),
            "todo": full(False, self.mini_batch),
            "gain": full(_ABSENT, self.mini_batch),
        }
        return self._with_blocks(live, state, live.slots)

    def step(self, live: Live, state: State, ask: Ask) -> State:
        chosen = self._questions(state)
        slots, column = chosen.nonzero(as_tuple=True)
        blocks = torch.cat([state["blocks"], torch.full_like(state["size"], -1)[:, None]], dim=1)[slots, column]
        # One block of each image is turned; most slots ask about one image, and then that is all that is copied.
        x = state["x"].clone() if len(slots) == len(live) else state["x"][slots]
        _turn(state, x, counting(len(slots), slots.device), slots, blocks)
        answer = ask(x, slots, inside=True)
        return self._settled(live, self._learned(state, slots, column, answer.loss))

    def _questions(self, state: State) -> Bool[Tensor, "s b1"]:
        """Which blocks each slot asks to flip now; the last column is for no block: the noise as it is."""
        phase, todo = state["phase"], state["todo"]
        scans = (phase == _SCAN_IN) | (phase == _SCAN_OUT)
        lazy = (phase == _LAZY_IN) | (phase == _LAZY_OUT)
        chosen = todo & (todo.cumsum(1) <= self.group) & scans[:, None]
        first = state["gain"].argmax(1, keepdim=True)
        chosen |= torch.zeros_like(chosen).scatter_(1, first, True) & lazy[:, None]
        return torch.cat([chosen, (phase == _LOOK)[:, None]], dim=1)

    def _learned(self, state: State, slots: Tensor, column: Tensor, loss: Tensor) -> State:
        """The state after the answers: gains for the queue, or a block taken, or the end of a search."""
        phase, current = state["phase"], state["current"]
        gain, todo, member = state["gain"].clone(), state["todo"].clone(), state["member"]
        looked, scanned = phase[slots] == _LOOK, todo[slots, column.clamp_max(todo.shape[1] - 1)]
        lazy = ~looked & ~scanned

        loss = loss.to(current.dtype)
        at, place = slots[scanned], column[scanned]
        gain[at, place] = loss[scanned] - current[at]
        todo[at, place] = False

        current = current.index_put((slots[looked],), loss[looked])
        todo[slots[looked]] = (state["blocks"] >= 0)[slots[looked]] & ~member[slots[looked]]
        phase = phase.index_put((slots[looked],), torch.full_like(slots[looked], _SCAN_IN))

        at, place = slots[lazy], column[lazy]
        new = loss[lazy] - current[at]
        others = gain[at].scatter(1, place[:, None], _ABSENT)
        comes_first = new >= others.amax(1)
        taken = comes_first & (new >= 0)
        gain[at, place] = torch.where(taken, torch.full_like(new, _ABSENT), new)
        gain[at[comes_first & ~taken]] = _ABSENT  # nothing that helps is left
        state = {**state, "gain": gain, "todo": todo, "phase": phase}
        return _taken({**state, "current": current.index_put((at[taken],), loss[lazy][taken])}, at[taken], place[taken])

    def _settled(self, live: Live, state: State) -> State:
        """Go on, without a question, until every slot has one to ask."""
        while True:
            phase, left = state["phase"], (state["gain"] > _ABSENT).any(1)
            scans = (phase == _SCAN_IN) | (phase == _SCAN_OUT)
            lazy = (phase == _LAZY_IN) | (phase == _LAZY_OUT)
            ended = scans & ~state["todo"].any(1)
            # One read tells of all slots: a card is waited for once.
            which = torch.stack([ended, ended & left, lazy & ~left]).tolist()
            scanned, full, over = (live.at([slot for slot, yes in enumerate(one) if yes]) for one in which)
            if len(scanned):
                # The best of the queue is taken at once: its gain is fresh.
                best = state["gain"][full].argmax(1)
                gains = state["gain"][full, best]
                current = state["current"].index_add(0, full, gains)
                gain = state["gain"].index_put((full, best), torch.full_like(gains, _ABSENT))
                state = _taken({**state, "current": current, "gain": gain}, full, best)
                state["phase"] = phase.index_add(0, scanned, torch.ones_like(scanned))
                continue
            if not len(over):
                return state
            state = self._next_search(live, state, over)

    def _next_search(self, live: Live, state: State, over: Tensor) -> State:
        """From insertion to deletion, from there to the next iteration or the next mini-batch."""
        phase, member, valid = state["phase"].clone(), state["member"], state["blocks"] >= 0
        todo, iteration = state["todo"].clone(), state["iteration"].clone()
        inserted = over[phase[over] == _LAZY_IN]
        deleted = over[phase[over] == _LAZY_OUT]
        phase[inserted] = _SCAN_OUT
        todo[inserted] = (valid & member)[inserted]
        iteration[deleted] += 1
        again = deleted[iteration[deleted] < self.iterations]
        phase[again] = _SCAN_IN
        todo[again] = (valid & ~member)[again]
        done = deleted[iteration[deleted] >= self.iterations]
        phase[done] = _LOOK
        iteration[done] = 0
        state = {**state, "phase": phase, "todo": todo, "iteration": iteration}
        if not len(done):
            return state
        part = state["part"].index_add(0, done, torch.ones_like(done))
        count = _block_count(live.original.shape[1:], state["size"])
        finished = done[part[done] * self.mini_batch >= count[done]]
        part[finished] = 0
        rounds, size = state["round"].index_add(0, finished, torch.ones_like(finished)), state["size"].clone()
        if self.hierarchical:
            size[finished] = (size[finished] // 2).clamp_min(1)
        return self._with_blocks(live, {**state, "part": part, "round": rounds, "size": size}, done)

    def _with_blocks(self, live: Live, state: State, slots: Tensor) -> State:
        """Give `slots` the blocks of their mini-batch: a piece of this round's random order."""
        blocks, shape = state["blocks"].clone(), live.original.shape[1:]
        for size in state["size"][slots].unique():
            those = slots[state["size"][slots] == size]
            count = int(_block_count(shape, size))
            which, rounds = torch.stack([those, state["round"][those]]).tolist()
            order = live.permutation(count, path=("parsimonious",), slots=which, when=rounds)
            start = state["part"][those, None] * self.mini_batch
            places = start + counting(self.mini_batch, slots.device)
            blocks[those] = order.gather(1, places.clamp_max(count - 1)).where(places < count, -1)
        row, column, channel = _corners(blocks[slots].clamp_min(0), state["size"][slots, None], shape)
        member = state["member"].clone()
        member[slots] = state["up"][slots[:, None], channel, row, column]
        return {**state, "blocks": blocks, "member": member}


def _taken(state: State, slots: Tensor, place: Tensor) -> State:
    """Turn one block of each of `slots`, in or out of the members. Changes images and members where they are."""
    if len(slots):
        blocks = state["blocks"][slots, place]
        _turn(state, state["x"], slots, slots, blocks, keep=True)
        state["member"][slots, place] ^= True
    return state


def _block_count(shape: torch.Size, size: Tensor) -> Int64[Tensor, "..."]:
    channels, height, width = shape
    return -(-height // size) * -(-width // size) * channels


def _corners(block: Tensor, size: Tensor, shape: torch.Size) -> tuple[Tensor, Tensor, Tensor]:
    """Row and column of a block's first pixel, and its channel."""
    channels, _, width = shape
    across = -(-width // size)
    return block // channels // across * size, block // channels % across * size, block % channels


def _turn(state: State, x: Tensor, rows: Tensor, slots: Tensor, blocks: Tensor, *, keep: bool = False) -> None:
    """Move a block of each of some rows of `x` to the other side of its slot's box; none where `blocks` is negative.

    Args:
        keep: note in the state which side the block is on now.
    """
    shape = state["x"].shape[1:]
    for size in state["size"].unique().tolist():
        these = ((state["size"][slots] == size) & (blocks >= 0)).nonzero().squeeze(1)
        if not len(these):
            continue
        pixels = _pixels(shape, size).to(x.device)[blocks[these]]
        up = state["up"].flatten(1)[slots[these, None], pixels]
        below, above = (state[side].flatten(1)[slots[these, None], pixels] for side in ("below", "above"))
        x.view(len(x), -1)[rows[these, None], pixels] = torch.where(up, below, above)
        if keep:
            state["up"].view(len(state["up"]), -1)[slots[these, None], pixels] = ~up


@lru_cache(maxsize=32)
def _pixels(shape: torch.Size, size: int) -> Int64[Tensor, "blocks pixels"]:
    """Where the pixels of each block are in an image as a vector; some twice for a block that is cut at the border."""
    count = int(_block_count(shape, whole(size)))
    row, column, channel = _corners(counting(count), whole(size), shape)
    rows = (row[:, None] + counting(size)).clamp_max(shape[1] - 1)
    columns = (column[:, None] + counting(size)).clamp_max(shape[2] - 1)
    return ((channel[:, None, None] * shape[1] + rows[:, :, None]) * shape[2] + columns[:, None, :]).flatten(1)
