"""How many frames cells take of a device that was given, before they run: one for each image that passes it."""

from collections.abc import Iterable
from pathlib import Path

from groundglass.adaptive import STAND_INS
from groundglass.core.states import passed
from groundglass.optics.remote.errors import check_frames
from groundglass.optics.retrieval.folder import RetrievalFolder
from groundglass.results.kinds.audit import AuditedConfig, FileAuditConfig
from groundglass.results.kinds.network import TrainConfig
from groundglass.studies.cells.network import stem
from groundglass.studies.engine.cell import checkpoint_in
from groundglass.studies.engine.given import GivenDevice
from groundglass.studies.engine.plan import Below, Plan, Unit
from groundglass.studies.engine.work import passes
from groundglass.training.averaging import STATISTICS
from groundglass.training.checkpoint import begun

# Readings of the training images that are kept while a classifier is fitted, see `fit_classifier`.
_KEPT = 2**30
# How often an audit asks about each image, beside what its attacks do: before and after each.
_ASKS = 12
# What gives a network, and what is a network's own.
_NETWORKS = ("train", "redraw", "randomise")
# What looks at the bits that enter a device, and asks it nothing.
_BELOW = ("guard", "watch")


def frames_of(plan: Plan, key: str) -> int:
    """Frames that a cell takes, about: an estimate as that of its time. 0 for a cell that the given device is not in."""
    unit = plan.units[key]
    c, networks = unit.config, _networks(plan, unit)
    if unit.kind in ("retrieve", "rows"):
        return c.frames if any(_is_given(plan.units[one]) for one in unit.inputs if one in plan.units) else 0
    with_it = sum(_has_it(plan, one) for one in networks)
    if not with_it or unit.kind in _BELOW:
        return 0
    if unit.kind == "distil":
        return int(c.queries) + plan.test  # all else is the surrogate's own
    if unit.kind == "train":
        return _of_training(plan, unit) + _settled(plan, unit) + plan.test
    on, work = Below(plan, unit), passes(plan, key)
    if unit.kind == "audit":
        return _of_audit(c, (work.forward + work.gradient) / on.size, plan.train)
    if unit.kind in ("attack", "draws") and c.rule in STAND_INS:
        return round(work.forward / on.size)  # the network itself is asked at the end alone
    # Sources of one attack, and networks that are compared, have the device or have it not.
    return round((work.forward + work.gradient) / on.size * with_it / len(networks))


def frames_left(plan: Plan, key: str, folder: Path | None) -> int:
    """Frames that a cell of a run folder still takes, about: `frames_of` without what its checkpoint has.

    Raises:
        DamagedFileError: the checkpoint was altered.
    """
    whole, unit = frames_of(plan, key), plan.units[key]
    if folder is None or not whole:
        return whole
    if unit.kind == "train":
        return whole - _trained(plan, unit, folder, whole)
    if unit.kind == "retrieve":
        return whole - min(whole, RetrievalFolder.taken_in(folder / "retrieved" / key))
    if unit.kind in ("attack", "draws") and unit.config.rule in STAND_INS:
        return whole  # what has passed has passed through the stand-in
    return _without(whole, passed(checkpoint_in(folder, key)), _at_the_end(plan, unit))


def frames_of_audit(config: FileAuditConfig, natural: int, done: int = 0) -> int:
    """Frames that an audit of a defended network takes, about.

    Args:
        natural: images that surrogates may be fitted to.
        done: images that have passed for what its checkpoint has.
    """
    defended = {"width": 1.0, "linear_hidden": 1, "classes": 10}  # the sizes do not matter
    network = Unit("network", "train", "", TrainConfig(model=defended, training={}, data="", seed=0), ())
    plan = Plan([network, Unit("audit", "audit", "", config, ("network",))], train=natural)
    work = passes(plan, "audit")
    whole = _of_audit(config, (work.forward + work.gradient) / Below(plan, plan.units["audit"]).size, natural)
    return _without(whole, done, _beside_attacks(config, natural))


def _of_audit(c: AuditedConfig | FileAuditConfig, attacks: float, natural: int) -> int:
    return round(attacks) + _beside_attacks(c, natural)


def _beside_attacks(c: AuditedConfig | FileAuditConfig, natural: int) -> int:
    """Surrogates are fitted to natural images, and every attack and every check asks again about those it is on: also in an
    audit that goes on."""
    return 2 * min(c.settings["fit_images"], natural) + _ASKS * c.n_images + 4 * c.settings["probes"]


def _at_the_end(plan: Plan, unit: Unit) -> int:
    """Frames of what is asked once the attacks are over: whether each image fools the network itself."""
    c = unit.config
    return _beside_attacks(c, plan.train) if unit.kind == "audit" else int(getattr(c, "n_images", 0))


def _without(whole: int, done: int, end: int) -> int:
    """What is left, but for the end, which is always to come."""
    return max(whole - done, min(whole, end))


def _of_training(plan: Plan, unit: Unit) -> int:
    """Frames of the epochs: a small image takes one, as a whole one does, and one each time that an attack inside looks at it."""
    c = unit.config
    if c.training["credit"] == "classifier":
        return plan.train * (1 if _readings_kept(plan, unit) else 1 + c.training["epochs"])
    adversarial = c.training.get("adversarial")
    # TRADES looks at the image itself too: before its steps, and in its loss.
    each = 1 if adversarial is None else adversarial["steps"] + (3 if adversarial["kind"] == "TRADES" else 1)
    return int(plan.train * c.training["epochs"] * each)


def _settled(plan: Plan, unit: Unit) -> int:
    """Frames of the pass that gives averaged weights their statistics of BatchNorm."""
    return min(STATISTICS, plan.train) if unit.config.training.get("average") else 0


def _trained(plan: Plan, unit: Unit, folder: Path, whole: int) -> int:
    """Frames of what the checkpoint of a training has. A classifier's readings are measured again, and the end is a test."""
    c = unit.config
    alone = c.training["credit"] == "classifier"
    if alone and _readings_kept(plan, unit):
        return 0
    own = alone or c.model.get("frozen") == "features"
    done = begun(checkpoint_in(folder, unit.key if own else stem(unit.name)))
    images, every = done.epochs * plan.train + done.images, c.training["epochs"] * plan.train
    epochs = whole - plan.test - _settled(plan, unit) - (plan.train if alone else 0)
    return round(epochs * min(1.0, images / every))


def _readings_kept(plan: Plan, unit: Unit) -> bool:
    """Whether the readings that a classifier is fitted to fit into memory."""
    return plan.train * int(unit.config.model["device_out"]) <= _KEPT


def check_budget(plan: Plan, keys: Iterable[str], given: GivenDevice, folder: Path | None = None) -> None:
    """Refuse a study whose cells `keys`, of the run in `folder`, take more frames than are left.

    Raises:
        FrameBudgetError: before any work; says how many are missing.
        DamagedFileError: a checkpoint was altered.
    """
    if given.frames_left is not None:
        needed = sum(frames_left(plan, key, folder) for key in keys)
        check_frames(needed, given.frames_left, "what is left of this study")


def _is_given(unit: Unit) -> bool:
    return unit.kind == "device" and bool(unit.config.given)


def _networks(plan: Plan, unit: Unit) -> list[Unit]:
    """Those that a cell asks: itself, where it makes one; else those right below it."""
    if unit.kind in _NETWORKS:
        return [unit]
    found: dict[str, Unit] = {}
    level = [plan.units[key] for key in unit.inputs if key in plan.units]
    for one in level:
        if one.kind in _NETWORKS or one.kind == "distil":
            found[one.key] = one
    if unit.kind == "transfer":  # tried on the target alone, which comes right after what was crafted
        return [plan.units[unit.inputs[1]]] if unit.inputs[1] in plan.units else []
    if unit.kind == "distil":
        return list(found.values())[:1]
    return list(found.values())


def _has_it(plan: Plan, network: Unit) -> bool:
    return any(_is_given(plan.units[key]) for key in network.inputs if key in plan.units)
