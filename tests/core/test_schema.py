"""What a cell returns, its record stores, and the page reads: one class, there and back."""

import json
import types
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from groundglass.core import DamagedFileError
from groundglass.core.schema import left_out, named, read, written
from groundglass.core.statistics import Proportion
from groundglass.results.kinds import ATTACK, COST, DEVICE, FIT, KINDS
from tests.results.examples import plausible

SCHEMAS = {f"{kind.name} {part}": getattr(kind, part) for kind in KINDS.values() for part in ("config", "result")}
_PLAIN = {
    int: st.integers(-(2**40), 2**40),
    float: st.floats(allow_nan=False, allow_infinity=False, width=32),
    str: st.text(max_size=5),
    bool: st.booleans(),
}


def values(hint: Any) -> st.SearchStrategy[Any]:
    """Any value that a field of this type may have."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Proportion:
        return st.integers(1, 99).flatmap(lambda n: st.builds(Proportion, st.integers(0, n), st.just(n)))
    if hint in _PLAIN:
        return _PLAIN[hint]
    if hint is Any:
        return st.one_of(st.none(), *_PLAIN.values())
    if origin in (Union, types.UnionType):
        return st.one_of(*(st.none() if kind is type(None) else values(kind) for kind in inner))
    if origin is Literal:
        return st.sampled_from(inner)
    if origin is tuple:
        if inner[-1] is ...:
            return st.lists(values(inner[0]), max_size=3).map(tuple)
        return st.tuples(*map(values, inner))
    if is_dataclass(hint):
        hints = get_type_hints(hint)

        def made(**given: Any) -> Any:
            try:
                return hint(**given)
            except ValueError:  # what cannot be, as a redraw that has drawn nothing
                reject()

        return st.builds(made, **{f.name: values(hints[f.name]) for f in fields(hint)})
    assert issubclass(origin, Mapping), hint
    return st.dictionaries(st.text(max_size=3), values(inner[1]), max_size=2)


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=list(SCHEMAS))
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_every_kind_comes_back_from_its_record(schema: type, data: st.DataObject) -> None:
    for one in (data.draw(values(schema)), plausible(schema)):
        stored = json.loads(json.dumps(written(one)))
        assert read(schema, stored, "it") == one
        assert written(read(schema, stored, "it")) == stored


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=list(SCHEMAS))
def test_each_field_is_missed_and_checked(schema: type) -> None:
    stored = written(plausible(schema))
    for name, value in stored.items():
        if value != "anything":
            with pytest.raises(DamagedFileError, match=rf"it\.{name} must be .*altered|it\.{name} must be an object"):
                read(schema, {**stored, name: object()}, "it")
        less = {key: entry for key, entry in stored.items() if key != name}
        field = next(f for f in fields(schema) if f.metadata.get("name", f.name) == name)
        if field.default is field.default_factory:  # neither: it must be there
            with pytest.raises(DamagedFileError, match=f"lacks `{name}`.*from a copy"):
                read(schema, less, "it")
        else:
            assert getattr(read(schema, less, "it"), field.name) == field.default


@dataclass(frozen=True, kw_only=True)
class Inner:
    share: float
    flags: tuple[bool, int]


@dataclass(frozen=True, kw_only=True)
class Outer:
    by_name: Mapping[str, tuple[Inner, ...]]
    start: int = named("from")
    later: str | None = left_out()


NESTED = Outer(by_name={"a": (Inner(share=1.0, flags=(True, 2)), Inner(share=0.5, flags=(False, 0)))}, start=3)


def test_deep_values_and_other_names_are_written_plainly() -> None:
    inner = [{"share": 1.0, "flags": [True, 2]}, {"share": 0.5, "flags": [False, 0]}]
    assert written(NESTED) == {"by_name": {"a": inner}, "from": 3}
    assert written(replace(NESTED, later="x"))["later"] == "x"
    assert read(Outer, {**written(NESTED), "of another version": 1}, "it") == NESTED
    whole = read(Inner, {"share": 1, "flags": [True, 2]}, "it").share
    assert isinstance(whole, float)


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"share": True}, r"it\.by_name\.a\[1\]\.share must be float, not True"),
        ({"share": "0.5"}, r"it\.by_name\.a\[1\]\.share must be float"),
        ({"flags": [True, 2.0]}, r"it\.by_name\.a\[1\]\.flags\[1\] must be int, not 2\.0"),
        ({"flags": [True]}, r"it\.by_name\.a\[1\]\.flags must be tuple"),
        ({"flags": None}, r"it\.by_name\.a\[1\]\.flags must be tuple"),
    ],
)
def test_what_is_wrong_deep_inside_is_named(change: dict[str, Any], where: str) -> None:
    stored = written(NESTED)
    stored["by_name"]["a"][1] |= change
    with pytest.raises(DamagedFileError, match=where):
        read(Outer, stored, "it")


def test_what_cannot_be_is_damage() -> None:
    with pytest.raises(DamagedFileError, match="it must be an object"):
        read(Outer, [1], "it")
    with pytest.raises(DamagedFileError, match="it cannot be: 3 of 2 is not a share"):
        read(Proportion, {"count": 3, "total": 2}, "it")


def test_fields_of_later_versions_leave_earlier_keys_as_they_were() -> None:
    attack, device = plausible(ATTACK.config), plausible(DEVICE.config)
    assert "matrix_error" in written(attack)
    assert "matrix_error" not in written(replace(attack, matrix_error=None))
    usual = replace(device, matrix="complex", owner="", device_kind="dense", given="")
    assert set(written(usual)) == {"in_features", "out_features", "camera"}
    assert {"from", "to"} < set(written(plausible(FIT.result))["fits"][0])
    assert "smallest" not in written(plausible(FIT.result))["fits"][0]
    assert set(written(plausible(COST.config))) == {f.name for f in fields(COST.config)}
