"""Run both lines of every row of coming-from.md and write how far their pictures are apart.

    python examples/coming_from.py                  # measure with the programs that are installed
    python examples/coming_from.py --pictures TRY   # only make the folder in which the lines run

The page itself holds the lines and the reasons; this script changes nothing but the three numbers of a row and the
sentence that says what they were measured with. Rows of a program that is not installed keep their numbers.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from convcli.images.reading import read
from convcli.images.write import write_picture

EXAMPLES = Path(__file__).resolve().parent
PAGE = EXAMPLES / "coming-from.md"
TIMEOUT_S = 120
#: Differences further than this from every border are "inside".
BORDER = 20
#: Of each section: names the program may have (the first that works is taken), the name that the page uses, how it
#: tells its version, and where in the answer that is. ImageMagick 7 still answers to the name convert.
PROGRAMS = {
    "ImageMagick": (("convert-im6.q16", "/usr/bin/convert", "convert", "magick"), "-version", r"ImageMagick (\S+)"),
    "libvips": (("vips",), "--version", r"vips-(\S+)"),
    "FFmpeg": (("ffmpeg",), "-version", r"ffmpeg version n?([^\s-]+)"),
    "G'MIC": (("gmic",), "version", r"Version (\d[\d.]*)"),
}
CALLED = {"ImageMagick": "convert"}
_MEASURED = re.compile(r"^(?:Not measured\.|Measured with .*)$", re.MULTILINE)


class Row(NamedTuple):
    """One row of a table of the page; lines that do not exist are empty."""

    filter: str
    there: str
    here: str
    numbers: tuple[str, str, str]
    why: str

    @classmethod
    def parse(cls, line: str) -> Row:
        """Read a line of Markdown."""
        name, there, here, *numbers, why = (cell.strip() for cell in line.strip().strip("|").split("|"))
        lines = ["" if cell == "none" else cell.strip("`") for cell in (there, here)]
        return cls(name, *lines, tuple(numbers), why)

    def __str__(self) -> str:
        lines = [f"`{line}`" if line else "none" for line in (self.there, self.here)]
        return f"| {' | '.join([self.filter, *lines, *self.numbers, self.why])} |"


def sections(text: str) -> Iterator[tuple[str, str]]:
    """Yield the programs of the page, each with its section."""
    for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        yield part.partition("\n")[0], part


def rows(section: str) -> dict[str, Row]:
    """Return the rows of a section's table by their lines of Markdown."""
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return {line: Row.parse(line) for line in lines[1:]}


def find_program(section: str) -> tuple[Path, str] | None:
    """Return path and version of an installed program; None if there is none."""
    names, flag, pattern = PROGRAMS[section]
    for name in names:
        path = shutil.which(name)
        if path is not None:
            answer = subprocess.run([path, flag], capture_output=True, text=True, errors="replace", check=False)
            if found := re.search(pattern, answer.stdout + answer.stderr):
                return Path(path), found[1]
    return None


def make_pictures(folder: Path) -> None:
    """Put the pictures of the page in a folder: two photographs, one with 16 bits and one with alpha made of them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("coffee.png", "camera.png"):
        shutil.copy(EXAMPLES / name, folder)
    photo = read(EXAMPLES / "coffee.png").samples
    grain = np.random.default_rng(1).integers(-128, 129, photo.shape)
    write_picture(folder / "deep.png", np.clip(photo.astype(np.int64) * 257 + grain, 0, 65535).astype(np.uint16))
    y, x = np.ogrid[: photo.shape[0], : photo.shape[1]]
    alpha = np.clip(255 * (180 - np.hypot(y - 200, x - 300)) / 80 + 128, 0, 255).astype(np.uint8)
    write_picture(folder / "alpha.png", np.dstack([photo, alpha]))


def run(line: str, folder: Path) -> None:
    """Run a line of the page in a folder, whose ``programs`` are found first; raise if it fails."""
    path = [str(folder / "programs"), str(Path(sys.executable).parent), os.environ["PATH"]]
    result = subprocess.run(
        ["sh", "-c", line],
        cwd=folder,
        env={**os.environ, "PATH": ":".join(path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=TIMEOUT_S,
    )
    if result.returncode:
        raise RuntimeError(f"`{line}` left {result.returncode}: {result.stderr[-1000:]}")


def difference(there: np.ndarray, here: np.ndarray) -> tuple[float, float, float]:
    """Return the largest, the mean and the largest inner difference of two pictures ``(H, W, P)``.

    Colours count by their alpha, which is the last of 2 or 4 planes.

    >>> a, b = np.zeros((50, 50, 1)), np.zeros((50, 50, 1))
    >>> b[0, 0] = 10
    >>> difference(a, b)
    (10.0, 0.004, 0.0)
    """
    if there.shape != here.shape or there.dtype != here.dtype:
        raise RuntimeError(f"{there.dtype} {there.shape} there, {here.dtype} {here.shape} here")
    pictures = []
    for samples in (there, here):
        picture = samples.astype(np.float64)
        if picture.shape[2] in (2, 4):
            picture[..., :-1] *= picture[..., -1:] / np.iinfo(samples.dtype).max
        pictures.append(picture)
    apart = np.abs(pictures[0] - pictures[1])
    inside = apart[BORDER:-BORDER, BORDER:-BORDER]
    return float(apart.max()), float(apart.mean()), float(inside.max())


def measure(
    section: str, run_here: Callable[[str, Path], object] = run
) -> Iterator[tuple[str, Row, tuple[float, float, float] | None]]:
    """Yield each line of a section's table, its row, and how far its pictures are apart; None if one has no line.

    Lines of a program that is not installed are not run; ours are run by ``run_here``.
    """
    name = section.partition("\n")[0]
    found = find_program(name)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_pictures(folder)
        (folder / "programs").mkdir()
        if found is not None:
            (folder / "programs" / CALLED.get(name, found[0].name)).symlink_to(found[0])
        for line, row in rows(section).items():
            theirs, ours = folder / "t.png", folder / row.here.rpartition(" ")[2]
            theirs.unlink(missing_ok=True)
            if row.there and found is not None:
                run(row.there, folder)
            if row.here:
                run_here(row.here, folder)
            both = row.there and row.here and found is not None
            yield line, row, difference(read(theirs).samples, read(ours).samples) if both else None


def remade(section: str) -> str:
    """Return a section with its numbers measured anew, or kept and said so if its program is not installed."""
    name = section.partition("\n")[0]
    found = find_program(name)
    if found is None:
        kept = re.search(rf"^Measured with {name} ([^\s,]+?)(?:\.|,.*)$", section, re.MULTILINE)
        of = f"Measured with {name} {kept[1]}, which was not installed when this page was last made: old numbers."
        return _MEASURED.sub(of, section) if kept else section
    section = _MEASURED.sub(f"Measured with {name} {found[1]}.", section, count=1)
    for line, row, apart in measure(section):
        new = ("–",) * 3 if apart is None else (f"{apart[0]:.0f}", f"{apart[1]:.3f}", f"{apart[2]:.0f}")
        section = section.replace(line, str(row._replace(numbers=new)))
    return section


def main() -> None:
    """Make the pictures or the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="only put the pictures there")
    chosen = parser.parse_args().pictures
    if chosen is not None:
        make_pictures(chosen)
        return
    text = PAGE.read_text(encoding="utf-8")
    for name, section in sections(text):
        print(f"{PAGE.name}: {name}", flush=True)
        text = text.replace(section, remade(section))
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
