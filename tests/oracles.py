"""Convolution written as its definition: nested loops in float64, nothing shared with convcli and no torch.

Everything here is slow and obvious on purpose. Borders are walked sample by sample, not computed from a formula.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np


def assert_close(actual: np.ndarray, expected: np.ndarray, *, rtol: float, scale: float | None = None) -> None:
    """Same shape, and every sample within ``rtol`` of the largest expected magnitude (or of ``scale``)."""
    assert actual.shape == expected.shape, f"shape {actual.shape}, expected {expected.shape}"
    if expected.size == 0:
        return
    assert np.isfinite(actual).all(), "not finite"
    unit = max(float(np.abs(expected).max()), 1e-30) if scale is None else scale
    difference = np.abs(actual.astype(np.float64) - expected)
    worst = float(difference.max())
    where = np.unravel_index(int(difference.argmax()), expected.shape)
    assert worst <= rtol * unit, f"off by {worst:.3g} ({worst / unit:.2e} relative) at {where}"


def border_sample(row: Sequence[float], position: int, mode: str, value: float = 0.0) -> float:
    """Walk from the edge one step at a time to the sample that stands at ``position``."""
    size = len(row)
    if 0 <= position < size:
        return row[position]
    if mode == "constant":
        return value
    if mode == "replicate":
        return row[0] if position < 0 else row[-1]
    if size == 1:
        return row[0]
    at, step = (0, 1) if position < 0 else (size - 1, -1)
    distance = -position if position < 0 else position - size + 1
    if mode == "circular":
        at, step = (size - 1, -1) if position < 0 else (0, 1)
        distance -= 1
    elif mode == "symmetric":
        distance -= 1
    for _ in range(distance):
        if not 0 <= at + step < size:
            if mode == "circular":
                at = size - 1 if step < 0 else 0
                continue
            step = -step
            if mode == "symmetric":
                continue  # the edge is repeated: turning costs one step
        at += step
    return row[at]


def pad_loops(image: np.ndarray, padding: Sequence[tuple[int, int]], mode: str, value: float = 0.0) -> np.ndarray:
    """Pad the last ``len(padding)`` axes, one after the other."""
    padded = np.asarray(image, dtype=np.float64)
    first = padded.ndim - len(padding)
    for axis, (before, after) in enumerate(padding, start=first):
        rows = np.moveaxis(padded, axis, -1)
        size = rows.shape[-1]
        grown = np.empty((*rows.shape[:-1], before + size + after))
        for index in np.ndindex(*rows.shape[:-1]):
            line = [float(sample) for sample in rows[index]]
            grown[index] = [border_sample(line, at, mode, value) for at in range(-before, size + after)]
        padded = np.moveaxis(grown, -1, axis)
    return padded


def correlate_loops(
    image: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None = None,
    *,
    stride: Sequence[int],
    padding: Sequence[tuple[int, int]],
    dilation: Sequence[int],
    groups: int = 1,
    mode: str = "constant",
    value: float = 0.0,
) -> np.ndarray:
    """``image`` (C, *axes), ``weight`` (O, C/groups, *kernel) → (O, *output)."""
    padded = pad_loops(image, padding, mode, value)
    n_out, n_in, *kernel = weight.shape
    size = [
        (length - step_gap * (taps - 1) - 1) // step + 1
        for length, taps, step, step_gap in zip(padded.shape[1:], kernel, stride, dilation, strict=True)
    ]
    output = np.zeros((n_out, *size))
    for o in range(n_out):
        first = o // (n_out // groups) * n_in
        for at in itertools.product(*map(range, size)):
            total = 0.0 if bias is None else float(bias[o])
            for c in range(n_in):
                for tap in itertools.product(*map(range, kernel)):
                    where = tuple(p * s + t * d for p, s, t, d in zip(at, stride, tap, dilation, strict=True))
                    total += float(weight[(o, c, *tap)]) * padded[(first + c, *where)]
            output[(o, *at)] = total
    return output


def transposed_loops(
    image: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None = None,
    *,
    stride: Sequence[int],
    padding: Sequence[tuple[int, int]],
    dilation: Sequence[int],
    output_padding: Sequence[int],
    groups: int = 1,
) -> np.ndarray:
    """``image`` (C, *axes), ``weight`` (C, O/groups, *kernel): every input sample stamps the kernel, scaled by it."""
    n_in, per_group, *kernel = weight.shape
    axes = image.shape[1:]
    full = [
        (n - 1) * s + d * (k - 1) + 1 + extra
        for n, s, d, k, extra in zip(axes, stride, dilation, kernel, output_padding, strict=True)
    ]
    canvas = np.zeros((per_group * groups, *full))
    for c in range(n_in):
        group = c // (n_in // groups)
        for at in itertools.product(*map(range, axes)):
            for o in range(per_group):
                for tap in itertools.product(*map(range, kernel)):
                    where = tuple(p * s + t * d for p, s, t, d in zip(at, stride, tap, dilation, strict=True))
                    canvas[(group * per_group + o, *where)] += float(image[(c, *at)]) * float(weight[(c, o, *tap)])
    cut = tuple(slice(before, length - after) for (before, after), length in zip(padding, full, strict=True))
    output = canvas[(slice(None), *cut)]
    return output if bias is None else output + np.reshape(bias, (-1, *[1] * len(axes)))
