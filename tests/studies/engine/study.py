"""The `study.py` of a study of one's own: four toys."""

from groundglass.studies.recipe import Recipe
from groundglass.studies.targets import TargetsConfig
from tests.studies.engine.toys import Toy
from tests.studies.tiny import targets


def make(data, seed, precision):
    return TargetsConfig(**targets(seed, precision))


def cells(config, dataset):
    return diamond()


def diamond():
    first = Toy("first")
    left, right = Toy("left", (first,)), Toy("right", (first, first))
    return [first, left, right, Toy("last", (left, right))]


RECIPES = (Recipe("tiny", make, ("shapes",), "cheap", "little"),)
