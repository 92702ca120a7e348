"""The record of a batch, with which ``--resume`` does only what is missing or changed.

One JSON line before the first file of an input gets its name (``begin``), one after the last (``done``, or ``failed``,
which undoes the first): however a run ends, each file is either recorded as whole, or known to be ours and made again.
Outputs are named relative to the folder and inputs by their real path: the record holds wherever a run is started.
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
from convcli.images.failures import explain_opening
from convcli.images.files import PART_SUFFIX, FileState, vanished
from convcli.images.info import digest_of
from convcli.pipeline.naming import MANIFEST_NAME
from convcli.pipeline.report import to_json
from convcli.pipeline.request import OPTIONS
from convcli.version import __version__

if TYPE_CHECKING:
    from convcli.pipeline.inputs import InputFile
    from convcli.pipeline.plan import Plan


def content_key(file: InputFile) -> str:
    """Return a digest of an input's bytes (BLAKE2b, 128 bits)."""
    readable = file.readable
    if isinstance(readable, bytes):
        return hashlib.blake2b(readable, digest_size=16).hexdigest()
    return digest_of(readable)


def parameter_key(plan: Plan) -> str:
    """Return a digest of what decides an output's pixels besides the input: flags, taps, version."""
    values = plan.request._asdict()
    flags = {row.key: values[row.key] for row in OPTIONS if row.changes_pixels and row.key in values}
    digest = hashlib.blake2b(to_json([__version__, flags], exact=True).encode(), digest_size=16)
    digest.update(plan.transform.weight_bytes())
    return digest.hexdigest()


class Record(NamedTuple):
    """The outputs of one input, with bytes and time of change; ``files`` is ``None`` until all are complete."""

    content: str
    parameters: str
    files: dict[str, list[int]] | None


class Manifest:
    """The record of one output folder; safe to write from several threads.

    Its file in ``folder``, which is ``--out-dir``, is made when it is locked.

    Examples
    --------
    >>> import tempfile
    >>> manifest = Manifest(Path(tempfile.mkdtemp()))
    >>> manifest.lock(alone=True)
    >>> manifest.outputs()
    frozenset()
    >>> manifest.close()
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / MANIFEST_NAME
        self._lock = threading.Lock()
        self._file: BinaryIO | None = None
        self._is_alone = False
        #: Tells the lines of this run from those of others that do the same at the same time.
        self._run = os.urandom(4).hex()
        #: By real input and outputs (an input that is found through two folders has two sets of outputs), then by run.
        self._records: dict[tuple[str, ...], dict[str, Record]] = {}
        #: Keys and runs that wrote an output, the last one at the end.
        self._writers: dict[str, list[tuple[tuple[str, ...], str]]] = {}
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
        key, run = (str(line.get("input")), *sorted(outputs)), str(line.get("run"))
        records = self._records.setdefault(key, {})
        if line.get("event") == "begin":
            records[run] = Record(str(line.get("content")), str(line.get("parameters")), None)
            for name in outputs:
                self._writers.setdefault(name, []).append((key, run))
        elif line.get("event") == "done" and isinstance(outputs, dict) and run in records:
            records[run] = records[run]._replace(files=outputs)
        elif line.get("event") == "failed" and records.pop(run, None):
            for name in outputs:  # they may be another program's by now
                self._writers[name].remove((key, run))

    def _key(self, plan: Plan) -> tuple[str, ...]:
        return (_input_name(plan.input), *sorted(self._name(path) for path in plan.written_paths))

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def is_done(self, plan: Plan) -> bool:
        """Whether this input is done with these parameters, and its files are as they were written."""
        key = self._key(plan)
        if any(not (writers := self._writers.get(name)) or writers[-1][0] != key for name in key[1:]):
            return False  # nobody has written it, or another input has used the name since
        parameters = parameter_key(plan)
        records = [one for one in self._records[key].values() if one.files and one.parameters == parameters]
        try:
            whole = [one for one in records if one.files == {name: self._state(name) for name in key[1:]}]
            return bool(whole) and whole[-1].content == content_key(plan.input)
        except OSError:
            return False

    def is_altered(self, plan: Plan) -> bool:
        """Whether an output of an input exists and is not as it was written."""
        known: dict[str, list[list[int]]] = {}
        for record in self._records.get(self._key(plan), {}).values():
            for name, state in (record.files or {}).items():
                known.setdefault(name, []).append(state)
        return any((self.folder / name).is_file() and self._state(name) not in states for name, states in known.items())

    def _state(self, name: str) -> list[int]:
        return list(FileState.of(self.folder / name)[2:])

    def owns(self, path: Path) -> bool:
        """Whether an earlier run began to write this file, which may thus be replaced."""
        return bool(self._writers.get(self._name(path)))

    def outputs(self) -> frozenset[str]:
        """Return the real paths of all files that a run began to write."""
        return frozenset(os.path.realpath(self.folder / name) for name, keys in self._writers.items() if keys)

    def lock(self, *, alone: bool) -> None:
        """Open the record for writing, until :meth:`close`; no other run may write meanwhile if ``alone``.

        Where files cannot be locked, nothing is refused.

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
            self._is_alone = _lock(self._file, alone=alone) and alone
        except BlockingIOError:
            self.close()
            raise OutputError(
                f"another run is writing into {self.folder}", hint="wait for its end, or choose another --out-dir"
            ) from None
        # The record was read before it was locked: a run that ended in between has added lines.
        if alone and self._file.seek(0, os.SEEK_END) != self._n_bytes:
            self.close()
            raise OutputError(f"another run has written into {self.folder} just now", hint="run the command again")

    def check(self) -> None:
        """Refuse to go on where the folder was removed or renamed: what was done would be lost without a word."""
        assert self._file is not None, "the record is not locked"
        with contextlib.suppress(OSError):
            if os.path.samestat(self.path.stat(), os.fstat(self._file.fileno())):
                return
        raise OutputError(
            f"{self.folder} was removed or renamed while this run was writing into it",
            hint="the same command with --resume makes what is missing",
        )

    def close(self) -> None:
        """Close the record and unlock the folder."""
        if self._file is not None:
            self._file.close()
        self._file, self._is_alone = None, False

    def sweep(self, folders: Iterable[Path] = ()) -> None:
        """Remove temporary files of killed runs from ``folders`` and the record's own.

        Does nothing unless the folder is locked for this run alone: another run may still be writing them.
        """
        if not self._is_alone:
            return
        for folder in {self.folder, *folders, *((self.folder / name).parent for name in self._writers)}:
            for path in folder.glob(f".*{PART_SUFFIX}"):
                with contextlib.suppress(OSError):
                    path.unlink()

    @contextlib.contextmanager
    def recording(self, plan: Plan) -> Iterator[None]:
        """Record, before an input is read, which files are about to be written, and after a failure that none is left.

        Raises
        ------
        ImageError
            The input cannot be read.
        OutputError
            The record cannot be written.
        """
        try:
            content = content_key(plan.input)
        except FileNotFoundError:  # its header was read when the batch was planned
            hint = "put it back, and --resume does what is missing"
            raise ImageError("was removed or renamed while the batch ran", hint=hint) from None
        except OSError as error:
            raise explain_opening(error, Path(plan.input.path or "")) from None
        self.check()
        name, *outputs = self._key(plan)
        keys = {"content": content, "parameters": parameter_key(plan)}
        # First of all: a run that is killed behind this line leaves files that --resume knows to be ours.
        self._append({"event": "begin", "input": name, **keys, "outputs": outputs})
        try:
            yield
        except BaseException:
            with contextlib.suppress(OutputError):  # a disk that is full: the error that led here is told
                self._append({"event": "failed", "input": name, "outputs": outputs})
            raise

    def done(self, plan: Plan) -> None:
        """Record that all files of an input are complete; refuse to where one has gone already."""
        try:
            files = {name: self._state(name) for name in self._key(plan)[1:]}
        except OSError as error:
            raise vanished(Path(str(error.filename))) from None
        self.check()
        self._append({"event": "done", "input": _input_name(plan.input), "outputs": files})

    def _append(self, entry: dict[str, object]) -> None:
        assert self._file is not None, "the record is not locked"
        line = f"{to_json({**entry, 'run': self._run}, exact=True)}\n".encode(errors="surrogateescape")
        try:
            with self._lock:
                _append_line(self._file, line)
        except OSError as error:
            raise self._unwritable(error) from None

    def _unwritable(self, error: OSError) -> OutputError:
        return OutputError(f"{self.path}: {error.strerror}", hint="check the folder and the space left")


def _input_name(file: InputFile) -> str:
    """Return a name for an input that does not depend on the current folder."""
    frame = "" if file.frame is None else f"[{file.frame}]"
    return file.url or "<stdin>" if file.path is None else os.path.realpath(file.path) + frame


def _lock(file: BinaryIO, *, alone: bool) -> bool:
    """Lock an open file against other runs, or raise ``BlockingIOError``; return whether system and disk can."""
    try:
        import fcntl
    except ImportError:
        return False
    try:
        # flock, not lockf: forked children share the lock, and closing another handle of the file does not end it.
        fcntl.flock(file, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except OSError as error:
        if isinstance(error, BlockingIOError):
            raise
        return False
    return True


def _append_line(file: BinaryIO, line: bytes) -> None:
    """Add a line; raises ``OSError`` where it does not fit."""
    end = max(os.fstat(file.fileno()).st_size - 1, 0)
    if hasattr(os, "pread"):  # the position may be shared with other processes
        last = os.pread(file.fileno(), 1, end)
    else:
        file.seek(end)
        last = file.read(1)
    if last not in (b"", b"\n"):  # another run was killed while writing: start a new line
        line = b"\n" + line
    # An unbuffered write to a full disk may store a part of the line without an error.
    if file.write(line) != len(line):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
