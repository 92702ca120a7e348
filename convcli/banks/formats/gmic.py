"""G'MIC's literals: ``(1,0,-1;2,0,-2)`` (stdlib)."""

from __future__ import annotations

import re

from convcli.banks.bank import KernelBank
from convcli.banks.formats.exported import Exported, joined, matrices, text_file, without_bias
from convcli.banks.formats.literal import Literal, numbered, parse_rows, shortened
from convcli.banks.raw import RawKernel
from convcli.errors import KernelError


def parse(text: str, name: str) -> Literal:
    """Read a literal: ``;`` ends rows, ``^`` channels; several literals are several kernels."""
    parts = re.findall(r"\(([^()]*)\)", text)
    # Text outside of the brackets is a command of G'MIC; nothing is run.
    if not parts or re.sub(r"\([^()]*\)|[\s,]", "", text):
        raise KernelError(f"'{shortened(text)}': not a G'MIC literal", hint="for example (1,0,-1;2,0,-2;1,0,-1)")
    kernels: list[RawKernel] = []
    for part in parts:
        if "/" in part:
            raise KernelError(
                f"'{shortened(text)}': '/' separates slices of a volume in G'MIC, and this kernel would be 3-D",
                hint="write decimals, or [1/16 2/16] for fractions",
            )
        planes = [parse_rows(plane, f"'{shortened(text)}'") for plane in part.split("^")]
        if len({(len(plane), len(plane[0])) for plane in planes}) > 1:
            raise KernelError(f"'{shortened(text)}': channels of different sizes")
        kernels.append(RawKernel(name, planes, None))
    return Literal(numbered(kernels), ("G'MIC's correlate uses these taps; its convolve would turn them by 180°",))


def write_gmic(bank: KernelBank, rounding: bool) -> Exported:
    """Write a literal for each kernel; planes are channels."""
    if bank.weight.ndim != 4:
        matrices(bank, "a G'MIC literal")  # refuses 3-D kernels
    texts = ["^".join(joined(plane, ",", ";") for plane in kernel) for kernel in bank.weight]
    notes = ("run: correlate (convolve would turn the taps by 180°)", *without_bias(bank, "a G'MIC literal", rounding))
    return text_file([f"({text})" for text in texts], notes, mark=" ")
