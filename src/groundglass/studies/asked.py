"""What a user asks of a study: a recipe, and what is changed in it, by a TOML file, a table or `NAME=VALUE`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, is_dataclass, replace
from pathlib import Path
from typing import Any, Self

from groundglass.core.changes import Change, changed, changes_of, parse_change, setting_notes, written_settings
from groundglass.core.toml import toml
from groundglass.core.untrusted import read_toml
from groundglass.results.plain import difference
from groundglass.studies.everything.study import EverythingConfig
from groundglass.studies.recipe import configure, described, find_recipe
from groundglass.studies.registry import Study
from groundglass.training import Precision

_AUTO = "auto"
#: Settings that a recipe is made for. They are options of a run too: an option counts, not what a file says.
_OPTIONS = ("data", "seed", "device_kind")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A study with settings.

    Attributes:
        recipe: that they are of; "own" where the whole configuration was given, as `own`.
        options: data, seed and device_kind, which recipes are made for.
        changes: of what these make.
    """

    study: Study
    recipe: str
    options: Mapping[str, Any]
    changes: tuple[Change, ...] = ()
    own: Any = None

    @classmethod
    def of(
        cls, study: Study, recipe: str | None, config: Any = None, changes: Sequence[str] = (), **options: Any
    ) -> Self:
        """Put together what was asked; see `run_study`. `options` that are None were not.

        Raises:
            ValueError: a file of another study or recipe, or a change that cannot be read.
            DamagedFileError: a file that is not TOML.
        """
        options = {name: value for name, value in options.items() if value is not None}
        sets = [parse_change(text) for text in changes]
        if is_dataclass(config) and not isinstance(config, type):
            if recipe is not None:
                raise ValueError(f"give a whole configuration, or the recipe {recipe!r} and changes of it: not both")
            return cls(study=study, recipe="own", own=config, options={}, changes=(*sets, *changes_of(options)))
        table, where = _table(config)
        if (other := table.pop("study", study.name)) != study.name:
            raise ValueError(f"{where} is for the study {other!r}, not for {study.name}")
        named = table.pop("recipe", None)
        if None not in (named, recipe) and named != recipe:
            raise ValueError(f"{where} begins with the recipe {named!r}, not with {recipe!r}: leave one of the two out")
        asked = [*changes_of(table), *sets]
        made_for = {one.name: one.value for one in asked if one.how == "=" and one.name in _OPTIONS}
        rest = tuple(one for one in asked if one.name not in made_for)
        return cls(study=study, recipe=recipe or named or "quick", options={**made_for, **options}, changes=rest)

    def config(self, precision: Precision) -> Any:
        """The settings, where trainings that do not say otherwise are in this precision."""
        return with_changes(self._unchanged(precision), [_settled(change, precision) for change in self.changes])

    def told(self, precision: Precision) -> list[str]:
        """In what they differ from the recipe, a line each: "steps: 50 -> 20"."""
        return difference(*map(described, (self._unchanged(precision), self.config(precision)))) if not self.own else []

    def _unchanged(self, precision: Precision) -> Any:
        if self.own is not None:
            return self.own
        asked = {"data": None, "seed": 0, **self.options}
        return configure(self.study, self.recipe, precision=precision, **asked)


def _table(config: Any) -> tuple[dict[str, Any], str]:
    """A table of settings, its own copy, and what to call it in an error."""
    if isinstance(config, str | Path):
        return read_toml(Path(config)), str(config)
    if config is None or isinstance(config, Mapping):
        return dict(config or {}), "the config"
    raise TypeError(f"`config` must be a TOML file, a table of settings or a whole configuration, not {config!r:.60}")


def with_changes(config: Any, changes: Sequence[Change]) -> Any:
    """A configuration of a study with these changes; see `core.changes.changed`."""
    return config.changed(changes) if isinstance(config, EverythingConfig) else changed(config, changes)


def shown(study: Study, recipe: str, *, data: str | None = None) -> str:
    """A recipe as TOML, complete, with what each setting is: a file to begin from.

    Where the trainings are in the precision that a run chooses, they say "auto".
    """
    found = find_recipe(study, recipe)
    one, other = (configure(study, found.name, data=data, seed=0, precision=each) for each in ("float32", "bfloat16"))
    head = f"# groundglass run {study.name} --config THIS.toml --out DIR\n# What is left out is as in the recipe.\n"
    table = {"study": study.name, "recipe": found.name, **_automatic(*map(_written, (one, other)))}
    return head + toml(table, setting_notes(type(one)))


def _written(config: Any) -> dict[str, Any]:
    table: dict[str, Any] = config.written() if isinstance(config, EverythingConfig) else written_settings(config)
    return table


def _automatic(one: Any, other: Any) -> Any:
    """Plain values; those in which the two differ are "auto"."""
    if isinstance(one, Mapping):
        return {name: _automatic(value, other[name]) for name, value in one.items()}
    if isinstance(one, list):
        return [_automatic(*pair) for pair in zip(one, other, strict=True)]
    return one if one == other else _AUTO


def _settled(change: Change, precision: Precision) -> Change:
    """The change where a precision "auto" is the run's."""

    def settled(name: str, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {inner: settled(inner, one) for inner, one in value.items()}
        if isinstance(value, list):
            return [settled("", one) for one in value]
        return precision if (name, value) == ("precision", _AUTO) else value

    return replace(change, value=settled(change.path[-1], change.value))
