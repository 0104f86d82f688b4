"""Studies: graphs of cells, recipes, and the runner."""

from groundglass.studies.black_box import BlackBoxConfig
from groundglass.studies.everything import EverythingConfig
from groundglass.studies.recipes import RECIPES, Recipe, configure
from groundglass.studies.run import run_study
from groundglass.studies.white_box import WhiteBoxConfig

__all__ = ["RECIPES", "BlackBoxConfig", "EverythingConfig", "Recipe", "WhiteBoxConfig", "configure", "run_study"]
