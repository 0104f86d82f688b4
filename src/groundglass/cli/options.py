"""Options that several commands have."""

from pathlib import Path
from typing import Annotated

import tyro

DataDir = Annotated[
    Path | None,
    tyro.conf.arg(
        help="Folder with cifar-10-batches-bin or cifar-100-binary. Default: $GROUNDGLASS_DATA, then the user's cache."
    ),
]
