"""Records of redraws as the report reads them, and what became of the attacks made before."""

from collections.abc import Sequence
from dataclasses import dataclass

from groundglass.core import DamagedFileError
from groundglass.core.statistics import Proportion, Repeated
from groundglass.old_report.cells import AttackCell, norm_name, radius
from groundglass.old_report.queries import share_of
from groundglass.old_report.study import Study
from groundglass.old_report.transfers import Transferred, label_rank, read_transferred
from groundglass.results.records import Record


@dataclass(frozen=True)
class Redraw:
    """A new U under an old network, and its classifier fitted again.

    Attributes:
        model: the network that was redrawn; `name`: what came of it.
        before, untuned, tuned: right on the test images: with the old U; with the new U and the old classifier; with
            the new U and a classifier fitted to it.
        features_cached: the bits of the images were there already, so that they took no time.
    """

    record: Record
    name: str
    model: str
    number: int
    before: Proportion
    untuned: Proportion
    tuned: Proportion
    n_train: int
    feature_seconds: float
    features_cached: bool
    draw_seconds: float
    tune_seconds: float
    fingerprint: str

    @classmethod
    def from_record(cls, record: Record) -> "Redraw":
        """Read a record of kind "redraw".

        Raises:
            DamagedFileError: a field is missing or impossible, or the matrix is still the old one; names the record.
        """
        config, result = record.config, record.result
        try:
            total = int(result["n_test"])
            before, untuned, tuned = (
                Proportion(round(result[field] * total), total) for field in ("before", "untuned", "tuned")
            )
            if result["fingerprint"] == result["old_fingerprint"]:
                raise ValueError("the fingerprint is that of the old matrix: nothing was redrawn")
            seconds = [float(result[f"{part}_seconds"]) for part in ("feature", "draw", "tune")]
            if min(seconds) < 0:
                raise ValueError(f"negative wall time {seconds}")
            return cls(
                record=record,
                name=record.name,
                model=str(config["model"]),
                number=int(config["redraw"]),
                before=before,
                untuned=untuned,
                tuned=tuned,
                n_train=int(result["n_train"]),
                feature_seconds=seconds[0],
                features_cached=bool(result["features_cached"]),
                draw_seconds=seconds[1],
                tune_seconds=seconds[2],
                fingerprint=str(result["fingerprint"])[:12],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedFileError(
                f"the record {record.key} ({record.name}) is no redraw as this version writes it: "
                f"{type(error).__name__} {error}. Rebuild the page with the version that ran the study"
            ) from error

    @property
    def lost(self) -> float:
        """Points of accuracy that tuning did not bring back; negative where it brought more."""
        return 100 * (self.before.count - self.tuned.count) / self.before.total

    @property
    def is_restored(self) -> bool:
        """Whether tuning brings the accuracy back to within 1 point, or above."""
        return 100 * (self.before.count - self.tuned.count) <= self.before.total


@dataclass(frozen=True)
class Afresh:
    """The attack made again on a redrawn network: right after it and before it, on the same images."""

    robust: Proportion
    clean: Proportion


@dataclass(frozen=True)
class Survival:
    """An attack made before the redraws, and how much of it is left after each.

    Attributes:
        fooled_old: of the images, those that fool the old network; None while that is not known.
        still: for each redraw, of those the ones that fool the redrawn, tuned network too, or None.
        afresh: for each redraw, the same attack made on the redrawn network itself, or None.
        by_queries: made without gradients, and stopped as soon as it fooled.
        made_on_old: made on the old network, not on another.
    """

    label: str
    norm: str
    eps: float
    fooled_old: Proportion | None
    still: tuple[Proportion | None, ...]
    afresh: tuple[Afresh | None, ...]
    by_queries: bool
    made_on_old: bool

    @property
    def ball(self) -> str:
        return f"{norm_name(self.norm)} ε = {radius(self.norm, self.eps)}"

    @property
    def pooled(self) -> Proportion | None:
        """The mean over all redraws. They meet the same images: the interval is that of so many images, not of all trials."""
        found = [share for share in self.still if share is not None]
        if not found:
            return None
        return Repeated(sum(p.count for p in found), sum(p.total for p in found), len(found))

    @property
    def pooled_afresh(self) -> Afresh | None:
        """Over the redraws on which it was made again."""
        found = [made for made in self.afresh if made is not None]
        if not found:
            return None
        robust, clean = ([getattr(made, field) for made in found] for field in ("robust", "clean"))
        pooled = [Proportion(sum(p.count for p in part), sum(p.total for p in part)) for part in (robust, clean)]
        return Afresh(*pooled)


def read_redraws(study: Study) -> list[Redraw]:
    """The redraws, network by network, in the order of their numbers."""
    found = [Redraw.from_record(record) for record in study.of_kind("redraw")]
    return sorted(found, key=lambda r: (r.model, r.number))


def read_survivals(study: Study, redraws: Sequence[Redraw]) -> list[Survival]:
    """What is left of each attack, at each radius, on the redraws of one network.

    Raises:
        DamagedFileError: a record that cannot be read, or whose arrays tell other numbers.
    """
    tried = read_transferred(study, "redraw")
    attacks = [AttackCell.from_record(r) for r in study.of_kind("attack") if r.config.get("purpose") == "redraw"]
    places = {one.record.key for one in redraws}
    groups: dict[tuple[str, str, float], list[Transferred]] = {}
    for cell in tried:
        if places & set(cell.record.inputs):
            groups.setdefault((cell.label, cell.norm, cell.eps), []).append(cell)
    # The oldest label first where none is in the order used everywhere.
    found = [_survival(study, cells, tried, redraws, attacks) for cells in groups.values()]
    return sorted(found, key=lambda s: (label_rank(s.label), s.norm != "linf", s.eps))


def _survival(
    study: Study,
    cells: Sequence[Transferred],
    tried: Sequence[Transferred],
    redraws: Sequence[Redraw],
    attacks: Sequence[AttackCell],
) -> Survival:
    one, old = cells[0], redraws[0].model
    by_queries = set(one.rules) == {"none"}
    old_keys = {key for redraw in redraws for key in redraw.record.inputs}
    made_on_old = one.sources == (old,)
    on_old = next(
        (c for c in tried if c.record.inputs[:1] == one.record.inputs[:1] and old_keys & set(c.record.inputs[1:])), None
    )
    still: list[Proportion | None] = []
    afresh: list[Afresh | None] = []
    for redraw in redraws:
        cell = next((c for c in cells if redraw.record.key in c.record.inputs), None)
        if cell is None:
            still.append(None)
        elif made_on_old:
            still.append(cell.also_fooled)
        else:
            still.append(_both(on_old, cell))
        # By queries there is no rule to go by: "none" is random noise among the attacks.
        afresh.append(_afresh(one, redraw, attacks) if made_on_old and not by_queries else None)
    if on_old is not None and not made_on_old:
        fooled_old: Proportion | None = Proportion(on_old.correct.total - on_old.correct.count, on_old.correct.total)
    else:
        fooled_old = one.fooled_source if made_on_old else None
    return Survival(one.label, one.norm, one.eps, fooled_old, tuple(still), tuple(afresh), by_queries, made_on_old)


def _both(on_old: Transferred | None, cell: Transferred) -> Proportion | None:
    """Of the images that fool the old network, those that fool the new one too; None without both records' arrays.

    Images made on a third network fool that one by their record; what they do to the old network is in its arrays.
    """
    if on_old is None or not on_old.stands or not cell.stands:
        return None
    if on_old.stands.keys() != cell.stands.keys():
        raise DamagedFileError(
            f"{cell.record.arrays} ({cell.record.name}) is about other images than those tried on the old network: "
            "rebuild the page with the version that ran the study"
        )
    fooled = [index for index, right in on_old.stands.items() if not right]
    return share_of(sum(not cell.stands[index] for index in fooled), len(fooled))


def _afresh(one: Transferred, redraw: Redraw, attacks: Sequence[AttackCell]) -> Afresh | None:
    """By the same rule, in the same ball, on the redrawn network; the strongest where there are several."""
    found = [
        cell
        for cell in attacks
        if cell.model == redraw.name and ((cell.rule,), cell.norm, cell.eps) == (one.rules, one.norm, one.eps)
    ]
    strongest = min(found, key=lambda cell: cell.robust.share, default=None)
    return None if strongest is None else Afresh(strongest.robust, strongest.clean)
