"""What every attack of the phrasebook does: calls, modes, normalisation, files; and several attacks as one."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from groundglass import attacks
from groundglass.attacks import L2, AttackResult, Ball, Targeted
from groundglass.attacks.bookkeeping import Board
from groundglass.attacks.sweep import laid
from groundglass.core import counting, generator, integers
from groundglass.core.given import as_tensor
from groundglass.core.modes import evaluating
from groundglass.core.states import CheckedFile

_FILE = CheckedFile("file of adversarial images", "groundglass_compat", "kind", "make the images again", sealed=True)


class Attack(ABC):
    """An attack bound to a model: `atk(images, labels)` gives adversarial images.

    Attributes:
        seed: of all draws.
        result: of the last call.
    """

    def __init__(self, model: nn.Module) -> None:
        if not callable(model):
            raise TypeError(f"the model must be callable, images -> logits, not {type(model).__name__}")
        self.model, self.seed, self.attack_mode = model, 0, "default"
        self.result: AttackResult | None = None
        self._target: Callable[[Tensor, Tensor], Tensor] | None = None
        self._mean_std: tuple[Tensor, Tensor] | None = None
        self._seen = 0

    @abstractmethod
    def _attack(self) -> tuple[attacks.Attack, Ball | None, dict[str, Any]]:
        """Our attack, its ball, and what else its call takes."""

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        """Adversarial images, in the range of `images`.

        Raises:
            ValueError, TypeError: as our attacks do; images that were normalised need `set_normalization_used`.
        """
        images, labels = self._placed(images), self._placed(labels)
        plain = images if self._mean_std is None else (images * self._std(images) + self._mean(images)).clamp(0, 1)
        adversarial = self._run(plain.detach(), labels)
        return adversarial if self._mean_std is None else (adversarial - self._mean(images)) / self._std(images)

    def _placed(self, given: Any) -> Any:
        """Where the model is, as in torchattacks."""
        weight = next(self.model.parameters(), None) if isinstance(self.model, nn.Module) else None
        found = as_tensor(given)
        return found if weight is None or not isinstance(found, Tensor) else found.to(weight.device)

    def _run(self, images: Tensor, labels: Tensor) -> Tensor:
        attack, ball, options = self._attack()
        model: Any = self.model if self._mean_std is None else _Normalised(self.model, self._mean, self._std)
        if "access" in options:
            model = options.pop("access")(model)
        first = self._seen
        self._seen += len(images)
        found = None if self._target is None else Targeted(self._target(images, labels))
        if found is not None and self.attack_mode == "targeted(label)":
            # The labels that are given are the targets: what is true is not said, and what the model says is taken for it.
            labels = self._predicted(images)
            left = found.met_by_class(labels, labels, None)
            result = self._of(attack, model, images[~left], labels[~left], ball, found.at(~left), first, options)
            untouched = Board(images, labels, range(len(images))).result(L2(0.0))
            self.result = laid(untouched, result, (~left).nonzero().squeeze(1))
            return self.result.adversarial
        self.result = self._of(attack, model, images, labels, ball, found, first, options)
        return self.result.adversarial

    def _of(
        self,
        attack: attacks.Attack,
        model: Any,
        images: Tensor,
        labels: Tensor,
        ball: Ball | None,
        criterion: Targeted | None,
        first: int,
        options: dict[str, Any],
    ) -> AttackResult:
        numbers = range(first, first + len(images))
        return attack(model, images, labels, ball, criterion=criterion, seed=self.seed, indices=numbers, **options)

    @torch.no_grad()
    def _predicted(self, images: Tensor) -> Tensor:
        return self.get_logits(images).argmax(1)

    def get_logits(self, inputs: Tensor, labels: Tensor | None = None) -> Tensor:
        """The model's logits, in eval mode, of images as the model's data set has them before normalisation."""
        model = self.model if self._mean_std is None else _Normalised(self.model, self._mean, self._std)
        with evaluating(self.model):
            logits: Tensor = model(inputs)
        return logits

    # --- modes ---

    def set_mode_default(self) -> None:
        """Any other class than the label's."""
        self.attack_mode, self._target = "default", None

    def set_mode_targeted_by_function(
        self, target_map_function: Callable[[Tensor, Tensor], Tensor], quiet: bool = False
    ) -> None:
        """The class that a function of (images, labels) gives."""
        self._aim("targeted(custom)", target_map_function)

    def set_mode_targeted_by_label(self, quiet: bool = False) -> None:
        """The labels that a call is given are the targets."""
        self._aim("targeted(label)", lambda images, labels: labels)

    def set_mode_targeted_random(self, quiet: bool = False) -> None:
        """A random class for each image, not the label's."""

        def draw(images: Tensor, labels: Tensor) -> Tensor:
            classes = self._scores(images).shape[1]
            drawn = integers(classes - 1, labels.shape, generator=generator(self.seed, "targets", self._seen))
            return (labels.cpu() + 1 + drawn).remainder(classes).to(labels.device)

        self._aim("targeted(random)", draw)

    def set_mode_targeted_least_likely(self, kth_min: int = 1, quiet: bool = False) -> None:
        """The class with the k-th smallest score of those that are not the label's."""

        def least(images: Tensor, labels: Tensor) -> Tensor:
            scores = self._scores(images).scatter(1, labels[:, None].long(), torch.inf)
            if not 1 <= kth_min < scores.shape[1]:
                raise ValueError(f"`kth_min` (={kth_min}) must be in 1..{scores.shape[1] - 1}, of the other classes")
            return scores.argsort(dim=1, stable=True)[:, kth_min - 1]

        self._aim("targeted(least-likely)", least)

    def _aim(self, mode: str, target: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.attack_mode, self._target = mode, target

    @torch.no_grad()
    def _scores(self, images: Tensor) -> Tensor:
        return self.get_logits(images)

    # --- images that were normalised ---

    def set_normalization_used(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Calls take images that were normalised by these, one number a channel, and give such."""
        found = _each_channel(mean), _each_channel(std)
        if len(found[0]) != len(found[1]) or not bool((found[1] > 0).all()):
            raise ValueError(
                f"{len(mean)} means, and deviations of {list(std)}: give one of each a channel, deviations above 0"
            )
        self._mean_std = found

    def _mean(self, like: Tensor) -> Tensor:
        assert self._mean_std is not None
        return _for_channels(self._mean_std[0], like)

    def _std(self, like: Tensor) -> Tensor:
        assert self._mean_std is not None
        return _for_channels(self._mean_std[1], like)

    # --- files ---

    def save(
        self,
        data_loader: Iterable[tuple[Tensor, Tensor]],
        save_path: Path | str | None = None,
        verbose: bool = True,
        return_verbose: bool = False,
    ) -> tuple[float, float] | None:
        """Attack every batch of a loader; write the images, as [0, 1] has them, and the labels.

        Args:
            verbose: print the robust accuracy in %, and the mean L2 length of what fooled.
            return_verbose: return these two.
        """
        parts, labels, right, lengths = [], [], [], []
        for given, classes in data_loader:
            images, truth = self._placed(given), self._placed(classes)
            plain = images if self._mean_std is None else images * self._std(images) + self._mean(images)
            adversarial = self(images, truth)
            found = adversarial if self._mean_std is None else adversarial * self._std(images) + self._mean(images)
            stands = self._predicted(found) == truth
            parts.append(found.cpu())
            labels.append(truth.cpu())
            right.append(stands.cpu())
            lengths.append((found - plain)[~stands].flatten(1).norm(dim=1).cpu())
        share, length = 100 * float(torch.cat(right).float().mean()), float(torch.cat(lengths).mean())
        if save_path is not None:
            _FILE.save(save_path, {"adversarial": torch.cat(parts), "labels": torch.cat(labels)}, '"torchattacks"')
        if verbose:
            print(f"robust accuracy {share:.2f} %, L2 {length:.5f}")
        return (share, length) if return_verbose else None

    @staticmethod
    def load(load_path: Path | str, batch_size: int = 128, shuffle: bool = False) -> DataLoader[Any]:
        """A loader of what `save` wrote."""
        tensors, _ = _FILE.load(load_path)
        return DataLoader(TensorDataset(tensors["adversarial"], tensors["labels"]), batch_size, shuffle=shuffle)

    def __repr__(self) -> str:
        attack, ball, _ = self._attack()
        return f"{type(self).__name__}({attack!r}, {ball!r}, attack_mode={self.attack_mode})"


def _each_channel(values: Sequence[float]) -> Tensor:
    return torch.tensor(list(values), dtype=torch.float32, device="cpu").view(-1, 1, 1)


def _for_channels(values: Tensor, like: Tensor) -> Tensor:
    if len(values) not in (1, like.shape[1]):
        raise ValueError(
            f"images of {like.shape[1]} channels, and set_normalization_used was given {len(values)}: one a channel"
        )
    return values.to(like)


class _Normalised(nn.Module):
    def __init__(self, model: Any, mean: Callable[[Tensor], Tensor], std: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.model, self._mean, self._std = model, mean, std

    def forward(self, images: Tensor) -> Any:
        return self.model((images - self._mean(images)) / self._std(images))


class MultiAttack(Attack):
    """Several attacks on one model, each on the images that the ones before did not fool."""

    def __init__(self, attacks: Sequence[Attack], verbose: bool = False) -> None:
        if len(attacks) < 2 or len({id(one.model) for one in attacks}) > 1:
            raise ValueError("give at least two attacks, all of one model")
        self.attacks = list(attacks)
        super().__init__(attacks[0].model)

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        images, labels = self._placed(images), self._placed(labels)
        found, self.result = images.clone(), None
        left = counting(len(images), images.device)
        for one in self.attacks:
            if self.result is None or len(left):
                found[left] = one(images[left], labels[left])
                assert one.result is not None
                self.result = one.result if self.result is None else laid(self.result, one.result, left)
                left = left[one.result.robust]
        return found

    def set_mode_default(self) -> None:
        """Each attack in its default mode."""
        for one in self.attacks:
            one.set_mode_default()

    def _aim(self, mode: str, target: Callable[[Tensor, Tensor], Tensor]) -> None:
        raise ValueError("several attacks have one target each: set the mode of each, before they are joined")

    def set_normalization_used(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().set_normalization_used(mean, std)
        for one in self.attacks:
            one.set_normalization_used(mean, std)

    def _attack(self) -> tuple[attacks.Attack, Ball | None, dict[str, Any]]:
        return self.attacks[0]._attack()

    def __repr__(self) -> str:
        return f"MultiAttack({self.attacks!r})"
