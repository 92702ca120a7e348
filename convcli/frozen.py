"""Values that do not change, told by their fields' names: the part of ``dataclasses`` that ``apply`` needs.

``dataclasses`` itself loads ``inspect`` and compiles every class anew, 5 ms of the 80 that a small photograph takes.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self, dataclass_transform


@dataclass_transform(kw_only_default=True, frozen_default=True, eq_default=False)
class Frozen:
    """Base of classes whose annotations are their fields, set once and by name; two are equal if they are one.

    A class attribute of a field's name is its default. ``__post_init__`` may check, and store another form with
    ``object.__setattr__``.

    Raises
    ------
    TypeError
        For a field that is missing, and for a name that is none.

    Examples
    --------
    >>> class Point(Frozen):
    ...     x: float
    ...     y: float = 0.0
    >>> point = Point(x=2.0).replace(y=1.0)
    >>> point.x, point.y
    (2.0, 1.0)
    >>> Point(y=1.0)
    Traceback (most recent call last):
    TypeError: Point needs x
    """

    _fields: ClassVar[tuple[str, ...]] = ()
    _defaults: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        annotations = vars(cls).get("__annotations__", {})
        own = [name for name, kind in annotations.items() if not str(kind).startswith("ClassVar")]
        cls._fields = (*cls._fields, *(name for name in own if name not in cls._fields))
        cls._defaults |= {name for name in own if name in vars(cls)}

    def __init__(self, **values: Any) -> None:
        missing = [name for name in self._fields if name not in values and name not in self._defaults]
        if missing:
            raise TypeError(f"{type(self).__name__} needs {', '.join(missing)}")
        unknown = values.keys() - set(self._fields)
        if unknown:
            raise TypeError(f"{type(self).__name__} has no {', '.join(sorted(unknown))}")
        vars(self).update(values)
        self.__post_init__()

    def __post_init__(self) -> None:
        """Check the fields; for subclasses."""

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be changed")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be changed")

    def __repr__(self) -> str:
        """Return the class with its fields."""
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in self._fields)})"

    def replace(self, **changes: Any) -> Self:
        """Return one like this, but for some fields."""
        return type(self)(**{name: getattr(self, name) for name in self._fields} | changes)
