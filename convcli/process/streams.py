"""Standard streams, which may be closed, full, or left by their reader while the work goes on.

A stream that takes nothing more is remembered and stops nobody: files are still written and checked, and the exit code
is that of the work. Only bytes of a file that ``-o -`` promised must all arrive (:func:`binary_output`).
"""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

from convcli.errors import ImageError, OutputError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class _Forgiving(io.RawIOBase):
    """A raw stream that takes everything; the error that lost the first byte is kept."""

    def __init__(self, raw: io.RawIOBase, *, lost: OSError | None = None, replaced: object = None) -> None:
        self._raw, self.lost = raw, lost
        #: The stream that it stands for, which would close the raw one when it is freed.
        self._replaced = replaced

    def write(self, data: ReadableBuffer) -> int:
        n_bytes = memoryview(data).nbytes
        if self.lost is None:
            try:
                return self._write(data)
            except OSError as error:
                self.lost = error
        return n_bytes

    def _write(self, data: ReadableBuffer) -> int:
        # None: another program has made the terminal non-blocking, and it is full for the moment.
        while (n_written := self._raw.write(data)) is None:
            from select import select

            select([], [self._raw], [])
        return n_written

    def fileno(self) -> int:
        return self._raw.fileno()

    def isatty(self) -> bool:
        return self.lost is None and self._raw.isatty()

    def writable(self) -> bool:
        return True


def secure() -> None:
    """Keep the loss of a standard stream from stopping the work; for a process that is ours alone.

    Characters that a stream's encoding lacks are written as escapes.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The next file would get this number, and what C libraries write to the stream would land in it.
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = _secured(sys.stdout, 1)
    sys.stderr = _secured(sys.stderr, 2)


def _secured(stream: TextIO | Any, number: int) -> io.TextIOWrapper:
    lines = number == 2
    if stream is None:
        closed = OSError(errno.EBADF, os.strerror(errno.EBADF))
        raw = _Forgiving(io.FileIO(number, "wb", closefd=False), lost=closed)
        return io.TextIOWrapper(io.BufferedWriter(raw), "utf-8", "backslashreplace", line_buffering=lines)
    stream.flush()
    buffer: Any = stream.buffer
    raw = _Forgiving(getattr(buffer, "raw", buffer), replaced=stream)  # -u leaves out the buffer
    lines = lines or bool(stream.line_buffering)
    return io.TextIOWrapper(io.BufferedWriter(raw), stream.encoding, "backslashreplace", line_buffering=lines)


def is_terminal() -> bool:
    """Return whether a person reads standard output; bytes of a picture can leave a terminal unreadable."""
    return sys.stdout is not None and sys.stdout.isatty()


def columns(*, err: bool = False) -> int | None:
    """Return the width of the terminal that a person reads, or None where programs read: those get lines whole."""
    stream = sys.stderr if err else sys.stdout
    if stream is None or not stream.isatty():
        return None
    import shutil

    # A terminal of no known width says 0.
    return max(shutil.get_terminal_size().columns, 20)


def takes_colours(*, err: bool = False) -> bool:
    """Return whether a stream is a terminal that may be coloured: NO_COLOR counts if it is set (no-color.org)."""
    stream = sys.stderr if err else sys.stdout
    is_plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return stream is not None and stream.isatty() and not is_plain


def check_output() -> None:
    """Flush standard output.

    Raises
    ------
    OutputError
        Text was lost, and not because its reader has left or closed it on purpose.
    """
    if sys.stdout is not None:
        sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    lost = raw.lost if isinstance(raw, _Forgiving) else None
    if lost is not None and lost.errno not in (errno.EPIPE, errno.EBADF):
        raise unwritable(lost)


def binary_output() -> BinaryIO:
    """Return standard output for the bytes of a file, whose loss raises ``OSError``.

    Raises
    ------
    OutputError
        It is closed.
    """
    if sys.stdout is None:
        raise _closed()
    # Text and bytes have separate buffers: without flush they may come out in the wrong order.
    sys.stdout.flush()
    raw = getattr(sys.stdout.buffer, "raw", None)
    if not isinstance(raw, _Forgiving):
        return sys.stdout.buffer
    if raw.lost is not None and raw.lost.errno == errno.EBADF:
        raise _closed()
    return open(raw.fileno(), "wb", closefd=False)


def _closed() -> OutputError:
    return OutputError("standard output is closed", hint="-o FILE, or a pipe")


def unwritable(error: OSError) -> OutputError:
    """Return the failure to write standard output in words."""
    if isinstance(error, BrokenPipeError):
        return OutputError("the reader of standard output has gone", hint="it took only a part of it")
    return OutputError(f"cannot write standard output: {error.strerror}", hint="check where it goes")


def write_output(data: bytes) -> None:
    """Write the bytes of a whole file to standard output.

    Raises
    ------
    OutputError
        It is closed or full.
    """
    output = binary_output()
    try:
        output.write(data)
        output.flush()
    except BrokenPipeError:  # its reader had enough: head, or a pager that was left
        pass
    except OSError as error:
        raise unwritable(error) from None


def read_input() -> bytes:
    """Return all bytes of standard input.

    Raises
    ------
    ImageError
        It is closed or cannot be read.
    """
    if sys.stdin is None:
        raise ImageError("standard input is closed", hint="name a file, or pipe one in: convcli apply - < photo.jpg")
    try:
        return sys.stdin.buffer.read()
    except OSError as error:
        raise ImageError(f"standard input cannot be read: {error.strerror}", hint="name a file instead") from None
