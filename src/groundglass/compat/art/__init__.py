"""ART's calls on our attacks: `from groundglass.compat.art.attacks.evasion import ProjectedGradientDescent`.

    classifier = PyTorchClassifier(model, nn.CrossEntropyLoss(), (3, 32, 32), 10, clip_values=(0, 1))
    x_adv = ProjectedGradientDescent(classifier, eps=8 / 255, eps_step=2 / 255, max_iter=40).generate(x=x)

Arrays of numpy go in and come out. What differs: an image stops when it is fooled, and the best iterate is kept; one that the
model gets wrong is returned as it is; draws come from `attack.seed` (0). `attack.result` has the last call's `AttackResult`.
"""

from groundglass.compat.art import attacks, estimators, utils

__all__ = ["attacks", "estimators", "utils"]
