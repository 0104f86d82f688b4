"""Where images come from: CIFAR in its published layout, the procedural set `shapes`, seeded batches."""

from groundglass.data.augment import Augment
from groundglass.data.batches import Batch, batches
from groundglass.data.dataset import Dataset, ImageSet, check_image_set
from groundglass.data.download import DownloadError
from groundglass.data.registry import data_folder, load
from groundglass.data.shapes import load_shapes

__all__ = [
    "Augment",
    "Batch",
    "Dataset",
    "DownloadError",
    "ImageSet",
    "batches",
    "check_image_set",
    "data_folder",
    "load",
    "load_shapes",
]
