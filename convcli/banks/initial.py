"""A layer's starting numbers for a seed: torch's random numbers and its initialisers, without torch (NumPy).

Uniform numbers equal torch's on every processor that fuses multiply and add; normal ones equal those of x86 with AVX2
(from 16 numbers on, torch computes them sixteen at a time with Cephes' single-precision logarithm, sine and cosine).
An orthogonal matrix depends on the LAPACK at hand: it agrees to about 1e-6. Sources: ``torch.nn.init``; M. Matsumoto
and T. Nishimura 1998, MT19937; G. Box and M. Muller 1958; S. Moshier, Cephes.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import pi, prod, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from convcli.banks.numbers import init_word
from convcli.errors import UsageError, near_names

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]
    Floats = NDArray[np.float32]

#: Parameters of each initialiser, with their defaults. ``default`` is what ``torch.nn.Conv2d`` starts with.
INITS: dict[str, dict[str, float]] = {
    "default": {},
    "xavier-uniform": {"gain": 1.0},
    "xavier-normal": {"gain": 1.0},
    "kaiming-uniform": {"gain": sqrt(2)},
    "kaiming-normal": {"gain": sqrt(2)},
    "uniform": {"low": -0.02, "high": 0.02},
    "normal": {"mean": 0.0, "std": 0.02},
    "orthogonal": {"gain": 1.0},
    "constant": {"value": 0.0},
}
#: Polynomials of Cephes' logf, sinf and cosf, highest power first.
_LOG_HIGH = (7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1)
_LOG = (*_LOG_HIGH, -1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1)
_SINE = (-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1)
_COSINE = (2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2)
#: Parts of ln 2 and of π/4: the first of each is short, so that its products are exact.
_LN2, _QUARTER = (-2.12194440e-4, 0.693359375), (0.78515625, 2.4187564849853515625e-4, 3.77489497744594108e-8)
#: Normal numbers that are computed at once; of 20, the last 16 are drawn anew over those that stand there.
_BLOCK = 16


class TorchGenerator:
    """torch's CPU generator after ``manual_seed(seed)``.

    Examples
    --------
    >>> TorchGenerator(0).uniform((2,), 0, 1).tolist()
    [0.49625658988952637, 0.7682217955589294]
    """

    def __init__(self, seed: int) -> None:
        # RandomState seeds as Matsumoto's init_genrand, from the low 32 bits as torch does.
        self._words = np.random.RandomState(seed & 0xFFFFFFFF)
        self._kept: float | None = None

    def uniform(self, shape: tuple[int, ...], low: float, high: float) -> Floats:
        """Return float32 numbers of 24 random bits between ``low`` and ``high``."""
        start, end = np.float32(low), np.float32(high)
        return _fused(self._bits(prod(shape)), end - start, start).reshape(shape)

    def normal(self, shape: tuple[int, ...], mean: float, std: float) -> Floats:
        """Return float32 normal numbers: from 16 on in blocks, fewer one by one in double precision."""
        count = prod(shape)
        if count < _BLOCK:
            return np.array([self._one_normal() * std + mean for _ in range(count)], np.float32).reshape(shape)
        flat = self._bits(count)
        whole = count // _BLOCK * _BLOCK
        flat[:whole] = _box_muller(flat[:whole], mean, std)
        if count > whole:
            flat[-_BLOCK:] = _box_muller(self._bits(_BLOCK), mean, std)
        return flat.reshape(shape)

    def matrix(self, rows: int, columns: int) -> Floats:
        """Return normal numbers from which an orthogonal matrix is made."""
        return self.normal((rows, columns), 0, 1)

    def _bits(self, count: int) -> Floats:
        words = self._words.randint(0, 2**32, count, np.uint32)
        return (words & 0xFFFFFF).astype(np.float32) * np.float32(2.0**-24)

    def _one_normal(self) -> float:
        if self._kept is not None:
            value, self._kept = self._kept, None
            return value
        high, low, high2, low2 = (int(word) for word in self._words.randint(0, 2**32, 4, np.uint32))
        first, second = (((a << 32 | b) & (2**53 - 1)) * 2.0**-53 for a, b in ((high, low), (high2, low2)))
        radius, turn = sqrt(-2 * np.log1p(-second)), 2 * pi * first
        self._kept = radius * float(np.sin(turn))
        return radius * float(np.cos(turn))


class NumpyGenerator:
    """NumPy's PCG64 in double precision; other numbers than torch's for the same seed."""

    def __init__(self, seed: int | Sequence[int]) -> None:
        self._random = np.random.default_rng(seed)

    def uniform(self, shape: tuple[int, ...], low: float, high: float) -> NDArray[np.float64]:
        """Return numbers between ``low`` and ``high``."""
        return self._random.uniform(low, high, shape)

    def normal(self, shape: tuple[int, ...], mean: float, std: float) -> NDArray[np.float64]:
        """Return normal numbers."""
        return self._random.normal(mean, std, shape)

    def matrix(self, rows: int, columns: int) -> NDArray[np.float64]:
        """Return normal numbers from which an orthogonal matrix is made, drawn along its longer side."""
        drawn = self._random.normal(size=(max(rows, columns), min(rows, columns)))
        return drawn if rows >= columns else drawn.T


Generator = TorchGenerator | NumpyGenerator


def _fused(a: Any, b: Any, c: Any) -> Floats:
    """Return ``a * b + c`` with one rounding to float32, as the processor's fused operation."""
    # In float64 the product of two float32 is exact, so only the sum is rounded before the end.
    x, y, z = (np.asarray(each, np.float64) for each in (a, b, c))
    return np.asarray(x * y + z, np.float32)


def _horner(x: Floats, coefficients: tuple[float, ...]) -> Floats:
    total = np.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        total = _fused(total, x, np.float32(coefficient))
    return total


def _box_muller(flat: Floats, mean: float, std: float) -> Floats:
    """Return normal numbers for uniform ones: in each 16, eight radii and then eight angles."""
    pairs = flat.reshape(-1, 2, _BLOCK // 2)
    radius = np.sqrt(np.float32(-2) * _log(np.float32(1) - pairs[:, 0]))
    waves = np.stack(_cosine_and_sine(np.float32(2 * pi) * pairs[:, 1]), axis=1)
    return _fused(radius[:, None] * waves, np.float32(std), np.float32(mean)).reshape(-1)


def _log(x: Floats) -> Floats:
    """Return Cephes' ``logf`` of numbers in (0, 1]."""
    mantissa, exponent = np.frexp(x)
    # Cephes' range of the mantissa is √½ to √2, that of frexp ½ to 1.
    small = mantissa < np.float32(sqrt(0.5))
    power = (exponent - small).astype(np.float32)
    x = mantissa - np.float32(1) + np.where(small, mantissa, np.float32(0))
    square = x * x
    tail = _fused(_horner(x, _LOG) * x, square, power * np.float32(_LN2[0]))
    return _fused(power, np.float32(_LN2[1]), x + _fused(square, np.float32(-0.5), tail))


def _cosine_and_sine(angle: Floats) -> tuple[Floats, Floats]:
    """Return Cephes' ``cosf`` and ``sinf`` of angles from 0 to 2π."""
    octant = ((angle * np.float32(4 / pi)).astype(np.int32) + 1) & ~1
    for part in _QUARTER:
        angle = _fused(octant, np.float32(-part), angle)
    square = angle * angle
    cosine = _fused(_horner(square, _COSINE) * square, square, square * np.float32(-0.5)) + np.float32(1)
    sine = _fused(_horner(square, _SINE) * square, angle, angle)
    swapped = (octant & 2) != 0
    cosine, sine = np.where(swapped, sine, cosine), np.where(swapped, cosine, sine)
    return np.where((octant - 2) & 4, cosine, -cosine), np.where(octant & 4, -sine, sine)


def built_layer(generator: Generator, shape: tuple[int, ...], n_maps: int = 0) -> tuple[Array, Array | None]:
    """Draw the weight and the bias that a convolution of torch has when it is built; no bias for 0 ``n_maps``.

    Examples
    --------
    >>> weight, bias = built_layer(TorchGenerator(0), (1, 1, 1, 2), 1)
    >>> weight.shape, round(float(bias[0]), 4)
    ((1, 1, 1, 2), -0.582)
    """
    # Conv2d.reset_parameters: the bias lies within 1 / √fan_in.
    weight, limit = initial(generator, shape, "default"), 1 / sqrt(prod(shape[1:]))
    return weight, generator.uniform((n_maps,), -limit, limit) if n_maps else None


def initial(generator: Generator, shape: tuple[int, ...], init: str, **values: float) -> Array:
    """Draw weights as the function of ``torch.nn.init``; ``values`` are parameters of :data:`INITS`."""
    values = INITS[init] | values
    # torch's default is kaiming_uniform_(a=√5), whose gain is √(2 / (1 + 5)).
    fan_in, fan_out, gain = prod(shape[1:]), shape[0] * prod(shape[2:]), values.get("gain", sqrt(2 / 6))
    if init == "constant":
        return np.full(shape, values["value"], np.float32)
    if init == "orthogonal":
        return _orthogonal(generator.matrix(shape[0], fan_in), gain).reshape(shape)
    if init == "normal":
        return generator.normal(shape, values["mean"], values["std"])
    if init == "uniform":
        return generator.uniform(shape, values["low"], values["high"])
    std = gain * sqrt(2.0 / (fan_in + fan_out)) if init.startswith("xavier") else gain / sqrt(fan_in)
    if init.endswith("normal"):
        return generator.normal(shape, 0, std)
    # Numbers spread evenly over ±√3 σ have the deviation σ.
    return generator.uniform(shape, -sqrt(3.0) * std, sqrt(3.0) * std)


def _orthogonal(matrix: Array, gain: float) -> Array:
    """Return orthonormal rows, or columns where there are more rows than columns (Saxe et al. 2014)."""
    rows, columns = matrix.shape
    basis, upper = np.linalg.qr((matrix if rows >= columns else matrix.T).astype(np.float64))
    # QR leaves signs open; these make the matrix uniformly random (Mezzadri 2007), as in torch.
    basis = basis * np.sign(np.diag(upper)) * gain
    return (basis if rows >= columns else basis.T).astype(matrix.dtype)


def find_init(name: object) -> str:
    """Return the name of an initialiser in :data:`INITS` from its name here or in torch.

    Examples
    --------
    >>> find_init("xavier_normal_"), find_init("kaiming")
    ('xavier-normal', 'kaiming-normal')
    """
    word = init_word(str(name))
    if word not in INITS:
        raise UsageError(f"unknown init {name!r}", hint=near_names(word, INITS) or f"known: {', '.join(INITS)}")
    return word
