"""Animated PNG: frames composed as the file says (PNG specification, third edition, chunks acTL, fcTL and fdAT).

Pillow blends half-clear pixels of a frame into opaque ones wrongly and believes the number of frames in the header.
Here each frame is cut out as a PNG of its own, decoded by Pillow, and composed.
"""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np

from convcli.errors import ImageError
from convcli.images.formats import BY_NAME
from convcli.images.info import ImageInfo
from convcli.images.pillow import PillowDecoder
from convcli.images.planes import turn_upright
from convcli.images.png import SIGNATURE, chunk, chunks

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: dispose_op and blend_op of fcTL; 0 leaves a frame as it is, or replaces what was there.
_CLEAR, _PREVIOUS = 1, 2
_OVER = 1


class _Frame(NamedTuple):
    width: int
    height: int
    left: int
    top: int
    delay: int
    per_second: int
    dispose: int
    blend: int
    #: (offset, bytes) of its compressed data.
    data: list[tuple[int, int]]

    @property
    def duration_ms(self) -> float | None:
        # A denominator of 0 means hundredths of a second (fcTL).
        return 1000 * self.delay / (self.per_second or 100) or None


class ApngDecoder:
    """An animated PNG at a frame.

    Raises
    ------
    ImageError
        The frame does not exist, or lies outside the picture.
    """

    def __init__(self, file: BinaryIO, frame: int, orientation: str) -> None:
        self._base = PillowDecoder(file, BY_NAME["png"], 0, orientation)
        self._file, self._orientation = file, orientation
        self._head, self._frames, self._plays, claims, has_default = _read_chunks(file)
        if not self._frames:
            raise ImageError("announces an animation and has no frames", hint="the file is damaged")
        self._width, self._height = struct.unpack_from(">II", self._head[0][1])
        names = self._base.info.plane_names
        first = self._frames[0]
        clears = any(one.dispose == _CLEAR for one in self._frames[:-1]) or first.dispose == _PREVIOUS
        covers = (first.left, first.top, first.width, first.height) == (0, 0, self._width, self._height)
        #: Frames without alpha need it where nothing is drawn.
        self._adds_alpha = names[-1] != "a" and (clears or not covers)
        self._names = (*names, "a") if self._adds_alpha else names
        #: A header may lie about its frames: those that are there count.
        self._notes: tuple[str, ...] = (
            () if claims == [len(self._frames)] else (_claim_note(claims, len(self._frames)),)
        )
        if has_default:
            self._notes += ("the picture for programs that show no animation is not a frame, and is not read",)
        self._canvas: NDArray[Any] | None = None
        self._n_drawn = 0
        self.seek(frame)

    def seek(self, frame: int) -> bool:
        """Go to a frame."""
        if frame >= len(self._frames):
            raise ImageError(f"has no frame {frame}", hint=f"{len(self._frames)} frames, counted from 0")
        self._frame = frame
        self.info: ImageInfo = self._base.info._replace(
            plane_names=self._names,
            n_frames=len(self._frames),
            duration_ms=self._frames[frame].duration_ms,
            loop=self._plays,
            notes=(*self._base.info.notes, *self._notes),
        )
        return True

    def window(self) -> None:
        """Frames are composed whole."""

    def decode(self) -> NDArray[Any]:
        """Return the frame as it is shown, shape (H, W, P)."""
        if self._canvas is None or self._n_drawn > self._frame:
            self._canvas = np.zeros((self._height, self._width, self.info.n_planes), self.info.dtype)
            self._n_drawn = 0
        shown = self._canvas
        while self._n_drawn <= self._frame:
            shown = self._draw(self._frames[self._n_drawn], is_first=self._n_drawn == 0)
            self._n_drawn += 1
        return turn_upright(shown, self.info.orientation if self._orientation == "apply" else 1)

    def _draw(self, frame: _Frame, *, is_first: bool) -> NDArray[Any]:
        """Draw a frame on the canvas; return a copy as it is shown, before it is disposed of."""
        assert self._canvas is not None
        place = slice(frame.top, frame.top + frame.height), slice(frame.left, frame.left + frame.width)
        before = self._canvas[place].copy()
        if before.shape[:2] != (frame.height, frame.width) or not before.size:
            raise ImageError(f"has a frame of {frame.width} x {frame.height} outside the picture", hint="it is damaged")
        drawn = self._cut_out(frame)
        has_alpha = self._names[-1] == "a" and frame.blend == _OVER
        self._canvas[place] = _over(drawn, before, self.info.white) if has_alpha else drawn
        shown = self._canvas.copy()
        # Nothing precedes the first frame: its "previous" is clear (fcTL).
        if frame.dispose == _CLEAR or (frame.dispose == _PREVIOUS and is_first):
            self._canvas[place] = 0
        elif frame.dispose == _PREVIOUS:
            self._canvas[place] = before
        return shown

    def _cut_out(self, frame: _Frame) -> NDArray[Any]:
        """Decode the pixels of one frame."""
        body = []
        for offset, n_bytes in frame.data:
            self._file.seek(offset)
            body.append(self._file.read(n_bytes))
        (_, header), *others = self._head
        header = struct.pack(">II", frame.width, frame.height) + header[8:]
        parts = [(b"IHDR", header), *others, (b"IDAT", b"".join(body)), (b"IEND", b"")]
        file = io.BytesIO(SIGNATURE + b"".join(chunk(*part) for part in parts))
        samples = PillowDecoder(file, BY_NAME["png"], 0, "keep").decode()
        if not self._adds_alpha:
            return samples
        opaque = np.full((*samples.shape[:2], 1), self.info.white, samples.dtype)
        return np.concatenate([samples, opaque], axis=2)


def _over(drawn: NDArray[Any], before: NDArray[Any], white: float) -> NDArray[Any]:
    """Return ``drawn`` over ``before``; the last plane of each is alpha, not premultiplied."""
    alpha, alpha_below = drawn[:, :, -1:] / white, before[:, :, -1:] / white
    left = alpha_below * (1 - alpha)
    total = alpha + left
    mixed = drawn[:, :, :-1] * alpha + before[:, :, :-1] * left
    colour = np.divide(mixed, total, out=np.zeros_like(mixed), where=total > 0)
    mixture: NDArray[Any] = np.rint(np.concatenate([colour, total * white], axis=2)).astype(drawn.dtype)
    return mixture


def _claim_note(claims: list[int], n_frames: int) -> str:
    """Say how a file's claim differs from its frames."""
    claimed = " and ".join(f"{number:,}" for number in claims) or "no"
    return f"the file announces {claimed} frames and has {n_frames:,}"


def _read_chunks(file: BinaryIO) -> tuple[list[tuple[bytes, bytes]], list[_Frame], int, list[int], bool]:
    """Return chunks for every frame, the frames, plays, announced numbers; whether there is a picture beside them."""
    head: list[tuple[bytes, bytes]] = []
    frames: list[_Frame] = []
    plays, claims, has_default = 0, [], False
    for kind, n_bytes, offset in chunks(file):
        if kind in (b"IHDR", b"PLTE", b"tRNS"):
            head.append((kind, file.read(n_bytes)))
        elif kind == b"acTL":
            claim, plays = struct.unpack(">II", file.read(8))
            claims.append(claim)
        elif kind == b"fcTL":
            _, width, height, left, top, delay, per_second, dispose, blend = struct.unpack(">IIIIIHHBB", file.read(26))
            frames.append(_Frame(width, height, left, top, delay, per_second, dispose, blend, []))
        elif kind == b"IDAT" and frames:  # without a frame before it, the picture is not one of them
            frames[-1].data.append((offset, n_bytes))
        elif kind == b"IDAT":
            has_default = True
        elif kind == b"fdAT" and frames:
            frames[-1].data.append((offset + 4, n_bytes - 4))  # behind a sequence number
    return head, frames, plays, claims, has_default
