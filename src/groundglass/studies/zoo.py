"""The files of the zoo, out of run folders: networks rounded to bfloat16, with a card that says where they are from."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from groundglass.core import refuse_existing
from groundglass.core.accelerator import Device, torch_device
from groundglass.data import load
from groundglass.models import accuracy, load_model, read_spec, save_model
from groundglass.models.files import checksum
from groundglass.models.zoo import DEMONSTRATION_OPTION, MOST, Card, demonstration_device
from groundglass.results import Record, Run
from groundglass.results.kinds import TRAIN
from groundglass.results.made import digest_of, made_file

#: Names in the zoo, and those of the networks in their runs.
NETWORKS = {"vgg-16": "VGG-16", "vgg-opu-demo": "VGG-OPU", "vgg-16-at": "VGG-16 AT"}


@dataclass(frozen=True)
class Made:
    """A file of the zoo.

    Attributes:
        size: bytes.
        checksum: of what is in it, to be pinned in `models/zoo.py`.
        card: what the file says of the network.
    """

    path: Path
    size: int
    checksum: str
    card: Card


def make_zoo(
    folders: Sequence[Path], out: Path, *, data_dir: Path | None = None, device: Device = "auto"
) -> list[Made]:
    """Write the networks of run folders that the zoo has names for, each rounded to bfloat16, and measure their accuracy.

    Args:
        folders: of finished runs of `white-box`, `adversarial-training` or `all`, with `--device-seed raw:7`.
        out: the folder of the files; made when missing.
        data_dir: the data folder.
        device: what the accuracy is measured on, see `groundglass.core.accelerator.torch_device`.

    Raises:
        ValueError: a folder without such a network; two with the same; another device than the public one; a network too large.
            Raised before any work, like what follows.
        FileExistsError: a file of that name is there already.
        FileNotFoundError, DamagedFileError: of the files that are read.
    """
    where = torch_device(device)
    found: dict[str, tuple[Run, Record, Path]] = {}
    for folder in folders:
        for name, (run, record, path) in _networks(folder).items():
            if name in found:
                raise ValueError(f"{folder} and {found[name][0].folder} both have a {record.name}: give one of the two")
            refuse_existing(out / f"{name}.safetensors")
            found[name] = run, record, path
    return [_make(out / f"{name}.safetensors", *found[name], data_dir, where) for name in found]


def _networks(folder: Path) -> dict[str, tuple[Run, Record, Path]]:
    run = Run.open(folder)
    named = {record.name: record for record in run.records if record.kind == TRAIN.name}
    found = {}
    for name, network in NETWORKS.items():
        if network not in named:
            continue
        record = named[network]
        path = made_file(run.folder, record, TRAIN.result_of(record).checkpoint)
        _check(path)
        found[name] = run, record, path
    if not found:
        there = ", ".join(named) or "no trained network"
        raise ValueError(
            f"{folder} has none of {', '.join(NETWORKS.values())}, which the zoo has names for: it has {there}"
        )
    return found


def _check(path: Path) -> None:
    spec = read_spec(path)
    public = spec.device_in and demonstration_device(spec.device_in, spec.device_out or 1).fingerprint
    if spec.device_in and spec.fingerprint != public:
        raise ValueError(
            f"{path} has another device ({spec.fingerprint}) than the public one ({public}), without which nobody could run it: "
            f"give a run with {DEMONSTRATION_OPTION}"
        )
    if (size := path.stat().st_size // 2) > MOST:
        raise ValueError(
            f"{path} would have {size:,} bytes in bfloat16, and a file of the zoo has at most {MOST:,}: give a smaller network"
        )


def _make(out: Path, run: Run, record: Record, path: Path, data_dir: Path | None, where: torch.device) -> Made:
    spec, result = read_spec(path), TRAIN.result_of(record)
    test = load(run.manifest["data"], data_dir=data_dir).test
    model = load_model(
        path, find_device=lambda fingerprint: demonstration_device(spec.device_in or 1, spec.device_out or 1)
    )
    _round(model)
    card = Card(
        command=_command(run, record),
        key=record.key,
        original=digest_of(path),
        original_accuracy=result.clean_accuracy,
        accuracy=accuracy(model.to(where), test),
        images=len(test),
    )
    save_model(out, model.to("cpu", torch.bfloat16), spec, new=True, card=vars(card))
    return Made(out, out.stat().st_size, checksum(out), card)


def _round(model: nn.Module) -> None:
    """Weights and statistics to the nearest bfloat16; they stay float32, and compute as they will when the file is read."""
    state: dict[str, Any] = model.state_dict()
    model.load_state_dict(
        {name: tensor.to(torch.bfloat16) if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    )


def _command(run: Run, record: Record) -> str:
    """What trains the network. A plain network is the same with any device."""
    told, precision = run.manifest, record.config["training"]["precision"]
    changed = f" (changed: {'; '.join(told['changed'])})" if told.get("changed") else ""
    return (
        f"groundglass run {told['study']} --data {told['data']} --recipe {told['recipe']} {DEMONSTRATION_OPTION} "
        f"--precision {precision} --seed {told['seed']}{changed}"
    )
