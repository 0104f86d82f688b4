"""What a cell does so that a long attack, killed half-way, goes on where it was."""

from dataclasses import replace

from groundglass.attacks import AttackCheckpoint
from groundglass.studies.cells import Cell, Outcome, scratch_of
from groundglass.studies.context import Context


def attack_checkpoint(cell: Cell, context: Context) -> AttackCheckpoint:
    """The cell's own file: its name is the cell's identity."""
    return AttackCheckpoint(scratch_of(cell, context))


def resumable(outcome: Outcome, checkpoint: AttackCheckpoint) -> Outcome:
    """With the seconds that earlier runs of the attack took; the file goes when the record stands."""
    return replace(outcome, earlier_seconds=checkpoint.earlier_seconds, scratch=checkpoint.path)
