"""Names of the planes of a TIFF page, by its tags, and its stored samples turned into what they mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from convcli.images.planes import divide_alpha, inks_to_rgb, reverse_grey

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: PhotometricInterpretation, tag 262.
WHITE_IS_ZERO, RGB, PALETTE, YCBCR = 0, 2, 3, 6
_CMYK, _CIELAB, _LAB = 5, 8, (8, 9)
#: InkSet, tag 332: inks that are not cyan, magenta, yellow and black (TIFF 6.0 §16).
_INK_SET_TAG, _OTHER_INKS = 332, 2
_EXTRAS_TAG, _ASSOCIATED, _ALPHAS = 338, 1, (1, 2)
#: Kinds of samples that nothing here turns into grey or colours.
_AS_STORED = {
    4: "a transparency mask",
    10: "ITU L*a*b*",
    32803: "a colour filter array",
    32844: "LogL",
    32845: "LogLuv",
    34892: "linear raw",
    51177: "a depth map",
    52527: "a semantic mask",
}
_USUAL = (WHITE_IS_ZERO, 1, RGB, PALETTE, _CMYK, YCBCR, *_LAB)


class Colours(NamedTuple):
    """Names of the planes that a page gives, what is said of them, and how stored samples become them."""

    names: tuple[str, ...]
    notes: tuple[str, ...] = ()
    #: ``palette``, ``inks``, ``reversed``, ``signed``, or empty for samples that stay.
    kind: str = ""
    is_premultiplied: bool = False

    @property
    def converts(self) -> bool:
        """Whether samples change."""
        return bool(self.kind) or self.is_premultiplied

    def of(self, samples: NDArray[Any], white: float) -> NDArray[Any]:
        """Return whole stored samples (H, W, P) as the colours that they mean; a palette is looked up before."""
        if self.kind == "inks":
            return inks_to_rgb(samples, white)
        if self.kind == "signed":
            samples = samples.copy()
            samples[:, :, 1:] ^= np.array(int(white + 1) // 2, samples.dtype)
        if self.is_premultiplied:
            samples = divide_alpha(samples, white)
        if self.kind == "reversed":
            # Alpha and other extra samples count up whatever white is.
            samples = np.concatenate([reverse_grey(samples[:, :, :1], white), samples[:, :, 1:]], axis=2)
        return samples


def colours_of(page: Any, photometric: int) -> Colours:
    """Return the planes of a page (tifffile's): r, g, b or l, alpha where declared, others by number."""
    n_planes, tags = page.samplesperpixel, page.tags
    extras = [int(extra) for extra in page.extrasamples]
    if photometric == PALETTE:
        return Colours(("r", "g", "b"), ("palette is expanded to RGB", *_palette_notes(page.colormap)), "palette")
    is_alpha_last = extras[-1:] and extras[-1] in _ALPHAS and n_planes > 1
    is_cmyk = photometric == _CMYK and n_planes == 4 and tags.valueof(_INK_SET_TAG) != _OTHER_INKS
    if is_cmyk and not is_alpha_last and page.dtype.kind in "uf":
        return Colours(("r", "g", "b"), ("CMYK is converted to RGB without its ICC profile",), "inks")
    if photometric in _LAB and n_planes == 3:
        is_signed = photometric == _CIELAB and page.dtype.kind == "u"
        note = "CIELAB planes stay as they are stored"
        note += f", a* and b* with {2 ** (page.bitspersample - 1)} added, as they are signed" if is_signed else ""
        return Colours(("l", "a*", "b*"), (note,), "signed" if is_signed else "")
    return _plain_colours(page, photometric, extras)


def _plain_colours(page: Any, photometric: int, extras: list[int]) -> Colours:
    """Return the planes of a page whose colours are no other ones than those stored."""
    n_planes, notes = page.samplesperpixel, list[str]()
    names = ["r", "g", "b"] if photometric in (RGB, YCBCR) and n_planes >= 3 else [] if photometric == _CMYK else ["l"]
    n_extra = n_planes - len(names)
    if n_extra == 1 and not extras and _EXTRAS_TAG not in page.tags and len(names) == 3:
        notes.append("the fourth plane does not say what it is, and is taken for alpha")
        extras = [2]  # not premultiplied
    is_premultiplied = n_planes in (2, 4) and extras[-1:] == [_ASSOCIATED] and page.dtype.kind in "uf" and bool(names)
    if is_premultiplied:
        notes.append("premultiplied alpha is divided out")
    # Of inks no number says how many of the planes are extra ones.
    n_declared = n_extra if names else 1
    names += [f"c{index}" for index in range(n_extra)]
    if 0 < n_declared <= len(extras) < n_planes and extras[-1] in _ALPHAS:
        names[-1] = "a"
    others = [name for name in names if name[0] == "c"]
    if photometric == _CMYK:
        notes.append(f"inks stay as they are stored: {', '.join(others[:8])}")
    elif others and len(names) <= 8:
        notes.append(f"planes that the file does not name: {', '.join(others)}")
    if photometric not in _USUAL:
        kind = _AS_STORED.get(photometric, "an unknown kind")
        notes.append(f"samples of {kind} (PhotometricInterpretation {photometric}) stay as they are stored")
    kind = "reversed" if photometric == WHITE_IS_ZERO else ""
    return Colours(tuple(names), tuple(notes), kind, is_premultiplied)


def palette_of(page: Any) -> NDArray[np.uint8]:
    """Return the colours of a palette, shape (colours, 3): the high bytes of its 16-bit values."""
    table: NDArray[np.uint16] = page.colormap
    # Some programs store 8-bit values, of which every high byte is 0: libtiff takes them as they are too.
    return (table if table.max() < 256 else table >> 8).astype(np.uint8).T


def _palette_notes(table: NDArray[np.uint16]) -> tuple[str, ...]:
    """Note 16-bit colours of which 8 bits are kept; a low byte of 0, or the same as the high one, tells nothing."""
    low, high = table & 255, table >> 8
    n_cut = int(((low != 0) & (low != high)).any(axis=0).sum()) if high.any() else 0
    return (f"{n_cut} colours of the palette have 16 bits and are read with 8",) if n_cut else ()
