"""`groundglass zoo`: small files of trained networks, for `groundglass.load`."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from groundglass.cli.options import Command, ComputeOn, DataDir
from groundglass.cli.terminal import say


@dataclass(frozen=True)
class Zoo(Command):
    """Write the trained networks of runs as small files of bfloat16, with their accuracy on the test set. Their device is public:
    the runs are those of `--device-seed 7`."""

    folders: tyro.conf.Positional[tuple[Path, ...]]
    """Run folders of white-box, adversarial-training or all."""
    out: Path
    """The folder of the files; none of them may be there yet."""
    data_dir: DataDir = None
    device: ComputeOn = "auto"

    def run(self) -> None:
        from groundglass.studies.zoo import make_zoo

        for made in make_zoo(self.folders, self.out, data_dir=self.data_dir, device=self.device):
            card = made.card
            say(f"{made.path}: {made.size:,} bytes, checksum {made.checksum}")
            say(
                f"  accuracy {card.accuracy:.2%} on {card.images:,} test images, {card.original_accuracy:.2%} before rounding"
            )
            say(f"  {card.command}")
