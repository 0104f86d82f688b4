"""study.json: what a run folder was made for. A folder holds one study of one data set; its plan may grow."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from groundglass.core import DamagedFileError, read_json, write_json
from groundglass.core.checksum import sealed, unsealed
from groundglass.core.files import is_part
from groundglass.core.schema import plain, read
from groundglass.core.untrusted import within
from groundglass.results.lock import LOCK_FILE
from groundglass.results.plain import canonical_json, difference
from groundglass.results.record import Record

STUDY_FILE = "study.json"
#: The format of folders that this version begins: every line, and this file, has a checksum. Format 1 had neither.
FORMAT = 2
_REQUIRED = ("study", "recipe", "data", "config", "seed", "versions", "machine", "started")
# Where and when a study runs does not change what it is; `cells` (the plan) follows from the rest.
_CIRCUMSTANCES = (
    *("versions", "machine", "started", "cells", "continued", "format"),
    *("public_seed", "seed_derivation", "changed", "grown", "left_out"),
)
# What says which of the cells there are, with them.
_OF_THE_PLAN = ("recipe", "config", "cells", "changed", "left_out")
# What may become another in a folder, where its study allows it.
_MAY_CHANGE = ("recipe", "config")


@dataclass(frozen=True, kw_only=True)
class _Planned:
    key: str
    kind: str
    name: str
    studies: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Note:
    versions: Mapping[str, Any]
    machine: Mapping[str, Any]
    started: str


@dataclass(frozen=True, kw_only=True)
class _Grown:
    """When the plan became another: what was changed, and how many of its results are new, stay, or are no longer in it."""

    when: str
    settings: tuple[str, ...]
    new: int
    kept: int
    left: int


@dataclass(frozen=True, kw_only=True)
class _LeftOut:
    """A cell that the study has with a device of its own, and not with the one that it was given."""

    kind: str
    name: str
    why: str


@dataclass(frozen=True, kw_only=True)
class _Optical:
    """The device that a study was given."""

    fingerprint: str
    in_features: int
    out_features: int


@dataclass(frozen=True, kw_only=True)
class _Config:
    """Fields that the settings of every study may have."""

    classes: tuple[str, ...] = ()
    baseline: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _Manifest(_Note):
    """The fields of study.json."""

    study: str
    recipe: str
    data: str
    config: Mapping[str, Any]
    seed: int
    cells: tuple[_Planned, ...] | None = None
    continued: tuple[_Note, ...] = ()
    format: int = 1
    public_seed: bool = False
    seed_derivation: str | None = None
    changed: tuple[str, ...] = ()
    grown: tuple[_Grown, ...] = ()
    optical_device: _Optical | None = None
    left_out: tuple[_LeftOut, ...] = ()


#: Why the settings of a folder with these records may not change; empty if they may.
Refusal = Callable[[Sequence[Record]], str]


class OtherStudyError(ValueError):
    """The folder holds another study, the same one with other settings, or something else altogether."""


def enter_study(
    folder: Path,
    manifest: Mapping[str, Any],
    *,
    write: bool = True,
    records: Sequence[Record] = (),
    refusal: Refusal | None = None,
) -> dict[str, Any]:
    """The manifest of `folder` from now on: `manifest` in a new folder, else the stored one.

    A study that goes on with other versions or on another machine gets an entry in the list `continued`, and one whose plan
    has changed an entry in the list `grown`.

    Args:
        write: keep it in the folder; else only look whether it may go on.
        records: all that the folder holds.
        refusal: says whether recipe and settings may change; None: they may not.

    Raises:
        OtherStudyError: the stored study or configuration differs; says how, field by field.
        ValueError: `manifest` lacks a field.
        DamagedFileError: study.json is not what was written.
    """
    path, asked = folder / STUDY_FILE, plain(dict(manifest), "manifest")
    missing = [name for name in _REQUIRED if name not in asked]
    if missing:
        raise ValueError(f"the manifest lacks {', '.join(missing)}: it needs {', '.join(_REQUIRED)}")
    stored = load_manifest(folder) if path.exists() else None
    current = {**asked, "format": FORMAT} if stored is None else _continued(folder, stored, asked, records, refusal)
    if write and current != stored:
        write_json(path, on_disk(current))
    return current


def on_disk(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest as it is written: with its checksum, if its format has one."""
    return sealed(manifest) if format_of(manifest) > 1 else dict(manifest)


def format_of(manifest: Mapping[str, Any]) -> int:
    """The format of its folder."""
    return int(manifest.get("format", 1))


def _continued(
    folder: Path, stored: dict[str, Any], asked: dict[str, Any], records: Sequence[Record], refusal: Refusal | None
) -> dict[str, Any]:
    """The stored manifest with the plan as now asked, and a note when versions, machine or plan have changed."""
    before = _identity(stored)
    now = _known_to(before, _identity(asked))
    lines = difference(before, now)
    fixed = [{name: value for name, value in one.items() if name not in _MAY_CHANGE} for one in (before, now)]
    others = difference(fixed[0], fixed[1])
    old, new = (_keys(one) for one in (stored, asked))
    # The same cells are the same study, whatever another version calls its settings.
    changes = bool(lines) and (bool(others) or old != new or not new)
    why = refusal(records) if changes and refusal is not None and not others else ""
    if changes and (why or others or refusal is None):
        raise OtherStudyError(
            f"{folder} holds another study, or this one with other settings{why and f', {why}'} (stored -> asked):\n"
            + "\n".join(f"  {line}" for line in lines)
            + "\nGive another --out for the new settings, or ask for the stored ones: then it continues."
        )
    current = stored | {name: asked[name] for name in _OF_THE_PLAN if name in asked}
    for name in ("changed", "left_out"):
        if name not in asked:
            current.pop(name, None)
    if asked.get("public_seed") and not stored.get("public_seed"):  # what is drawn from now on is public
        current |= {name: asked[name] for name in ("public_seed", "seed_derivation") if name in asked}
    if grown := _grown(stored, current, lines, asked["started"]):
        current["grown"] = [*stored.get("grown", []), grown]
    last = (stored.get("continued") or [stored])[-1]
    if any(canonical_json(last[name]) != canonical_json(asked[name]) for name in ("versions", "machine")):
        note = {name: asked[name] for name in ("versions", "machine", "started")}
        current["continued"] = [*stored.get("continued", []), note]
    return current


def _grown(stored: dict[str, Any], current: dict[str, Any], lines: list[str], when: str) -> dict[str, Any] | None:
    """How the plan has changed, by these settings; None where it has not, or there was none."""
    old, new = _keys(stored), _keys(current)
    if old == new or not old:
        return None
    counts = {"new": len(new - old), "kept": len(new & old), "left": len(old - new)}
    return {"when": when, "settings": [line.removeprefix("config.") for line in lines], **counts}


def _keys(manifest: Mapping[str, Any]) -> set[str]:
    return {cell["key"] for cell in manifest.get("cells") or ()}


def load_manifest(folder: Path) -> dict[str, Any]:
    """The manifest stored in `folder`.

    Raises:
        FileNotFoundError: no study there; says what makes one.
        DamagedFileError: study.json does not parse, or lacks a field.
    """
    path = folder / STUDY_FILE
    if folder.is_file():
        raise FileNotFoundError(f"{folder} is a file: give the folder of a study, say {folder.parent}")
    if not path.exists():
        what = f"{folder} holds no study (no {STUDY_FILE})" if folder.is_dir() else f"there is no folder {folder}"
        raise FileNotFoundError(f"{what}: `groundglass run STUDY --out {folder}` makes one")
    stored = read_json(within(folder, STUDY_FILE))
    missing = [name for name in _REQUIRED if not isinstance(stored, dict) or name not in stored]
    if missing:
        raise DamagedFileError(
            f"{path} lacks {', '.join(missing)}: it was altered, or is not a study of groundglass. "
            "Put it back from a copy, or run the study again in another folder"
        )
    version = read(_Manifest, stored, str(path)).format
    read(_Config, stored["config"], f"{path}, its config")
    if version > FORMAT:
        raise DamagedFileError(
            f"{path} is of format {version}, and this version reads 1 to {FORMAT}: use the version that wrote it, or a newer one"
        )
    return unsealed(stored, str(path), required=version > 1)


def unasked(left_out: Iterable[tuple[str, str]]) -> str:
    """Results that a study does not have of the device that it was given, as kinds and reasons: "needs U (6 × attack)"."""
    by_reason: dict[str, Counter[str]] = {}
    for kind, why in left_out:
        by_reason.setdefault(why, Counter())[kind] += 1
    return "; ".join(
        f"{why} ({', '.join(f'{count} × {kind}' for kind, count in kinds.items())})" for why, kinds in by_reason.items()
    )


def check_folder(folder: Path) -> None:
    """Refuse a file where a folder must be (NotADirectoryError)."""
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file: --out must name a folder")


def check_vacant(folder: Path) -> None:
    """Refuse a folder that holds something other than a study.

    Raises:
        OtherStudyError: the folder has files, but no study.json.
        NotADirectoryError: a file is in the way.
    """
    check_folder(folder)
    if not folder.exists() or (folder / STUDY_FILE).exists():
        return
    # A crash while study.json was first written leaves a part of it: still an empty folder to its owner.
    names = (entry.name for entry in folder.iterdir())
    others = sorted(name for name in names if name != LOCK_FILE and not is_part(name))
    if others:
        raise OtherStudyError(
            f"{folder} holds something else (no {STUDY_FILE}, but {', '.join(others[:3])}{', ...' if others[3:] else ''}): "
            "give an --out that is new, empty, or holds the same study"
        )


def _identity(manifest: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in manifest.items() if name not in _CIRCUMSTANCES}


#: What settings of later versions were before they could be chosen, where another choice makes it another study.
_WAS = {"device_kind": "dense", "optical_device": None}


def _known_to(stored: Any, asked: Any) -> Any:
    """What is asked, without the settings that the stored study does not know: a later version has added them.

    It goes on: a result's key is made from all that made it, so a setting that matters to it makes it another result.
    """
    if isinstance(stored, Mapping) and isinstance(asked, Mapping):
        return {
            key: _known_to(stored.get(key), value)
            for key, value in asked.items()
            if key in stored or (key in _WAS and value != _WAS[key])
        }
    return asked
