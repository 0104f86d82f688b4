import numpy as np

from groundglass.data.random_words import unit, words


def test_it_is_splitmix64():
    # The published first outputs of SplitMix64 seeded with 1234567.
    expected = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert words(1234567, np.array([0]), 5)[0].tolist() == expected
    assert words(1234567, np.arange(5), 1)[:, 0].tolist() == expected


def test_an_image_has_its_words_in_any_company():
    every = words(7, np.arange(1000), 6)
    some = np.array([999, 0, 31, 31])
    assert np.array_equal(words(7, some, 6), every[some])
    assert len(np.unique(every)) == every.size


def test_unit_covers_0_to_1_evenly_and_never_reaches_1():
    edge = unit(np.array([0, 2**64 - 1], dtype=np.uint64))
    assert edge.dtype == np.float32
    assert edge[0] == 0
    assert 0.9999999 < edge[1] < 1
    values = unit(words(3, np.arange(20_000), 5))
    counts = np.array([np.histogram(column, bins=20, range=(0, 1))[0] for column in values.T])
    assert np.abs(counts / 1000 - 1).max() < 0.14  # 4.5 standard deviations
    assert np.abs(np.corrcoef(values.T) - np.eye(5)).max() < 0.03
