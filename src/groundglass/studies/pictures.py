"""The images that a model file is audited on."""

from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from groundglass.data import Dataset, ImageSet, load
from groundglass.data.given import digest
from groundglass.data.image_files import WHOLE, read_sets
from groundglass.data.registry import NAMES, cut, is_path, same_images, whole


@dataclass(frozen=True)
class Pictures:
    """What is audited on.

    Attributes:
        name: of the data set, or of the file.
        images, labels: the first so many of the test set.
        natural: training images, that surrogates may be fitted to; None where there are none.
        classes: their names, where they are known.
        perhaps_seen: nothing says whether the network was trained on these images.
    """

    name: str
    images: Tensor
    labels: Tensor
    natural: ImageSet | None
    classes: tuple[str, ...] = ()
    perhaps_seen: bool = False


def read_pictures(data: str, count: int, data_dir: Path | None, *, trained_on: str | None = None) -> Pictures:
    """The first `count` test images of a data set, or of a file or folder.

    Of one without splits all images are for the test, those of a folder shuffled: a model trained elsewhere has seen none. For a
    model that was trained on it (`trained_on`, the name that `load` gives the data) they are those that were held out.

    Raises:
        ValueError: fewer images, or none that can be used; says what to do.
        FileNotFoundError, DamagedFileError: of the file.
    """
    if count < 1:
        raise ValueError(f"--images (={count}) must be at least 1")
    sets = read_sets(Path(data)) if is_path(data) and not cut(data)[1] else {}
    if WHOLE in sets and (trained_on is None or trained_on in NAMES or not same_images(load(data).name, trained_on)):
        every = sets[WHOLE]
        test = every if isinstance(every, ImageSet) else whole(every, shuffled=True)
        found = Pictures(Path(data).name, test.images, test.labels, None, perhaps_seen=trained_on is None)
        if test is not every:  # a folder: it is no file, by whose digest another one would be noticed
            found = replace(found, name=f"{found.name}-{digest(test)}", classes=test.classes)
    else:
        dataset: Dataset = load(data, data_dir=data_dir)
        test = dataset.test
        found = Pictures(dataset.name, test.images, test.labels, dataset.train, dataset.classes)
    if len(test) < count:
        raise ValueError(f"{data} has {len(test)} images, and --images asks for {count}")
    test = test.head(count)
    return replace(found, images=test.floats(), labels=test.labels)
