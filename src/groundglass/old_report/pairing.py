"""Networks beside each other by the images that one loses and the other keeps."""

from collections.abc import Mapping

import numpy as np

from groundglass.core import DamagedFileError
from groundglass.core.statistics import paired
from groundglass.old_report.study import Study
from groundglass.results.records import Record

#: Two networks differ clearly where chance parts their images as unevenly less often than this: there are many pairs.
LEVEL = 0.01


def clearly_fewer(one: Mapping[int, bool], other: Mapping[int, bool]) -> bool:
    """Whether fewer of the images that both have, index -> still right, are right in `one`: an exact McNemar test at `LEVEL`."""
    found = paired(one, other)
    return found.first < found.second and found.p < LEVEL


def stands(study: Study, record: Record) -> dict[int, bool]:
    """Which of the attacked images stay right; query attacks leave out those that were wrong at first.

    Raises:
        DamagedFileError: the record's arrays are missing, altered, or others than it needs.
    """
    arrays = study.store.arrays(record)
    try:
        index = arrays["index"].tolist()
        if record.kind == "transfer":
            return dict(zip(index, arrays["correct"].tolist(), strict=True))
        right, fooled = arrays["clean_correct"].astype(bool), arrays["success"].astype(bool)
        asked = right if record.kind == "query" else np.ones(len(index), bool)
        return {i: bool(ok) for i, ok, a in zip(index, right & ~fooled, asked, strict=True) if a}
    except (KeyError, ValueError) as error:
        raise DamagedFileError(
            f"the arrays of {record.key} ({record.name}) do not say what happened to each image "
            f"({type(error).__name__} {error}): put the folder back from a copy, or run the study anew"
        ) from error
