"""Arguments as torch takes them, in one normal form."""

from __future__ import annotations

import functools
import inspect
import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import numpy as np

from convcli.errors import GeometryError, UsageError
from convcli.geometry.arithmetic import MAX_DIGITS, Pair

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

Size = int | Sequence[int]
PaddingLike = str | int | Sequence[int] | Sequence[tuple[int, int]]
P = ParamSpec("P")
R = TypeVar("R")


def over_axes(n_axes: int, run: Callable[Concatenate[int, P], R]) -> Callable[[Callable[[], None]], Callable[P, R]]:
    """Give ``run``, with its first argument fixed to ``n_axes``, the name and docstring of the decorated function."""

    def named(documented: Callable[[], None]) -> Callable[P, R]:
        @functools.wraps(documented)
        def fixed(*args: P.args, **kwargs: P.kwargs) -> R:
            return run(n_axes, *args, **kwargs)

        # help() and inspect read the signature; wraps alone would give that of the empty function.
        whole = inspect.signature(run)
        first, *parameters = whole.parameters.values()
        fixed.__signature__ = whole.replace(parameters=parameters)  # type: ignore[attr-defined]
        fixed.__annotations__ = {name: hint for name, hint in run.__annotations__.items() if name != first.name}
        return fixed

    return named


def as_array(value: ArrayLike, name: str, kinds: str = "biuf") -> NDArray[Any]:
    """Return an array of numbers of one of NumPy's ``kinds``, real ones by default; anything else is refused."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:  # torch: a tensor that needs gradients, or of another device
        raise UsageError(f"{name} is not an array: {str(error).splitlines()[0]}", hint="an array of numbers") from None
    if array.dtype.kind not in kinds:
        raise UsageError(f"{name} of type {array.dtype} is not made of numbers", hint="integers or floats")
    return array


def is_lazy(value: object) -> bool:
    """Whether this is a dask array, by the protocol of its collections; dask is not imported to ask."""
    return hasattr(value, "__dask_graph__") and hasattr(value, "chunks")


def as_samples(image: ArrayLike, weight: ArrayLike, n_axes: int) -> tuple[NDArray[Any], NDArray[Any], bool]:
    """Return (N, C, …) samples in a floating type, weights, and whether there was a batch axis.

    A dask array stays one, in its own type.
    """
    samples: Any = image if is_lazy(image) else as_array(image, "input")
    taps = as_array(weight, "weight")
    check_axes(samples, n_axes)
    if taps.ndim != n_axes + 2:
        raise GeometryError(f"weight of shape {taps.shape}: {n_axes + 2} axes are needed")
    batched = samples.ndim == n_axes + 2
    dtype = float_type(samples.dtype)
    if not is_lazy(samples):
        samples = samples.astype(dtype, copy=False)
    return samples if batched else samples[None], taps, batched


def check_axes(samples: NDArray[Any], n_axes: int) -> None:
    """Refuse samples that are not (C, …) or (N, C, …); a batch may be empty, an image not."""
    if any(size != size for size in samples.shape):  # dask's NaN
        raise UsageError("input has chunks of unknown size", hint="input.compute_chunk_sizes()")
    # torch takes a batch of no images, and so do we.
    if samples.ndim not in (n_axes + 1, n_axes + 2) or 0 in samples.shape[-n_axes - 1 :]:
        raise GeometryError(
            f"input of shape {samples.shape}: {n_axes + 1} axes (C, …) or {n_axes + 2} (N, C, …) are needed, none empty"
        )


def float_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type of the result: float32 and halves → float32, float64 and integers → float64; else refuse."""
    if dtype.kind in "biu":
        return np.dtype(np.float64)
    if dtype.kind != "f":
        raise UsageError(f"samples of type {dtype} cannot be convolved", hint="integers or floats")
    return np.dtype(np.float64 if dtype.itemsize > 4 else np.float32)


def whole(value: object, name: str, minimum: int = 1, most: int = 10**MAX_DIGITS - 1) -> int:
    """Return a whole number from ``minimum`` to ``most``; refuse other types, also floats without a fraction."""
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = None
    # True has an index of 1, and a stride of True is a slip.
    if number is None or isinstance(value, bool | np.bool_):
        is_whole = isinstance(value, float) and value.is_integer()
        hint = f"{name}={value:.0f}" if is_whole else f"{name} is a whole number of at least {minimum}"
        raise UsageError(f"{name} {value!r} is not a whole number", hint=hint)
    if not minimum <= number <= most:
        size = "small" if number < minimum else "large"
        raise GeometryError(f"{name} {number} is too {size}", hint=f"{name} is {minimum} to {most}")
    return number


def per_axis(value: Size, n_axes: int, name: str, *, minimum: int = 1) -> tuple[int, ...]:
    """Return one whole number per axis, none below ``minimum``."""
    values = tuple(value) if _is_sequence(value) else (value,)  # type: ignore[arg-type]
    if len(values) not in (1, n_axes):
        raise GeometryError(
            f"{name} {value!r} has {len(values)} numbers for {n_axes} axes", hint="one for each, or one"
        )
    numbers = tuple(whole(each, name, minimum) for each in values)
    return numbers if len(numbers) == n_axes else numbers * n_axes


def padding_pairs(padding: PaddingLike, n_axes: int) -> str | tuple[Pair, ...]:
    """Return a word as it is, and any other padding as (before, after) per axis."""
    if isinstance(padding, str):
        return padding
    if not has_sides(padding):
        return tuple((p, p) for p in per_axis(padding, n_axes, "padding", minimum=0))  # type: ignore[arg-type]
    sides: Any = padding
    if len(sides) != n_axes or not all(_is_sequence(pair) and len(pair) == 2 for pair in sides):
        hint = ", ".join(["(before, after)"] * n_axes)
        raise UsageError(f"padding {padding!r}: not two sides for each of {n_axes} axes", hint=f"({hint})")
    return tuple((whole(before, "padding", 0), whole(after, "padding", 0)) for before, after in sides)


def has_sides(padding: PaddingLike) -> bool:
    """Whether padding is given per side."""
    return _is_sequence(padding) and any(map(_is_sequence, padding))  # type: ignore[arg-type]


def switch(value: object, name: str) -> bool:
    """Return true or false; 1 and 0 are those too, other values are refused."""
    if isinstance(value, bool | np.bool_ | int) and value in (0, 1):
        return bool(value)
    raise UsageError(f"{name} {value!r} is neither true nor false", hint=f"{name}=True")


def word(value: object, name: str) -> str:
    """Return text; refuse other types."""
    if not isinstance(value, str):
        raise UsageError(f"{name} {value!r} is not a word", hint=f"{name} is text")
    return value


def _is_sequence(value: object) -> bool:
    """Whether there may be several numbers in it."""
    if isinstance(value, np.ndarray):
        return value.ndim > 0  # an array without axes is a number
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)
