"""A cell that takes many steps and can go on from any, for tests of what may end in the middle. Workers import it."""

import hashlib
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from groundglass.core import write_json
from groundglass.results import Record
from groundglass.studies.engine.cell import Outcome, scratch_of
from groundglass.studies.engine.context import Context


@dataclass(frozen=True)
class Steps:
    """A digest of a digest, and so on. It keeps a diary of who was at which step, and when.

    Attributes:
        pause: seconds of a step.
        gate: a file of the run folder that it waits for, once it has done three steps.
        alone: as cells that measure time.
    """

    name: str
    steps: int = 10
    pause: float = 0.02
    gate: str = ""
    inputs: tuple["Steps", ...] = ()
    alone: bool = False

    kind: ClassVar[str] = "steps"

    def config(self) -> dict[str, Any]:
        return {"name": self.name, "steps": self.steps}

    def run(self, inputs: list[Record], context: Context) -> Outcome:
        scratch = scratch_of(self, context)
        done, digest = json.loads(scratch.read_text()) if scratch.exists() else (0, self.name)
        for step in range(done, self.steps):
            with (context.folder / f"{self.name}.diary").open("a") as diary:
                diary.write(json.dumps([step, os.getpid(), os.getppid(), time.time()]) + "\n")
            context.progress("stepping", step, self.steps)
            while self.gate and step == 3 and not (context.folder / self.gate).exists():
                time.sleep(0.05)
            time.sleep(self.pause)
            digest = hashlib.sha256(digest.encode()).hexdigest()
            write_json(scratch, [step + 1, digest])
        return Outcome({"digest": digest}, {"bytes": np.frombuffer(bytes.fromhex(digest), np.uint8)}, scratch=scratch)


@dataclass(frozen=True)
class Entry:
    """A line of a diary. `node`: the process of Ray that started the worker."""

    step: int
    pid: int
    node: int
    when: float


def diary(folder: Path, name: str) -> list[Entry]:
    path = folder / f"{name}.diary"
    return [Entry(*json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []
