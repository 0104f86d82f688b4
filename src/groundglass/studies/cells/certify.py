"""A cell that certifies a network by randomised smoothing, and attacks every image within its own certificate."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from torch import Tensor, nn

from groundglass.attacks import PGD
from groundglass.certify import Certified, Challenge, challenge, smooth
from groundglass.certify.challenges import CLIMB
from groundglass.certify.smoothing import Alpha
from groundglass.certify.tally import devices_of
from groundglass.core import load_state, save_state
from groundglass.core.schema import read, written
from groundglass.core.settings import Count, Positive
from groundglass.core.states import restoring
from groundglass.data import ImageSet
from groundglass.results import Record
from groundglass.results.kinds.certify import CertifyResult
from groundglass.studies.cells.attack import TRUE_MATRIX_RULES, rewind, seen_by
from groundglass.studies.cells.network import NEEDS_U, NetworkCell, is_given
from groundglass.studies.engine.cell import BaseCell, Outcome, key_of, scratch_of
from groundglass.studies.engine.context import Context

#: Of a certified radius: so far the attack goes, which must not succeed.
INSIDE = 0.99
#: Draws between two writes of what is done: seconds.
_DRAWS = 50_000
_FLAGS = ("attacked", "broken", "outside")


@dataclass(frozen=True, kw_only=True)
class CertifyCell(BaseCell):
    """Certify the first `n_images` of the test set; attack each certified image in a ball just smaller than its certificate's.

    Draws are counted on the copy of the network that is faster to ask, on which the attack climbs too. Whether a certificate is
    broken the network itself judges: what held for the copy alone would not stand. A certificate holds with confidence 1 - alpha,
    each on its own.

    Attributes:
        sigma: std of the noise, pixel units.
        n0, n, alpha: as of `SmoothedClassifier.certify`.
        radii: L2, at which certified accuracy is told; the first is that of tables.
        rule: what the attacker differentiates with; "bp" for an ordinary network.
        attack: in L2, to its end.
        attack_draws, judge_draws: noisy copies whose mean the attack climbs; draws that judge what it has found.
        control: times the certified radius, at which the same attack must break many: else it is too weak to check anything.
    """

    target: NetworkCell
    sigma: Positive
    n0: Count = 100
    n: Count = 1000
    alpha: Alpha = 0.001
    n_images: Count
    radii: tuple[Positive, ...] = (0.25,)
    rule: str = "bp"
    attack: PGD = CLIMB
    attack_draws: Count = 8
    judge_draws: Count = 100
    control: Positive = 20.0
    seed: int

    kind = "certify"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.radii:
            raise ValueError("`radii` is empty: give one, at which tables tell the certified accuracy")

    @property
    def name(self) -> str:
        return f"certificates of {self.target.name} (sigma {self.sigma:g})"

    def described(self) -> dict[str, Any]:
        return {"model": self.target.name, "attack": type(self.attack).__name__, "settings": asdict(self.attack)}

    def needs(self) -> str:
        return NEEDS_U if self.rule in TRUE_MATRIX_RULES and is_given(self.target) else ""

    def run(self, inputs: Sequence[Record], context: Context) -> Outcome:
        trained, test = inputs[0], context.dataset.test.head(self.n_images)
        itself, copy = context.network(trained), context.target(trained)
        seen, _ = seen_by(self.rule, trained, context, fit_images=0, seed=self.seed)
        state = CertifyState.begin(scratch_of(self, context), key_of(self), len(test), (self.n0, self.n))
        size = max(1, _DRAWS // (self.n0 + self.n))
        for first in range(state.done, len(test), size):
            # A noisy camera goes on with the noise that it would have had.
            rewind(itself, state.notes.frames)
            rows = range(first, min(first + size, len(test)))
            state.add(*self._part(itself, copy, seen, test, rows, context))
            context.progress(self.name, state.done, len(test), broken=int(state.rows["broken"].sum()))
        return self._outcome(state, test)

    def _part(
        self, itself: nn.Module, copy: nn.Module, seen: nn.Module, test: ImageSet, rows: range, context: Context
    ) -> tuple[Certified, dict[str, Tensor], int]:
        """Certificates of some images, what attacks on them found, and frames."""
        places = torch.tensor(rows, dtype=torch.int64, device="cpu")
        images = test.floats(places).to(context.where)
        asked = smooth(copy, self.sigma).certify(
            images, n0=self.n0, n=self.n, alpha=self.alpha, seed=self.seed, indices=places
        )
        radii = torch.tensor([one.radius for one in asked.images], dtype=torch.float64, device="cpu")
        sure, passes = radii > 0, 0
        found = {name: torch.zeros_like(sure) for name in _FLAGS}
        if bool(sure.any()):
            classes = torch.tensor([one.prediction for one in asked.images], dtype=torch.int64, device="cpu")[sure]
            who, certain = images[sure.to(images.device)], radii[sure]
            near = self._against(itself, seen, who, classes, INSIDE * certain, places[sure])
            # No two images are farther apart than black and white.
            beyond = (self.control * certain).clamp_max(images[0].numel() ** 0.5)
            far = self._against(copy, seen, who, classes, beyond, places[sure])
            found["attacked"][sure], found["broken"][sure], found["outside"][sure] = (
                near.attacked,
                near.broken,
                far.broken,
            )
            passes = near.passes + far.passes
        return asked, found, asked.frames + passes * len(devices_of(itself))

    def _against(
        self, judge: nn.Module, seen: nn.Module, images: Tensor, classes: Tensor, radii: Tensor, indices: Tensor
    ) -> Challenge:
        return challenge(
            smooth(judge, self.sigma),
            smooth(seen, self.sigma),
            images,
            classes,
            radii.tolist(),
            attack=self.attack,
            attack_draws=self.attack_draws,
            judge_draws=self.judge_draws,
            alpha=self.alpha,
            seed=self.seed,
            indices=indices,
        )

    def _outcome(self, state: "CertifyState", test: ImageSet) -> Outcome:
        rows = state.rows
        counted = (rows["chosen"], rows["estimated"], tuple(range(len(test))), test.labels, state.notes.frames)
        whole = Certified(self.sigma, self.alpha, *counted)
        right = [one.radius if one.prediction == one.label else None for one in whole.images]
        found = CertifyResult(
            n_images=len(whole),
            right=whole.certified_accuracy([0.0])[0.0],
            abstained=whole.abstained,
            certified=tuple(whole.certified_accuracy(self.radii).items()),
            mean_radius=sum(radius or 0.0 for radius in right) / len(whole),
            attacked=int(rows["attacked"].sum()),
            broken=int(rows["broken"].sum()),
            outside=int(rows["outside"].sum()),
            frames=state.notes.frames,
        )
        frame = whole.to_frame()
        arrays = {name: frame[name].to_numpy() for name in ("index", "label", "prediction", "radius", "count")}
        arrays |= {name: rows[name].numpy() for name in _FLAGS}
        return Outcome(found, arrays, earlier_seconds=state.earlier_seconds, scratch=state.path)


@dataclass(frozen=True, kw_only=True)
class _Notes:
    frames: int = 0
    seconds: float = 0.0


@dataclass(kw_only=True)
class CertifyState:
    """The first images with all that was found of them, written to a file part by part.

    Attributes:
        rows: one row an image that is done: draws that gave each class, and what attacks found.
    """

    path: Path
    key: str
    rows: dict[str, Tensor]
    notes: _Notes = field(default_factory=_Notes)
    earlier_seconds: float = 0.0
    started: float = field(default_factory=monotonic)

    @classmethod
    def begin(cls, path: Path, key: str, n_images: int, draws: tuple[int, int]) -> "CertifyState":
        """Afresh, or where an interrupted run stopped.

        Args:
            draws: of an image, that choose its class and that certify it.
        """
        state = cls(path=path, key=key, rows={})
        if path.exists():
            tensors, notes = load_state(path, {"key": key})
            with restoring(path):
                _check(tensors, n_images, draws)
                state.rows, state.notes = tensors, read(_Notes, notes, f"the notes of the checkpoint {path}")
                state.earlier_seconds = state.notes.seconds
        return state

    @property
    def done(self) -> int:
        """Images."""
        return len(self.rows["broken"]) if self.rows else 0

    def add(self, certified: Certified, attacked: dict[str, Tensor], frames: int) -> None:
        """The next images, with the frames that they took."""
        new = {"chosen": certified.chosen, "estimated": certified.estimated, **attacked}
        self.rows = {name: torch.cat([self.rows[name], more]) if self.rows else more for name, more in new.items()}
        seconds = monotonic() - self.started + self.earlier_seconds
        self.notes = replace(self.notes, frames=self.notes.frames + frames, seconds=seconds)
        told = {**written(self.notes), "passed": self.notes.frames}
        save_state(self.path, self.rows, told, {"key": self.key})


def _check(rows: dict[str, Tensor], n_images: int, draws: tuple[int, int]) -> None:
    """Refuse rows that no run has written."""
    counts, flags = [rows[name] for name in ("chosen", "estimated")], [rows[name] for name in _FLAGS]
    if len({len(one) for one in (*counts, *flags)}) > 1 or not 0 < len(flags[0]) <= n_images:
        raise ValueError(f"its rows are of other images than {n_images}")
    if any(one.dtype != torch.bool or one.ndim != 1 for one in flags):
        raise TypeError("its flags are of another type")
    for one, of_each in zip(counts, draws, strict=True):
        if one.dtype != torch.int64 or one.ndim != 2 or bool((one < 0).any()) or bool((one.sum(1) != of_each).any()):
            raise ValueError(f"its counts are not of {of_each} draws")
