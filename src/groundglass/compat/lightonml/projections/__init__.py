"""The OPU as a transformer of scikit-learn and as a module of torch."""
