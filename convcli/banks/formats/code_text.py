"""Pasted code as tokens, without comments and prompts, and the few functions that it may call: bounded (NumPy)."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from convcli.banks.bank import check_taps
from convcli.errors import KernelError

Value = Any
#: Tokens of C, GLSL, Python and MATLAB alike; a backslash before a line end counts as a blank.
_TOKEN = re.compile(
    r"(?P<blank>[ \t\f]+|\\\n)|(?P<line>\n)|(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?:[fFlLuUhH]+\b)?)"
    r"|(?P<method>\.[A-Za-z_]\w*)|(?P<name>[A-Za-z_]\w*(?:(?:\.|::)[A-Za-z_]\w*)*)"
    r"|(?P<mark>\.\*|\./|\.'|[-+*/]=|->|[-+*/@(){}\[\],;=':<>\"?&|!])"
)
#: The // of a URL begins none. Possessive (``*+``), so that any text takes linear time.
_COMMENT = re.compile(r"/\*(?:[^*]|\*(?!/))*+(?:\*/|\Z)|(?<!:)//[^\n]*|[#%][^\n]*")
#: Every token becomes a Python object, which takes many times its characters.
_MOST_CHARACTERS = 8_000_000
#: MATLAB's mark of a line that goes on; a printer's stands in a line of its own, or within one.
_CONTINUED = re.compile(r"(?<=\S)[ \t]*\.\.\.[ \t]*\n(?!\s*\.\.\.)")
#: MATLAB shows a name and '=', perhaps a blank line and a factor for all, and then the rows.
_DISPLAY = re.compile(
    r"(?m)^[ \t]*([A-Za-z]\w*) =[ \t]*\n(?:[ \t]*\n)*((?:[ \t]*[-+.\d][-+.\deE \t*]*\n(?:[ \t]*\n)*)+)"
)
_FACTOR = re.compile(r"\s*([\d.]+e[-+]?\d+)\s*\*\s*\n", re.IGNORECASE)
#: Prompts of Python, MATLAB and IPython.
_PROMPT = re.compile(r"(?m)^[ \t]*(>>>?|In \[\d+\]:|Out\[\d+\]:|\.\.\. )[ \t]?")


class NotRunError(KernelError):
    """A call that is not read; harmless where it makes no kernel."""


class Token(NamedTuple):
    """A piece of code: its kind, its text, its line, and whether a blank stands before it."""

    kind: str
    text: str
    line: int
    spaced: bool


def prepared(text: str) -> str:
    """Return the text without comments and prompts, with MATLAB's display of a matrix as an assignment."""
    if len(text) > _MOST_CHARACTERS:
        raise KernelError(f"{len(text):,} characters of code are too many", hint="save the numbers as .npy or .csv")
    # Line ends stay, so that errors name lines of the file.
    text = _COMMENT.sub(lambda found: "\n" * found.group().count("\n"), _PROMPT.sub("", text))
    if re.search(r"(?m)^\s*Columns \d+ (through|and) \d+", text):
        raise KernelError("the printer split the columns", hint="print with a wider window, or writematrix(k, 'k.csv')")

    def display(found: re.Match[str]) -> str:
        factor = _FACTOR.match(found[2])
        rows = found[2][factor.end() :] if factor else found[2]
        lead = found.group()[: found.group().index("=")]
        return f"{lead}= [{rows.rstrip()}]{f' * {factor[1]}' if factor else ''}\n"

    text = _CONTINUED.sub(" ", _DISPLAY.sub(display, text + "\n"))
    if "..." in text:
        line = text.count("\n", 0, text.index("...")) + 1
        raise KernelError(
            f"line {line}: the printer left numbers out (...)",
            hint="np.set_printoptions(threshold=sys.maxsize), or torch.set_printoptions(profile='full'), prints all",
            line=line,
        )
    return text


def tokens_of(text: str) -> list[Token]:
    """Return the tokens of prepared text, and one of kind ``end``."""
    found: list[Token] = []
    position, line, spaced = 0, 1, True
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise KernelError(f"line {line}: '{text[position]}' is not read as code of taps", line=line)
        kind, piece, position = str(match.lastgroup), match.group(), match.end()
        if kind == "blank":
            spaced = True
            continue
        # Behind a value a quote is a transpose, elsewhere it opens text.
        ends_value = bool(found) and (found[-1].kind in ("number", "name", "method") or found[-1].text in "])}'")
        if piece == '"' or (piece == "'" and (spaced or not ends_value)):
            end = text.find(piece, position)
            if end < 0:
                raise KernelError(f"line {line}: a quote is not closed", line=line)
            kind, piece, position = "text", text[position:end], end + 1
        if kind == "name" and found and found[-1].kind == "number" and not spaced:
            raise KernelError(f"line {line}: '{found[-1].text}{piece}' is not a real number", line=line)
        found.append(Token(kind, piece, line, spaced))
        line += kind == "line"
        spaced = kind == "line"
    return [*found, Token("end", "", line, True)]


class Cursor:
    """A place in a list of tokens."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self.at = 0

    @property
    def now(self) -> Token:
        """Return the token to be read next."""
        return self.tokens[self.at]

    def take(self) -> Token:
        """Return the next token and go past it."""
        token = self.tokens[self.at]
        self.at += token.kind != "end"
        return token

    def fail(self, reason: str, hint: str | None = None) -> KernelError:
        """Return an error in the line of the next token."""
        return KernelError(f"line {self.now.line}: {reason}", hint=hint, line=self.now.line)

    def expect(self, text: str) -> None:
        """Go past one mark, or raise."""
        if self.now.text != text:
            raise self.fail(f"'{self.now.text.strip() or 'the end'}' stands where '{text}' is expected")
        self.take()

    def rest_of_line(self) -> None:
        """Go to the end of the line, or of the brackets that are open there."""
        depth = 0
        while self.now.kind != "end" and (depth > 0 or self.now.kind != "line"):
            depth += (self.now.text in ("(", "[", "{")) - (self.now.text in (")", "]", "}"))
            self.take()

    def skip_lines(self) -> None:
        """Go past line ends."""
        while self.now.kind == "line":
            self.take()


#: Calls that return their argument: arrays and types.
SAME = frozenset(
    (  # noqa: SIM905 - a list of words
        "array asarray tensor Tensor matrix mat Mat float32 float64 float16 single double float half FloatTensor"
        " DoubleTensor list tuple Float32Array Float64Array new vec"
    ).split()
)
#: Methods that return their object.
KEPT = frozenset(
    "astype float double half to cuda cpu numpy tolist clone copy detach contiguous type".split()  # noqa: SIM905
)


def combined(operator: str, left: Value, right: Value) -> Value:
    """Return ``left operator right``; refuse with ``ValueError`` where languages differ."""
    if isinstance(left, (str, list)) or isinstance(right, (str, list)):
        raise ValueError("text where a number is expected")
    try:
        shape = np.broadcast_shapes(np.shape(left), np.shape(right))
    except ValueError:
        raise ValueError(f"arrays of {np.shape(left)} and {np.shape(right)} do not go together") from None
    check_taps(math.prod(shape), "the array")
    a, b = np.asarray(left, np.float64), np.asarray(right, np.float64)
    # A column times a row is the same in NumPy, which broadcasts, and in MATLAB.
    outer = a.ndim == 2 and a.shape[1] == 1 and b.ndim in (1, 2) and (b.ndim == 1 or b.shape[0] == 1)
    if operator == "@" and not outer:
        raise ValueError("only a column times a row is read as a matrix product")
    if operator == "*" and a.ndim and b.ndim and a.shape == b.shape and a.size > 1:
        raise ValueError("'*' of two arrays: element by element, or a matrix product?")
    result = {"+": np.add, "-": np.subtract, "*": np.multiply, "@": np.multiply, "/": np.divide}[operator](a, b)
    return result if result.ndim else float(result)


def _filled(value: float) -> Callable[..., Value]:
    def make(*sizes: Value) -> Value:
        shape = _whole(sizes)
        if any(size < 1 for size in shape):
            raise ValueError("sizes must be 1 or more")
        check_taps(math.prod(shape), "the array")
        return np.full(shape, value)

    return make


def _whole(sizes: tuple[Value, ...]) -> list[int]:
    """Return sizes that are written one by one, or as one list."""
    return [int(size) for size in np.concatenate([np.ravel(size) for size in sizes])]


def _eye(size: Value) -> Value:
    check_taps(int(size) ** 2, "the array")
    return np.eye(int(size))


def _reshaped(value: Value, *sizes: Value) -> Value:
    return np.reshape(value, _whole(sizes))


def _outer(left: Value, right: Value) -> Value:
    check_taps(np.size(left) * np.size(right), "the array")
    return np.outer(left, right)


def _root(value: Value) -> Value:
    return float(np.sqrt(value)) if np.ndim(value) == 0 else np.sqrt(value)


def _total(value: Value, *_axes: Value) -> Value:
    if _axes:
        raise ValueError("a sum over some axes is not read")
    return float(np.sum(value))


FUNCTIONS: dict[str, Callable[..., Value]] = {
    "ones": _filled(1.0),
    "zeros": _filled(0.0),
    "eye": _eye,
    "outer": _outer,
    "sqrt": _root,
    "sqrtf": _root,
    "sum": _total,
    "reshape": _reshaped,
}
METHODS: dict[str, Callable[..., Value]] = {
    "sum": _total,
    "reshape": _reshaped,
    "view": _reshaped,
    # torch and NumPy name the same moves differently.
    "unsqueeze": lambda value, axis: np.expand_dims(value, int(axis)),
    "squeeze": lambda value, *axis: np.squeeze(value, *map(int, axis)),
    "transpose": lambda value: np.transpose(value),
    "t": lambda value: np.transpose(value),
    "item": float,
}
