"""Nothing: autoencoders need nothing of an OPU."""

from groundglass.compat.missing import absent

__getattr__ = absent(
    "lightonml.encoding.models",
    "an autoencoder is a module of torch of your own; without training, groundglass.features.Thermometer makes bits of numbers",
)
