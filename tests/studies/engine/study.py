"""The `study.py` of a study of one's own: four toys."""

from groundglass.studies.kit import TargetsConfig
from groundglass.studies.recipe import recipe
from tests.studies.engine.toys import Toy
from tests.studies.tiny import targets


@recipe(("shapes",), "cheap", "little")
def tiny(data, seed, precision):
    return TargetsConfig(**targets(seed, precision))


def cells(config, dataset):
    return diamond()


def diamond():
    first = Toy("first")
    left, right = Toy("left", (first,)), Toy("right", (first, first))
    return [first, left, right, Toy("last", (left, right))]


RECIPES = (tiny,)
