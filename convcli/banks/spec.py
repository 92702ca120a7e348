"""SPEC text, the value of ``--kernel``, to a tree, before any name is looked up (stdlib).

A SPEC is one of

- ``sobel``, ``sobel#x``: a name, with an optional entry
- ``gaussian:sigma=2,size=9``: a family with parameters; commas or spaces between them
- ``taps.npy``, ``net.pt#conv1.weight``: a file
- ``1 0 -1; 2 0 -2; 1 0 -1``, ``[[1,0],[0,-1]]``, ``3x3: 0,1,0 …``, ``(1,0,-1)``: taps
- ``a + b``, ``a - b``, ``a * b``, ``( … )``: sums, differences and convolutions of SPECs; a number is a 1x1 kernel

and any of them may end in modifiers, applied in the order written: ``sobel rotate=45 scale=1/8``. ``+`` and ``*`` need
no spaces; ``-`` does, because names contain it, except behind a parameter, a bracket, or a name that is known.
Quote a file name that holds an operator: ``'my+file.npy'``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from convcli.banks.numbers import shortened
from convcli.errors import KernelError

#: Modifiers that every SPEC takes, with their effect; applied in the order written.
MODIFIERS = {
    "rotate": "degrees, counter-clockwise on the screen",
    "flip": "h (left-right), v (up-down) or hv",
    "transpose": "true: rows become columns",
    "normalize": "sum, l1, l2, max or none",
    "zero_mean": "true: subtract the mean of the taps",
    "scale": "factor on every tap",
    "bias": "added to the sums, in units of the samples",
    "blend_identity": "adds this much of the unchanged image",
    "pad": "zeros added on every side, N or HxW",
    "crop": "taps taken off every side, N or HxW",
    "dilate": "spacing between taps, N or HxW",
    "expand": "degrees: one kernel becomes its rotations",
    "select": "kernels to keep, by name or number: x or 0..5",
    "layout": "order of an array's axes, for files: oihw, hwio, ohw, oik",
    "name": "another name for the bank",
}
#: How an ImageMagick kernel begins: size, origin, rotations, colon.
MAGICK_HEAD = re.compile(r"\s*(\d+)(?:x(\d+))?([-+]\d+)?([-+]\d+)?([@<>])?\s*:\s*")
#: Only an FFmpeg ``convolution`` text has these.
FFMPEG = re.compile(r"(?:^|[\s'\"])convolution\s*=|(?:^|[\s:'\"=])[0-3](?:m|rdiv|bias|mode)\s*=")
#: A word and '=', behind a blank or a mark; the '==' of code is none.
_PARAMETER = re.compile(r"(?:^|(?<=[\s,:)\]'\"]))([A-Za-z_][\w-]*)\s*=(?!=)")
#: Text that can only be taps.
_MATRIX = re.compile(r"(?:[-+\d.,;/()\[\]\s|^*]|[eE](?=[-+\d])|sqrt|pi|nan|inf|√|π)+\Z", re.IGNORECASE)
_ON_BRACKETS = re.compile(r"\]\s*[-+*]|[\d.)]\s*[-+*]\s*\[")  # [1 2] * [3 4] is an expression, not taps
_MATLAB = re.compile(r"\s*[A-Za-z]\w*\s*=\s*\[")
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?:/\d+)?\Z")
#: Characters of a SPEC.
_LONGEST = 1_000_000


class Atom(NamedTuple):
    """One kernel or bank to load, and its modifiers."""

    head: str
    parameters: tuple[tuple[str, str], ...]
    is_matrix: bool


class Operation(NamedTuple):
    """Two SPECs joined by ``+``, ``-`` or ``*``, and the modifiers of the result."""

    operator: str
    left: Node
    right: Node
    parameters: tuple[tuple[str, str], ...]


Node = Atom | Operation


def parse_spec(text: str, *, is_known: Callable[[str], bool] = lambda _name: False) -> Node:
    """Read a SPEC as the user wrote it.

    ``is_known``, whether a name is known or a file exists, decides ambiguous ``a-b`` and file names.

    Raises
    ------
    KernelError
        With the position of the error.

    Examples
    --------
    >>> parse_spec("gaussian:sigma=2 rotate=45")
    Atom(head='gaussian', parameters=(('sigma', '2'), ('rotate', '45')), is_matrix=False)
    >>> parse_spec("2*identity - box:size=3").operator
    '-'
    """
    if len(text) > _LONGEST:
        raise KernelError(f"a kernel of {len(text):,} characters is too long for a SPEC", hint="write it into a file")
    stripped = text.strip()
    if not stripped:
        raise KernelError("the kernel is empty", hint="for example --kernel sobel")
    return _parse(stripped, is_known, depth=0)


def _parse(text: str, is_known: Callable[[str], bool], depth: int) -> Node:
    # Python's own limit of recursion would end in a traceback.
    if depth > 50:
        raise KernelError("the kernel expression is nested more than 50 deep", hint="leave brackets out")
    text = text.strip()
    if is_known(text):
        return Atom(text, (), is_matrix=False)
    if is_matrix(text):
        return Atom(text, (), is_matrix=True)
    head, parameters = split_parameters(text)
    if is_matrix(head):
        return Atom(head, parameters, is_matrix=True)
    # Sums are split first, as what binds weakest is the top of the tree.
    for operators in ("+-", "*"):
        at = _last_operator(text, operators, is_known)
        if at is not None:
            left, right = text[:at].strip(), text[at + 1 :].strip()
            if not left or not right:
                raise KernelError(
                    f"'{shortened(text, 60)}': nothing {'before' if not left else 'after'} '{text[at]}'",
                    hint="write 'a + b', 'a - b' or 'a * b'",
                )
            return Operation(text[at], _parse(left, is_known, depth + 1), _parse(right, is_known, depth + 1), ())
    if head.startswith("(") and head.endswith(")"):
        inner = _parse(head[1:-1], is_known, depth + 1)
        return inner._replace(parameters=(*inner.parameters, *parameters))
    if not head:
        raise KernelError(f"'{shortened(text, 60)}' names no kernel", hint="for example gaussian:sigma=2")
    if len(head) > 1 and head[0] == head[-1] and head[0] in "'\"":
        head = head[1:-1]
    return Atom(head, parameters, is_matrix=False)


def is_matrix(text: str) -> bool:
    """Whether text can only be taps: numbers, separators and brackets, or an ImageMagick or FFmpeg string.

    Examples
    --------
    >>> is_matrix("1 0 -1; 2 0 -2"), is_matrix("3x3: 0,1,0"), is_matrix("sobel"), is_matrix("(sobel)")
    (True, True, False, False)
    """
    if (MAGICK_HEAD.match(text) and "=" not in text) or FFMPEG.search(text) or _MATLAB.match(text):
        return True
    return bool(_MATRIX.match(text) and re.search(r"\d", text) and not _ON_BRACKETS.search(text))


def means_matrix(text: str) -> bool:
    """Whether text is meant as taps although not all of it is numbers: the error then names the wrong part.

    Examples
    --------
    >>> means_matrix("1 x; 3 4"), means_matrix("1 0 O"), means_matrix("sobel"), means_matrix("3 cats.npy")
    (True, True, False, False)
    """
    words = re.split(r"[\s,]+|(;)", text)
    n_words, n_numbers = sum(bool(word) and word != ";" for word in words), sum(is_number(word or "") for word in words)
    return n_numbers > 0 and (";" in words or (n_words > 2 and 2 * n_numbers > n_words))


def is_number(text: str) -> bool:
    """Whether text is a single number, a 1x1 kernel in an expression."""
    return bool(_NUMBER.match(text.strip()))


def split_parameters(text: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Split ``head:key=value,key=value key=value`` at the first parameter outside brackets and quotes.

    Examples
    --------
    >>> split_parameters("log-gabor-bank:scales=1,2,4,angle=30")
    ('log-gabor-bank', (('scales', '1,2,4'), ('angle', '30')))
    """
    starts = [match for match in _PARAMETER.finditer(text) if _depth_at(text, match.start()) == 0]
    if not starts:
        return text.rstrip(" :"), ()
    parameters: list[tuple[str, str]] = []
    for match, following in zip(starts, [*starts[1:], None], strict=True):
        value = text[match.end() : following.start() if following else len(text)]
        parameters.append((match.group(1).lower().replace("-", "_"), value.strip(" ,\t\n'\"")))
    return text[: starts[0].start()].rstrip(" :,\t\n"), tuple(parameters)


def _depth_at(text: str, position: int) -> int:
    return next((depth for index, _, depth in _walk(text) if index == position), 0)


def _walk(text: str) -> Iterator[tuple[int, str, int]]:
    """Yield index, character and depth of brackets and quotes (inside counts as deeper)."""
    depth, quote = 0, ""
    for index, character in enumerate(text):
        quoted = bool(quote)
        if quoted:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote, quoted = character, True
        elif character in ")]":
            depth -= 1
            if depth < 0:
                message = f"'{shortened(text, 60)}': '{character}' at {index + 1} closes nothing"
                raise KernelError(message, hint=f"leave that {character} out, or open it before")
        yield index, character, depth + quoted
        depth += character in "([" and not quoted
    if depth or quote:
        message = f"'{shortened(text, 60)}': a {'quote' if quote else 'bracket'} is not closed"
        raise KernelError(message, hint="put single quotes of the shell around the whole: -k '(sobel + box) scale=2'")


def _last_operator(text: str, operators: str, is_known: Callable[[str], bool]) -> int | None:
    """Find the last operator outside brackets: the left side of a chain binds first."""
    marks = (index for index, character, depth in _walk(text) if depth == 0 and character in operators)
    return max((index for index in marks if _is_operator(text, index, is_known)), default=None)


def _is_operator(text: str, at: int, is_known: Callable[[str], bool]) -> bool:
    before, after = text[:at], text[at + 1 :]
    left, right = before[-1:], after[:1]
    if left.isspace() and right.isspace():
        return True
    if not before.strip() or not after.strip() or before.rstrip()[-1] in "=,+-*/:;":
        return False  # a sign
    if re.search(r"(?<![\w.])[\d.]+[eE]$", before):
        return False  # 1e-3
    if left.isspace() or right.isspace():
        return not (left.isspace() and text[at] != "*")  # "a -b" could be a name; "a- b" and "a *b" cannot
    starts_a_spec = right.isalpha() or right in "([_'\""
    if text[at] in "+*":
        return starts_a_spec or (text[at] == "*" and (right.isdigit() or right == ".") and left not in "0123456789")
    if not starts_a_spec:
        return False
    if left in ")]'\"" or ("=" in re.split(r"[(\[]|\s[-+*]\s", before)[-1] and left.isdigit()):
        return True
    whole = re.split(r"[\s:#=,+*()]", after)[0]
    first = re.split(r"[\s:=,+*()]", before)[-1]
    return not is_known(f"{first}-{whole}") and is_known(first.split("#")[0]) and is_known(whole)
