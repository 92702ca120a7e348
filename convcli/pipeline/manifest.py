"""The record of a batch, with which ``--resume`` does only what is missing or changed.

One JSON line before the first file of an input gets its name (``begin``), one after the last (``done``): however a run
ends, each file is either recorded as whole, or known to be ours and made again. Outputs are named relative to the
folder and inputs by their real path, so that the record holds wherever a run is started.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from convcli.errors import ImageError, OutputError
from convcli.pipeline.names import MANIFEST_NAME
from convcli.pipeline.report import to_json
from convcli.pipeline.request import OPTIONS
from convcli.version import __version__

if TYPE_CHECKING:
    from convcli.pipeline.names import InputFile
    from convcli.pipeline.plan import Plan


def content_key(source: InputFile) -> str:
    """Return a digest of an input's bytes (BLAKE2b, 128 bits).

    Raises
    ------
    OSError
        The file cannot be read.
    """
    readable = source.readable
    if isinstance(readable, bytes):
        return hashlib.blake2b(readable, digest_size=16).hexdigest()
    # file_digest reads in blocks: an image may be larger than memory.
    with readable.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def parameter_key(plan: Plan) -> str:
    """Return a digest of what decides an output's pixels besides the input: flags, taps, version."""
    values = plan.request._asdict()
    flags = {row.key: values[row.key] for row in OPTIONS if row.changes_pixels and row.key in values}
    digest = hashlib.blake2b(to_json([__version__, flags]).encode(), digest_size=16)
    digest.update(plan.transform.weight_bytes())
    return digest.hexdigest()


class Record(NamedTuple):
    """The outputs of one input; ``sizes`` is ``None`` until all files are complete."""

    content: str
    parameters: str
    sizes: dict[str, int] | None


class Manifest:
    """The record of one output folder; safe to write from several threads.

    Parameters
    ----------
    folder : Path
        ``--out-dir``; the file is made when it is locked.

    Examples
    --------
    >>> import tempfile
    >>> manifest = Manifest(Path(tempfile.mkdtemp()))
    >>> manifest.lock(alone=True)
    >>> manifest.sweep(), manifest.outputs()
    (0, frozenset())
    >>> manifest.close()
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / MANIFEST_NAME
        self._lock = threading.Lock()
        self._file: BinaryIO | None = None
        self._is_alone = False
        #: By real input and outputs: an input that is found through two folders has two sets of outputs.
        self._records: dict[tuple[str, ...], Record] = {}
        #: The record that wrote an output last.
        self._writers: dict[str, tuple[str, ...]] = {}
        self._n_bytes = 0
        for line in self._lines():
            self._take(line)

    def _lines(self) -> Iterator[dict[str, Any]]:
        """Yield complete lines; skip a truncated last line."""
        try:
            data = self.path.read_bytes()
        except OSError:
            return
        self._n_bytes = len(data)
        for line in data.split(b"\n"):
            with contextlib.suppress(ValueError):
                entry = json.loads(line.decode(errors="surrogateescape"))
                if isinstance(entry, dict):
                    yield entry

    def _take(self, line: dict[str, Any]) -> None:
        outputs = line.get("outputs")
        if not isinstance(outputs, dict | list) or not all(isinstance(name, str) for name in outputs):
            return
        key = (str(line.get("input")), *sorted(outputs))
        if line.get("event") == "begin":
            self._records[key] = Record(str(line.get("content")), str(line.get("parameters")), None)
            self._writers.update(dict.fromkeys(outputs, key))
        elif line.get("event") == "done" and isinstance(outputs, dict) and key in self._records:
            self._records[key] = self._records[key]._replace(sizes=outputs)

    def _key(self, plan: Plan) -> tuple[str, ...]:
        return (_input_name(plan.source), *sorted(self._name(path) for path in plan.written_paths))

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def is_done(self, plan: Plan) -> bool:
        """Whether this input is done with these parameters, and its files still have their sizes."""
        key = self._key(plan)
        record = self._records.get(key)
        if record is None or record.sizes is None or record.parameters != parameter_key(plan):
            return False
        if any(self._writers[name] != key for name in record.sizes):
            return False  # another input has used the name since
        try:
            whole = all((self.folder / name).stat().st_size == size for name, size in record.sizes.items())
            return whole and record.content == content_key(plan.source)
        except OSError:
            return False

    def owns(self, path: Path) -> bool:
        """Whether an earlier run began to write this file, which may thus be replaced."""
        return self._name(path) in self._writers

    def outputs(self) -> frozenset[str]:
        """Return the real paths of all files that a run began to write."""
        return frozenset(os.path.realpath(self.folder / name) for name in self._writers)

    def lock(self, *, alone: bool) -> None:
        """Open the record for writing, until :meth:`close`; where files cannot be locked, nothing is refused.

        Parameters
        ----------
        alone : bool
            Whether no other run may write into the folder meanwhile, as ``--resume`` needs.

        Raises
        ------
        OutputError
            Another run uses the folder, or has changed it since the record was read; or it cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            # Append mode: the system puts each write at the end, so lines of several processes stay whole.
            # Unbuffered: a line is in the file before the outputs that it announces are.
            self._file = self.path.open("a+b", buffering=0)
        except OSError as error:
            raise self._unwritable(error) from None
        try:
            self._is_alone = _lock_file(self._file, alone=alone) and alone
        except BlockingIOError:
            self.close()
            raise OutputError(
                f"another run is writing into {self.folder}", hint="wait for its end, or choose another --out-dir"
            ) from None
        # The record was read before it was locked: a run that ended in between has added lines.
        if alone and self._file.seek(0, os.SEEK_END) != self._n_bytes:
            self.close()
            raise OutputError(f"another run has written into {self.folder} just now", hint="run the command again")

    def close(self) -> None:
        """Close the record and unlock the folder."""
        if self._file is not None:
            self._file.close()
        self._file, self._is_alone = None, False

    def sweep(self, folders: Iterable[Path] = ()) -> int:
        """Remove temporary files of killed runs from ``folders`` and the record's own; return how many.

        Does nothing unless the folder is locked for this run alone: another run may still be writing them.
        """
        from convcli.images.write import PART_SUFFIX

        if not self._is_alone:
            return 0
        n_removed = 0
        for folder in {self.folder, *folders, *((self.folder / name).parent for name in self._writers)}:
            for path in folder.glob(f".*{PART_SUFFIX}"):
                with contextlib.suppress(OSError):
                    path.unlink()
                    n_removed += 1
        return n_removed

    def begin(self, plan: Plan) -> None:
        """Record, before an input is read, which files it is about to write.

        Raises
        ------
        ImageError
            The input cannot be read.
        OutputError
            The record cannot be written.
        """
        try:
            content = content_key(plan.source)
        except OSError as error:
            raise ImageError(f"cannot read it: {error.strerror}", hint="check the file's permissions") from None
        name, *outputs = self._key(plan)
        keys = {"content": content, "parameters": parameter_key(plan)}
        self._append({"event": "begin", "input": name, **keys, "outputs": outputs})

    def done(self, plan: Plan) -> None:
        """Record that all files of an input are complete.

        Raises
        ------
        OutputError
            A file has gone already, or the record cannot be written.
        """
        try:
            sizes = {self._name(path): path.stat().st_size for path in plan.written_paths}
        except OSError as error:
            raise OutputError(f"{error.filename} has gone: {error.strerror}", hint="run it again") from None
        self._append({"event": "done", "input": _input_name(plan.source), "outputs": sizes})

    def _append(self, entry: dict[str, object]) -> None:
        assert self._file is not None, "the record is not locked"
        line = f"{to_json(entry)}\n".encode(errors="surrogateescape")
        try:
            with self._lock:
                if _is_torn(self._file):  # another run was killed while writing: start a new line
                    line = b"\n" + line
                # An unbuffered write to a full disk may store a part of the line without an error.
                if self._file.write(line) != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise self._unwritable(error) from None

    def _unwritable(self, error: OSError) -> OutputError:
        return OutputError(f"{self.path}: {error.strerror}", hint="check the folder and the space left")


def _input_name(source: InputFile) -> str:
    """Return a name for an input that does not depend on the current folder."""
    frame = "" if source.frame is None else f"[{source.frame}]"
    return source.url or "<stdin>" if source.path is None else os.path.realpath(source.path) + frame


def _is_torn(file: BinaryIO) -> bool:
    """Return whether the last line of an open file is incomplete."""
    n_bytes = os.fstat(file.fileno()).st_size
    if not n_bytes:
        return False
    if hasattr(os, "pread"):  # the position may be shared with other processes
        return os.pread(file.fileno(), 1, n_bytes - 1) != b"\n"
    file.seek(n_bytes - 1)
    return file.read(1) != b"\n"


def _lock_file(file: BinaryIO, *, alone: bool) -> bool:
    """Lock an open file against other runs; return whether this system and file system can.

    Raises
    ------
    BlockingIOError
        Another run has locked it.
    """
    try:
        import fcntl
    except ImportError:
        return False
    try:
        # flock, not lockf: forked children share the lock, and closing another handle of the file does not end it.
        fcntl.flock(file, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        # A subclass of OSError: it must pass before file systems without locks are forgiven.
        raise
    except OSError:
        return False
    return True
