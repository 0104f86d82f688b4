"""What enters a device, or reaches the block around it, computed once for a network and kept on disk: convolutions are what
costs."""

import hashlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from groundglass.core import Progress, load_state, save_state, silent
from groundglass.core.states import restoring
from groundglass.data import ImageSet
from groundglass.models import DefendedNetwork
from groundglass.optics.streams.packed import packed_width
from groundglass.training.encoding import encode_bits, encode_features


def cached_bits(
    network: DefendedNetwork, images: ImageSet, folder: Path, progress: Progress = silent
) -> tuple[Tensor, bool]:
    """The bits of `images`, uint8 [n, N], and whether they came from the cache in `folder`.

    Whoever has the model file can compute them: they say nothing about the device.

    Raises:
        DamagedFileError: the cache was altered, or is of something else.
    """
    key = _key(network, images, (f"network.{network.at}.readout.", f"network.{network.at}.above."))
    identity = {"bits": key, "images": len(images)}
    path = folder / f"bits-{key}.safetensors"
    if path.exists():
        tensors = load_state(path, identity)[0]
        with restoring(path):
            packed, wanted = tensors["bits"], (len(images), packed_width(network.block.width))
            if packed.dtype != torch.uint8 or packed.shape != wanted:
                raise ValueError(f"its bits are {packed.dtype} {tuple(packed.shape)}, not uint8 {wanted}")
            return torch.from_numpy(np.unpackbits(packed.numpy(), axis=1, count=network.block.width)), True
    bits = encode_bits(network, images, progress=progress, name=f"features of the {images.split} images")
    with suppress(OSError):  # a folder that cannot hold a cache is not a reason to stop
        save_state(path, {"bits": torch.from_numpy(np.packbits(bits.numpy(), axis=1))}, [], identity)
    return bits, False


def cached_features(
    network: DefendedNetwork, images: ImageSet, folder: Path, progress: Progress = silent
) -> tuple[Tensor, Path]:
    """What reaches the block of each of `images`, float32 [n, d], and the file in `folder` that has it from now on.

    Raises:
        DamagedFileError: the cache was altered, or is of something else.
    """
    block = f"network.{network.at}."
    key = _key(network, images, (block,))
    identity, path = {"features": key, "images": len(images)}, folder / f"features-{key}.safetensors"
    if path.exists():
        tensors = load_state(path, identity)[0]
        with restoring(path):
            features, wanted = tensors["features"], (len(images), network.block.taken)
            if features.dtype != torch.float32 or features.shape != wanted:
                raise ValueError(f"its features are {features.dtype} {tuple(features.shape)}, not float32 {wanted}")
            return features, path
    features, _ = encode_features(network, images, progress=progress, name=f"features of the {images.split} images")
    with suppress(OSError):  # a folder that cannot hold a cache is not a reason to stop
        save_state(path, {"features": features}, [], identity)
    return features, path


def _key(network: DefendedNetwork, images: ImageSet, above: tuple[str, ...]) -> str:
    """Names what is computed: a digest of all that it depends on, the images and the weights that are not `above` it."""
    digest = hashlib.sha256()
    above = ("feedback", *above)
    # Buffers that no state_dict has count too: the normalisation.
    state = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    below = {name: tensor for name, tensor in state.items() if not name.startswith(above)}
    for name in sorted(below):
        tensor = below[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    digest.update(images.images.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
