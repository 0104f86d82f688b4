import hashlib

import numpy as np
import pytest
import torch

from groundglass.data import load_shapes, shapes
from groundglass.data.shape_outlines import FIGURES


def on_a_grid(figure):
    """A figure's distances over [-1.5, 1.5] squared, the points' distances from the centre, and a cell's area."""
    line = np.linspace(-1.5, 1.5, 601, dtype=np.float32)
    x, y = line[None, :], line[:, None]
    distance = np.broadcast_to(figure(x, y), (601, 601))
    return distance, np.hypot(x, y), (3 / 600) ** 2


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_lies_within_its_circle(name):
    distance, radius, cell = on_a_grid(FIGURES[name])
    assert 0.93 < radius[distance < 0].max() <= 1 or name == "disc"
    assert 0.6 < (distance < 0).sum() * cell < 2.5, "and is large enough to be seen"


@pytest.mark.parametrize("name", FIGURES)
def test_a_figures_edge_is_as_soft_as_any(name):
    # Soft edges come from distances: next to an edge they must change by one a unit, or the edge is blurred.
    distance, _, _ = on_a_grid(FIGURES[name])
    slope = np.hypot(*np.gradient(distance.astype(np.float64), 3 / 600))
    assert np.quantile(np.abs(slope[np.abs(distance) < 0.03] - 1), 0.8) < 0.02


def test_same_seed_same_bits():
    data = load_shapes(60, 30)
    digest = hashlib.sha256()
    for split in (data.train, data.test):
        digest.update(split.images.numpy().tobytes() + split.labels.numpy().tobytes())
    assert digest.hexdigest() == "f7629ec35a084b845db0445187b038ece57461c179baa44adebc5502d5ec5c52"


def test_an_image_does_not_depend_on_how_many_there_are():
    many, few = load_shapes(1234, 40), load_shapes(37, 11)
    assert torch.equal(many.train.images[:37], few.train.images)
    assert torch.equal(many.train.labels[:37], few.train.labels)
    assert torch.equal(many.test.images[:11], few.test.images)


def test_seeds_and_splits_differ():
    data, other = load_shapes(200, 200), load_shapes(200, 200, seed=1)
    everything = torch.cat([data.train.images, data.test.images, other.train.images, other.test.images])
    assert len(torch.unique(everything.flatten(1), dim=0)) == 800


def test_heads_are_balanced():
    labels = load_shapes(500, 20).train.labels
    assert (labels.reshape(-1, 10).sort(dim=1).values == torch.arange(10)).all()
    assert len({tuple(block) for block in labels.reshape(-1, 10).tolist()}) > 45


def test_what_the_package_takes_by_default():
    assert (shapes.TRAIN_SIZE, shapes.TEST_SIZE) == (10_000, 2_000)
    data = load_shapes(10, 10)
    assert data.classes == tuple(FIGURES)
    assert data.num_classes == 10
    assert data.mean == data.std == (0.5, 0.5, 0.5)
    assert data.augment is None
    assert (data.train.images.dtype, data.train.images.shape[1:]) == (torch.uint8, (3, 32, 32))


def test_each_label_shows_its_figure(monkeypatch):
    # On a plain background the pixels that differ from it are the figure: its area is known.
    monkeypatch.setattr(shapes, "SHADE", 0.0)
    monkeypatch.setattr(shapes, "NOISE", 0.0)
    monkeypatch.setattr(shapes, "CLUTTER", 0)
    monkeypatch.setattr(shapes, "CONTRAST", (120.0, 121.0))
    train = load_shapes(2000, 1).train
    pixels = train.images.float()
    background = pixels.flatten(2).mode(dim=2).values[:, :, None, None]
    cover = (pixels - background).abs().amax(1)
    cover /= cover.flatten(1).amax(1)[:, None, None]
    low, high = shapes.RADIUS
    mean_square = (low**2 + low * high + high**2) / 3
    for label, name in enumerate(train.classes):
        distance, _, cell = on_a_grid(FIGURES[name])
        expected = (distance < 0).sum() * cell * mean_square
        area = float(cover[train.labels == label].sum((1, 2)).mean())
        assert abs(area / expected - 1) < 0.08, f"{name}: {area:.1f} pixels, not {expected:.1f}"


def test_a_linear_classifier_does_not_solve_it():
    data = load_shapes(1000, 500)
    x, test = data.train.floats().flatten(1) - 0.5, data.test.floats().flatten(1) - 0.5
    targets = torch.nn.functional.one_hot(data.train.labels, 10).float() - 0.1
    weights = torch.linalg.solve(x @ x.T + 30 * torch.eye(len(x)), targets)
    accuracy = ((test @ x.T @ weights).argmax(1) == data.test.labels).float().mean()
    assert accuracy < 0.3


@pytest.mark.parametrize("sizes", [(0, 10), (10, 0), (-1, 10)])
def test_empty_sets_are_refused(sizes):
    with pytest.raises(ValueError, match="must be at least 1"):
        load_shapes(*sizes)
