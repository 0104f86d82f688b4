"""Run folders that somebody has altered, or that an earlier version wrote."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from groundglass.core.checksum import sealed
from groundglass.results import cell_key
from groundglass.results.manifest import on_disk


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]


def rewrite(folder: Path, change: Callable[[dict[str, Any]], Any], *, seal: bool = True, key: bool = False) -> None:
    """Alter the records of a folder, each in place.

    Args:
        seal: give each the checksum of what it is now.
        key: and the key.
    """
    found = lines(folder)
    for line in found:
        change(line)
        if key:
            line["key"] = cell_key(line["kind"], line["config"], line["inputs"])
    text = "".join(json.dumps(sealed(line) if seal else line, sort_keys=True) + "\n" for line in found)
    (folder / "records.jsonl").write_text(text)


def remanifest(folder: Path, change: Callable[[dict[str, Any]], Any], *, seal: bool = True) -> None:
    """Alter study.json."""
    path = folder / "study.json"
    told = json.loads(path.read_text())
    change(told)
    path.write_text(json.dumps(on_disk(told) if seal else told))


def of_before(folder: Path) -> None:
    """Make it one of version 0.2, without checksums of lines and of what results have made."""
    remanifest(folder, lambda told: (told.pop("format"), told.pop("sha256")), seal=False)
    rewrite(folder, lambda line: [line.pop(name, None) for name in ("sha256", "files", "memory")], seal=False)
