"""A guard looks at the bits that come in, and says when they are not those that natural images give.

Two parts. `Looks` turns a row of bits into a few scores, fitted on natural rows: how far its weight is off, how far its bits
are off their shares, how far it leaves the directions in which natural rows vary, how much it keeps out of their clusters.
`NaturalBits` bets against honesty, row by row: a row in the far tail of a score multiplies the stake, any other lowers it.
Its bets are fair or worse for natural rows, so the stakes of honest clients stay low: that is where the stated rate of false
alarms comes from.
"""

import json
import math
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from groundglass.core.settings import In, Settings
from groundglass.core.states import CheckedFile
from groundglass.core.untrusted import damaged
from groundglass.optics.device import as_bits
from groundglass.service.looks import LOOKS, Looks

_FILE = CheckedFile("guard file", "groundglass-guard", "guard", "fit the guard again", sealed=True)
# Shares of the calibration rows beyond the levels of a score. Beyond the first there is none.
_TAILS = (0.0, 0.001, 0.01, 0.1)
# Of fewer calibration rows next to nothing follows.
_LEAST = 20
# Shares of the stake that are bet: the small ones see rows of a retrieval among many natural ones.
_BETS = (0.5, 0.05, 0.005, 0.0005)


@dataclass(frozen=True)
class Finding:
    """What a guard has seen.

    Attributes:
        name: the score that gave it away.
        score: the stake that was reached.
        limit: at which the guard speaks.
        frames: of this stream, since it began or since its last finding.
        together: it was seen in the stream of all clients, not in this client's own.
    """

    name: str
    score: float
    limit: float
    frames: int
    together: bool = False


@dataclass(frozen=True, kw_only=True)
class GuardSettings(Settings):
    """How a guard decides.

    Attributes:
        frames: false alarms are so rare: on average at least so many frames of natural traffic lie between two of them.
        confidence: that the calibration rows did not understate how often natural rows reach a tail.
        together: also look at the stream of all clients together, which sees who spreads a retrieval over many tokens.
    """

    frames: Annotated[float, In("[1, inf)")] = 1e8
    confidence: Annotated[float, In("(0, 1)")] = 0.99
    together: bool = True


@dataclass(eq=False)
class _Stream:
    """Stakes of each score and bet, [scores * bets], and the frames since they began."""

    stakes: npt.NDArray[np.float64]
    frames: int = 0


@dataclass(frozen=True, eq=False)
class NaturalBits:
    """A guard that knows natural rows, and bets that a client's are not.

    For each score and each bet there is a stake R, after each row (R + 1) e; e = 1 - bet + bet * sum_k w / p_k over the
    levels k of the score that the row is beyond, where p_k is an upper bound of the share of natural rows beyond. So E[e] <=
    1, the mean of all stakes less the number of frames never grows on average, and by Doob the mean reaches `frames` on
    average no sooner than after `frames` frames; within n frames with a chance of at most n / frames. That holds if natural
    rows are independent of each other and come from where the calibration rows do, given the group where there are groups:
    then clients may send groups in any order.

    Source: the Shiryaev-Roberts e-detector of Shin, Ramdas, Rinaldo, "E-detectors: a nonparametric framework for sequential
    change detection", 2022 (arXiv 2203.03532), with bets on exceedances; p_k after Clopper and Pearson, 1934, at `confidence`
    over all levels.

    Stakes of a stream do not depend on how its rows are cut into batches. A finding ends a stream, and another begins.
    Thread-safe.

    Attributes:
        looks: the scores.
        levels: float64 [scores, levels], falling.
        shares: float64 [scores, levels], the upper bounds p_k.
        calibrated: rows of the calibration.
    """

    looks: Looks = field(repr=False)
    levels: npt.NDArray[np.float64] = field(repr=False)
    shares: npt.NDArray[np.float64] = field(repr=False)
    calibrated: int
    settings: GuardSettings = field(default_factory=GuardSettings)
    _streams: dict[str | None, _Stream] = field(default_factory=dict, init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    @classmethod
    def fit(
        cls,
        rows: Tensor,
        calibration: Tensor,
        *,
        groups: Sequence[int] | Tensor | None = None,
        settings: GuardSettings | None = None,
    ) -> "NaturalBits":
        """A guard of natural rows.

        Args:
            rows: uint8 [rows, N]: bits of training images; the scores are fitted to them.
            calibration: uint8 [rows, N]: bits of images that neither the network nor the scores have seen, as clients send them.
            groups: of each calibration row, its class: no group is beyond a level more often than is allowed for. Costs power.
            settings: how it decides.

        Raises:
            ValueError: too few rows, or not of one width.
        """
        settings = settings or GuardSettings()
        looks = Looks.fit(as_bits(rows, rows.shape[1]))
        scores = looks.scores(as_bits(calibration, rows.shape[1]))
        if len(scores) < _LEAST:
            raise ValueError(
                f"{len(scores)} rows to calibrate with are too few: give at least {_LEAST}, better thousands"
            )
        falling = -np.sort(-scores, axis=0)
        places = [round(tail * len(scores)) for tail in _TAILS]
        levels = falling[places].T.copy()
        named = np.zeros(len(scores), np.int64) if groups is None else np.asarray(groups, dtype=np.int64)
        if named.shape != (len(scores),):
            raise ValueError(f"`groups` has {named.shape}, and there are {len(scores)} rows to calibrate with")
        each = np.unique(named)
        error = (1 - settings.confidence) / (levels.size * len(each))
        shares = np.zeros_like(levels)
        for group in each:
            beyond = (scores[named == group, :, None] > levels).sum(0)
            count = int((named == group).sum())
            bounds = {int(k): upper_share(int(k), count, error) for k in np.unique(beyond)}
            shares = np.maximum(shares, np.vectorize(bounds.__getitem__, otypes=[float])(beyond))
        return cls(looks, levels, shares, len(scores), settings)

    @property
    def in_features(self) -> int:
        return self.looks.in_features

    def __repr__(self) -> str:
        return f"NaturalBits({self.in_features} bits, calibrated with {self.calibrated} rows, {self.settings})"

    def factors(self, bits: Tensor | npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        """What each row does to the stakes, before a bet's share: sum_k w / p_k, float64 [rows, scores]."""
        scores = self.looks.scores(
            as_bits(bits if isinstance(bits, Tensor) else torch.from_numpy(bits), self.in_features)
        )
        return ((scores[:, :, None] > self.levels) / self.shares).mean(2)

    def look(self, client: str, bits: Tensor | npt.NDArray[np.uint8]) -> Finding | None:
        """The first finding among these rows, [rows, N], that follow those of earlier calls; None where there is none.

        The client's own stream is looked at first, then that of all clients.

        Raises:
            TypeError, ValueError: what is not bits [rows, N].
        """
        rows = _multipliers(self.factors(bits))
        with self._lock:
            names = (client, None) if self.settings.together else (client,)
            streams = [self._streams.setdefault(name, _Stream(np.zeros(rows.shape[1]))) for name in names]
            found = self._follow(streams, rows)
        return next((one for one in found if one is not None), None)

    def _follow(self, streams: Sequence[_Stream], rows: npt.NDArray[np.float64]) -> list[Finding | None]:
        """Go on with streams that have these rows in common; the first finding of each."""
        # Each of them may raise a false alarm.
        limit = self.settings.frames * len(streams)
        found: list[Finding | None] = [None] * len(streams)
        stakes, begun = np.stack([stream.stakes for stream in streams]), 0
        ended = [stream.frames for stream in streams]
        for row in rows:
            begun += 1
            stakes += 1
            stakes *= row
            if stakes.sum() < limit * len(row):
                continue
            for k, own in enumerate(stakes):
                if (mean := float(own.mean())) >= limit:
                    found[k] = found[k] or Finding(_loudest(own), mean, limit, ended[k] + begun, k > 0)
                    own[:], ended[k] = 0, -begun
        for stream, own, before in zip(streams, stakes, ended, strict=True):
            stream.stakes, stream.frames = own, before + begun
        return found

    def stakes(self, factors: npt.NDArray[np.float64], limits: Sequence[float]) -> list[tuple[int, str] | None]:
        """Of one fresh stream: the frames at which its stake reaches each limit first, and by which score; None where it does
        not."""
        found: list[tuple[int, str] | None] = [None] * len(limits)
        rows = _multipliers(factors)
        stakes = np.zeros(rows.shape[1])
        for frame, row in enumerate(rows, 1):
            stakes += 1
            stakes *= row
            mean = float(stakes.mean())
            for k, limit in enumerate(limits):
                if found[k] is None and mean >= limit:
                    found[k] = (frame, _loudest(stakes))
            if None not in found:
                break
        return found

    def save(self, path: Path | str) -> None:
        """Write it to one small file. Nothing of the device is in it; what it says of natural rows the model file says too."""
        tensors = {
            **self.looks.tensors(),
            "levels": torch.from_numpy(self.levels),
            "shares": torch.from_numpy(self.shares),
        }
        note = {"calibrated": self.calibrated, "settings": asdict(self.settings)}
        _FILE.save(path, tensors, json.dumps(note, sort_keys=True))

    @classmethod
    def load(cls, path: Path | str, *, settings: GuardSettings | None = None) -> "NaturalBits":
        """A guard from its file, with its settings or others.

        Raises:
            FileNotFoundError: there is none.
            DamagedFileError: truncated, altered, or something else.
        """
        tensors, note = _FILE.load(path)
        with damaged(f"the guard file {path}", "fit the guard again"):
            looks = Looks.of(tensors)
            shape = (len(LOOKS), len(_TAILS))
            levels, shares = (tensors[name].numpy() for name in ("levels", "shares"))
            if any(one.shape != shape or one.dtype != np.float64 for one in (levels, shares)):
                raise ValueError("its levels are not those of this version's scores")
            if not (np.isfinite(levels).all() and (shares > 0).all() and (shares <= 1).all()):
                raise ValueError("its shares are not in (0, 1]")
            kept = GuardSettings(**note["settings"])
            return cls(looks, levels, shares, int(note["calibrated"]), settings or kept)


def _multipliers(factors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """e of each row: float64 [rows, scores * bets]."""
    bets = np.array(_BETS)
    return ((1 - bets) + bets * factors[:, :, None]).reshape(len(factors), len(LOOKS) * len(_BETS))


def _loudest(stakes: npt.NDArray[np.float64]) -> str:
    """The score with the largest of these stakes."""
    return LOOKS[int(stakes.argmax()) // len(_BETS)]


def upper_share(beyond: int, rows: int, error: float) -> float:
    """The largest share of which `beyond` or fewer of `rows` come with a chance of `error`: Clopper and Pearson's upper bound."""
    low, high = beyond / rows, 1.0
    whole = math.lgamma(rows + 1)
    parts = [whole - math.lgamma(k + 1) - math.lgamma(rows - k + 1) for k in range(beyond + 1)]
    if beyond >= rows:
        return 1.0
    for _ in range(60):
        share = (low + high) / 2
        if share >= 1:
            break
        logs = [part + k * math.log(share) + (rows - k) * math.log1p(-share) for k, part in enumerate(parts)]
        most = max(logs)
        chance = most + math.log(sum(math.exp(one - most) for one in logs))
        low, high = (share, high) if chance > math.log(error) else (low, share)
    return high
