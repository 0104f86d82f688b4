"""Audit any PyTorch classifier, or one of ours, into a folder: one record, one page."""

import ast
import hashlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from groundglass.attacks.balls import Ball
from groundglass.audit import Audit, AuditConfig, audit
from groundglass.audit.claims import each_of
from groundglass.core import Progress, accelerator, check_seed, platform, silent
from groundglass.core.accelerator import Device, torch_device
from groundglass.core.arrays import read_npy
from groundglass.core.batch_size import BatchSize, checked
from groundglass.core.imported import file_digest
from groundglass.core.schema import written
from groundglass.core.states import passed
from groundglass.core.text import fraction
from groundglass.data.registry import is_path, load
from groundglass.models import DefendedNetwork, load_defended, load_model, read_spec
from groundglass.models import devices_of as asked_devices
from groundglass.models.files import is_defended_file
from groundglass.models.files import trained_on as data_of
from groundglass.models.named import RANDOM, zoo_name
from groundglass.models.preprocessing import Preprocessed
from groundglass.models.wrappers import unwrapped
from groundglass.models.zoo import find
from groundglass.optics import OpticalDevice
from groundglass.optics.counted import CountedDevice, counted
from groundglass.optics.remote.errors import check_frames
from groundglass.optics.store import find_device
from groundglass.results import Record, RecordStore, cell_key
from groundglass.results.kinds.audit import FileAuditConfig
from groundglass.studies.cells.attack import make_ball
from groundglass.studies.cells.audit import audit_result, is_steady
from groundglass.studies.engine.cell import as_json
from groundglass.studies.engine.frames import frames_of_audit
from groundglass.studies.engine.run import manifest
from groundglass.studies.imported import attack_digest, imported_attack
from groundglass.studies.pictures import read_pictures

#: What its attacks have made, while it is under way.
CHECKPOINT = "checkpoint.safetensors"


def audit_model(
    model: str,
    out: Path,
    *,
    data: str,
    arguments: Sequence[str] = (),
    weights: Path | str | None = None,
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
    device_file: Path | None = None,
    optical_device: OpticalDevice | None = None,
    token_file: Path | None = None,
    device: Device = "auto",
    batch_size: BatchSize | None = None,
    data_dir: Path | None = None,
    trained_on: str | None = None,
    matrix: Path | None = None,
    norm: Literal["linf", "l2"] = "linf",
    eps: str | None = None,
    claims: Sequence[str] = (),
    attacks: Sequence[str] = (),
    images: int = 500,
    config: AuditConfig | None = None,
    seed: int = 0,
    progress: Progress = silent,
    note: Callable[[str], None] | None = None,
) -> Audit | None:
    """Audit a model into the run folder `out`; None if the complete audit is there already.

    Args:
        model: a model file of ours, or a network by name: "timm:resnet18", "zoo:vgg-opu-demo", "file.py:factory" and others, see
            `groundglass.models.load_model`.
        out: a new folder, or one that holds the same audit.
        data: cifar10, cifar100, shapes, or the path of an .npz or of a folder of pictures, see `groundglass.data.load`.
        arguments: of the function that makes the network, as "num_classes=10".
        weights: of a network by name: a state_dict, .safetensors or what torch.save wrote (read without pickled code); or a
            file of `save_defended`, which puts the optical layer into that network too; or "random" for fresh ones. None: those
            that it is published with.
        mean, std: of each channel, in place of those of the network's config.
        device_file: of a network with an optical layer: the file of its device, or the folder of that. Default: the folder
            `devices` beside that of its model file, or of `weights`.
        optical_device: the device itself, in place of a file: a `RemoteOPU` or a `LightOnOPU`, say.
        token_file: for a device at a service which the folder of devices names; see `DeviceStore`.
        device: what it is computed on: "cpu", "cuda", "cuda:1"; "auto" is a card where there is one. Recorded.
        batch_size: see `audit`.
        data_dir: the data folder.
        trained_on: the data set that the network was trained on: a path, or the name that `groundglass.data.load` gives it; None:
            as its file says. Of images without a test split those are audited that `load` holds out for the test.
        matrix: a retrieved U, `matrix.npy` as `groundglass retrieve` writes it.
        norm, eps: the ball; "8/255" or a number, pixel units. Without a radius L-inf's is 8/255. L2 needs one: lengths depend on
            the size of the images.
        claims: see `audit`: names of gradients or of attacks, or robust accuracies that somebody states; none for those of the
            network's kind.
        attacks: "package.module:name", attacks of your own, see `imported_attack`; each has this text for its name.
        images: the first so many of the test set.
        config: how much is tried.
        seed: of all draws.
        progress: told each attack.
        note: told, before the attacks, what is not known about the figures to come.

    Raises:
        ValueError, OSError: something that was given is wrong; raised before any work, says what to do.
        FrameBudgetError: the frames that are left of a device's budget are fewer than the audit takes, as far as is known.
    """
    check_seed(seed)
    where = torch_device(device)
    batch_size = None if batch_size is None else checked(batch_size)
    chosen = config if config is not None else AuditConfig()
    ball = check_ball(norm, eps)
    radius = ball.radius
    asked = tuple(claims)
    each_of(asked or None)
    brought = {text: imported_attack(text) for text in attacks}
    held = None if optical_device is None else counted(optical_device)
    network = read_network(
        model, weights, device_file, arguments, mean, std, optical_device=held, token_file=token_file
    )
    retrieved = None if matrix is None else _matrix(matrix)
    ours = zoo_name(model)
    place = find(ours) if ours is not None else Path(model)
    spec = read_spec(place) if place.is_file() else None
    if trained_on is None and (known := _own_file(place, weights)) is not None:
        trained_on = data_of(known)
    elif trained_on is not None and is_path(trained_on):
        trained_on = load(trained_on).name
    pictures = read_pictures(data, images, data_dir, trained_on=trained_on)
    if pictures.perhaps_seen and note is not None:
        note(
            f"NOT KNOWN: was the network trained on images of {data}, which has no test split? All of them are audited. If it "
            f"was, give --trained-on {data}: then those are audited that groundglass.data.load holds out for the test"
        )
    if spec is not None and not is_path(data):
        spec.check_data(pictures.name, len(pictures.classes))
    ball.check(pictures.images)
    asked_of = [*arguments, *(f"{name}={given}" for name, given in (("mean", mean), ("std", std)) if given)]
    given = [Path(path) for path in (model, weights, data, matrix) if path is not None and Path(path).is_file()]
    about = FileAuditConfig(
        model=Path(model).name if Path(model).is_file() else model,
        # Files by what is in them: another one of the same name is another audit.
        network=_state_digest(network),
        files=tuple(map(file_digest, given)) + tuple(map(attack_digest, brought.values())),
        norm=norm,
        eps=radius,
        eps_per_channel=None,
        eps_paper=None,
        n_images=len(pictures.images),
        settings=written(chosen),
        seed=seed,
        claims=asked,
        attacks=tuple(brought),
        arguments=tuple(asked_of),
    )
    settings = as_json(about)
    key, name = cell_key("audit", settings, []), f"audit of {settings['model']}"
    plan = [{"key": key, "kind": "audit", "name": name}]
    described = {**settings, "classes": list(pictures.classes)}
    checkpoint = out / CHECKPOINT
    asked_ones = asked_devices(unwrapped(network))
    public = any(getattr(one, "public", False) for one in asked_ones)
    told = manifest("audit", "audit", pictures.name, described, plan, seed, public_seed=public, where=where)
    store = RecordStore.open(out, told)
    try:
        if key in store:
            return None
        for one in (one for one in asked_ones if isinstance(one, CountedDevice)):
            natural = 0 if pictures.natural is None else len(pictures.natural)
            frames = frames_of_audit(about, natural, passed(checkpoint) if is_steady(network) else 0)
            check_frames(frames, getattr(one, "frames_left", None), "what is left of this audit")
        accelerator.watch_memory(where)
        with accelerator.repeatable(where):
            found = audit(
                network.to(where),
                pictures.images.to(where),
                pictures.labels.to(where),
                ball,
                claim=asked or None,
                attacks=brought,
                natural=pictures.natural,
                matrix=retrieved,
                config=chosen,
                seed=seed,
                batch_size=batch_size,
                checkpoint=checkpoint if is_steady(network) else None,
                progress=progress,
            )
        record = Record(
            key=key,
            kind="audit",
            name=name,
            config=settings,
            result=as_json(replace(audit_result(found), perhaps_seen=pictures.perhaps_seen)),
            seconds=round(found.seconds, 3),
            finished=datetime.now(UTC).isoformat(timespec="seconds"),
            frames=_frames(network),
            memory=platform.most_memory(),
            device_memory=accelerator.most_memory(where),
        )
        broken_by, adversarial = found.broken_by.numpy(), found.adversarial.cpu().numpy()
        store.add(record, {"broken_by": broken_by, "label": pictures.labels.numpy(), "adversarial": adversarial})
    except Exception:
        store.give_up()  # a folder left by a refused model would refuse the next one
        raise
    finally:
        store.close()
    with suppress(OSError):  # the record is written: it is not needed any more
        checkpoint.unlink()
    return found


def check_ball(norm: Literal["linf", "l2"], eps: str | None) -> Ball:
    """The ball of an audit.

    Raises:
        ValueError: the radius is none, or L2 is given none.
    """
    return make_ball(norm, parse_eps(eps if eps is not None else default_eps(norm)))


def default_eps(norm: Literal["linf", "l2"]) -> str:
    """The radius of a norm that is given none.

    Raises:
        ValueError: L2 has none.
    """
    if norm == "linf":
        return "8/255"
    raise ValueError(
        "--norm l2 needs a radius, as --eps 0.5: the field's usual ones are 0.5 for 3 x 32 x 32 images and 3 for 3 x 224 x 224 "
        "(pixel units, images in [0, 1])"
    )


def parse_eps(text: str) -> float:
    """ "8/255" or "0.03" as a number.

    Raises:
        ValueError: neither.
    """
    try:
        return fraction(text)
    except ValueError:
        raise ValueError(f"--eps {text!r} is not a radius: give 8/255 or 0.03, in pixel units") from None


def _own_file(model: Path, weights: Path | str | None) -> Path | None:
    """The model file of ours, if there is one: that of the weights, or the model itself."""
    if weights is None:
        return model if model.is_file() else None
    return Path(weights) if Path(weights).is_file() and is_defended_file(Path(weights)) else None


def read_network(
    model: str,
    weights: Path | str | None,
    device: Path | None,
    arguments: Sequence[str] = (),
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
    *,
    optical_device: OpticalDevice | None = None,
    token_file: Path | None = None,
) -> nn.Module:
    """A network by its name, or a model file of ours, with its weights and its device; see `audit_model`.

    Raises:
        ValueError, OSError: there is none, or weights of another network; says what to do.
    """
    path = Path(model)
    place = None if weights is None or not Path(weights).is_file() else Path(weights)
    place = None if place is None or not is_defended_file(place) else place
    made = load_model(
        model,
        arguments=parse_arguments(arguments),
        weights=weights if place is None else RANDOM,
        mean=mean or None,
        std=std or None,
        find_device=_naming_the_option()(partial(_find, optical_device, devices_of(path, device), token_file)),
    )
    if place is None:
        if optical_device is not None and not isinstance(unwrapped(made), DefendedNetwork):
            raise ValueError(f"{model} has no optical layer, so it takes no --optical-device: leave it out")
        return made
    own = isinstance(made, DefendedNetwork) and made.device is not None and device is None
    with _naming_the_option():
        found = optical_device or (None if own else devices_of(place, device))
        return load_defended(place, network=lambda: made, device=found)


def _find(held: OpticalDevice | None, where: Path, token_file: Path | None, fingerprint: str | None) -> OpticalDevice:
    return find_device(where, fingerprint, token_file=token_file) if held is None else held


def _frames(network: nn.Module) -> int | None:
    """That were taken of a device which somebody else holds."""
    counted_ones = [one for one in asked_devices(unwrapped(network)) if isinstance(one, CountedDevice)]
    return sum(one.frames for one in counted_ones) or None


def parse_arguments(texts: Sequence[str]) -> dict[str, Any]:
    """ "num_classes=10" and the like, by name: numbers, true and false, none, tuples of them, or else texts.

    Raises:
        ValueError: it is no such text.
    """
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise ValueError(f"--model-args {text} is not name=value: write num_classes=10, or pretrained=false")
        try:
            found[name] = ast.literal_eval({"true": "True", "false": "False", "none": "None"}.get(value.lower(), value))
        except (ValueError, SyntaxError):
            found[name] = value
    return found


def devices_of(path: Path, device: Path | None) -> Path:
    """Where the device of a model file is: what is given, a device file or a folder of them; else `devices` beside the file's
    own folder, as the studies lay it out."""
    return path.resolve().parent.parent / "devices" if device is None else device


@contextmanager
def _naming_the_option() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{error}; or name the device file, or the folder that holds it, by --device-file"
        ) from error


def _state_digest(network: nn.Module) -> str:
    """Of its weights and of the source of its class: what a factory makes may change without a file that we are given."""
    digest = hashlib.sha256()
    if isinstance(network, Preprocessed):
        digest.update(repr(network.preprocessing).encode())
        network = network.network
    for name, value in sorted(network.state_dict().items()):
        if name.endswith("_extra_state"):  # no weight: what a layer says about itself, as a device's fingerprint
            continue
        digest.update(f"{name} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    with suppress(OSError, TypeError):  # a class typed in by hand has no source: its weights are all that can be known
        digest.update(inspect.getsource(type(network)).encode())
    return digest.hexdigest()


def _matrix(path: Path) -> Tensor:
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no matrix file {path}: `groundglass retrieve DEVICE --out DIR` writes DIR/matrix.npy"
        )
    found = read_npy(path, "`groundglass retrieve` writes such files")
    if found.dtype.kind not in "fc" or found.ndim != 2:
        raise ValueError(f"{path} must be a matrix, complex64 [M, N], not {found.dtype} of shape {found.shape}")
    return torch.from_numpy(found.astype(np.complex64))
