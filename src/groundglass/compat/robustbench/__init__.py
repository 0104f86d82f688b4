"""RobustBench's calls on our attacks: `from groundglass.compat.robustbench.eval import benchmark`.

    x_test, y_test = load_cifar10(n_examples=50)
    model = load_model(model_name="Carmon2019Unlabeled", dataset="cifar10", threat_model="Linf")
    clean_acc, robust_acc = benchmark(model, dataset="cifar10", threat_model="Linf", eps=8 / 255)

Data and weights are read from this machine. What is missing is an error that says which file to put where.
"""

from groundglass.compat.robustbench import data, eval, utils

__all__ = ["data", "eval", "utils"]
