"""Expected failures: what a user can cause, each with its exit code.

Core code raises these with the fact and its numbers; the pipeline adds the image or kernel once
(:meth:`ConvcliError.within`) and records the failure of each input of a batch. ``convcli.cli.main`` turns the others
into exit codes. Any other exception is a bug.
"""

from __future__ import annotations

from collections.abc import Iterable

#: By path: the URL of which the file is a copy. Messages name that, for the copy goes with the process.
COPIES: dict[str, str] = {}
UNOPENED = "check its name and its permissions; quote names with spaces"


class ConvcliError(Exception):
    """Base of every expected failure.

    Parameters
    ----------
    message : str
        The fact, with its numbers, in one line.
    hint : str, optional
        What to do about it, in one line.
    **facts : object
        The numbers of the message by name, for ``--json`` and for tests.

    Examples
    --------
    >>> error = GeometryError("window 17 does not fit 12", hint="--padding same", window_px=17, padded_px=12)
    >>> error.exit_code, error.facts["window_px"]
    (5, 17)
    >>> str(error.within("cat.png"))
    'cat.png: window 17 does not fit 12'
    """

    exit_code = 1
    kind = "error"

    def __init__(self, message: str, *, hint: str | None = None, **facts: object) -> None:
        self.message = _of_origin(message)
        super().__init__(self.message)
        self.hint = hint and _of_origin(hint)
        self.facts = facts
        self.where: str | None = None
        #: Whether the command has told it on standard output, as ``--json`` asks.
        self.is_told = False

    def within(self, where: str) -> ConvcliError:
        """Set where it happened, unless that is already set: context is added once, by the innermost caller."""
        if self.where is None:
            self.where = _of_origin(where)
        return self

    def hinted(self, hint: str) -> ConvcliError:
        """Set what to do, unless it is already said: who raised the error knows best."""
        self.hint = self.hint or hint or None
        return self

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message

    def as_dict(self) -> dict[str, object]:
        """Return the failure as plain data for ``--json``."""
        return {
            "kind": self.kind,
            "exit_code": self.exit_code,
            "message": str(self),
            "hint": self.hint,
            **({"facts": self.facts} if self.facts else {}),
        }


def _of_origin(text: str) -> str:
    """Return a text in which URLs stand in place of their copies, which other threads make meanwhile."""
    for path, url in [*COPIES.items()]:
        text = text.replace(path, url)
    return text


class UsageError(ConvcliError):
    """Flags contradict each other or do not parse."""

    # 2 is what Typer and most Unix programs return for bad usage.
    exit_code = 2
    kind = "usage"


class ImageError(ConvcliError):
    """An image cannot be found, read or decoded."""

    exit_code = 3
    kind = "image"


class KernelError(ConvcliError):
    """A kernel is unknown, or its file or text is bad."""

    exit_code = 4
    kind = "kernel"


class GeometryError(ConvcliError):
    """A window does not fit, or groups do not divide."""

    exit_code = 5
    kind = "geometry"


class OutputError(ConvcliError):
    """An output exists, clashes with another, or cannot be written."""

    exit_code = 6
    kind = "output"


#: Exit code of a batch in which some inputs failed and others did not (a result, not an exception).
EXIT_PARTIAL = 7


def near_names(name: str, known: Iterable[str], *, limit: int = 3) -> str:
    """Return "did you mean ...?" for the names nearest to ``name``, or an empty string.

    Examples
    --------
    >>> near_names("sobbel", ["sobel", "box"])
    'did you mean sobel?'
    >>> near_names("zzz", ["sobel", "box"])
    ''
    """
    # Not at the top: only failures need difflib, and every start would pay for it.
    import difflib

    found = difflib.get_close_matches(name, sorted(known), n=limit, cutoff=0.6)
    return f"did you mean {', '.join(found)}?" if found else ""


#: Programs that compress a whole file: first bytes and suffixes of what they write.
_PACKERS = {
    "gzip": (b"\x1f\x8b", ".gz"),
    "bzip2": (b"BZh", ".bz2"),
    "xz": (b"\xfd7zXZ", ".xz"),
    "zstd": (b"(\xb5/\xfd", ".zst"),
}


def unpack_hint(name: str, head: bytes = b"") -> str:
    """Return the command that unpacks a file, by its first bytes or else its suffix; empty if it is not compressed.

    Examples
    --------
    >>> unpack_hint("k.npy.gz"), unpack_hint("k.npz", b"BZh9"), unpack_hint("k.npz", b"PK")
    ('gzip -dk k.npy.gz', 'bzip2 -dc k.npz > unpacked-k.npz', '')
    """
    for program, (magic, suffix) in _PACKERS.items():
        if head.startswith(magic) or (not head and name.lower().endswith(suffix)):
            import shlex  # as difflib

            if name.lower().endswith(suffix):
                return f"{program} -dk {shlex.quote(name)}"
            folder, slash, last = name.rpartition("/")
            return f"{program} -dc {shlex.quote(name)} > {shlex.quote(f'{folder}{slash}unpacked-{last}')}"
    return ""
