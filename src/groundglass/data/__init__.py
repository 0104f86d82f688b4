"""Where images come from: CIFAR in its published layout, the procedural set `shapes`, the user's own; seeded batches."""

from groundglass.data.augment import Augment
from groundglass.data.batches import Batch, batches
from groundglass.data.dataset import Dataset, ImageSet
from groundglass.data.download import DownloadError
from groundglass.data.given import Images, ImagesLike, given
from groundglass.data.registry import data_folder, load, user_cache
from groundglass.data.shapes import load_shapes
from groundglass.data.sources import IndexedImages, StreamedImages

__all__ = [
    "Augment",
    "Batch",
    "Dataset",
    "DownloadError",
    "ImageSet",
    "Images",
    "ImagesLike",
    "IndexedImages",
    "StreamedImages",
    "batches",
    "data_folder",
    "given",
    "load",
    "load_shapes",
    "user_cache",
]
