"""`from groundglass.compat.robustbench.eval import benchmark`."""

from pathlib import Path
from typing import Any

from groundglass.compat.autoattack import AutoAttack
from groundglass.compat.calls import refuse
from groundglass.compat.local_images import pictures
from groundglass.compat.missing import missing
from groundglass.compat.robustbench.utils import clean_accuracy
from groundglass.core.files import make_folder, write_json

__all__ = ["benchmark"]

#: Radii of the leaderboards.
_EPS = {"Linf": 8 / 255, "L2": 0.5}


def benchmark(
    model: Any,
    n_examples: int = 10_000,
    dataset: Any = "cifar10",
    threat_model: Any = "Linf",
    to_disk: bool = False,
    model_name: str | None = None,
    data_dir: Path | str = "./data",
    device: Any = None,
    batch_size: int = 32,
    eps: float | None = None,
    log_path: Any = None,
    preprocessing: Any = None,
    aa_state_path: Any = None,
) -> tuple[float, float]:
    """Clean accuracy, and what standard AutoAttack leaves, as shares of the first test images.

    Args:
        eps: in pixel units of [0, 1]; by default that of the leaderboard: 8/255 in Linf, 0.5 in L2.
        to_disk: write both to model_info/<dataset>/<threat model>/<model_name>.json.

    Raises:
        ValueError: corruptions, or a setting that is not here.
        FileNotFoundError: the images are not on this machine; says what to put where.
    """
    data, threat = (str(getattr(each, "value", each)) for each in (dataset, threat_model))
    if threat not in ("Linf", "L2", "L1"):
        raise ValueError(f"`threat_model` (={threat!r}) must be 'Linf', 'L2' or 'L1': there are no corruptions here")
    if eps is None and threat not in _EPS:
        raise ValueError(f"{threat} has no radius of a leaderboard: give eps=")
    if to_disk and not model_name:
        raise ValueError("to_disk=True needs a model_name, which names the file")
    refuse(
        "RobustBench",
        preprocessing=(preprocessing, None, "put it in front of the model"),
        aa_state_path=(aa_state_path, None, "attacks of groundglass have checkpoint= for long work"),
    )
    radius = _EPS[threat] if eps is None else eps
    adversary = AutoAttack(model, norm=threat, eps=radius, verbose=False, log_path=log_path)
    images, labels = pictures(data, n_examples, data_dir)
    clean = clean_accuracy(model, images, labels)
    adversary.run_standard_evaluation(images, labels, bs=batch_size)
    assert adversary.result is not None
    robust = adversary.result.robust_accuracy
    if to_disk:
        folder = Path("model_info") / data / threat
        make_folder(folder)
        told = {"name": model_name, "dataset": data, "threat_model": threat, "eps": radius, "images": len(labels)}
        write_json(folder / f"{model_name}.json", {**told, "clean_acc": clean, "autoattack_acc": robust})
    return clean, robust


__getattr__ = missing(__name__, "robustbench.eval", __all__)
