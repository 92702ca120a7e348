"""One flag of ``apply`` as a row of data, and the functions that read its value: text and flag → value.

:mod:`convcli.pipeline.request` has the rows.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from convcli.errors import UsageError, near_names
from convcli.geometry.arithmetic import parse_count
from convcli.geometry.sizes import parse_switch
from convcli.images import formats

#: Sections of the help and of the README's table, in their order.
SECTIONS = ("Convolution", "Input", "Output", "Running")
SUBSAMPLINGS = ("444", "422", "420")
#: Every tile is stored whole: larger ones would be mostly empty, and are read as a piece.
MOST_TILE_PX = 4096
#: Means and standard deviations of ImageNet's red, green and blue, as torchvision documents them.
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class Option(NamedTuple):
    """One flag: what it takes, what it means, and what depends on it."""

    section: str
    #: How the help writes its value; empty for a switch.
    metavar: str
    help: str
    #: How the help writes the default.
    default: str = ""
    #: (text, flag) → value; absent: one of ``values``.
    parse: Callable[[str, str], object] | None = None
    #: Words that completion offers.
    values: tuple[str, ...] = ()
    #: Text (str), a whole number (int), a switch (bool), or text that may be given several times (list).
    kind: type = str
    short: str = ""
    #: Whether an output made with another value is out of date.
    changes_pixels: bool = True
    #: Whether it is for the encoder of the output file.
    encodes: bool = False
    #: The name of its field; :data:`convcli.pipeline.request.OPTIONS` fills it in.
    key: str = ""

    @property
    def flag(self) -> str:
        """Long name: in the singular if the flag may be given several times."""
        return f"--{(self.key.removesuffix('s') if self.kind is list else self.key).replace('_', '-')}"

    @property
    def meaning(self) -> str:
        """Help text with the default."""
        return f"{self.help.removesuffix('.')} [{self.default}].".lstrip() if self.default else self.help

    def value_of(self, text: str) -> object:
        """Return the value that ``text`` states, or raise a UsageError."""
        return self.parse(text, self.flag) if self.parse else choice(text, self.flag, self.values)


def switch(section: str, meaning: str, short: str = "", *, changes_pixels: bool = True) -> Option:
    """Return the row of a switch."""
    return Option(section, "", meaning, kind=bool, short=short, changes_pixels=changes_pixels)


def one_of(section: str, values: str, meaning: str, default: str, **others: Any) -> Option:
    """Return the row of a flag that takes one of several words, separated by bars."""
    return Option(section, values, meaning, default, None, tuple(values.split("|")), **others)


def text_only(parse: Callable[[str], object]) -> Callable[[str, str], object]:
    """Return ``parse``, which needs no flag for its messages, as a function of text and flag."""
    return lambda text, _flag: parse(text)


def word(text: str, _flag: str) -> str:
    """Return ``text`` in lower case, to be checked once the bank is loaded."""
    return text.strip().lower()


def choice(text: str, flag: str, allowed: tuple[str, ...]) -> str:
    """Return ``text`` in lower case if it is one of ``allowed``.

    Examples
    --------
    >>> choice("Maps", "--layout", ("maps", "picture", "sheet"))
    'maps'
    """
    found = word(text, flag)
    if found not in allowed:
        # Of a short word every other is near: gpu is no cpu, and 12 no 1.
        near = near_names(found, allowed) if len(found) > 3 else ""
        raise UsageError(f"{flag} {text!r} is not known", hint=f"{near} one of {', '.join(allowed)}".strip())
    return found


def parse_format(text: str, flag: str) -> str:
    """Return the name of a file format from its name or one of its suffixes.

    Examples
    --------
    >>> parse_format(".JPG", "-o"), parse_format("pgm", "--format")
    ('jpeg', 'ppm')
    """
    name = word(text, flag).lstrip(".")
    if name.partition(":")[0] == "tar":
        raise UsageError(f"{flag} tar holds the outputs of a shard", hint="--cluster local:8, or convcli job plan")
    row = formats.BY_SUFFIX.get(f".{name}")
    return choice(row.name if row else name, flag, formats.WRITTEN)


def parse_floats(text: str, flag: str) -> tuple[float, ...]:
    """Return comma-separated finite numbers.

    Examples
    --------
    >>> parse_floats("0.5,-1", "--bias")
    (0.5, -1.0)
    """
    numbers = []
    for index, part in enumerate(text.split(","), start=1):
        try:
            number = float(part)
        except ValueError:
            raise UsageError(f"{flag} {text!r}: number {index} is {part!r}", hint="numbers by commas: 0.5,-1") from None
        # NaN fails every comparison, so "not below" refuses it together with infinity.
        if not abs(number) < float("inf"):
            raise UsageError(f"{flag} {text!r}: number {index} is not finite", hint="numbers by commas: 0.5,-1")
        numbers.append(number)
    return tuple(numbers)


def parse_bias(text: str, flag: str) -> tuple[float, ...] | None:
    """Return numbers; as in a layer, ``true`` is the bank's own bias and ``false`` none.

    Examples
    --------
    >>> parse_bias("0.5,-1", "--bias"), parse_bias("false", "--bias"), parse_bias("true", "--bias")
    ((0.5, -1.0), (0.0,), None)
    """
    if text.strip()[:1].isalpha() and text.strip().lower() not in ("nan", "inf"):
        if text.strip().lower() not in ("true", "yes", "on", "false", "no", "off"):
            raise UsageError(f"{flag} {text!r} is no number", hint=f"{flag} 10, a number per kernel, or true or false")
        return None if parse_switch(text, flag) else (0.0,)
    return parse_floats(text.strip("[]() "), flag)


def parse_normalize(text: str, flag: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return (mean, std) per plane: ``imagenet``, or two numbers, or all means then all stds.

    Examples
    --------
    >>> parse_normalize("0.5,0.25", "--normalize")
    ((0.5,), (0.25,))
    """
    if text.strip().lower() == "imagenet":
        return _IMAGENET
    numbers = parse_floats(text, flag)
    half = len(numbers) // 2
    if len(numbers) % 2 or 0.0 in numbers[half:]:
        fact = "a standard deviation of 0" if not len(numbers) % 2 else f"{len(numbers)} numbers, which is odd"
        raise UsageError(
            f"{flag} {text!r}: {fact}",
            hint=f"{flag} imagenet, or means then as many stds: 0.5,0.5,0.5,0.25,0.25,0.25",
        )
    return numbers[:half], numbers[half:]


def parse_bytes(text: str, flag: str) -> int:
    """Return a number of bytes from ``512M``, ``2G``, ``1000000``.

    Examples
    --------
    >>> parse_bytes("512M", "--memory")
    536870912
    """
    size_text = text.strip().upper().removesuffix("IB").removesuffix("B")
    power = {"K": 1, "M": 2, "G": 3, "T": 4}.get(size_text[-1:], 0)
    try:
        size = int(float(size_text[:-1] if power else size_text) * 1024**power)
    except (ValueError, OverflowError):
        # OverflowError: int() of an infinite float, from "inf" or "1e400".
        size = 0
    if size < 1:
        raise UsageError(f"{flag} {text!r} is not a size", hint=f"{flag} 512M, {flag} 2G or a number of bytes")
    return size


def parse_limit(text: str, flag: str) -> int:
    """Return a whole number from 1 up to 18 digits."""
    if not text.strip().isdecimal() or not 0 < int(text) < 10**18:
        raise UsageError(f"{flag} {text!r} is not a limit", hint="a whole number from 1 on")
    return int(text)


def parse_region(text: str, flag: str) -> tuple[int, int, int, int]:
    """Return left, top, width and height in samples.

    Examples
    --------
    >>> parse_region("10,0,64,48", "--region")
    (10, 0, 64, 48)
    """
    parts = [part.strip() for part in text.split(",")]
    # At most nine digits: int() raises its own error for thousands of them, and no image is that wide.
    if len(parts) != 4 or not all(part.isdecimal() and len(part) < 10 for part in parts):
        raise UsageError(f"{flag} {text!r} is not X,Y,W,H", hint=f"{flag} 0,0,64,48: left, top, width, height")
    left, top, width, height = map(int, parts)
    if not width or not height:
        raise UsageError(f"{flag} {text!r} is empty", hint="width and height of at least 1")
    return left, top, width, height


def parse_percent(text: str, flag: str) -> int:
    """Return a whole number from 1 to 100.

    Examples
    --------
    >>> parse_percent("85", "--quality")
    85
    """
    if (value := parse_count(text, flag, minimum=1)) > 100:
        raise UsageError(f"{flag} {value} is too large", hint=f"{flag} is at most 100")
    return value


def parse_subsampling(text: str, flag: str) -> str:
    """Return how many samples of colour there are in two rows of four pixels: ``4:2:0``.

    Examples
    --------
    >>> parse_subsampling("420", "--subsampling")
    '4:2:0'
    """
    return ":".join(choice(text.replace(":", ""), flag, SUBSAMPLINGS))


def parse_tile(text: str, flag: str) -> int:
    """Return the side of a tile in samples: TIFF 6.0 §15 wants a multiple of 16.

    Examples
    --------
    >>> parse_tile("256", "--tile")
    256
    """
    side = parse_count(text, flag, minimum=16)
    if side % 16 or side > MOST_TILE_PX:
        hint = f"a multiple of 16 up to {MOST_TILE_PX}: {flag} 256"
        raise UsageError(f"{flag} {side} is no side of a tile", hint=hint)
    return side


def parse_nodata(text: str, flag: str) -> float:
    """Return the value of missing samples; ``nan`` where they are not a number.

    Examples
    --------
    >>> parse_nodata("-9999", "--nodata"), parse_nodata("NaN", "--nodata")
    (-9999.0, nan)
    """
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"{flag} {text!r} is not a number", hint=f"{flag} -9999, {flag} 0 or {flag} nan") from None


def parse_groups(text: str, flag: str) -> int | None:
    """Return a number of groups; ``None`` for ``auto``."""
    if text.strip().lower() == "auto":
        return None
    if not text.strip().isdecimal() or int(text) < 1:
        raise UsageError(f"{flag} {text!r} is not a number of groups", hint=f"{flag} auto, or a number from 1 on")
    return int(text)


def parse_channels(text: str, flag: str) -> tuple[str, ...]:
    """Return the names of planes, in lower case."""
    names = tuple(word.strip().lower() for word in text.split(",") if word.strip())
    if not names:
        raise UsageError(f"{flag} {text!r} names no plane", hint=f"{flag} r,g,b or luma or a")
    return names


def parse_backup(text: str) -> str:
    """Return the end of a backup's name.

    Raises
    ------
    UsageError
        It would lead to another folder, or to the file itself.

    Examples
    --------
    >>> parse_backup(".orig")
    '.orig'
    """
    if not text.strip(". ") or any(mark in text for mark in ("/", "\\", "\0")):
        raise UsageError(f"--backup {text!r} is no end of a name", hint="--backup .orig, or --backup '~'")
    return text
