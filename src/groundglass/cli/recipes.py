"""`groundglass recipes`: what there is to run, and what it costs."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipes:
    """List the recipes with what they cost."""

    def run(self) -> int:
        """Carry the command out. Returns the exit code."""
        from rich.console import Console
        from rich.table import Table

        from groundglass.studies import ALL, STUDIES

        table = Table(title="groundglass run STUDY --recipe RECIPE --out DIR")
        for name in ("study", "recipe"):
            table.add_column(name, no_wrap=True)  # names that must be typed are never cut
        for name in ("data", "cost", "expect"):
            table.add_column(name)
        for study in (ALL, *STUDIES):
            for recipe in study.recipes:
                table.add_row(study.name, recipe.name, ", ".join(recipe.data), recipe.cost, recipe.expect)
        Console().print(table)
        return 0
