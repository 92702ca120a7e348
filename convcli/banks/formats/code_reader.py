"""The grammar of pasted code: assignments, lists, brackets, arithmetic of arrays (NumPy). Nothing is run."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from functools import partial

import numpy as np

from convcli.banks.bank import by
from convcli.banks.formats.code_text import FUNCTIONS, KEPT, METHODS, SAME, Cursor, NotRunError, Token, Value, combined

_DEEPEST = 64  # brackets and signs; each takes several calls of the thousand that Python allows


class Reader(Cursor):
    """Reads tokens once, from left to right."""

    def __init__(self, tokens: list[Token]) -> None:
        super().__init__(tokens)
        self.depth = 0
        self.values: dict[str, Value] = {}
        self.notes: list[str] = []

    def statements(self) -> dict[str, Value]:
        """Read all assignments and bare arrays; return values by name, or by number for those without."""
        first: NotRunError | None = None
        while self.now.kind != "end":
            if self.now.kind == "line" or self.now.text in (";", "}"):
                self.take()
                continue
            target = self.now.text
            try:
                self._statement()
            except NotRunError as error:
                start = self.at
                self.rest_of_line()
                line = " ".join(token.text for token in self.tokens[start : self.at])
                known = "|".join(map(re.escape, self.values)) or "="
                if target in self.values or re.search(rf"\b({known})( [\[(][^()\[\]]*[\])])* [-+*/]?= ", line):
                    raise  # it would have changed a kernel
                first = first or error
                self.notes.append(f"not read: {error}")  # it may belong to the image
        if first is not None and not any(isinstance(value, np.ndarray) for value in self.values.values()):
            raise first
        return self.values

    def _statement(self) -> None:
        first = self.now
        if first.text in ("import", "from", "using", "namespace", "precision", "uniform", "print", "disp", "Parameter"):
            self.rest_of_line()
            return
        if first.kind == "name" and self.tokens[self.at + 1].text in ("\n", "", ";"):
            self.take()  # a name alone shows its value
            return
        target, dims, operator = self._target()
        self.skip_lines()
        value = self._expression()
        if operator in ("/=", "*=", "+=", "-="):
            if target not in self.values:
                raise self.fail(f"'{target}' has no value yet")
            value = self._binary(operator[0], self.values[target], value)
        if dims:
            if operator != "=" or not isinstance(value, np.ndarray):
                raise self.fail(f"'{target}' gets single elements, which is not read", "write whole arrays")
            if 0 not in dims:  # a size that is a name is not known
                if math.prod(dims) != value.size or (value.ndim > 1 < len(dims) and value.shape != tuple(dims)):
                    raise self.fail(f"{value.size} numbers for an array of {by(dims)}")
                value = value.reshape(dims) if len(dims) > 1 else value
        if self.now.text not in (";", "\n", "", ","):
            raise self.fail(f"cannot read '{self.now.text}' behind the numbers")
        self.values[target or str(len(self.values) + 1)] = value

    def _target(self) -> tuple[str, list[int], str]:
        """Read ``static const float k[3][3] =``; return name, sizes and operator, or nothing for a bare value."""
        start, name, dims, depth, colon = self.at, "", list[int](), 0, False
        while self.now.kind not in ("line", "end"):
            token = self.take()
            if token.text in ("=", "/=", "*=", "+=", "-="):
                if depth or not name:
                    break
                return name, dims, token.text
            if token.text in ("(", "[", ")", "]"):
                depth += 1 if token.text in ("(", "[") else -1
            elif token.text == ":":
                colon = True  # k(:,:,2), or a type behind the name
            elif token.kind == "name" and not depth and not colon:
                name = token.text
            elif token.kind == "number" and depth and colon and self.tokens[self.at - 2].text == ",":
                name += token.text
            elif token.kind in ("number", "name") and depth and not colon:
                dims.append(int(token.text) if token.text.isdigit() else 0)
            elif token.kind not in ("name", "number") and token.text not in ("&", "<", ">", ",", "*", ";", "+", "-"):
                break
        self.at = start
        return "", [], ""

    def _expression(self, *, blanks: bool = False) -> Value:
        """Read a sum; with ``blanks``, ``1 -2`` are two values."""
        self._deepen()
        value = self._product()
        while self.now.text in ("+", "-"):
            following = self.tokens[self.at + 1]
            if blanks and self.now.spaced and not following.spaced:  # [1 -2] of MATLAB
                break
            if self.depth > 1 and not blanks and self.now.spaced and not following.spaced:
                raise self.fail(f"'{self.now.text}{following.text}' behind a blank: is a comma forgotten?")
            value = self._binary(self.take().text, value, self._product())
        self.depth -= 1
        return value

    def _deepen(self) -> None:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise self.fail("nested too deeply")

    def _product(self) -> Value:
        value = self._factor()
        while self.now.text in ("*", "/", ".*", "./", "@"):
            operator = self.take().text
            value = self._binary(operator.strip("."), value, self._factor())  # MATLAB's .* is NumPy's *
        return value

    def _factor(self) -> Value:
        if self.now.text in ("+", "-"):
            self._deepen()
            sign = self.take().text
            value = self._factor()
            self.depth -= 1
            return self._binary("-", 0.0, value) if sign == "-" else value
        value = self._primary()
        while self.now.text in ("'", ".'") or self.now.kind == "method":
            value = self._method(self.take().text, value)
        return value

    def _primary(self) -> Value:
        token = self.take()
        if token.kind == "number":
            return float(re.sub(r"[fFlLuUhH]+$", "", token.text))  # without the suffixes of C and GLSL
        if token.kind == "text":
            return token.text
        if token.text == "[":
            return self._bracket()
        if token.text in ("{", "("):
            items, commas, lines = self._items("}" if token.text == "{" else ")")
            return items[0] if token.text == "(" and len(items) == 1 and not commas else self._stacked(items, lines)
        if token.kind == "name":
            return self._named(token)
        self.at -= 1
        raise self.fail(f"'{token.text.strip() or 'the end'}' stands where a number is expected")

    def _items(self, close: str) -> tuple[list[Value], int, list[int]]:
        """Read values with commas to ``close``; return them, the number of commas, and the line of each."""
        items, commas, lines = list[Value](), 0, list[int]()
        self.skip_lines()
        while self.now.text != close:
            if self.now.kind == "name" and self.tokens[self.at + 1].text == "=":  # dtype=…
                depth = 0
                while self.now.kind != "end" and (depth or self.now.text not in (",", close)):
                    depth += (self.now.text in ("(", "[", "<")) - (self.now.text in (")", "]", ">"))
                    self.take()
            else:
                lines.append(self.now.line)
                items.append(self._expression())
            self.skip_lines()
            if self.now.text != close:
                if self.now.text != ",":
                    raise self.fail(f"'{self.now.text.strip() or 'the end'}' behind a value: is a comma forgotten?")
                self.take()
                commas += 1
            self.skip_lines()
        self.take()
        return items, commas, lines

    def _bracket(self) -> Value:
        """Read ``[1, 2]``, ``[1 2; 3 4]``, or nested lists with commas, blanks or lines between them."""
        rows: list[list[Value]] = [[]]
        comma, commas, blanks, breaks = False, 0, 0, 0
        while self.now.text != "]":
            token = self.now
            if token.kind == "end":
                raise self.fail("a bracket is not closed")
            if token.text == ";":
                breaks += 1
                rows.append([])
                self.take()
            elif token.kind == "line":
                if rows[-1] and not comma and all(isinstance(item, float) for item in rows[-1]):
                    rows.append([])
                self.take()
            elif token.text == ",":
                if comma or not rows[-1]:
                    raise self.fail("a number is missing before the comma")
                comma, commas = True, commas + 1
                self.take()
            else:
                blanks += bool(rows[-1]) and not comma
                rows[-1].append(self._expression(blanks=True))
                comma = False
                if commas and blanks and not breaks and all(isinstance(item, float) for item in rows[-1]):
                    raise self.fail("commas and blanks between the numbers: is a comma forgotten?")
        self.take()
        stacked = [self._stacked(row) for row in rows if row]
        return stacked[0] if len(stacked) == 1 and not breaks else self._stacked(stacked)

    def _stacked(self, items: list[Value], lines: list[int] | None = None) -> Value:
        """Return values as one array; ``lines`` lay a flat list out in rows."""
        if not items:
            raise self.fail("no numbers")
        if all(isinstance(item, str) for item in items):
            return items
        shapes = {np.shape(item) for item in items if not isinstance(item, (str, list))}
        if len(shapes) != 1 or any(isinstance(item, (str, list)) for item in items):
            sizes = ", ".join(str(np.size(item)) for item in items[:4])
            raise self.fail(f"ragged rows: {sizes} … numbers")
        array = np.array(items, dtype=np.float64)
        counts = list(Counter(lines).values()) if lines and array.ndim == 1 else []
        if 1 < len(counts) <= 256 and len(set(counts)) == 1 and counts[0] > 1:
            self.notes.append(f"{array.size} numbers in a row are read as the {len(counts)} lines they stand on")
            array = array.reshape(len(counts), counts[0])
        return array

    def _named(self, token: Token) -> Value:
        last = re.split(r"[.:]+", token.text)[-1]
        first, *parts = token.text.split(".")
        if first in self.values:
            value = self.values[first]
            for part in parts:
                value = self._method(f".{part}", value)
            return value
        if last == "new" and self.now.kind == "name":
            return self._named(self.take())
        sized = list[float]()
        while self.now.text == "[" and last in SAME | {"int"} and not self.now.spaced:  # float[9](…)
            self.take()
            if self.now.kind == "number":
                sized.append(float(self.take().text))
            self.expect("]")
        if self.now.text == "{":
            return self._primary()
        if self.now.text != "(":
            if last in ("pi", "PI", "M_PI"):  # Python, GLSL by custom, C
                return math.pi
            if last in ("nan", "inf", "NaN", "Inf", "NAN", "INFINITY", "Infinity"):
                raise self.fail(f"{last} is not finite: taps must be finite")
            if last in ("float32", "float64", "float16", "double", "float", "single", "half", "int8", "uint8", "int32"):
                return last
            raise NotRunError(f"line {token.line}: '{token.text}' is not a number", line=token.line)
        self.take()
        if last not in SAME and last not in FUNCTIONS and not re.fullmatch(r"d?(mat|vec)[234](x[234])?", last):
            self.at -= 1
            raise NotRunError(
                f"line {token.line}: '{token.text}(…)' would have to be run, and code is only read",
                hint="print its numbers into the file",
                line=token.line,
            )
        items, _, lines = self._items(")")
        if token.text in ("ones", "zeros") and len(items) == 1 and isinstance(items[0], float):
            items *= 2  # MATLAB's square
        if last in FUNCTIONS:
            return self._call(FUNCTIONS[last], items)
        numbers = [item for item in items if not isinstance(item, str)]
        if matrix := re.fullmatch(r"d?mat([234])(?:x([234]))?", last):
            self.notes.append(f"{last}: taps in the order written, row by row; GLSL itself fills columns")
            columns, rows = int(matrix[1]), int(matrix[2] or matrix[1])
            if all(isinstance(item, float) for item in numbers) and len(numbers) == columns * rows:
                return np.array(numbers).reshape(columns, rows)
            return self._stacked(numbers)
        if len(numbers) == 1 and not sized:
            return numbers[0]
        return self._stacked(numbers, lines)

    def _call(self, function: Callable[..., Value], arguments: list[Value], *, whole: bool = False) -> Value:
        try:
            return function(*(item for item in arguments if whole or not isinstance(item, str)))
        except (ValueError, TypeError, IndexError, OverflowError) as error:
            raise self.fail(" ".join(str(error).split())[:100]) from None

    def _method(self, name: str, value: Value) -> Value:
        if name in ("'", ".'", ".T", ".mT"):
            array = np.atleast_2d(value) if name in ("'", ".'") else np.asarray(value)  # a vector is a row in MATLAB
            return array.T
        arguments: list[Value] = []
        if self.now.text == "(":
            self.take()
            arguments = self._items(")")[0]
        if name[1:] in KEPT:
            return value
        if name[1:] in METHODS:
            return self._call(METHODS[name[1:]], [value, *arguments])
        raise NotRunError(f"line {self.now.line}: '{name}' would have to be run, and code is only read")

    def _binary(self, operator: str, left: Value, right: Value) -> Value:
        return self._call(partial(combined, operator), [left, right], whole=True)
