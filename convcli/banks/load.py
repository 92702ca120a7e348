"""SPEC to bank: find the name, build or read the kernels, apply the modifiers, stack several banks (NumPy)."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from convcli.banks.bank import DEFAULT_MAX_TAPS, Array, KernelBank, check_taps, pad_to, to_anchor
from convcli.banks.bank import max_taps as taps_limit
from convcli.banks.library import find_alias, find_bank_files, is_file, is_known, meant, normal_name, unknown_kernel
from convcli.banks.raw import RawBank, parse_bank_toml
from convcli.errors import KernelError, near_names
from convcli.process.system import local_path

if TYPE_CHECKING:
    from convcli.banks.spec import Atom, Node


def load_bank(*specs: str, max_taps: int | None = None) -> KernelBank:
    """Load kernels by SPEC; several are stacked into one bank.

    Parameters
    ----------
    *specs : str
        Names, families with parameters, files, inline matrices or expressions of them (see
        :mod:`convcli.banks.spec`). Smaller kernels are zero-padded to the common size with the tap at ``(k-1)//2``
        kept in its place, which leaves their result unchanged under "same" padding.
    max_taps : int, optional
        Largest number of taps of the whole bank; 32 Mi unless given.

    Returns
    -------
    KernelBank
        With ``weight`` of shape (O, I, kH, kW), float64, as correlation taps.

    Raises
    ------
    KernelError
        Unknown name (with near names and the folders searched), bad text or file, or too many taps.

    Examples
    --------
    >>> load_bank("sobel").weight[0, 0]
    array([[-1.,  0.,  1.],
           [-2.,  0.,  2.],
           [-1.,  0.,  1.]])
    >>> load_bank("sobel", "box:size=5 scale=2").kernel_names
    ('sobel-x', 'sobel-y', 'box-size=5-scale=2')
    """
    if not specs:
        raise KernelError("no kernel is given", hint="for example --kernel sobel")
    # KernelBank reports an overflow as a tap that is not finite, with its place.
    quiet = np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore")
    with taps_limit(DEFAULT_MAX_TAPS if max_taps is None else max_taps), quiet:
        banks = [_load_one(spec) for spec in specs]
        if len(banks) == 1:
            return banks[0]
        from convcli.banks.arithmetic import stack_banks

        return stack_banks(banks)


def _load_one(spec: str) -> KernelBank:
    if spec.isidentifier() or spec.replace("-", "").isalnum():  # a plain name needs no grammar
        files = find_bank_files(spec)
        if len(files) == 1 and files[0].suffix == ".toml":
            return bank_of_file(files[0])
    from convcli.banks.spec import parse_spec

    return _evaluate(parse_spec(spec, is_known=is_known))


def _evaluate(node: Node) -> KernelBank:
    from convcli.banks.spec import MODIFIERS, Operation

    if isinstance(node, Operation):
        from convcli.banks.arithmetic import combine

        bank = combine(node.operator, _evaluate(node.left), _evaluate(node.right))
        return _modified(bank, node.parameters)
    others = tuple(pair for pair in node.parameters if pair[0] not in MODIFIERS or pair in _OWN_BIAS)
    modifiers = tuple(pair for pair in node.parameters if pair not in others)
    return _modified(_atom(node, others, dict(modifiers).get("layout")), modifiers)


#: The family ``random`` may keep the bias of its layer; with a number, ``bias`` is the modifier.
_OWN_BIAS = {("bias", word) for word in ("true", "false", "drawn")}


def _modified(bank: KernelBank, modifiers: tuple[tuple[str, str], ...]) -> KernelBank:
    modifiers = tuple(pair for pair in modifiers if pair[0] != "layout")
    if not modifiers:
        return bank
    from convcli.banks.algebra import modify

    return modify(bank, modifiers)


def _atom(node: Atom, parameters: tuple[tuple[str, str], ...], layout: str | None) -> KernelBank:
    from convcli.banks.spec import means_matrix

    if node.is_matrix or (means_matrix(node.head) and not is_file(node.head)):
        _refuse_parameters("a matrix", parameters)
        return _matrix(node.head)
    name, hash_, entry = node.head.partition("#")
    # A file may have a # in its own name.
    if hash_ and is_file(node.head):
        name, entry = node.head, ""
    files = [] if _looks_like_path(name) else find_bank_files(name)
    # A fixed table wins over the family of its name, until a parameter is given: 'gaussian:sigma=2'.
    if files and not parameters:
        bank = bank_of_file(files[0], entry=entry, layout=layout)
        if len(files) > 1:
            bank = bank.noted(f"{files[0]} is used, it shadows {', '.join(str(path) for path in files[1:])}")
        return bank
    family = None if _looks_like_path(name) else _family(name, parameters, entry)
    if family is not None:
        return family
    if is_file(name):
        _refuse_parameters(f"the file '{name}'", parameters)
        return bank_of_file(Path(name), entry=entry, layout=layout)
    if files:
        _refuse_parameters(f"'{name}'", parameters)
    if _looks_like_path(name):
        local_path(name)
        _refuse_folder(name)
        hint = meant(name) or "kernels list shows the names that are known"
        raise KernelError(f"no kernel file '{name}'", hint=hint, path=name)
    # Last: aliases stand inside the files, and every file has to be read for them.
    alias = find_alias(name)
    if alias is not None:
        _refuse_parameters(f"'{name}'", parameters)
        bank = bank_of_file(alias, entry=entry, layout=layout)
        return bank.noted(f"{name} is another name of {bank.name} ({bank.source})")
    _refuse_folder(name)
    from convcli.banks.catalogue import find_family

    before, colon, value = name.partition(":")
    if colon and (known := find_family(normal_name(before))) is not None and known.parameters:
        named = next((each for each in known.parameters if each.name == value.lower()), None)
        hint = f"{before}:{known.parameters[0].name}={value or 'V'}" if named is None else f"{before}:{named.name}=V"
        hint = meant(f"{before}-{value}") or hint  # of a table with the family's name, one kernel
        raise KernelError(f"{name!r}: parameters of a family are KEY=VALUE", hint=hint, name=name)
    raise unknown_kernel(name)


def _refuse_folder(name: str) -> None:
    # os.path: a text that is too long for a name, or no name at all, is False there and no exception.
    if os.path.isdir(name):  # noqa: PTH112
        raise KernelError(f"{name} is a folder, not a kernel file", hint="name a file in it", path=name)


def _refuse_parameters(what: str, parameters: tuple[tuple[str, str], ...]) -> None:
    from convcli.banks.spec import MODIFIERS

    if parameters:
        key = parameters[0][0]
        raise KernelError(
            f"{what} takes no parameter '{key}'",
            hint=near_names(key, MODIFIERS) or f"modifiers are {', '.join(MODIFIERS)}",
            parameter=key,
        )


def _looks_like_path(name: str) -> bool:
    return "/" in name or "\\" in name


def _matrix(text: str) -> KernelBank:
    from convcli.banks.formats.literal import parse_literal
    from convcli.banks.spec import is_number

    name = "matrix" if not is_number(text) else text.strip()
    literal = parse_literal(text, name=name)
    return bank_of_raw(RawBank(name=name, kernels=literal.kernels, notes=literal.notes, source="written inline"))


def _family(name: str, parameters: tuple[tuple[str, str], ...], entry: str) -> KernelBank | None:
    from convcli.banks.catalogue import find_family

    family = find_family(normal_name(name))
    if family is None:
        return None
    values = family.read_parameters(parameters)
    module, function = family.builder.split(":")
    build = getattr(import_module(f"convcli.banks.families.{module}"), function)
    full = normal_name(name) + "".join(f"{':' if not index else ','}{k}={v}" for index, (k, v) in enumerate(parameters))
    try:
        bank: KernelBank = build(**values)
    except ValueError as error:
        hint = f"{family.name} takes {', '.join(parameter.name for parameter in family.parameters)}"
        raise KernelError(f"'{full}': {error}", hint=hint) from None
    # 'kernel' is what a builder leaves that gives no name of its own.
    names = (full,) if bank.n_kernels == 1 and bank.kernel_names == ("kernel",) else bank.kernel_names
    bank = replace(bank, name=full, kernel_names=names, source=family.source, summary=family.summary, tags=family.tags)
    if normal_name(name) in family.aliases:
        bank = bank.noted(f"{name} is another name of {family.name}")
    return selected(bank, entry)


def selected(bank: KernelBank, entry: str) -> KernelBank:
    """Return the kernels that ``#entry`` names; all if it is empty."""
    return _modified(bank, (("select", entry),)) if entry else bank


def bank_of_file(
    path: Path, *, entry: str = "", layout: str | None = None, with_bias: bool | None = None
) -> KernelBank:
    """Read a kernel file of any format, TOML without loading the others.

    Arguments and errors are those of :func:`convcli.banks.formats.read_bank`.
    """
    if path.suffix.lower() == ".toml" and layout is None:  # the usual file: its format need not be told
        with contextlib.suppress(KernelError, ValueError, OSError, RecursionError):  # read_bank tells the reason
            bank = bank_of_raw(parse_bank_toml(path.read_text(encoding="utf-8-sig"), name=path.stem))
            return selected(bank, entry)
    from convcli.banks.formats import read_bank

    return read_bank(path, entry=entry, layout=layout, with_bias=with_bias)


def bank_of_raw(raw: RawBank) -> KernelBank:
    """Make a bank of a file's plain data: rotate ``convolve`` taps by 180°, pad to one size."""
    heights = [len(kernel.planes[0]) for kernel in raw.kernels]
    widths = [len(kernel.planes[0][0]) for kernel in raw.kernels]
    counts = sorted({len(kernel.planes) for kernel in raw.kernels})
    if len(counts) > 1:  # bank files tell the line; texts of one line come here
        message = f"'{raw.name}': kernels of {' and '.join(map(str, counts))} planes, all of a bank read as many"
        raise KernelError(message, hint="give every kernel as many planes, or a file of its own")
    n_planes = counts[0]
    size: tuple[int, ...] = (max(heights), max(widths))
    check_taps(len(raw.kernels) * n_planes * size[0] * size[1], f"'{raw.name}'")
    notes = list(raw.notes)
    if len(set(zip(heights, widths, strict=True))) > 1:
        notes.append(f"smaller kernels are padded with zeros to {size[0]}x{size[1]}")
    arrays = [np.array(kernel.planes, dtype=np.float64) for kernel in raw.kernels]
    if raw.orientation == "convolve":
        if any(side % 2 == 0 for side in (*heights, *widths)):
            notes.append(_TURNED_EVEN)
        arrays = [half_turned(array) for array in arrays]
        size = tuple(max(sizes) for sizes in zip(*(array.shape[1:] for array in arrays), strict=True))
    biases = [kernel.bias for kernel in raw.kernels]
    has_bias = any(bias is not None for bias in biases)
    return KernelBank(
        name=raw.name,
        weight=np.stack([pad_to(array, size) for array in arrays]),
        kernel_names=tuple(kernel.name for kernel in raw.kernels),
        bias=tuple(bias or 0.0 for bias in biases) if has_bias else None,
        combine=raw.combine,
        orientation=raw.orientation,
        source=raw.source,
        summary=raw.summary,
        tags=raw.tags,
        notes=tuple(notes),
        dims=raw.dims,
    )


#: Of a bank with an even axis that is declared as ``convolve``, in its file or by ``--mode``.
_TURNED_EVEN = "convolve: even kernels get zeros behind the turned taps, which keep their anchor"


def turned(bank: KernelBank) -> KernelBank:
    """Return a bank turned by 180°, as ``--mode convolve`` asks: the same taps as a file's own ``convolve``.

    Examples
    --------
    >>> turned(load_bank("1 2")).weight.tolist()
    [[[[2.0, 1.0, 0.0]]]]
    """
    n_axes = bank.weight.ndim - 2
    bank_turned = replace(bank, weight=half_turned(bank.weight, n_axes))
    return bank_turned if bank_turned.shape == bank.shape else bank_turned.noted(_TURNED_EVEN)


def half_turned(taps: Array, n_axes: int = 2) -> Array:
    """Turn taps declared as ``convolve`` into correlation taps; even sizes keep their anchor by a row or column of 0.

    A convolution's anchor is the tap at ``(k-1)//2`` as written. Turned, it would sit one further along an even axis,
    which therefore gets one zero behind.
    """
    axes = tuple(range(-n_axes, 0))
    anchor = tuple(size - 1 - (size - 1) // 2 for size in taps.shape[-n_axes:])
    return to_anchor(np.flip(taps, axes), anchor)
