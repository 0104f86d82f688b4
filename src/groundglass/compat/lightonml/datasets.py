"""Nothing: data sets are scikit-learn's."""

from groundglass.compat.missing import absent

__getattr__ = absent("lightonml.datasets", "sklearn.datasets has load_digits, and fetch_openml('mnist_784') for MNIST")
