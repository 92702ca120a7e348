"""Kernel files of every format, told by what is in them."""

from __future__ import annotations

from pathlib import Path

from convcli.banks.bank import KernelBank
from convcli.banks.bankfile import RawBank, parse_bank_toml
from convcli.banks.formats.literals import parse_literal
from convcli.banks.limits import MAX_TEXT_BYTES
from convcli.errors import KernelError


def read_bank(path: Path, *, entry: str = "", layout: str | None = None) -> KernelBank:
    """Read a kernel file: a TOML bank, or a matrix as text."""
    from convcli.banks.load import bank_of_raw, selected

    if layout is not None:
        raise KernelError(f"{path}: layout={layout} is for arrays of more than two dimensions")
    try:
        if path.stat().st_size > MAX_TEXT_BYTES:
            raise KernelError(f"{path} has {path.stat().st_size:,} bytes, too many for text")
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise KernelError(f"{path} is not text") from None
    except OSError as error:
        raise KernelError(f"cannot read {path}: {error.strerror or error}", path=str(path)) from None
    if "[[kernel]]" in text:
        return selected(bank_of_raw(parse_bank_toml(text, name=path.stem)), entry)
    literal = parse_literal(text, name=path.stem)
    return selected(bank_of_raw(RawBank(name=path.stem, kernels=literal.kernels, notes=literal.notes)), entry)
