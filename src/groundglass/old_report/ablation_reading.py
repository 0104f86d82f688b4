"""The ablation's records as the report reads them: what each network is made of, and what each attack did to it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from groundglass.core import DamagedFileError
from groundglass.core.statistics import Proportion
from groundglass.old_report.cells import BASELINE, AttackCell, norm_name
from groundglass.old_report.pairing import clearly_fewer, stands
from groundglass.old_report.queries import QueryCell, ball_name
from groundglass.old_report.query_attackers import query_rank
from groundglass.old_report.study import Study
from groundglass.old_report.threat_models import attacker
from groundglass.old_report.transfers import label_rank, read_transferred
from groundglass.results.records import Record

PAPER = ("DFA", "BIN", "RP", "OPU")
REFERENCE = "OPU"
# OPU trained whole, and its classifier fitted again: what variants on its features are to be held against.
REFITTED = "OPU refitted"
_TOP = (BASELINE, *PAPER, REFITTED)
# From what needs the least to what needs the secret; each of the last three is the right gradient of some head.
_RULES = ("dfa", "bpda-fit-linear", "bp", "ste", "exact")
KNOWING = ("bp", "ste", "exact")
_CREDIT = {"bp": "one stage, backpropagation", "hybrid-dfa": "one stage, hybrid DFA"}
_ENCODING = {"bits": "threshold per image", "bits-batch": "threshold of the batch", "float": "none"}


@dataclass(frozen=True)
class Network:
    """A network of the ablation: what its head is made of, in words. `clean` and sizes are None where not known."""

    name: str
    clean: Proportion | None
    binarisation: str = "–"
    projection: str = "–"
    camera: str = "–"
    n: int | None = None
    m: int | None = None
    trained: str = "–"

    @property
    def in_two_stages(self) -> bool:
        return self.trained.startswith("two stages")


@dataclass(frozen=True)
class Met:
    """What one attack did to one network.

    Attributes:
        series: the rule, the query attack, or the label of the transferred attack.
        kept: images that stay right, of those that were attacked.
        shown: what the table tells: `kept`, or of a query attack the images fooled.
        median: queries of the images fooled, or None.
        flat: share of gradient estimates that were exactly zero, or None.
        budget: queries an image, or None.
        stands: index of each image that was attacked -> whether it stays right.
    """

    network: str
    series: str
    norm: str
    eps: float
    kept: Proportion
    shown: Proportion
    median: float | None = None
    flat: float | None = None
    budget: int | None = None
    stands: Mapping[int, bool] = field(default_factory=dict, repr=False, compare=False)

    @property
    def column(self) -> "Column":
        return Column(self.series, self.norm, self.eps, self.budget)

    @property
    def ball(self) -> str:
        return ball_name(self.norm, self.eps)

    @property
    def at_floor(self) -> bool:
        """Next to nothing left: the interval cannot be told from 1%, and is below 10%."""
        low, high = self.kept.interval
        return low < 0.01 and high < 0.1

    def clearly_below(self, other: "Met") -> bool:
        """Whether fewer images stand here than in `other`, by the same images: an exact McNemar test at `LEVEL`."""
        return clearly_fewer(self.stands, other.stands)


@dataclass(frozen=True)
class Column:
    """An attack at a radius; of a query attack with its budget."""

    series: str
    norm: str
    eps: float
    budget: int | None = None

    @property
    def radius(self) -> str:
        """As in `ball_name`, without the norm."""
        return ball_name(self.norm, self.eps).split(" = ")[1]


@dataclass(frozen=True)
class Threat:
    """The attacks of a threat model.

    Attributes:
        name: "white-box", "black-box" or "transfer".
        series: in order; `label` puts one into words.
        networks: names, in order, of those that were attacked.
        columns: series by series, radii rising.
        mets: what happened, by network and column.
    """

    name: str
    series: tuple[str, ...]
    networks: tuple[str, ...]
    columns: tuple[Column, ...]
    mets: Mapping[tuple[str, Column], Met]

    def of(self, series: str) -> list[Met]:
        return [met for (_, column), met in self.mets.items() if column.series == series]

    def label(self, series: str) -> str:
        return rule_label(series) if self.name == "white-box" else series

    def row(self, network: str) -> list[Met | None]:
        return [self.mets.get((network, column)) for column in self.columns]

    @property
    def groups(self) -> list[tuple[str, list[Column]]]:
        """(label, columns) for a table's head; the norm where it is not L∞."""
        keys = list(dict.fromkeys((column.series, column.norm) for column in self.columns))
        return [
            (
                self.label(series) + ("" if norm == "linf" else f", {norm_name(norm)}"),
                [column for column in self.columns if (column.series, column.norm) == (series, norm)],
            )
            for series, norm in keys
        ]


def rule_label(rule: str) -> str:
    return attacker(rule).label


def read_threats(study: Study) -> list[Threat]:
    """White-box, black-box and transfer, those that have records.

    Raises:
        DamagedFileError: a record that cannot be read, or whose arrays tell other numbers.
    """
    part = part_names(study)
    attacks = [AttackCell.from_record(record) for record in records(study, "attack")]
    white = [
        Met(part.get(c.model, c.model), c.rule, c.norm, c.eps, c.robust, c.robust, stands=stands(study, c.record))
        for c in attacks
    ]
    queries = [QueryCell.from_record(record) for record in records(study, "query")]
    black = [
        Met(
            part.get(c.model, c.model),
            c.attack,
            c.norm,
            c.eps,
            Proportion(c.success.total - c.success.count, c.success.total),
            c.success,
            c.median,
            c.flat,
            c.budget,
            stands(study, c.record),
        )
        for c in queries
        if c.success is not None
    ]
    moved = [
        Met(part.get(c.target, c.target), c.label, c.norm, c.eps, c.correct, c.correct, stands=stands(study, c.record))
        for c in read_transferred(study, "ablation")
    ]
    made = [
        _threat("white-box", white, _rule_rank),
        _threat("black-box", black, query_rank),
        _threat("transfer", moved, label_rank),
    ]
    return [threat for threat in made if threat.mets]


def records(study: Study, *kinds: str) -> list[Record]:
    """The records of the ablation, of these kinds."""
    return [record for kind in kinds for record in study.of_kind(kind) if record.config.get("purpose") == "ablation"]


def part_names(study: Study) -> dict[str, str]:
    """Part of the ablation by name of the network that is it, where the two differ: DFA may be another study's network."""
    config = study.manifest["config"]
    own = (config.get("ablation") or config) if isinstance(config, dict) else {}
    features = own.get("features", PAPER[0])
    return {} if features == PAPER[0] else {features: PAPER[0]}


def read_networks(study: Study, threats: Sequence[Threat]) -> list[Network]:
    """The networks that were attacked: VGG-16, the paper's four, then the others in the order of their training.

    Raises:
        DamagedFileError: a training that cannot be read; names the record.
    """
    attacked = list(dict.fromkeys(name for threat in threats for name in threat.networks))
    trained, part = study.networks_of(records(study, "attack", "query", "transfer")), part_names(study)
    made = [replace(_network(record, part), name=part.get(record.name, record.name)) for record in trained]
    found = {network.name: network for network in made if network.name in attacked}
    names = [*found, *(name for name in attacked if name not in found)]
    return [found.get(name, Network(name, None)) for name in sorted(names, key=lambda n: network_rank(n, names))]


def network_rank(name: str, names: Sequence[str]) -> tuple[int, int]:
    return (_TOP.index(name) if name in _TOP else len(_TOP), list(names).index(name))


def _threat(name: str, mets: Iterable[Met], rank: Callable[[str], int]) -> Threat:
    """Where an attack was tried twice at a radius (more steps, say) the stronger counts."""
    best: dict[tuple[str, Column], Met] = {}
    for met in mets:
        key = (met.network, met.column)
        if key not in best or met.kept.share < best[key].kept.share:
            best[key] = met
    found = list(dict.fromkeys(column.series for _, column in best))
    series = sorted(found, key=lambda s: (rank(s), found.index(s)))
    columns = {column for _, column in best}
    networks = list(dict.fromkeys(network for network, _ in best))
    return Threat(
        name,
        tuple(series),
        tuple(sorted(networks, key=lambda n: network_rank(n, networks))),
        tuple(sorted(columns, key=lambda c: (series.index(c.series), c.norm != "linf", c.norm, c.eps, c.budget or 0))),
        best,
    )


def _rule_rank(rule: str) -> int:
    return _RULES.index(rule) if rule in _RULES else len(_RULES)


def _network(record: Record, part: Mapping[str, str]) -> Network:
    """Read what the ablation tells of a record of kind "train".

    Raises:
        DamagedFileError: a field is missing, or impossible; names the record.
    """
    try:
        result, spec = record.result, record.config["model"]
        total = int(result["n_test"])
        n, m = spec.get("device_in"), spec.get("device_out")
        device: dict[str, Any] = result.get("device") or {}
        hidden = spec.get("linear_hidden")
        clean = Proportion(round(result["clean_accuracy"] * total), total)
        trained = _trained(str(record.config["training"]["credit"]), result, part)
        if n is None and hidden is None:
            return Network(record.name, clean, trained=trained)
        encoding = str(spec.get("encoding") or ("float" if n is None else "bits"))
        binarisation = _ENCODING.get(encoding, encoding)
        if n is None:
            return Network(record.name, clean, binarisation, "none (linear)", n=int(hidden), trained=trained)
        bits = device["bits"]
        return Network(
            record.name,
            clean,
            binarisation,
            f"{device.get('matrix') or 'complex'} U",
            "float" if bits is None else f"{int(bits)} bits",
            int(n),
            int(m),
            trained,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DamagedFileError(
            f"the record {record.key} ({record.name}) is no training as this version writes it: "
            f"{type(error).__name__} {error}. Rebuild the page with the version that ran the study"
        ) from error


def _trained(credit: str, result: Mapping[str, Any], part: Mapping[str, str]) -> str:
    if credit != "classifier":
        return _CREDIT.get(credit, credit)
    features = result["features"]
    name = part.get(features["name"], features["name"])
    return f"two stages, features of {name} ({100 * float(features['clean_accuracy']):.1f}%)"
