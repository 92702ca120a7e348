"""A chain of layers as one text: split into words, and a word into its values, outside quotes and brackets."""

from __future__ import annotations

from collections.abc import Iterator

from convcli.errors import UsageError

#: A blank beside one of these belongs to a value: ``p=1, 2`` is one word.
_JOINERS = ":,=+"


def split_words(text: str) -> list[str]:
    """Return the words of a chain; a blank inside quotes, inside brackets or beside a comma does not end one.

    Examples
    --------
    >>> split_words("conv:sobel, s=2 Conv2d(3, 64, 7) conv:'1 0 -1' relu")
    ['conv:sobel, s=2', 'Conv2d(3, 64, 7)', "conv:'1 0 -1'", 'relu']
    """
    words = [""]
    for at, character, is_open in _walk(text):
        if character.isspace() and not is_open:
            before, after = text[:at].rstrip()[-1:], text[at:].lstrip()[:1]
            if before not in _JOINERS and after not in _JOINERS:
                words.append("")
                continue
        words[-1] += character
    return [word.strip() for word in words if word.strip()]


def split_values(text: str) -> list[tuple[int, str]]:
    """Return the values of a word between commas, each with its position.

    Examples
    --------
    >>> split_values("[[1,0]],p=1")
    [(0, '[[1,0]]'), (8, 'p=1')]
    """
    values, start = [], 0
    for at, character, is_open in _walk(text):
        if character == "," and not is_open:
            values.append((start, text[start:at]))
            start = at + 1
    return [*values, (start, text[start:])]


def unquoted(text: str) -> str:
    """Return text without the quotes around it."""
    text = text.strip()
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text


def _walk(text: str) -> Iterator[tuple[int, str, bool]]:
    """Yield position, character, and whether it stands in quotes or brackets; raise if they are not closed."""
    opened: list[int] = []
    quote = ""
    for at, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
            yield at, character, True
            if not quote:
                opened.pop()
        elif character in "'\"":
            quote = character
            opened.append(at)
            yield at, character, True
        else:
            if character in "([{":
                opened.append(at)
            yield at, character, bool(opened)
            if character in ")]}" and opened:
                opened.pop()
    if opened:
        what = "quote" if quote else "bracket"
        error = UsageError(f"a {what} is not closed", hint=f"the {text[opened[-1]]} at character {opened[-1] + 1}")
        raise error.within(f"{text[:60]!r}, character {opened[-1] + 1}")
