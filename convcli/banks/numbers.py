"""Numbers as written in kernels: ``1/16``, ``sqrt(2)/2``, ``-3e-2``, to the last bit of a float64.

Arithmetic is done in 40 decimal digits and rounded once at the end, so ``1/3`` or ``1/(2*sqrt(2))`` is the float64
nearest to the true value. Nothing is ever evaluated as code.
"""

from __future__ import annotations

import re
from operator import add, mul, sub, truediv
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from decimal import Decimal

_OPERATIONS = {"+": add, "-": sub, "*": mul, "/": truediv}
#: Those that bind weakest come first.
_SIGNS = ("+-", "*/")

#: Pi to 40 digits, as many as the arithmetic keeps.
_PI = "3.141592653589793238462643383279502884197"
_TOKEN = re.compile(r"\s*(?:(\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)|(sqrt|pi|π|√)|([-+*/()]))")
#: Texts that float() reads to the last bit by itself.
_PLAIN = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\Z")
#: "0 -1" is two numbers, not a difference.
_ACROSS_BLANKS = re.compile(r"[\w.)]\s+[-+]|[\w.)][-+]\s+[\w.(]")
#: Brackets and signs nest no deeper than this, well within the recursion that Python allows.
_MOST_CHARACTERS = 200
_FLAGS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def parse_number(text: str) -> float:
    """Read one number: a decimal, a ratio, or an expression of ``+ - * / ( ) sqrt() pi``.

    Returns the nearest float64.

    Raises
    ------
    ValueError
        With the reason in one phrase, if the text is longer than 200 characters or not a finite number.

    Examples
    --------
    >>> parse_number("1/16"), parse_number("-sqrt(2)/2"), parse_number("1e-3")
    (0.0625, -0.7071067811865476, 0.001)
    """
    stripped = text.strip()
    if _PLAIN.match(stripped):
        value = float(stripped)
    elif _ACROSS_BLANKS.search(stripped):
        raise ValueError(f"'{_short(stripped)}' is not one number: is a comma forgotten?")
    elif len(stripped) > _MOST_CHARACTERS:
        raise ValueError(f"{len(stripped)} characters are too long for a number")
    else:
        value = _evaluate(stripped)
    if value != value or value in (float("inf"), float("-inf")):
        raise ValueError(f"'{_short(stripped)}' is not finite")
    return value


def _short(text: str) -> str:
    return text if len(text) <= 30 else text[:27] + "..."


def _evaluate(text: str) -> float:
    # Only imported when a number is more than digits.
    from decimal import localcontext

    tokens: list[str] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None or not match.group(0).strip():
            raise ValueError(f"'{_short(text)}' is not a number")
        tokens.append(match.group(0).strip())
        position = match.end()
    if not tokens:
        raise ValueError("a number is missing")
    try:
        # More than twice the 17 digits of a float64: only the last rounding counts.
        with localcontext(prec=40):
            value, rest = _value(tokens)
    except ArithmeticError:
        raise ValueError(f"'{_short(text)}' has no finite value") from None
    except IndexError:
        raise ValueError(f"'{_short(text)}' ends too early") from None
    if rest:
        raise ValueError(f"'{_short(text)}' is not a number (at '{rest[0]}')")
    return float(value)


def _value(tokens: list[str], level: int = 0) -> tuple[Decimal, list[str]]:
    """Read operands joined by signs that bind alike, from left to right; return the value and the tokens behind."""
    if level == len(_SIGNS):
        return _factor(tokens)
    value, tokens = _value(tokens, level + 1)
    while tokens and tokens[0] in _SIGNS[level]:
        other, rest = _value(tokens[1:], level + 1)
        value, tokens = _OPERATIONS[tokens[0]](value, other), rest
    return value, tokens


def _factor(tokens: list[str]) -> tuple[Decimal, list[str]]:
    from decimal import Decimal

    token, rest = tokens[0], tokens[1:]
    if token in "+-":
        value, rest = _factor(rest)
        return (-value if token == "-" else value), rest
    if token == "(":
        value, rest = _value(rest)
        if rest[0] != ")":
            raise IndexError
        return value, rest[1:]
    if token in ("sqrt", "√"):
        value, rest = _factor(rest)
        return value.sqrt(), rest
    # A text that is no number ("*", ")") raises InvalidOperation; the + rounds to the 40 digits.
    return +Decimal(_PI if token in ("pi", "π") else token), rest


def init_word(text: str) -> str:
    """Return the name of an initialiser in its one form, from torch's spelling or a short one.

    Examples
    --------
    >>> init_word("xavier_normal_"), init_word("Kaiming")
    ('xavier-normal', 'kaiming-normal')
    """
    word = text.strip().lower().replace("_", "-").strip("-")
    return {"xavier": "xavier-uniform", "kaiming": "kaiming-normal"}.get(word, word)


def parse_flag(text: str) -> bool:
    """Read true, yes, on or 1, or their opposites; raise ``ValueError`` for any other text."""
    if text.lower() not in _FLAGS:
        raise ValueError("not true or false")
    return _FLAGS[text.lower()]


def format_number(value: float) -> str:
    """Write a float64 in the fewest digits that read back to it; integers without a point.

    Examples
    --------
    >>> format_number(0.1), format_number(-2.0), format_number(1e22)
    ('0.1', '-2', '1e+22')
    """
    number = float(value)
    # Beyond 2^53 not every integer is a float64: whole digits would promise more than there is.
    if number == int(number) and abs(number) < 2**53:
        return str(int(number)) if number or str(number)[0] != "-" else "0"
    return repr(number)
