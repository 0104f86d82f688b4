"""Records of the study of size as the report reads them: costs, laws, and networks behind devices of many sizes."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from groundglass.core import DamagedFileError
from groundglass.core.statistics import Proportion, survivors
from groundglass.old_report.cells import BASELINE, AttackCell, norm_name
from groundglass.old_report.networks import read_network
from groundglass.old_report.study import Study
from groundglass.old_report.threat_models import rank
from groundglass.results.records import Record

#: In this order everywhere.
KINDS = ("dense", "procedural", "structured")

_Read = TypeVar("_Read")
# Networks of this study have their N and M in their names.
_SIZED = re.compile(r"VGG-OPU \d+x\d+( \w+)?")


@dataclass(frozen=True)
class Cost:
    """What a device of one size costs: seconds of one measurement and of each of a batch, and bytes.

    Attributes:
        sweep: "square" for N = M, else what grows: "outputs" or "inputs".
        block: outputs that were measured.
        projected: whether the rest of the outputs is projected from them.
        make, one, each: seconds.
        held, peak: bytes between measurements, and at most; the peak is None where the system does not tell.
    """

    kind: str
    n: int
    m: int
    sweep: str
    block: int
    projected: bool
    batch: int
    make: float
    one: float
    each: float
    held: int
    peak: int | None
    threads: int

    @property
    def size(self) -> int:
        """What grows in its sweep."""
        return self.m if self.sweep == "outputs" else self.n


@dataclass(frozen=True)
class Fit:
    """quantity = factor * size^exponent, between two sizes; `sweep` as in `Cost`."""

    kind: str
    sweep: str
    quantity: str
    exponent: float
    factor: float
    low: int
    high: int


@dataclass(frozen=True)
class LawOfMedium:
    """A law, as one medium has it. `allowed`: media that pass for speckle may fail it."""

    name: str
    measured: float
    expected: float
    score: float
    holds: bool
    says: str
    allowed: bool


@dataclass(frozen=True)
class Medium:
    """A medium that was held against the laws."""

    name: str
    standin: bool
    n: int
    m: int
    laws: tuple[LawOfMedium, ...]

    @property
    def label(self) -> str:
        return f"{self.name}, {self.n:,} × {self.m:,}"

    @property
    def failing(self) -> list[LawOfMedium]:
        return [law for law in self.laws if not law.holds]

    def law(self, name: str) -> LawOfMedium | None:
        return next((law for law in self.laws if law.name == name), None)


@dataclass(frozen=True)
class Rows:
    """What retrieving some rows of U took; `row` is the seconds of computing of each."""

    kind: str
    n: int
    rows: int
    frames: int
    seconds: float
    row: float
    error: float
    failed: int
    threads: int


@dataclass(frozen=True)
class Ball:
    """A radius on the images. `name` is in words."""

    norm: str
    eps: float
    name: str
    short: str


@dataclass(frozen=True)
class Network:
    """A network, untouched and under attack; N, M and kind are None and empty for VGG-16.

    Attributes:
        left: accuracy by (ball's norm, eps) and rule.
        together: by (norm, eps): right after every one of those attacks, image by image; None without their arrays.
        rows: of a retrieval of its device's matrix, or of another of its kind and N.
    """

    name: str
    n: int | None
    m: int | None
    kind: str
    clean: Proportion
    left: dict[tuple[str, float], dict[str, Proportion]]
    together: dict[tuple[str, float], Proportion]
    rows: Rows | None

    @property
    def label(self) -> str:
        """ "512 × 8,000", and the kind where it is not dense."""
        if self.n is None or self.m is None:
            return self.name
        return f"{self.n:,} × {self.m:,}" + ("" if self.kind == "dense" else f" {self.kind}")

    def by(self, ball: Ball, rule: str) -> Proportion | None:
        return self.left.get((ball.norm, ball.eps), {}).get(rule)

    def worst(self, ball: Ball) -> Proportion | None:
        """Right after all attacks; where that is not known, the least that one of them leaves."""
        key = (ball.norm, ball.eps)
        return self.together.get(key) or min(self.left.get(key, {}).values(), key=lambda p: p.share, default=None)

    @property
    def entries(self) -> int:
        return (self.n or 0) * (self.m or 0)

    @property
    def readings(self) -> int:
        """Readings that retrieving U takes: a frame has M."""
        return 0 if self.rows is None else self.rows.frames * (self.m or 0)

    @property
    def computing(self) -> float:
        """Seconds of computing that retrieving U takes: those of a row, times M."""
        return 0.0 if self.rows is None else self.rows.row * (self.m or 0)


@dataclass(frozen=True)
class Scale:
    """The study of size. Networks are in the order of N M, the dense ones first; VGG-16 is apart."""

    costs: tuple[Cost, ...]
    fits: tuple[Fit, ...]
    media: tuple[Medium, ...]
    rows: tuple[Rows, ...]
    baseline: Network | None
    networks: tuple[Network, ...]
    balls: tuple[Ball, ...]

    @property
    def rules(self) -> list[str]:
        """That attacked any of the networks, in the order used everywhere."""
        return sorted({rule for one in self.networks for left in one.left.values() for rule in left}, key=rank)

    def of(self, sweep: str, kind: str) -> list[Cost]:
        """From the smallest."""
        return sorted((c for c in self.costs if (c.sweep, c.kind) == (sweep, kind)), key=lambda c: c.size)

    def grown(self, networks: Sequence[Network]) -> list[tuple[str, Network, Network]]:
        """ "N" and "M", with the smallest of these networks and the largest that differs from it in that alone."""
        least = min(networks, key=lambda one: (one.entries, one.n), default=None)
        if least is None:
            return []
        alike = [one for one in networks if one.kind == least.kind]
        wider = max((one for one in alike if one.m == least.m), key=lambda one: one.n or 0)
        longer = max((one for one in alike if one.n == least.n), key=lambda one: one.m or 0)
        return [(name, least, most) for name, most in (("N", wider), ("M", longer)) if most is not least]

    def fit(self, kind: str, sweep: str, quantity: str) -> Fit | None:
        found = (f for f in self.fits if (f.kind, f.sweep, f.quantity) == (kind, sweep, quantity))
        return next(found, None)


def read_scale(study: Study) -> Scale | None:
    """The study of size; None where none of its records is there.

    Raises:
        DamagedFileError: a record that cannot be read.
    """
    costs = tuple(_read(record, _cost) for record in study.of_kind("cost"))
    media = tuple(_read(record, _medium) for record in study.of_kind("fidelity"))
    rows = tuple(_read(record, _rows) for record in study.of_kind("rows"))
    fits = tuple(fit for record in study.of_kind("fit") for fit in _read(record, _fits))
    attacks = [r for r in study.of_kind("attack") if r.config.get("purpose") == "scale"]
    # Those whose features they have are not attacked; in a folder of all studies there are networks of others.
    trained = [r for r in study.of_kind("train") if r.name == BASELINE or _SIZED.fullmatch(r.name)]
    if not (costs or media or rows or attacks):
        return None
    networks = [_network(study, record, attacks, rows) for record in trained]
    defended = [one for one in networks if one.n is not None]
    balls = {(c.norm, c.eps): c for c in map(AttackCell.from_record, attacks)}
    return Scale(
        costs=tuple(sorted(costs, key=lambda c: (_place(c.kind), c.sweep != "square", c.sweep, c.size))),
        fits=fits,
        media=media,
        rows=rows,
        baseline=next((one for one in networks if one.name == BASELINE), None),
        networks=tuple(sorted(defended, key=lambda one: (_place(one.kind), one.entries, one.n))),
        balls=tuple(_ball(balls[key]) for key in sorted(balls)),
    )


def _place(kind: str) -> int:
    return KINDS.index(kind) if kind in KINDS else len(KINDS)


def _ball(cell: AttackCell) -> Ball:
    short = f"{norm_name(cell.norm)} ε = {cell.radius}"
    paper = f" (the paper's {cell.eps_paper:.3g})" if cell.eps_paper is not None else ""
    return Ball(cell.norm, cell.eps, short + paper, f"ε = {cell.radius}")


def _network(study: Study, record: Record, attacks: Sequence[Record], rows: Sequence[Rows]) -> Network:
    own = [r for r in attacks if record.key in r.inputs]
    left: dict[tuple[str, float], dict[str, Proportion]] = {}
    arrays: dict[tuple[str, float], list[Any]] = {}
    for attack in own:
        cell = AttackCell.from_record(attack)
        left.setdefault((cell.norm, cell.eps), {})[cell.rule] = cell.robust
        if attack.arrays is not None:
            arrays.setdefault((cell.norm, cell.eps), []).append(study.store.arrays(attack))
    whole = {key: survivors(found) for key, found in arrays.items() if len(found) == len(left[key])}
    device: dict[str, Any] = record.result.get("device") or {}
    n, m = device.get("in_features"), device.get("out_features")
    kind = str(device.get("kind", "dense")) if device else ""
    found = next((one for one in rows if (one.kind, one.n) == (kind, n)), None)
    clean = read_network(record).clean
    together = {key: share for key, share in whole.items() if share is not None}
    return Network(record.name, n, m, kind, clean, left, together, found)


def _read(record: Record, make: Callable[[dict[str, Any], dict[str, Any]], _Read]) -> _Read:
    try:
        return make(record.config, record.result)
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedFileError(
            f"the record {record.key} ({record.name}) is no {record.kind} as this version writes it: "
            f"{type(error).__name__} {error}. Rebuild the page with the version that ran the study"
        ) from error


def _cost(config: dict[str, Any], result: dict[str, Any]) -> Cost:
    peak = result["peak_bytes"]
    return Cost(
        kind=str(config["device_kind"]),
        n=int(config["in_features"]),
        m=int(config["out_features"]),
        sweep=str(config["sweep"]),
        block=int(config["block"]),
        projected=bool(result["projected"]),
        batch=int(config["batch"]),
        make=float(result["make_seconds"]),
        one=float(result["one_seconds"]),
        each=float(result["each_seconds"]),
        held=int(result["held_bytes"]),
        peak=None if peak is None else int(peak),
        threads=int(result["threads"]),
    )


def _fits(config: dict[str, Any], result: dict[str, Any]) -> list[Fit]:
    return [
        Fit(
            kind=str(one["device_kind"]),
            sweep=str(one["sweep"]),
            quantity=str(one["quantity"]),
            exponent=float(one["exponent"]),
            factor=float(one["factor"]),
            low=int(one["from"]),
            high=int(one["to"]),
        )
        for one in result["fits"]
    ]


def _medium(config: dict[str, Any], result: dict[str, Any]) -> Medium:
    laws = tuple(
        LawOfMedium(
            name=str(law["name"]),
            measured=float(law["measured"]),
            expected=float(law["expected"]),
            score=float(law["score"]),
            holds=bool(law["holds"]),
            says=str(law["says"]),
            allowed=bool(law["expected_to_differ"]),
        )
        for law in result["laws"]
    )
    sizes = int(config["in_features"]), int(config["out_features"])
    return Medium(str(config["medium"]), bool(config["standin"]), *sizes, laws)


def _rows(config: dict[str, Any], result: dict[str, Any]) -> Rows:
    return Rows(
        kind=str(config["device_kind"]),
        n=int(config["in_features"]),
        rows=int(result["rows"]),
        frames=int(result["frames"]),
        seconds=float(result["device_seconds"]),
        row=float(result["row_seconds"]),
        error=float(result["median_error"]),
        failed=int(result["failed"]),
        threads=int(result["threads"]),
    )
