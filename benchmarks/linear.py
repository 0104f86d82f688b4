"""Linear projections from intensities: errors against anchors and noise, beside published figures and beside a retrieval of U.

    python benchmarks/linear.py

1. *Anchors*, beside the figures of Gupta et al., arXiv 1907.01703. Theirs are what their public scripts print
   (swing-research/opu_phase: `sr_ls_simulation`, `linearity_simulation`, `denoising_simulation`; seeds as they stand, and a
   line of the first and the last mended to run with today's numpy). There inputs and anchors are Gaussian and differences
   are measured, which a DMD cannot do; full scale is the brightest reading. "Their law" is `Lateration` on readings of that law
   with the true anchors, as theirs. The other columns are `LinearDevice` at the package's default exposure: of 0 and 1, with
   the inputs in two halves, and with as many spare inputs.
2. *Noise*: error against the camera's read noise.
3. *Retrieval*: the same products by retrieving U and multiplying.
4. *A randomised SVD* (Halko, Martinsson, Tropp 2011) with the device for a sketch.

Errors are of a row over all inputs, up to one phase and one conjugation (`row_errors`), unless it says otherwise.
"""

import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import tyro
from torch import Tensor

from groundglass.core.platform import machine, versions
from groundglass.optics import DeviceAccess, SimulatedOPU, true_matrix
from groundglass.optics.linear import LinearDevice
from groundglass.optics.linear.lateration import Lateration
from groundglass.optics.retrieval import FixedExposure, retrieve, row_errors

#: By anchors, of the published scripts: signal to noise, dB ("single point"); relative error of linearity, %, mean and median
#: (MDS); good bits of the squared magnitude (MDS).
PUBLISHED = {
    2: (31.2, 11.5, 4.28, 5.35),
    3: (36.0, 3.96, 2.55, 5.75),
    5: (39.0, 2.49, 1.65, 6.31),
    8: (41.1, 1.68, 1.08, 6.60),
    15: (45.3, 1.16, 0.74, 7.05),
}
#: The same script's good bits of the readings as they are.
PUBLISHED_MEASURED = 5.06


@dataclass(frozen=True)
class Arguments:
    """What is measured.

    Attributes:
        inputs: N.
        rows: M.
        vectors: inputs of each figure.
        seed: of device, inputs and anchors.
        threads: of torch.
    """

    inputs: int = 1024
    rows: int = 500
    vectors: int = 100
    seed: int = 1
    threads: int = 1


def draws(count: int, inputs: int, share: float, seed: int) -> Tensor:
    return (torch.rand(count, inputs, generator=torch.Generator().manual_seed(seed)) < share).to(torch.uint8)


def good_bits(light: Tensor, truth: Tensor) -> float:
    """Mean over all values of -log2 of the relative error."""
    return float(-((light - truth).abs() / truth).clamp_min(1e-9).log2().mean())


def their_law(k: int, seed: int) -> float:
    """Signal to noise, dB, of points from 8-bit readings of the published law; full scale is the brightest of all frames."""
    random = torch.Generator().manual_seed(seed)
    points = torch.randn(16 + 1, 1000, dtype=torch.complex128, generator=random)
    away = (points[:, None] - points).abs().square()
    # The script has one batch of 100 rows, and what it is scaled by is the brightest of their readings.
    scale = torch.stack([255 / part.amax() for part in away.split(100, 2)]).repeat_interleave(100)
    found = points * scale.sqrt()
    anchors = torch.cat((torch.zeros_like(found[:1]), -found[1 : k + 1]))
    light = torch.cat((found[:1].abs().square(), (found[:1] + anchors[1:]).abs().square()))
    expected = torch.full((1,), float(found.abs().square().mean()), dtype=torch.float64)
    placed = Lateration(anchors, None, 1 / 12)(light.round()[:, None], expected)
    return float((-20 * ((placed - found[:1]).abs() / found[:1].abs()).log10()).mean())


def anchors(a: Arguments) -> None:
    print("\n### Anchors, 8 bits\n")
    print(
        "| anchors | SNR, dB: their law | published | linearity, %, mean (median): two halves | spare inputs | published | "
        "good bits: two halves | spare inputs | published |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    device = SimulatedOPU.create(a.inputs, a.rows, seed=a.seed)
    u, measured = true_matrix(device).to(torch.complex128), []
    for k, (decibel, mean, median, bits) in PUBLISHED.items():
        linearity, good = [], []
        for inputs in (a.inputs, a.inputs // 2):
            # Disjoint, so that the sum is binary.
            x = draws(a.vectors, inputs, 1 / 4, a.seed)
            y = draws(a.vectors, inputs, 1 / 3, a.seed + 1) * (1 - x)
            linear = LinearDevice.fit(device, k, seed=a.seed, inputs=inputs if inputs < a.inputs else None)
            whole, apart = linear.linear(x + y), linear.linear(x) + linear.linear(y)
            off = 100 * (apart - whole).abs() / whole.abs().clamp_min(1e-9)
            linearity.append(f"{off.mean():.2f} ({off.median():.2f})")
            light = ((x + y).to(torch.complex128) @ u[:, :inputs].T).abs().square()
            good.append(good_bits(whole.abs().square(), light))
            seen = light < 255
            read = device.measure(torch.nn.functional.pad(x + y, (0, a.inputs - inputs)))
            measured.append(good_bits(read[seen].double(), light[seen]))
        print(
            f"| {k} | {their_law(k, a.seed):.1f} | {decibel} | {linearity[0]} | {linearity[1]} | {mean} ({median}) | "
            f"{good[0]:.2f} | {good[1]:.2f} | {bits} |"
        )
    print(
        f"\nGood bits of one reading as it is: {measured[0]:.2f} of the inputs in two halves, {measured[1]:.2f} of those with "
        f"spare ones, as far as below the top; published: {PUBLISHED_MEASURED}."
    )


def noise(a: Arguments) -> None:
    print("\n### Read noise and anchors, default exposure (1% of calibration at the top), inputs half on\n")
    print(
        "| read noise, grey levels | "
        + " | ".join(f"{k} anchors" for k in (3, 7, 15, 30))
        + " | rows above 10%, 15 anchors |"
    )
    print("|---|---|---|---|---|---|")
    x = draws(a.vectors, a.inputs, 0.5, a.seed)
    for std in (0.0, 0.5, 1.0, 2.0, 4.0, 8.0):
        device = SimulatedOPU.create(a.inputs, a.rows, seed=a.seed, read_noise=std)
        truth = true_matrix(device).to(torch.complex128) @ x.T.to(torch.complex128)
        found = {
            k: row_errors(LinearDevice.fit(device, k, seed=a.seed).linear(x).T.to(torch.complex128), truth)
            for k in (3, 7, 15, 30)
        }
        wrong = float((found[15] > 0.1).double().mean())
        print(f"| {std:g} | " + " | ".join(f"{errors.median():.2%}" for errors in found.values()) + f" | {wrong:.1%} |")


def retrieval(a: Arguments) -> None:
    device = SimulatedOPU.create(a.inputs, a.rows, seed=a.seed)
    u = true_matrix(device).to(torch.complex128)
    print("\n### Beside a retrieval of U, inputs half on, noise free\n")
    print("| way | frames | for how many vectors | median error | worst row | CPU seconds, simulation included |")
    print("|---|---|---|---|---|---|")
    x = draws(a.vectors, a.inputs, 0.5, a.seed)
    truth = u @ x.T.to(torch.complex128)

    def line(name: str, frames: int, vectors: str, product: Tensor, started: float) -> None:
        errors = row_errors(product, truth)
        seconds = time.process_time() - started
        print(f"| {name} | {frames:,} | {vectors} | {errors.median():.2%} | {errors.max():.1%} | {seconds:.1f} |")

    for k in (7, 15):
        started, access = time.process_time(), DeviceAccess(device)
        linear = LinearDevice.fit(access, k, seed=a.seed)
        product = linear.linear(x).T.to(torch.complex128)
        line(f"`LinearDevice`, {k} anchors", access.frames, str(a.vectors), product, started)
        even = (12 * a.inputs + 96 - linear.fit_frames) / linear.frames_per_input
        print(
            f"| | {linear.fit_frames} + {linear.frames_per_input} a vector | 12N: {even:.0f} = {even / a.inputs:.2f}N | "
            "| | |"
        )
    for times in (6, 12, 24):
        started, frames = time.process_time(), times * a.inputs + 96
        found = retrieve(DeviceAccess(device), FixedExposure(), frames=frames, seed=a.seed)
        product = found.matrix.to(torch.complex128) @ x.T.to(torch.complex128)
        line(f"retrieve U, {times}N", frames, "any", product, started)


def randomised_svd(
    matrix: npt.NDArray[np.float64], sketch: npt.NDArray[np.complex64], rank: int
) -> tuple[npt.NDArray[np.complex128], npt.NDArray[np.float64], npt.NDArray[np.complex128]]:
    """Algorithm 5.1 of Halko et al.: `sketch` is the matrix times a random one."""
    q = np.linalg.qr(sketch)[0]
    left, values, right = np.linalg.svd(q.conj().T @ matrix, full_matrices=False)
    return (q @ left)[:, :rank], values[:rank], right[:rank]


def decaying(rows: int, columns: int, decay: float, seed: int) -> npt.NDArray[np.float64]:
    """Singular values exp(-j / decay), random singular vectors."""
    random = np.random.default_rng(seed)
    size = min(rows, columns)
    left, right = (np.linalg.qr(random.standard_normal((n, size)))[0] for n in (rows, columns))
    made: npt.NDArray[np.float64] = (left * np.exp(-np.arange(size) / decay)) @ right.T
    return made


def svd(a: Arguments) -> None:
    print("\n### Randomised SVD, 200 x 256, singular values exp(-j / 8), sketch of rank + 10 columns\n")
    print("| rank | best possible | device, 8-bit camera | device, read noise 2 | Gaussian sketch | frames |")
    print("|---|---|---|---|---|---|")
    matrix = decaying(200, 256, 8.0, a.seed)
    for rank in (5, 10, 20, 40):
        columns = rank + 10
        best = float(np.linalg.norm(np.exp(-np.arange(rank, 200) / 8)) / np.linalg.norm(matrix))
        found = []
        for std in (0.0, 2.0):
            access = DeviceAccess(SimulatedOPU.create(512, columns, seed=a.seed, read_noise=std))
            linear = LinearDevice.fit(access, inputs=256, seed=a.seed)
            found.append(linear.linear(matrix))
        random = np.random.default_rng(a.seed)
        drawn = random.standard_normal((256, columns)) + 1j * random.standard_normal((256, columns))
        found.append(matrix @ drawn)
        off = []
        for sketch in found:
            left, values, right = randomised_svd(matrix, sketch, rank)
            off.append(np.linalg.norm(matrix - (left * values) @ right) / np.linalg.norm(matrix))
        print(f"| {rank} | {best:.4f} | " + " | ".join(f"{each:.4f}" for each in off) + f" | {access.frames:,} |")


def main(a: Arguments) -> None:
    torch.set_num_threads(a.threads)
    print(f"{machine()}, {torch.get_num_threads()} threads, {versions()}")
    print(f"N = {a.inputs}, M = {a.rows}, {a.vectors} inputs, seed {a.seed}")
    for part in (anchors, noise, retrieval, svd):
        started = time.perf_counter()
        part(a)
        print(f"\n({time.perf_counter() - started:.0f} s)")


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
