"""What a record says of each image: the one reading of arrays that comparisons, worst cases and checks share."""

from collections.abc import Mapping

import numpy as np

from groundglass.results.record import Record


def right_after(record: Record, arrays: Mapping[str, np.ndarray]) -> dict[int, bool]:
    """Which of the attacked images stay right under an attack: number of the image -> right.

    Attacks by queries leave out the images that were wrong at first; an audit is its attacks together.

    Raises:
        KeyError, ValueError: the arrays are not those of such a record.
    """
    if record.kind == "audit":
        return dict(enumerate((arrays["broken_by"] == -1).tolist()))
    index = arrays["index"].tolist()
    if record.kind == "transfer":
        return dict(zip(index, arrays["correct"].tolist(), strict=True))
    right, fooled = arrays["clean_correct"].astype(bool), arrays["success"].astype(bool)
    asked = right if record.kind == "query" else np.ones(len(index), bool)
    return {i: bool(ok) for i, ok, a in zip(index, right & ~fooled, asked, strict=True) if a}
