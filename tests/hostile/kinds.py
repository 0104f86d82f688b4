"""Small genuine files of every kind that the package reads: how each is made, read, and given the checksum of what it is now."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from groundglass.attacks import PGD, AttackCheckpoint, GradientAccess, Linf, ScoreAccess, Square, Sweep
from groundglass.attacks import checkpoint as attack_checkpoint
from groundglass.attacks.adversarial_files import AdversarialSet, Origin, load_adversarial, save_adversarial
from groundglass.audit.kept import Kept, Made
from groundglass.bench import Benchmark
from groundglass.certify import smooth
from groundglass.core.checksum import sealed
from groundglass.core.states import _digest
from groundglass.data import ImageSet
from groundglass.data.image_files import PictureFolder
from groundglass.models import ModelSpec, build, defend, load_defended, load_model, save_defended, save_model
from groundglass.models.weight_files import read_weights
from groundglass.optics import (
    DeviceAccess,
    DeviceStore,
    DriftingDevice,
    LightOnOPU,
    MovingDevice,
    RemoteOPU,
    SimulatedOPU,
)
from groundglass.optics.retrieval import FixedExposure, retrieve
from groundglass.optics.secret_file import _checksum
from groundglass.optics.streams.bit_file import BitFile
from groundglass.optics.streams.reading_file import ReadingFile
from groundglass.results import Run
from groundglass.results.bundle import BUNDLE
from groundglass.results.compact import compact
from groundglass.service.alarms import Alarm, Alarms
from groundglass.service.counts import read_counts
from groundglass.service.database import NAME, Database
from groundglass.service.guard import NaturalBits
from groundglass.service.ledger import Ledger
from groundglass.service.policy import Redraw, Versions, read_versions
from groundglass.service.tokens import Budgets, Tokens
from groundglass.studies.audit_model import _matrix, read_pictures
from groundglass.studies.cells import certify, draws
from groundglass.studies.cells.cached_bits import cached_bits, cached_features
from groundglass.studies.hardened import Found
from groundglass.training import HybridDFA, TrainingConfig, train
from tests.bench import fakes
from tests.runs import RunFolder
from tests.service.serving import remote, token

SPEC = ModelSpec(width=0.03, classes=3, mean=(0.5,) * 3, std=(0.5,) * 3, device_in=8, device_out=12)
IMAGES = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(1))
LABELS = torch.arange(6) % 3
TRAINING = TrainingConfig(epochs=2, batch_size=3, precision="float32")


@dataclass(frozen=True)
class FileKind:
    """A kind of file.

    Attributes:
        make: writes one into an empty folder; its path.
        read: what a reader makes of it, to be compared.
        parts: JSON within it, by place, and
        put: the file again with another JSON at a place, and the checksum of what it is then.
        checked: an altered file is noticed, or reads as before. Else it may read as something else.
    """

    make: Callable[[Path], Path]
    read: Callable[[Path], Any]
    parts: Callable[[Path], dict[str, Any]] = lambda path: {}
    put: Callable[[Path, str, Any], None] = lambda path, place, value: None
    checked: bool = True


def plain(value: Any) -> Any:
    """What was read, so that it can be compared."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().contiguous().numpy()
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    return value


# JSON alone.
def json_parts(path: Path) -> dict[str, Any]:
    return {"": json.loads(path.read_text())}


def put_json(path: Path, place: str, value: Any) -> None:
    path.write_text(json.dumps(value))


def put_sealed(path: Path, place: str, value: Any) -> None:
    path.write_text(json.dumps(sealed(value) if isinstance(value, dict) else value) + "\n")


def put_device(path: Path, place: str, value: Any) -> None:
    path.write_text(json.dumps({**value, "checksum": _checksum(value)} if isinstance(value, dict) else value))


# JSON in the metadata of safetensors.
def _opened(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata())  # noqa: SIM118


def metadata_parts(path: Path) -> dict[str, Any]:
    return {name: json.loads(text) for name, text in _opened(path)[1].items() if text.startswith(("{", "["))}


def put_metadata(path: Path, place: str, value: Any) -> None:
    tensors, metadata = _opened(path)
    metadata[place] = json.dumps(value)
    if "notes" in metadata:
        text = "\n".join(("state", metadata["notes"], metadata["identity"]))
    else:
        (mark,) = metadata.keys() - {place, "sha256"}
        text = f"{mark}\n{metadata[place]}"
    save_file(tensors, path, {**metadata, "sha256": _digest(tensors, text)})


@cache
def device() -> SimulatedOPU:
    return SimulatedOPU.create(8, 12, seed=5)


@cache
def network() -> torch.nn.Module:
    return build(SPEC, device=device(), seed=1).eval()


def run_folder(folder: Path) -> Path:
    made = RunFolder(folder / "run")
    made.network()
    made.attack("VGG-OPU", [True, False, True], clean=[True, True, True])
    made.store.close()
    return folder / "run"


def read_run(path: Path) -> Any:
    folder = path.parent.parent if path.suffix == ".npz" else path.parent
    run = Run.open(folder)
    frames = {name: frame.to_json() for name, frame in run.frames.items()}
    return frames, plain([run.arrays(record.key) for record in run.records]), run.classes, repr(run.progress)


def compact_copy(folder: Path) -> Path:
    compact(run_folder(folder), folder / "copy")
    return folder / "copy" / BUNDLE


def model_file(folder: Path) -> Path:
    save_model(folder / "model.safetensors", network(), SPEC)
    return folder / "model.safetensors"


def plain_network() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 4), torch.nn.ReLU(), torch.nn.Linear(4, 3))


def defended_file(folder: Path) -> Path:
    torch.manual_seed(0)
    save_defended(defend(plain_network(), at="3", device=device(), seed=1), folder / "defended.safetensors")
    return folder / "defended.safetensors"


def read_defended(path: Path) -> Any:
    return plain(dict(load_defended(path, network=plain_network, device=device()).state_dict()))


def device_file(folder: Path) -> Path:
    return DeviceStore(folder / "devices").put(device())


def drifting_file(folder: Path) -> Path:
    return DeviceStore(folder / "devices").put(DriftingDevice(device(), correlation=8.0))


def moving_file(folder: Path) -> Path:
    return DeviceStore(folder / "devices").put(MovingDevice([device(), SimulatedOPU.create(8, 12, seed=6)], seed=1))


def read_device(path: Path) -> Any:
    found = DeviceStore(path.parent).find(path.stem)
    bits = torch.ones(1, 8, dtype=torch.uint8)
    return found.fingerprint, len(found) if isinstance(found, MovingDevice) else plain(found.measure(bits))


@cache
def _served() -> RemoteOPU:
    """At a service, as long as these tests run."""
    return remote(device())


def remote_file(folder: Path) -> Path:
    mine = folder / "token"
    mine.write_text(token())
    mine.chmod(0o600)
    return DeviceStore(folder / "devices").keep(_served())


def read_remote_device(path: Path) -> Any:
    found = DeviceStore(path.parent, token_file=path.parent.parent / "token").find(path.stem)
    return found.fingerprint, plain(found.measure(torch.ones(1, 8, dtype=torch.uint8)))


def saved_draws(folder: Path) -> Path:
    moving = MovingDevice([device(), SimulatedOPU.create(8, 12, seed=6)], seed=1)
    return DeviceStore(folder / "devices").put(moving, draws=True).with_suffix(".draws")


def read_saved_draws(path: Path) -> Any:
    found = DeviceStore(path.parent).find(path.stem, draws=True)
    return plain(found.measure(torch.ones(40, 8, dtype=torch.uint8)))


class Apparatus:
    """The number of ones, on every pixel."""

    def transform(self, bits: np.ndarray) -> np.ndarray:
        return np.repeat(bits.sum(1, keepdims=True), 12, 1).astype(np.uint8)


def real_device_file(folder: Path) -> Path:
    LightOnOPU.calibrate(Apparatus(), 8, 12, fingerprint="lab-2").save(folder / "lab.json")
    return folder / "lab.json"


def read_real_device(path: Path) -> Any:
    found = LightOnOPU.load(path, Apparatus())
    return found.fingerprint, found.mean_reading, found.in_features, found.out_features


class Logits(torch.nn.Module):
    """Images to logits, in no time."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.linspace(-1, 1, 3 * 3072).view(3, 3072).sin())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1) @ self.weight.T


@cache
def attacked() -> tuple[torch.nn.Module, torch.Tensor]:
    model = Logits()
    return model, model(IMAGES).argmax(1)


def _sweep() -> Sweep:
    model, labels = attacked()
    return PGD(steps=1)(model, IMAGES, labels, Linf, eps=[0.01, 0.03])


def result_file(folder: Path) -> Path:
    _sweep().save(folder / "sweep.safetensors")
    return folder / "sweep.safetensors"


def read_result(path: Path) -> Any:
    return [plain(vars(one)) for one in Sweep.load(path)]


def adversarial_file(folder: Path) -> Path:
    model, labels = attacked()
    found = AdversarialSet(
        Origin(source="me", attack="PGD()", ball=Linf(0.1), seed=3),
        IMAGES,
        labels,
        torch.zeros(6, dtype=torch.bool),
        torch.arange(6),
    )
    save_adversarial(folder / "adversarial.safetensors", found, IMAGES, GradientAccess(model))
    return folder / "adversarial.safetensors"


def read_adversarial(path: Path) -> Any:
    model, labels = attacked()
    found = load_adversarial(path, IMAGES, labels, GradientAccess(model))
    return repr(found.origin), plain([found.adversarial, found.labels, found.claimed, found.indices])


def gradient_checkpoint(folder: Path) -> Path:
    before, attack_checkpoint.SECONDS_BETWEEN_SAVES = attack_checkpoint.SECONDS_BETWEEN_SAVES, 0.0
    try:
        return _attack(folder / "attack.safetensors")[0]
    finally:
        attack_checkpoint.SECONDS_BETWEEN_SAVES = before


def _attack(path: Path) -> tuple[Path, Any]:
    model, labels = attacked()
    found = PGD(steps=2)(GradientAccess(model), IMAGES, labels, Linf(0.01), seed=1, checkpoint=AttackCheckpoint(path))
    return path, plain([found.adversarial, found.success])


def _query(path: Path) -> tuple[Path, Any]:
    model, labels = attacked()
    access = ScoreAccess(model, per_image=4)
    found = Square()(access, IMAGES, labels, Linf(0.01), seed=1, checkpoint=path)
    return path, plain([found.adversarial, found.success, found.queries])


def _trained(path: Path) -> Any:
    model = build(SPEC, device=device(), seed=1)
    images = ImageSet("shapes", "train", (IMAGES * 255).to(torch.uint8), LABELS, ("a", "b", "c"))
    history = train(model, images, TRAINING, credit=HybridDFA(), seed=1, checkpoint=path)
    return [h.loss for h in history], plain(dict(model.state_dict()))


def training_checkpoint(folder: Path) -> Path:
    _trained(folder / "training.safetensors")
    return folder / "training.safetensors"


def draws_checkpoint(folder: Path) -> Path:
    path = folder / "draws.safetensors"
    draws.DrawsState.begin(path, "key", torch.tensor([0, -1, -1])).add(1, torch.tensor([2]), _fooled())
    return path


def certify_checkpoint(folder: Path) -> Path:
    path = folder / "certify.safetensors"
    found = smooth(attacked()[0], 0.1).certify(IMAGES[:2], n0=2, n=3)
    flags = torch.tensor([True, False])
    rows = {"attacked": flags, "broken": ~flags, "outside": flags}
    certify.CertifyState.begin(path, "key", 6, (2, 3)).add(found, rows, 7)
    return path


def read_certify(path: Path) -> Any:
    found = certify.CertifyState.begin(path, "key", 6, (2, 3))
    return found.done, found.notes.frames, found.earlier_seconds, plain(found.rows)


def _fooled() -> Any:
    model, labels = attacked()
    return PGD(steps=30, step_size=0.1)(GradientAccess(model), IMAGES[:1], labels[:1], Linf(0.5), seed=1)


def read_draws(path: Path) -> Any:
    found = draws.DrawsState.begin(path, "key", torch.tensor([0, -1, -1]))
    return found.done, found.gradients, found.unconfirmed, found.earlier_seconds, plain(found.fell)


IDENTITY = {"model": "mine", "seed": 3}
ROWS = torch.tensor([0, 2])


def certified_file(folder: Path) -> Path:
    _certified(folder / "certificates.safetensors")
    return folder / "certificates.safetensors"


def _certified(path: Path) -> Any:
    found = smooth(attacked()[0], 0.1).certify(IMAGES, n0=2, n=3, checkpoint=path)
    return plain([found.chosen, found.estimated])


def kept_file(folder: Path) -> Path:
    kept = Kept(folder / "kept.safetensors", IDENTITY)
    kept.put(0, "PGD", ROWS, Made(IMAGES[ROWS], torch.tensor([True, False]), 5, seconds=1.0))
    return folder / "kept.safetensors"


def read_kept(path: Path) -> Any:
    kept = Kept(path, IDENTITY)
    found = kept.get(0, "PGD", ROWS, IMAGES[ROWS])
    return kept.earlier_seconds, None if found is None else plain([*vars(found).values()])


def _bits(folder: Path) -> Any:
    images = ImageSet("shapes", "train", (IMAGES * 255).to(torch.uint8), LABELS, ("a", "b", "c"))
    return plain(cached_bits(network(), images, folder)[0])  # type: ignore[arg-type]


def _features(folder: Path) -> Any:
    images = ImageSet("shapes", "train", (IMAGES * 255).to(torch.uint8), LABELS, ("a", "b", "c"))
    return plain(cached_features(network(), images, folder)[0])  # type: ignore[arg-type]


def features_cache(folder: Path) -> Path:
    _features(folder)
    return next(folder.glob("features-*.safetensors"))


def bits_cache(folder: Path) -> Path:
    _bits(folder)
    return next(folder.glob("bits-*"))


def _retrieved(folder: Path) -> Any:
    camera_ready = DeviceAccess(SimulatedOPU.create(8, 12, seed=5), budget=160)
    return plain(retrieve(camera_ready, FixedExposure(), frames=160, seed=1, folder=folder).matrix)


def retrieval_file(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        _retrieved(folder / "retrieved")
        return folder / "retrieved" / name

    return make


def bit_file(folder: Path) -> Path:
    np.save(folder / "bits.npy", np.random.default_rng(0).integers(0, 2, (5, 8)).astype(np.uint8))
    return folder / "bits.npy"


def read_bits(path: Path) -> Any:
    found = BitFile(path, 8)
    return found.check(lambda *_, **__: None), plain(found.read(0, found.rows))


def ledger(folder: Path) -> Path:
    path = bit_file(folder)
    with ReadingFile(folder / "out.npy", {"source": 1}, (5, 12), np.uint8) as readings:
        readings.add(np.ones((2, 12), np.uint8), saturated=0, seconds=1.0)
    assert path.exists()
    return folder / ".out.npy.part.json"


def read_ledger(path: Path) -> Any:
    with ReadingFile(path.parent / "out.npy", {"source": 1}, (5, 12), np.uint8) as readings:
        return readings.row, readings.done, readings.seconds


def pictures(folder: Path) -> Path:
    np.savez_compressed(folder / "pictures.npz", images=IMAGES.numpy(), labels=LABELS.numpy())
    return folder / "pictures.npz"


def read_npz_pictures(path: Path) -> Any:
    found = read_pictures(str(path), 6, None)
    return plain([found.images, found.labels])


def picture(folder: Path) -> Path:
    for k in range(4):
        (folder / "mine" / "ab"[k % 2]).mkdir(parents=True, exist_ok=True)
        pixels = (255 * IMAGES[k]).to(torch.uint8).permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(folder / "mine" / "ab"[k % 2] / f"picture{k}.png")
    return folder / "mine" / "a" / "picture2.png"


def read_folder(path: Path) -> Any:
    found = PictureFolder(path.parent.parent)
    return plain([found[k][0] for k in range(len(found))])


def matrix(folder: Path) -> Path:
    np.save(folder / "matrix.npy", np.ones((4, 3), np.complex64))
    return folder / "matrix.npy"


def weights(folder: Path) -> Path:
    save_file({"weight": torch.ones(3, 2)}, folder / "weights.safetensors")
    return folder / "weights.safetensors"


def torch_weights(folder: Path) -> Path:
    torch.save({"weight": torch.ones(3, 2)}, folder / "weights.pt")
    return folder / "weights.pt"


def of_run(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        run = run_folder(folder)
        return next((run / "arrays").iterdir()) if name == "arrays" else run / name

    return make


def records_parts(path: Path) -> dict[str, Any]:
    return {str(k): json.loads(line) for k, line in enumerate(path.read_text().splitlines())}


def put_record(path: Path, place: str, value: Any) -> None:
    lines = path.read_text().splitlines()
    lines[int(place)] = json.dumps(sealed(value) if isinstance(value, dict) else value)
    path.write_text("\n".join(lines) + "\n")


def service_database(folder: Path) -> Path:
    with Ledger(folder) as ledger:
        ledger.tokens.new("a", roles=["calibrate"], devices=["one", "two"], budgets=Budgets(100, 10))
        batch = ledger.begin(ledger.tokens.new("b", budgets=Budgets(frames_a_second=9))[0], "one", 5)
        ledger.take([(batch, 3)])
        found = {"device": "one", "name": "weight", "score": 2.0, "limit": 1.0, "frames": 3}
        ledger.alarms.put(batch.client.id, Alarm(at=1e9, client="b", response="refuse", **found))
    return folder / NAME


def read_database(path: Path) -> Any:
    database = Database(path.parent, create=False)
    try:
        alarms = Alarms(database)
        return Tokens(database).all(), read_counts(database), alarms.latest(9), alarms.held()
    finally:
        database.close()


def guard_file(folder: Path) -> Path:
    rows = torch.randint(0, 2, (300, 10), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))
    NaturalBits.fit(rows[:150], rows[150:]).save(folder / "guard.safetensors")
    return folder / "guard.safetensors"


def read_guard(path: Path) -> Any:
    guard = NaturalBits.load(path)
    return plain([guard.looks.tensors(), guard.levels, guard.shares]), guard.calibrated, guard.settings


def served_versions(folder: Path) -> Path:
    versions = Versions("lab", device(), folder, policy=Redraw(overlap=100))
    versions.redraw()
    return folder / "versions.json"


SAFE = {"parts": metadata_parts, "put": put_metadata}


def benchmark_file(folder: Path) -> Path:
    (path := folder / "bench.json").parent.mkdir(exist_ok=True)
    fakes.made(fakes.row("a", [1, 2, 4], [1, 1, 1], [4, 4, 4]), fakes.row("b", [1, 2, 3])).save(path)
    return path


_HARDENED: dict[str, Any] = {"before": 0.5, "after": 0.6, "at": "2", "whole": True, "model": "m.safetensors"}
_HARDENED |= {"device": "d.device", "fingerprint": "f" * 32, "public": False, "seconds": 2.0}


def hardening_file(folder: Path) -> Path:
    path = folder / "hardening.safetensors"
    Found(**_HARDENED).keep(path, {"seed": 1})
    return path


def read_hardening(path: Path) -> Any:
    found = Found.read(path, {"seed": 1})
    return None if found is None else vars(found)


KINDS: dict[str, FileKind] = {
    "benchmark": FileKind(benchmark_file, Benchmark.load, json_parts, put_json, checked=False),
    "study.json": FileKind(of_run("study.json"), read_run, json_parts, put_sealed),
    "records.jsonl": FileKind(of_run("records.jsonl"), read_run, records_parts, put_record),
    "arrays": FileKind(of_run("arrays"), read_run),
    "bundle": FileKind(compact_copy, read_run),
    "model": FileKind(
        model_file, lambda p: plain(dict(load_model(p, find_device=lambda _: device()).state_dict())), **SAFE
    ),
    "defended network": FileKind(defended_file, read_defended, **SAFE),
    "device": FileKind(device_file, read_device, json_parts, put_device),
    "drifting device": FileKind(drifting_file, read_device, json_parts, put_json),
    "real device": FileKind(real_device_file, read_real_device, json_parts, put_sealed),
    "remote device": FileKind(remote_file, read_remote_device, json_parts, put_sealed),
    "moving device": FileKind(moving_file, read_device, json_parts, put_json),
    "saved draws": FileKind(saved_draws, read_saved_draws, json_parts, put_json, checked=False),
    "attack result": FileKind(result_file, read_result, **SAFE),
    "adversarial images": FileKind(adversarial_file, read_adversarial, **SAFE),
    "gradient checkpoint": FileKind(gradient_checkpoint, lambda p: _attack(p)[1], **SAFE),
    "query checkpoint": FileKind(lambda f: _query(f / "query.safetensors")[0], lambda p: _query(p)[1], **SAFE),
    "training checkpoint": FileKind(training_checkpoint, _trained, **SAFE),
    "draws checkpoint": FileKind(draws_checkpoint, read_draws, **SAFE),
    "certify checkpoint": FileKind(certify_checkpoint, read_certify, **SAFE),
    "certificates": FileKind(certified_file, _certified, **SAFE),
    "kept audit": FileKind(kept_file, read_kept, **SAFE),
    "cached bits": FileKind(bits_cache, lambda p: _bits(p.parent), **SAFE),
    "cached features": FileKind(features_cache, lambda p: _features(p.parent), **SAFE),
    "retrieval.json": FileKind(retrieval_file("retrieval.json"), lambda p: _retrieved(p.parent), json_parts, put_json),
    "retrieved matrix": FileKind(retrieval_file("matrix.npy"), lambda p: _retrieved(p.parent)),
    "readings": FileKind(retrieval_file("readings.npy"), lambda p: _retrieved(p.parent), checked=False),
    "hardening": FileKind(hardening_file, read_hardening, **SAFE),
    "guard": FileKind(guard_file, read_guard, **SAFE),
    "bits": FileKind(bit_file, read_bits, checked=False),
    "ledger": FileKind(ledger, read_ledger, json_parts, put_json, checked=False),
    "service's database": FileKind(service_database, read_database, checked=False),
    "served device": FileKind(served_versions, read_versions, json_parts, put_sealed),
    "pictures": FileKind(pictures, read_npz_pictures),
    "picture": FileKind(picture, read_folder, checked=False),
    "given matrix": FileKind(matrix, lambda p: plain(_matrix(p)), checked=False),
    "weights": FileKind(weights, lambda p: plain(read_weights(p)), checked=False),
    "torch weights": FileKind(torch_weights, lambda p: plain(read_weights(p)), checked=False),
}
