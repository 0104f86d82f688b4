"""One result of a study, as a line of records.jsonl has it."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Record:
    """One result: what was done (`kind`, `name`, `config`, `inputs`) and what came out.

    Attributes:
        key: 12 hex digits, as `cell_key` makes them; unique in a folder.
        kind: "train", "attack", "check", ...
        name: for people: "VGG-OPU <- dfa".
        config: plain JSON; everything that determines the result, besides the inputs.
        inputs: keys of the records that this one was made from.
        result: plain JSON; finite numbers only.
        seconds: wall time.
        finished: ISO 8601, with its offset from UTC.
        frames: that it took of a device which somebody else holds; None: none. What earlier, interrupted sessions took is not
            in it.
        memory: the most bytes that the process held while it was at work on it; None if unknown.
        device_memory: the most bytes that tensors took on the card meanwhile; None if there was none.
        arrays: path within the folder of the result's arrays, or None. Set by the store.
        arrays_sha256: checksum of that file. Set by the store.
        files: path within the folder -> checksum, for each file that the result has made, such as a network.
    """

    key: str
    kind: str
    name: str
    config: dict[str, Any]
    result: dict[str, Any]
    inputs: tuple[str, ...] = ()
    seconds: float
    finished: str
    frames: int | None = None
    memory: int | None = None
    device_memory: int | None = None
    arrays: str | None = None
    arrays_sha256: str | None = None
    files: dict[str, str] = field(default_factory=dict)
