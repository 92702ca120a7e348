"""Streams, memory, files, packages, as the system gives them to a process: each may be missing.

A stream may be closed, full, or left by its reader while the work goes on. One that takes nothing more is remembered
and stops nobody: files are still written and checked, and the exit code is that of the work. Only bytes of a file that
``-o -`` promised must all arrive (:func:`binary_output`).
"""

from __future__ import annotations

import errno
import io
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

from convcli.errors import ConvcliError, ImageError, OutputError, UsageError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

#: Parts of the messages in which libraries and Python tell that memory or threads are short.
_WORDS = ("failed to map segment", "cannot allocate memory", "unable to allocate", "can't start new thread")


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


def raise_file_limit() -> None:
    """Allow as many open files as the system permits: every map of a bank is one."""
    try:
        import resource
    except ImportError:  # not a POSIX system
        return
    # The limit must be a number: macOS refuses an infinite one.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def available_threads() -> int:
    """Return how many threads this process may run at once."""
    # A container or taskset may leave fewer processors than the machine has.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def shortage(error: BaseException) -> UsageError | None:
    """Return the expected failure for an error that tells of too little memory or too few threads; None for others.

    Examples
    --------
    >>> str(shortage(ImportError("libblas.so: failed to map segment from shared object")))
    'not enough memory (libblas.so: failed to map segment from shared object)'
    >>> shortage(ImportError("No module named 'onnx'")) is None
    True
    """
    texts = [str(one).strip() for one in (error.__cause__, error) if one is not None]
    text = next((line for text in texts for line in text.splitlines() if any(w in line.lower() for w in _WORDS)), "")
    if not text and not isinstance(error, MemoryError):
        return None
    more = "is ulimit -v, or a container's limit, too low for it?"
    return UsageError(
        f"not enough memory{f' ({text})' if text else ''}", hint=f"-j 1 --threads 1 --memory 256M takes less; {more}"
    )


def too_long(error: BaseException) -> UsageError | None:
    """Return the expected failure for an error that tells of a name no file can have; None for others.

    Examples
    --------
    >>> too_long(OSError(errno.ENAMETOOLONG, "File name too long", "k" * 300 + ".png")).message[-41:]
    'kkkk.png: a name of 304 bytes is too long'
    """
    if not isinstance(error, OSError) or error.errno != errno.ENAMETOOLONG:
        return None
    name = max(os.fsdecode(error.filename or b"").split("/"), key=len)
    message = f"{name[:30]}…{name[-12:]}: a name of {len(os.fsencode(name))} bytes is too long"
    return UsageError(message, hint="at most 255 bytes between two slashes, on most disks")


def import_optional(name: str, kind: type[ConvcliError], message: str, *, hint: str) -> Any:
    """Return a module that may be missing.

    Raises
    ------
    ConvcliError
        Of this kind, with message and hint, where it is not installed; a UsageError where it is and does not load.

    Examples
    --------
    >>> import_optional("no_such", UsageError, "that needs no_such", hint="pip install no_such")
    Traceback (most recent call last):
    convcli.errors.UsageError: that needs no_such
    """
    try:
        return import_module(name)
    except ImportError as error:
        if is_missing(error, name):
            raise kind(message, hint=hint) from None
        raise not_loading(error, name) from None


def is_missing(error: ImportError, name: str) -> bool:
    """Return whether a module, or a package that it is in, is not installed; else it is, and is broken."""
    return isinstance(error, ModuleNotFoundError) and bool(error.name) and f"{name}.".startswith(f"{error.name}.")


def not_loading(error: ImportError, name: str) -> UsageError:
    """Return the failure to load a package that is installed."""
    package, reason = name.partition(".")[0], " ".join(str(error).split())
    message, hint = f"the package {package} is installed and does not load", f"pip install --force-reinstall {package}"
    return shortage(error) or UsageError(f"{message} ({reason})", hint=hint)


_SCHEMES = ("s3", "gs", "az", "hf", "http", "https")


def is_url(name: str) -> bool:
    """Return whether a name is a URL, which ``Path`` would turn into a folder called ``s3:``.

    Examples
    --------
    >>> is_url("s3://bucket/photo.jpg"), is_url("a:b.png")
    (True, False)
    """
    scheme, separator, _ = name.partition("://")
    return bool(separator) and scheme.replace("+", "").replace("-", "").isalnum()


def local_path(name: str) -> Path:
    """Return the path of a local file or folder.

    Raises
    ------
    UsageError
        The name is a URL, or one with a slash too few, or begins with ``~`` or a variable that the shell has left.

    Examples
    --------
    >>> local_path("s3://bucket/photo.jpg")
    Traceback (most recent call last):
    convcli.errors.UsageError: s3://bucket/photo.jpg is a URL, and only local files are read and written
    """
    if is_url(name):
        raise UsageError(f"{name} is a URL, and only local files are read and written", hint="copy it to a local file")
    scheme, _, rest = name.partition(":/")
    if scheme.lower() in _SCHEMES and rest:  # mistyped, or a Path made of a URL
        raise UsageError(f"{name} is no URL, and no local file", hint=f"{scheme}://{rest.lstrip('/')}, as text")
    first = name.partition("/")[0]
    # After an = or in quotes the shell leaves them, and a folder of that name would be made.
    if first[:1] in ("~", "$") and not os.path.lexists(first):
        meant = os.path.expandvars(os.path.expanduser(name))  # noqa: PTH111 - leaves what it cannot expand
        if meant != name:
            raise UsageError(f"{name}: the shell has not expanded {first}", hint=meant)
    return Path(name)
