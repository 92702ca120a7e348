"""From a map's values to stored samples: rounded half to even, saturating, never wrapping, and counted.

A *tone* is one of

============  ======================================  =====================================================
``clip``      ``v * full / white``                    what is below 0 or above full is clipped, and counted
``abs``       ``|v| * full / white``                  for kernels whose taps sum to zero
``abs:V``     ``|v| * V``                             in the units of the stored samples
``signed``    ``mid + v * (mid - 1) / max|v|``        0 becomes mid-grey (128, 32768); needs the map's range
``stretch``   ``(v - min) * full / (max - min)``      the map's own range fills the scale; needs the range
``offset:V``  ``v + V``                               in the units of the stored samples, unscaled
``scale:V``   ``v * V``                               in the units of the stored samples, otherwise unscaled
============  ======================================  =====================================================

*full* is 255 or 65535 (``--depth``), *white* the input's white, so an 8-bit photograph stored with 16 bits does not
turn black. With depth ``float`` nothing is rounded or clipped: ``clip`` stores v, ``abs`` |v|, ``signed`` -1..1,
``stretch`` 0..1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from convcli.engine.store import (
    ToneCounts,
    is_far,
    moments_of,
    store_bytes,
    store_float,
    store_rounded,
    stored_range,
)
from convcli.errors import UsageError, near_names

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PLAIN = ("auto", "clip", "abs", "signed", "stretch")
_WITH_VALUE = ("offset", "scale")
_KNOWN = "auto, clip, abs, abs:V, signed, stretch, offset:V, scale:V"
#: Stored value of white by depth.
WHITE = {"1": 1, "8": 255, "16": 65535}


@dataclass(frozen=True, slots=True)
class ToneSpec:
    """A tone in its normal form: its name, V for ``offset``, ``scale`` and ``abs:V``, and why ``auto`` chose it."""

    name: str
    value: float = 0.0
    reason: str = field(default="", compare=False, repr=False)

    @property
    def needs_range(self) -> bool:
        """Whether minimum and maximum of each whole map must be known before a sample is stored."""
        return self.name in ("signed", "stretch")

    def resolve(self, nature: str) -> ToneSpec:
        """Return the meaning of ``auto`` for a map of a nature, see :data:`AUTO`; other tones stay, but for alpha."""
        return AUTO[nature] if self.name == "auto" or nature == "alpha" else self

    def __str__(self) -> str:
        return f"{self.name}:{self.value:g}" if self.name in _WITH_VALUE or self.value else self.name


#: The rule of ``auto``: the tone of a map by the nature of its values, with the reason that reports print.
AUTO = {
    "zero-sum": ToneSpec("abs", reason="the taps sum to zero"),
    "brightness": ToneSpec("clip", reason="the taps keep brightness"),
    "biased": ToneSpec("clip", reason="the taps sum to zero around the bias"),
    "magnitude": ToneSpec("clip", reason="a magnitude starts at 0"),
    "alpha": ToneSpec("clip", reason="it is an alpha plane"),
    "other": ToneSpec("stretch", reason="the taps neither sum to zero nor keep brightness"),
    "layer": ToneSpec("stretch", reason="the values of a layer have no scale of their own"),
    "normalized": ToneSpec("stretch", reason="normalized samples have no black and no white"),
}


#: The maps of a sheet are not toned: one scale of colours holds their values.
ON_SHEET = ToneSpec("colours", reason="one scale of colours for all maps of a sheet")


def tone_of_indexes(n_indexes: int, depth: str) -> ToneSpec:
    """Return the tone that spreads indexes 0 to n-1, as ``argmax`` gives them, over the scale, so that they are seen.

    Examples
    --------
    >>> str(tone_of_indexes(4, "8"))
    'scale:85'
    """
    highest = max(n_indexes - 1, 1)
    return ToneSpec("scale", WHITE.get(depth, highest) / highest, f"indexes 0 to {n_indexes - 1} fill the scale")


def parse_tone(text: str) -> ToneSpec:
    """Parse ``auto|clip|abs|abs:V|signed|stretch|offset:V|scale:V``.

    Raises
    ------
    UsageError
        The word is unknown, V is missing, superfluous or not a finite number.

    Examples
    --------
    >>> parse_tone("offset:128")
    ToneSpec(name='offset', value=128.0)
    >>> str(parse_tone("Abs").resolve("other")), str(parse_tone("auto").resolve("other"))
    ('abs', 'stretch')
    """
    name, colon, value_text = text.strip().lower().partition(":")
    if name not in _PLAIN + _WITH_VALUE:
        near = near_names(name, _PLAIN + _WITH_VALUE)
        raise UsageError(f"--tone {text!r} is not a tone", hint=f"{near} one of {_KNOWN}".strip())
    if name in _PLAIN and not (name == "abs" and colon):
        if colon:
            raise UsageError(f"--tone {text!r}: {name} takes no value", hint=f"--tone {name}")
        return ToneSpec(name)
    try:
        value = float(value_text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or (name != "offset" and value == 0):
        raise UsageError(f"--tone {text!r}: {name} needs a finite number other than 0", hint=f"--tone {name}:0.25")
    return ToneSpec(name, value)


_DTYPE = {"1": np.uint8, "8": np.uint8, "16": np.uint16, "float": np.float32}


class Tone:
    """One tone bound to the input's white and the depth of the output.

    Parameters
    ----------
    spec : ToneSpec or sequence of ToneSpec
        One for all maps, or one a map; no ``auto`` (see :meth:`ToneSpec.resolve`).
    white : float
        Sample value of white in the input.
    depth : {"8", "16", "float"}
    ranges : tuple of (minimum, maximum), each of shape (O,), optional
        Of the whole maps; needed by ``signed`` and ``stretch``.

    Raises
    ------
    ValueError
        ``auto`` was not resolved, or a range is missing.

    Examples
    --------
    >>> tone = Tone(parse_tone("clip"), white=255, depth="8")
    >>> samples, counts = tone.apply(np.float32([[[-400, 2.5, 400]]]))
    >>> samples.tolist(), counts.n_low.tolist(), counts.n_high.tolist()
    ([[[0, 2, 255]]], [1], [1])
    """

    def __init__(
        self,
        spec: ToneSpec | Sequence[ToneSpec],
        *,
        white: float,
        depth: str,
        ranges: tuple[NDArray[Any], NDArray[Any]] | None = None,
    ) -> None:
        self.specs: tuple[ToneSpec, ...] = (spec,) if isinstance(spec, ToneSpec) else tuple(spec)
        self.depth = depth
        self.dtype: np.dtype[Any] = np.dtype(_DTYPE[depth])
        self._white = float(white)
        self._full = WHITE.get(depth)
        self._ranges = ranges
        for one in self.specs:
            if one.name == "auto" or (one.needs_range and ranges is None):
                raise ValueError(f"tone {one} is not bound: resolve auto, give ranges")

    def gain_offset(self, map_index: int) -> tuple[float, float, bool]:
        """Return (gain, offset, absolute) of one map: stored = gain * (v or |v|) + offset."""
        spec = self.specs[map_index if len(self.specs) > 1 else 0]
        full = self._full
        if spec.name == "offset":
            return 1.0, spec.value, False
        if spec.name == "scale" or spec.value:
            return spec.value, 0.0, spec.name == "abs"
        if spec.name in ("clip", "abs"):
            return (full / self._white if full else 1.0), 0.0, spec.name == "abs"
        assert self._ranges is not None
        low, high = float(self._ranges[0][map_index]), float(self._ranges[1][map_index])
        if spec.name == "signed":
            peak = max(-low, high)
            # A whole number: 0 must be one stored value in every map, and 127.5 is none.
            middle = (full + 1) // 2 if full else 0
            # middle - 1 steps each way, 1 to 255: -peak and +peak are equally far from grey.
            return ((middle - 1 if full else 1.0) / peak if 0 < peak < math.inf else 0.0), float(middle), False
        span = high - low
        # A constant map has no span and a map with an infinity no finite gain: both are stored flat.
        gain = (full or 1.0) / span if 0 < span < math.inf else 0.0
        return gain, (-low * gain if math.isfinite(low) else 0.0), False

    def apply(
        self, maps: NDArray[Any], out: NDArray[Any] | None = None, *, inplace: bool = False
    ) -> tuple[NDArray[Any], ToneCounts]:
        """Store a band of maps.

        Parameters
        ----------
        maps : ndarray of shape (O, H, W)
            float32, float64 or any integer type; any strides.
        out : ndarray of shape (O, H, W), optional
            Receives the samples (``self.dtype``), any strides: the transposed view of an (H, W, 3) picture, for one.
        inplace : bool
            Float maps may be destroyed, which saves a copy.

        Returns
        -------
        samples : ndarray of shape (O, H, W)
            uint8, uint16 or float32; ``out`` if given.
        counts : ToneCounts
        """
        if out is None:
            out = np.empty(maps.shape, self.dtype)
        with np.errstate(
            invalid="ignore", over="ignore"
        ):  # inf - inf: NaN and infinities are dealt with, not warned of
            return out, self._apply(maps, out, inplace)

    def _apply(self, maps: NDArray[Any], out: NDArray[Any], inplace: bool) -> ToneCounts:
        n_maps = maps.shape[0]
        # Compiled loops exist for bytes, the common case; they return None where NumPy must do it.
        if self._full == 255:
            counts = store_bytes(maps, out, [self.gain_offset(index) for index in range(n_maps)])
            if counts is not None:
                return counts
        counts = ToneCounts.zero(n_maps)._replace(n=maps[0].size if n_maps else 0)
        for index in range(n_maps if maps.size else 0):
            self._apply_one(maps[index], out[index], index, counts, inplace)
        return counts

    def _apply_one(
        self, values: NDArray[Any], out: NDArray[Any], index: int, counts: ToneCounts, inplace: bool
    ) -> None:
        low, high = values.min(), values.max()
        n_nan = 0
        if values.dtype.kind == "f" and math.isnan(low):
            is_nan = np.isnan(values)
            n_nan = int(is_nan.sum())
            known = values[~is_nan]
            low, high = (known.min(), known.max()) if known.size else (np.inf, -np.inf)
            if known.size:
                counts.total[index], counts.squares[index] = moments_of(known[None].astype(np.float64))
            if self._full:
                # NaN has no integer: the result of the cast differs from processor to processor.
                values = np.where(is_nan, 0, values)
                inplace = True
        else:
            counts.total[index], counts.squares[index] = moments_of(values)
        counts.n_nan[index] = n_nan
        counts.minimum[index], counts.maximum[index] = low, high
        gain, offset, absolute = self.gain_offset(index)
        if self._full is None:
            store_float(values, out, gain, offset, absolute)
            return
        ends = stored_range(float(low), float(high), gain, offset, absolute)
        if n_nan:
            # The zeros in place of NaN are stored as the offset, which may lie outside the range of the others.
            ends = min(ends[0], offset), max(ends[1], offset)
        clips, far = (ends[0] < 0, ends[1] > self._full), is_far(ends, offset)
        clipped = store_rounded(values, out, gain, offset, absolute, self._full, clips, inplace=inplace, far=far)
        counts.n_low[index], counts.n_high[index] = clipped
