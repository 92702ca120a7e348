"""Arguments as torch takes them, in one normal form."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import numpy as np

from convcli.errors import GeometryError, UsageError
from convcli.geometry.arithmetic import Pair

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

        whole = inspect.signature(run)
        first, *parameters = whole.parameters.values()
        fixed.__signature__ = whole.replace(parameters=parameters)  # type: ignore[attr-defined]
        fixed.__annotations__ = {name: hint for name, hint in run.__annotations__.items() if name != first.name}
        return fixed

    return named


def as_samples(image: ArrayLike, weight: ArrayLike, n_axes: int) -> tuple[NDArray[Any], NDArray[Any], bool]:
    """Return (N, C, …) samples in a floating type, weights, and whether there was a batch axis."""
    samples, taps = np.asarray(image), np.asarray(weight)
    if samples.ndim not in (n_axes + 1, n_axes + 2):
        raise GeometryError(
            f"input of shape {samples.shape}: {n_axes + 1} axes (C, …) or {n_axes + 2} (N, C, …) are needed"
        )
    if taps.ndim != n_axes + 2:
        raise GeometryError(f"weight of shape {taps.shape}: {n_axes + 2} axes are needed")
    batched = samples.ndim == n_axes + 2
    dtype = float_type(samples.dtype)
    if samples.dtype != dtype:
        samples = samples.astype(dtype)
    return samples if batched else samples[None], taps, batched


def float_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type of the result: float32 and halves → float32, float64 and integers → float64; else refuse."""
    if dtype.kind in "biu":
        return np.dtype(np.float64)
    if dtype.kind != "f":
        raise UsageError(f"samples of type {dtype} cannot be convolved", hint="integers or floats")
    return np.dtype(np.float64 if dtype.itemsize > 4 else np.float32)


def per_axis(value: Size, n_axes: int, name: str, *, minimum: int = 1) -> tuple[int, ...]:
    """Return one whole number per axis, none below ``minimum``."""
    values = (value,) * n_axes if isinstance(value, int | np.integer) else tuple(value)
    if len(values) == 1:
        values *= n_axes
    if len(values) != n_axes or any(int(v) != v or v < minimum for v in values):
        raise GeometryError(
            f"{name} {value!r}: one whole number of at least {minimum}, or one for each of {n_axes} axes"
        )
    return tuple(int(v) for v in values)


def padding_pairs(padding: PaddingLike, n_axes: int) -> str | tuple[Pair, ...]:
    """Return a word as it is, and any other padding as (before, after) per axis."""
    if not isinstance(padding, str):
        if not isinstance(padding, int | np.integer) and any(isinstance(side, Sequence) for side in padding):
            padding = tuple((int(before), int(after)) for before, after in padding)  # type: ignore[misc]
        else:
            padding = tuple((p, p) for p in per_axis(padding, n_axes, "padding", minimum=0))  # type: ignore[arg-type]
    return padding
