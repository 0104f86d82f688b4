"""The simulated device, beside the complex64 product that it stands for."""

from functools import partial

import torch
from torch import Tensor

from groundglass.bench import floors
from groundglass.bench.job import Bench, Contest, Job, Part
from groundglass.core import generator
from groundglass.core.numbers import integers
from groundglass.optics import SimulatedOPU, true_matrix
from groundglass.optics.access import half_density


def _measuring(bench: Bench, *, one: bool) -> Contest:
    sizes = bench.sizes
    device = SimulatedOPU.create(sizes.inputs, sizes.outputs, seed=bench.seed)
    random = generator(bench.seed, "device")
    bits = half_density(1 if one else sizes.rows, sizes.inputs, random)

    def in_complex64() -> Part:
        u = true_matrix(device).T.contiguous()

        def run() -> Tensor:
            return (bits.to(torch.complex64) @ u).abs().square()

        return Part(run)

    def least(found: Tensor) -> dict[str, Part]:
        # Real and imaginary part of a public matrix of the same size, whose entries fit int8 as the secret one's do.
        matrix = (integers(255, (sizes.inputs, 2 * sizes.outputs), generator=random) - 127).to(torch.int8)
        known = floors.products(bits.to(torch.int8), matrix)
        return known | (floors.reading(device.nbytes) if one else {})

    return Contest(work=lambda: device.measure(bits), floors=least, peers={"complex64 in torch": in_complex64})


JOBS = (
    Job(
        "device",
        "measurement, {inputs} -> {outputs}, batch {rows}",
        "the product alone, and nothing rounded or squared",
        partial(_measuring, one=False),
    ),
    Job(
        "device-one",
        "measurement, {inputs} -> {outputs}, batch 1",
        "the product alone, or the matrix read once",
        partial(_measuring, one=True),
    ),
)
