"""Colour maps for maps: grey samples to RGB by table.

viridis and magma (S. van der Walt, N. Smith, 2015, CC0) rise evenly in lightness; coolwarm (K. Moreland, "Diverging
color maps for scientific visualization", ISVC 2009) is for ``--tone signed``, its middle is 0. Tables are exact, 256
RGB triples, stored as differences of neighbours, deflated, in base 85.
"""

from __future__ import annotations

import base64
import functools
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from convcli.errors import UsageError, near_names

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PACKED = {
    "viridis": (
        "c-nQ4feiyO2m?)iwT{sJNBI<tLui{<E9*F%yp)%{VZ(owh%_6+6Uvy=Zz)b_+a+fJO7^ihzz7<%fGkXLt>8B&bos^Oxc$kx_FUK_4xOj78}L+"
        "^|2IgY<V0I_X?=?{J!7jEU0%<S?=9Gz4=i3uNvJ=L<K6iZhr9|xrpfX4PNetQS*gx01m~%ne$ueXLL8KtIxEPpg9TgxM({MUkq5zZd;k$Khzb"
    ),
    "magma": (
        "c-mc(3lak%2txz*{#T|#_{dHj<`E-{RNyDLKLIpA9Xy^JCD~)A1#Zw$+J906;at%H0ht~(C2-eQDtC!kf^&nn;@x<cLIoYY`{;E<-X{Uu02&(R{>1?"
        "{>2_8fW3|%l*|pMbSF>&45!;3Vex*UUB~&cyki#RIsqly<$Om$!7Jn~wpe9auBCp43q8~*<jxt{d-X$MJTOS@#pH#O}AUk~@%Xn65lWHGn{sSmHEx7"
    ),
    "coolwarm": (
        "c-m!*ixt993_{6U%M~2jy|lsRACI*M;X?CxzT_M^BI0`PXS~#}2T=!Em2IV}_?NmmgM_Hhqe7pQgIXe&7U4B~h1w(UgfR$-y+9V3n1+jRDzG+gz!|"
        "qMbCco>JwW@`(-EthSB=m;^-ou{jbf4XBuovWVpOFL)#4ibK%{TuP(vrOAa$1Je=6hjmPLA#t&`qlERCBBrqOGY4gdU=-t?;Kh9C01Rl|P)H7-)_"
    ),
}
#: Share of the values that a colour scale holds.
SHARE = 0.995
#: Names for ``--colormap``.
COLORMAPS = ("gray", *_PACKED)


@functools.cache
def colormap_table(name: str) -> NDArray[np.uint8]:
    """Return the RGB triples of a colour map, shape (256, 3), uint8, read-only.

    Raises
    ------
    UsageError
        No map has that name.

    Examples
    --------
    >>> colormap_table("viridis")[[0, 255]].tolist()
    [[68, 1, 84], [253, 231, 37]]
    """
    if name == "gray":
        table = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    elif name in _PACKED:
        steps = np.frombuffer(zlib.decompress(base64.b85decode(_PACKED[name])), np.uint8).reshape(256, 3)
        # The differences wrap at 256, and so does their sum.
        table = np.cumsum(steps, axis=0, dtype=np.uint8)
    else:
        near = near_names(name, COLORMAPS)
        hint = f"{near} one of {', '.join(COLORMAPS)}".strip()
        raise UsageError(f"--colormap {name!r} is not known", hint=hint)
    table.flags.writeable = False
    return table


def apply_colormap(samples: NDArray[Any], name: str) -> NDArray[np.uint8]:
    """Colour grey samples.

    Parameters
    ----------
    samples : ndarray of shape (H, W) or (H, W, 1), uint8 or uint16
        16-bit samples use their high byte, for the tables have 256 colours.
    name : str
        One of ``COLORMAPS``.

    Returns
    -------
    ndarray of shape (H, W, 3), uint8

    Examples
    --------
    >>> apply_colormap(np.uint8([[128]]), "gray").tolist()
    [[[128, 128, 128]]]
    """
    if samples.ndim == 3:
        samples = samples[:, :, 0]
    if samples.dtype == np.uint16:
        samples = (samples >> 8).astype(np.uint8)
    coloured: NDArray[np.uint8] = colormap_table(name)[samples]
    return coloured


#: Ends of the scale of values of both signs, red above 0 and blue below: R. Brewer's RdBu.
_RED, _BLUE = np.array([178, 24, 43.0]), np.array([33, 102, 172.0])
#: Not a number: a colour that neither scale has.
_MISSING = (255, 191, 0)
#: Values of both signs are drawn as strong as this power of their share: weak ones still show beside strong ones.
_CURVE = 0.7


class Scale(NamedTuple):
    """One colour scale for many pictures.

    White is 0 where values have both signs, blue below and red above; else the scale is magma. Both draw small values
    stronger than their share, so that they are seen beside large ones. A ``colormap`` takes the place of either.

    Examples
    --------
    >>> Scale(-2, 2).paint(np.float32([-2, 0, 2])).tolist()
    [[33, 102, 172], [255, 255, 255], [178, 24, 43]]
    >>> Scale(0, 10, "gray").paint(np.float32([0, 10, 99])).tolist()
    [[0, 0, 0], [255, 255, 255], [255, 255, 255]]
    """

    low: float
    high: float
    colormap: str | None = None

    @classmethod
    def of(cls, values: NDArray[Any], colormap: str | None = None) -> Scale:
        """Return the scale that holds 99.5 % of the magnitudes of values, from 0 on.

        Both signs count where more than one value in 200 lies beyond a hundredth of the limit.
        """
        known = values[np.isfinite(values)]
        if not known.size:
            return cls(0.0, 1.0, colormap)
        # A map of a few points would be blank: its largest value is the limit then.
        limit = float(np.quantile(np.abs(known), SHARE)) or float(np.abs(known).max()) or 1.0
        low, high = (float(part) for part in np.quantile(known, (1 - SHARE, SHARE)))
        falls, rises = low < -limit / 100, high > limit / 100
        return cls(-limit if falls else 0.0, limit if rises or not falls else 0.0, colormap)

    @property
    def has_both_signs(self) -> bool:
        """Whether 0 lies inside."""
        return self.low < 0 < self.high

    @property
    def name(self) -> str:
        """Name of its colours."""
        return self.colormap or ("blue-white-red" if self.has_both_signs else "magma")

    @property
    def marks(self) -> tuple[float, ...]:
        """Values that a legend marks."""
        middle = (self.low + self.high) / 2
        return (self.low, (self.low + middle) / 2, middle, (middle + self.high) / 2, self.high)

    def paint(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        """Return the colours of values (…), shape (…, 3); values beyond the ends have the colours of the ends."""
        known = np.nan_to_num(np.asarray(values, np.float64), nan=0.0)
        if self.has_both_signs and self.colormap is None:
            share = np.clip(known / self.high, -1, 1)[..., None]
            strength = np.abs(share) ** _CURVE
            painted = 255 + (np.where(share > 0, _RED, _BLUE) - 255) * strength
        else:
            share = np.clip((known - self.low) / (self.high - self.low), 0, 1)
            share = share if self.colormap else share**_CURVE
            painted = colormap_table(self.colormap or "magma")[np.rint(share * 255).astype(int)]
        colours = np.rint(painted).astype(np.uint8)
        colours[np.isnan(values)] = _MISSING
        return colours
