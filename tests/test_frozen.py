"""Frozen values and records: fields by name, defaults, inheritance, and nothing that changes afterwards."""

from __future__ import annotations

import pickle

import pytest

from convcli.frozen import Frozen
from convcli.record import NamedTuple


class Base(Frozen):
    first: int
    second: str = "two"

    def __post_init__(self) -> None:
        object.__setattr__(self, "first", int(self.first))


class Derived(Base):
    third: tuple[int, ...]

    @property
    def total(self) -> int:
        return self.first + sum(self.third)


def test_fields_are_set_by_name_in_one_normal_form():
    value = Derived(first="1", third=(2, 3))
    assert (value.first, value.second, value.third, value.total) == (1, "two", (2, 3), 6)
    assert repr(value) == "Derived(first=1, second='two', third=(2, 3))"
    other = value.replace(second="zwei")
    assert (other.second, other.third, value.second) == ("zwei", (2, 3), "two")
    assert isinstance(other, Derived)
    assert value != Derived(first=1, third=(2, 3)), "one value, not one content"
    assert len({value, other}) == 2


def test_what_is_missing_or_unknown_is_named():
    with pytest.raises(TypeError, match="Derived needs first, third"):
        Derived()
    with pytest.raises(TypeError, match="Base has no third"):
        Base(first=1, third=2)
    with pytest.raises(TypeError):
        Base(1)


def test_nothing_changes():
    value = Base(first=1)
    with pytest.raises(AttributeError, match=r"Base\.first"):
        value.first = 2
    with pytest.raises(AttributeError, match=r"Base\.new"):
        value.new = 2
    with pytest.raises(AttributeError, match=r"Base\.first"):
        del value.first
    assert value.first == 1


class Pair(NamedTuple):
    """Two numbers."""

    first: int
    second: int = 2

    @property
    def total(self) -> int:
        return self.first + self.second


def test_a_record_is_a_named_tuple_like_that_of_typing():
    assert Pair(1) == (1, 2)
    assert Pair(second=3, first=1)._replace(first=2) == (2, 3)
    assert (Pair._fields, Pair._field_defaults) == (("first", "second"), {"second": 2})
    assert (Pair(4).total, Pair.__doc__, Pair.__module__, Pair.__qualname__) == (6, "Two numbers.", __name__, "Pair")
    assert repr(Pair(1)) == "Pair(first=1, second=2)"
    assert pickle.loads(pickle.dumps(Pair(5))) == Pair(5)
    with pytest.raises(TypeError, match="first"):
        Pair()
    with pytest.raises(AttributeError):
        Pair(1).first = 2


def test_a_record_wants_fields_without_a_default_first():
    with pytest.raises(TypeError, match="Wrong"):

        class Wrong(NamedTuple):
            first: int = 1
            second: int
