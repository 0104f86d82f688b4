"""What every attack of the phrasebook does: calls, modes, normalisation, files; and several attacks as one."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from groundglass.attacks import AttackResult
from groundglass.attacks.sweep import laid
from groundglass.compat.calls import Normalisation, Recipe, Subject, logits, placed, predicted
from groundglass.core import counting, generator, integers
from groundglass.core.modes import evaluating
from groundglass.core.states import CheckedFile

_FILE = CheckedFile("file of adversarial images", "groundglass_compat", "kind", "make the images again", sealed=True)


class Attack:
    """Attacks bound to a model: `atk(images, labels)` gives adversarial images. Of several, each is made on what those before it
    did not fool.

    Attributes:
        seed: of all draws.
        result: of the last call.
    """

    seed: int = 0

    def __init__(self, model: nn.Module, *recipes: Recipe) -> None:
        if not callable(model):
            raise TypeError(f"the model must be callable, images -> logits, not {type(model).__name__}")
        self.model, self.attack_mode, self._recipes = model, "default", recipes
        self.result: AttackResult | None = None
        self._target: Callable[[Tensor, Tensor], Tensor] | None = None
        self._normalisation: Normalisation | None = None
        self._seen = 0

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        """Adversarial images, in the range of `images`.

        Raises:
            ValueError, TypeError: as our attacks do; images that were normalised need `set_normalization_used`.
        """
        images, labels = placed(self.model, images), placed(self.model, labels)
        normalisation = self._normalisation
        plain = images if normalisation is None else normalisation.undone(images).clamp(0, 1)
        adversarial = self._run(plain.detach(), labels)
        return adversarial if normalisation is None else normalisation.of(adversarial)

    def _run(self, images: Tensor, labels: Tensor) -> Tensor:
        targets = None if self._target is None else self._target(images, labels)
        # Where the labels that are given are the targets, what is true is not said.
        told = None if self.attack_mode == "targeted(label)" else labels
        subject = Subject.of(self._of_plain, images, told, targets, seed=self.seed, first=self._seen)
        self._seen += len(images)
        self.result = subject.attacked(*self._recipes)
        return self.result.adversarial

    @property
    def _of_plain(self) -> Any:
        """The model of images before normalisation."""
        return self.model if self._normalisation is None else self._normalisation.before(self.model)

    def get_logits(self, inputs: Tensor, labels: Tensor | None = None) -> Tensor:
        """The model's logits, in eval mode, of images as the model's data set has them before normalisation."""
        with evaluating(self.model):
            found: Tensor = self._of_plain(inputs)
        return found

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
            classes = logits(self._of_plain, images).shape[1]
            drawn = integers(classes - 1, labels.shape, generator=generator(self.seed, "targets", self._seen))
            return (labels.cpu() + 1 + drawn).remainder(classes).to(labels.device)

        self._aim("targeted(random)", draw)

    def set_mode_targeted_least_likely(self, kth_min: int = 1, quiet: bool = False) -> None:
        """The class with the k-th smallest score of those that are not the label's."""

        def least(images: Tensor, labels: Tensor) -> Tensor:
            scores = logits(self._of_plain, images).scatter(1, labels[:, None].long(), torch.inf)
            if not 1 <= kth_min < scores.shape[1]:
                raise ValueError(f"`kth_min` (={kth_min}) must be in 1..{scores.shape[1] - 1}, of the other classes")
            return scores.argsort(dim=1, stable=True)[:, kth_min - 1]

        self._aim("targeted(least-likely)", least)

    def _aim(self, mode: str, target: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.attack_mode, self._target = mode, target

    # --- images that were normalised ---

    def set_normalization_used(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Calls take images that were normalised by these, one number a channel, and give such."""
        self._normalisation = Normalisation(list(mean), list(std))

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

        Raises:
            ValueError: the loader has no images.
        """
        parts, labels, right, lengths = [], [], [], []
        for given, classes in data_loader:
            images, truth = placed(self.model, given), placed(self.model, classes)
            adversarial = self(images, truth)
            plain, found = (
                each if self._normalisation is None else self._normalisation.undone(each)
                for each in (images, adversarial)
            )
            stands = predicted(self._of_plain, found) == truth
            parts.append(found.cpu())
            labels.append(truth.cpu())
            right.append(stands.cpu())
            lengths.append((found - plain)[~stands].flatten(1).norm(dim=1).cpu())
        if not sum(map(len, labels)):
            raise ValueError("`data_loader` has no images: an iterator that was read to its end has none left")
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
        told = ", ".join(f"{one.attack!r}, {one.ball!r}" for one in self._recipes)
        return f"{type(self).__name__}({told}, attack_mode={self.attack_mode})"


class MultiAttack(Attack):
    """Several attacks on one model, each on the images that the ones before did not fool.

    Attributes:
        seed: of the first; when it is set, the others get the numbers after it, so that equal attacks draw differently.
    """

    def __init__(self, attacks: Sequence[Attack], verbose: bool = False) -> None:
        if len(attacks) < 2 or len({id(one.model) for one in attacks}) > 1:
            raise ValueError("give at least two attacks, all of one model")
        self.attacks = list(attacks)
        super().__init__(attacks[0].model)

    @property
    def seed(self) -> int:
        return self.attacks[0].seed

    @seed.setter
    def seed(self, seed: int) -> None:
        for number, one in enumerate(self.attacks):
            one.seed = seed + number

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        images, labels = placed(self.model, images), placed(self.model, labels)
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

    def __repr__(self) -> str:
        return f"MultiAttack({self.attacks!r})"
