"""Search for named kernels: the user's folders, then the files that ship, then the families (stdlib).

Folders are searched in this order: those of ``$CONVCLI_KERNELS`` (several, separated as in ``$PATH``), the platform's
user configuration folder, the files that ship. A wheel has these inside the package as ``convcli/kernels``, a checkout
beside it. ``importlib.resources`` would cost 5 ms at every start.
"""

from __future__ import annotations

import os
import re
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from convcli.errors import UNOPENED, KernelError, near_names

if TYPE_CHECKING:
    from convcli.banks.catalogue import Family, Parameter
    from convcli.banks.raw import RawBank

#: A name in its one form: no separator and no leading dot, so that it cannot leave the folders.
_NAME = re.compile(r"[a-z0-9][a-z0-9+_.-]{0,99}\Z")


class KernelEntry(NamedTuple):
    """One line of ``convcli kernels list``.

    ``kind`` is ``file`` (fixed taps), ``family`` (parameters, one kernel) or ``bank`` (parameters, several kernels);
    ``shape`` is ``OxkHxkW`` for files, ``OxIxkHxkW`` if kernels read several planes, words for families; ``source`` is
    a citation; ``parameters`` are those of a family; ``path`` is the file of a ``file``; ``aliases`` are other names.
    """

    name: str
    kind: str
    shape: str
    summary: str
    source: str
    tags: tuple[str, ...]
    parameters: tuple[Parameter, ...] = ()
    path: str | None = None
    aliases: tuple[str, ...] = ()

    @property
    def first_parameter(self) -> str:
        """The name of a family's first parameter; empty for files."""
        return self.parameters[0].name if self.parameters else ""

    def has(self, word: str) -> bool:
        """Whether name, use, citation, tags, aliases or names of parameters contain a word."""
        names = (parameter.name for parameter in self.parameters)
        return (
            word.lower() in " ".join((self.name, self.summary, self.source, *self.tags, *self.aliases, *names)).lower()
        )

    def as_dict(self) -> dict[str, object]:
        """Return plain data for ``--json``."""
        lists = {"tags": list(self.tags), "aliases": list(self.aliases)}
        return {**self._asdict(), **lists, "parameters": [parameter.as_dict() for parameter in self.parameters]}


def builtin_folder() -> Path:
    """Return the folder of the bank files that ship."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "kernels"
    return inside if inside.is_dir() else package.parent / "kernels"


def folders() -> list[Path]:
    """Return every folder that is searched, in order, whether it exists or not."""
    found = [Path(part) for part in os.environ.get("CONVCLI_KERNELS", "").split(os.pathsep) if part]
    # The platforms' own places. os.path leaves ~ as it is without a home, where pathlib raises.
    if sys.platform == "win32":
        base = os.environ.get("APPDATA")
    elif sys.platform == "darwin":
        base = os.path.expanduser("~/Library/Application Support")  # noqa: PTH111
    else:
        base = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")  # noqa: PTH111
    return [*found, *([Path(base) / "convcli" / "kernels"] if base else []), builtin_folder()]


def normal_name(text: str) -> str:
    """Return a name in its one form: lower case, ``-`` for ``_``.

    Examples
    --------
    >>> normal_name("EDGE_ENHANCE")
    'edge-enhance'
    """
    return text.strip().lower().replace("_", "-")


def _suffixes(folder: Path) -> tuple[str, ...]:
    """Return the suffixes tried in a folder, none if it does not exist."""
    # The files that ship are all TOML; no other suffix need be tried.
    if folder == builtin_folder():
        return (".toml",)
    if not os.path.isdir(folder):  # noqa: PTH112 - no exception without permission
        return ()
    from convcli.banks.formats import FOLDER_SUFFIXES

    return FOLDER_SUFFIXES


def find_bank_files(name: str) -> list[Path]:
    """Return the files of a name: first the one used, then those it shadows."""
    wanted = normal_name(name)
    if not _NAME.match(wanted):
        return []
    found: list[Path] = []
    for folder in folders():
        named = (folder / f"{wanted}{suffix}" for suffix in _suffixes(folder))
        found += [path for path in named if is_file(path)]
    return found


def is_file(text: str | Path) -> bool:
    """Whether a file has this text as its path; no text is an exception, nor is a folder without permission."""
    return os.path.isfile(text)  # noqa: PTH113


def is_known(text: str) -> bool:
    """Whether a name or a file of exactly this text exists; ``a-b`` may be one."""
    name, _, entry = text.partition("#")
    if re.search(r"[\s=+*]", entry):  # more than an entry
        return False
    if find_bank_files(name):
        return True
    if is_file(text) or is_file(name):
        return True
    # Last, because the catalogue has to be read for it.
    from convcli.banks.catalogue import find_family

    return find_family(normal_name(name)) is not None


def family_of_same_name(spec: str) -> str | None:
    """Return the family's SPEC, ``gaussian:sigma=…``, if a plain name means a fixed table but a family has it too.

    Examples
    --------
    >>> family_of_same_name("gaussian"), family_of_same_name("gaussian:sigma=2"), family_of_same_name("kirsch")
    ('gaussian:sigma=…', None, None)
    """
    from convcli.banks.catalogue import families

    family = families().get(normal_name(spec))
    if family is None or not family.parameters or not find_bank_files(spec):
        return None
    return f"{family.name}:{family.parameters[0].name}=…"


def families_of(spec: str) -> list[Family]:
    """Return the families that a SPEC names, also where a plain name means the fixed table of the same name.

    Examples
    --------
    >>> [family.name for family in families_of("gaussian + gabor:wavelength=4")], families_of("kirsch")
    (['gaussian', 'gabor'], [])
    """
    from convcli.banks.catalogue import find_family
    from convcli.banks.spec import Operation, parse_spec

    found: dict[str, Family] = {}
    nodes = [parse_spec(spec, is_known=is_known)]
    while nodes:
        node = nodes.pop()
        if isinstance(node, Operation):
            nodes += [node.right, node.left]
        elif not node.is_matrix and (family := find_family(normal_name(node.head.partition("#")[0]))) is not None:
            found.setdefault(family.name, family)
    return list(found.values())


def find_alias(name: str) -> Path | None:
    """Return the file with ``name`` among its aliases; reads every file, so only for names not found."""
    wanted = normal_name(name)
    for path in _all_files():
        try:
            raw = _read_raw(path)
        except KernelError:  # one broken file must not hide the others
            continue
        if wanted in map(normal_name, (*raw.aliases, raw.name)):
            return path
    return None


def unknown_kernel(name: str) -> KernelError:
    """Return the error for an unknown name, with near names and the folders searched."""
    known = sorted({entry.name for entry in list_kernels()})
    searched = ", ".join(str(folder) for folder in folders())
    near = near_names(normal_name(name), known)
    return KernelError(
        f"no kernel is called '{name}', and no such file exists; searched {searched}",
        hint=meant(name) or near or "convcli kernels list",
        name=name,
        near=near,
        folders=[str(folder) for folder in folders()],
    )


def meant(name: str) -> str:
    """Return what a name was likely meant to be: several kernels, one of a bank, a call of a family, or code.

    Examples
    --------
    >>> meant("sobel,box"), meant("Sobel_X"), meant("gaussian(2)"), meant("sobell")
    ('-k sobel -k box for both', 'sobel#x', 'gaussian:sigma=2', '')
    """
    from convcli.banks.catalogue import find_family

    parts = [part for part in re.split(r"[,;|&\s]+", name) if part]
    if len(parts) > 1 and all(map(is_known, parts)):
        return f"{' '.join(f'-k {part}' for part in parts)} for {'both' if len(parts) == 2 else 'all'}"
    if re.match(r"(np|numpy|torch|cv2|tf)\.\w+\(", name):
        return "code is read from a file: -k k.py, with the line k = " + name
    call = re.fullmatch(r"([\w-]+)\((.*)\)", name.strip())
    if call and (family := find_family(normal_name(call[1]))) is not None and family.parameters:
        given = call[2].replace(" ", "")
        return f"{family.name}:{given if '=' in given else f'{family.parameters[0].name}={given}'}"
    bank, _, kernel = normal_name(name).rpartition("-")
    for path in find_bank_files(bank):
        if path.suffix == ".toml" and kernel in {each.name for each in _read_raw(path).kernels}:
            return f"{bank}#{kernel}"
    return ""


def _all_files() -> list[Path]:
    seen: dict[str, Path] = {}
    for folder in folders():
        suffixes = _suffixes(folder)
        # A folder that may not be read counts as empty; the others still serve.
        if os.access(folder, os.R_OK | os.X_OK):
            for path in sorted(folder.iterdir()):
                if path.suffix.lower() in suffixes and _NAME.match(normal_name(path.stem)):
                    seen.setdefault(normal_name(path.stem), path)  # the first folder wins, as for a name
    return [seen[name] for name in sorted(seen)]


def _read_raw(path: Path) -> RawBank:
    try:
        return _parsed(path, path.stat().st_mtime_ns)
    except OSError as error:
        raise KernelError(f"cannot read {path}: {error.strerror or error}", hint=UNOPENED) from None


@cache
def _parsed(path: Path, _changed_ns: int) -> RawBank:
    """Parse a file once in a process, as long as it does not change."""
    from convcli.banks.raw import parse_bank_toml

    try:
        return parse_bank_toml(path.read_text(encoding="utf-8"), name=path.stem)
    except KernelError as error:
        raise error.within(str(path)) from None
    except UnicodeDecodeError as error:
        raise KernelError(f"cannot read {path}: {error}", hint="save it as UTF-8") from None


def list_kernels() -> list[KernelEntry]:
    """List every kernel that can be named, sorted by name: files of all folders, and families.

    A family follows a file of the same name. An unreadable file has the reason as its summary.

    Examples
    --------
    >>> next(entry.shape for entry in list_kernels() if entry.name == "sobel")
    '2x3x3'
    """
    from convcli.banks.catalogue import families

    entries = [_file_entry(path) for path in _all_files()]
    entries += [
        KernelEntry(**{key: getattr(family, key) for key in KernelEntry._fields if key != "path"})
        for family in families().values()
    ]
    return sorted(entries, key=lambda entry: (entry.name, entry.kind != "file"))


def _file_entry(path: Path) -> KernelEntry:
    name = normal_name(path.stem)
    # For a list other formats are not opened: they need NumPy, or more.
    if path.suffix != ".toml":
        return KernelEntry(name, "file", path.suffix[1:], f"your file {path.name}", "", ("user",), (), str(path))
    try:
        raw = _read_raw(path)
    except KernelError as error:
        return KernelEntry(name, "file", "unreadable", str(error), "", ("broken",), (), str(path))
    planes = raw.kernels[0].planes
    height = max(len(kernel.planes[0]) for kernel in raw.kernels)
    width = max(len(kernel.planes[0][0]) for kernel in raw.kernels)
    sizes = [len(raw.kernels), *([len(planes)] if len(planes) > 1 else []), height, width]
    shape = "x".join(map(str, sizes))
    return KernelEntry(name, "file", shape, raw.summary, raw.source, raw.tags, (), str(path), raw.aliases)
