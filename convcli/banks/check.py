"""Check of a kernel file: its contents, and what is missing although it loads (NumPy)."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from convcli.banks.bank import KernelBank
from convcli.banks.formats import ARCHIVES, guarded, read_bank, sniff
from convcli.banks.formats.entries import open_archive
from convcli.banks.library import normal_name
from convcli.banks.load import bank_of_raw
from convcli.banks.raw import RawBank
from convcli.errors import KernelError


class CheckResult(NamedTuple):
    """Contents of a file.

    Attributes
    ----------
    path, kind : str
        The file and its format.
    bank : KernelBank or None
        The bank; None for a file of several entries.
    entries : dict
        Shape by name, for checkpoints and archives.
    warnings : tuple of str
        Missing or odd things that do not stop it from loading.
    """

    path: str
    kind: str
    bank: KernelBank | None
    entries: dict[str, tuple[int, ...]]
    warnings: tuple[str, ...]

    def as_dict(self) -> dict[str, object]:
        """Return plain data for ``--json``."""
        return {
            "path": self.path,
            "format": self.kind,
            "bank": None if self.bank is None else self.bank.as_dict(),
            "entries": {name: list(shape) for name, shape in self.entries.items()},
            "warnings": list(self.warnings),
        }


def check_file(path: Path) -> CheckResult:
    """Read a file as strictly as loading does, and list what its readers would miss."""
    with guarded(path):
        kind = sniff(path)
        # These hold many arrays: their names are the answer, unless one alone can be the kernel.
        if kind in ARCHIVES and kind != "npz":
            return _check_archive(path, kind)
        if kind == "text":
            return _check_text(path)
        bank = read_bank(path)
        return CheckResult(str(path), kind, bank, {}, _odd_taps(bank))


def _check_archive(path: Path, kind: str) -> CheckResult:
    entries = dict(open_archive(path).shapes)
    # A matrix is a kernel in MATLAB, and the weight of a Linear layer in a checkpoint.
    least = 2 if kind == "mat" else 3
    usable = [name for name, shape in entries.items() if least <= len(shape) <= 5]
    if not entries:
        raise KernelError(f"{path} has no arrays", hint="save the weights too, or check another file", path=str(path))
    bank = read_bank(path, entry=usable[0]) if len(usable) == 1 else None
    warnings = () if usable else ("no entry has 3 to 5 dimensions: none is a convolution's weight",)
    return CheckResult(str(path), kind, bank, entries, warnings)


def _check_text(path: Path) -> CheckResult:
    from convcli.banks.formats.text import parse_text, read_text, text_kind

    text = read_text(path)
    kind = text_kind(text, path)
    raw = parse_text(text, name=path.stem, path=path, kind=kind)
    bank = bank_of_raw(raw)
    # Only tables have the fields that can be missing.
    warnings = (*_missing(raw, text, path), *_odd_taps(bank)) if kind in ("toml", "json", "yaml") else _odd_taps(bank)
    return CheckResult(str(path), kind, bank, {}, warnings)


def _missing(raw: RawBank, text: str, path: Path) -> tuple[str, ...]:
    found = []
    # Asked of the text, because the parsed bank has the default already.
    if "orientation" not in text:
        found.append("no orientation: correlate is assumed; a kernel printed for convolution is turned by 180°")
    if not raw.source:
        found.append("no source: paper, book or program")
    if not raw.summary:
        found.append("no summary: one line of what it is for")
    if normal_name(raw.name) != normal_name(path.stem):
        found.append(f"the name '{raw.name}' is not the file's, '{path.stem}', by which it is found")
    return tuple(found)


def _odd_taps(bank: KernelBank) -> tuple[str, ...]:
    found = [
        f"kernel '{name}' has only zeros"
        for name, taps in zip(bank.kernel_names, bank.weight, strict=True)
        if not taps.any()
    ]
    if any(size % 2 == 0 for size in bank.kernel_hw):
        found.append(f"even size {bank.kernel_hw[0]}x{bank.kernel_hw[1]}: the anchor is the tap before the middle")
    return (*found, *bank.notes)
