"""``--show``: pictures on a terminal by what it speaks, read back from the bytes that were sent."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from conftest import load_image, run_cli, save_image
from PIL import Image

from convcli.render.show import sixels

terminal = pytest.importorskip("terminal", reason="terminals of POSIX")

ESCAPE = "\x1b"


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """Smooth colours with an edge, so that means of cells are far from flat."""
    y, x = np.mgrid[:90, :120]
    samples = np.stack([2 * x, 255 - 2 * y, np.where(x > 60, 200, 40)], axis=2)
    return save_image(tmp_path / "p.png", samples.clip(0, 255).astype(np.uint8))


def shown(photo: Path, *flags: str, columns: int = 60, attributes: bytes = b"", **environment: str) -> str:
    command = ["apply", photo.name, *flags, "-q", "--overwrite", "--show"]
    (text,) = terminal.show([command], columns, photo.parent, attributes=attributes, **environment)
    return text


def boxed(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return a picture made smaller by Pillow."""
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BOX)).astype(int)


def half_blocks(text: str) -> np.ndarray:
    """Return the samples of half blocks in 24-bit colours."""
    colour = r"\x1b\[38;2;(\d+);(\d+);(\d+);48;2;(\d+);(\d+);(\d+)m(▀+)"
    rows = []
    for line in filter(lambda line: "48;2" in line, text.split("\n")):
        cells = [[int(part) for part in found[:6]] for found in re.findall(colour, line) for _ in found[6]]
        rows += [[cell[:3] for cell in cells], [cell[3:] for cell in cells]]
    return np.array(rows)


@pytest.mark.subprocess
def test_half_blocks_are_the_picture(photo: Path) -> None:
    text = shown(photo, "-k", "gaussian:sigma=2", "-o", "o.png", COLORTERM="truecolor")
    found = half_blocks(text)
    assert found.shape == (44, 60, 3)  # 45 rows: the last one has no paper
    expected = boxed(load_image(photo.parent / "o.png"), 45, 60)
    np.testing.assert_allclose(found, expected[:44], atol=1)


def kitty_png(text: str) -> bytes:
    messages = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", text)
    assert messages
    assert all(len(data) <= 4096 for _, data in messages)
    more = [dict(pair.split("=") for pair in keys.split(","))["m"] for keys, _ in messages]
    assert more == ["1"] * (len(more) - 1) + ["0"]
    assert "a=T,f=100,q=2,c=60" in messages[0][0]
    return base64.b64decode("".join(data for _, data in messages), validate=True)


def iterm2_png(text: str) -> bytes:
    keys, data = re.search(r"\x1b\]1337;File=([^:]*):([^\x07]*)\x07", text).groups()
    png = base64.b64decode(data, validate=True)
    assert f"size={len(png)};width=60" in keys
    return png


@pytest.mark.subprocess
@pytest.mark.parametrize(
    ("environment", "read"),
    [({"TERM": "xterm-kitty"}, kitty_png), ({"TERM_PROGRAM": "iTerm.app"}, iterm2_png)],
    ids=["kitty", "iterm2"],
)
def test_terminals_that_take_pictures_get_one(photo: Path, environment: dict[str, str], read) -> None:
    picture = np.asarray(Image.open(io.BytesIO(read(shown(photo, "-k", "sharpen", "-o", "o.png", **environment)))))
    assert picture.shape == (450, 600, 3)  # 60 columns of 10 pixels
    np.testing.assert_array_equal(picture[::5, ::5], load_image(photo.parent / "o.png"))


def unpacked(text: str) -> np.ndarray:
    """Return the picture that sixels draw, as the VT340's manual has them."""
    width, height = map(int, re.search(r'"1;1;(\d+);(\d+)', text).groups())
    palette = {int(n): [int(c) * 255 / 100 for c in rgb] for n, *rgb in re.findall(r"#(\d+);2;(\d+);(\d+);(\d+)", text)}
    picture = np.full((height + 6, width, 3), -1.0)
    for number, band in enumerate(re.split(r"\d(?=[#]\d+[^;\d])", text, maxsplit=1)[1].split("-")[:-1]):
        for index, line in re.findall(r"#(\d+)([^#$]*)\$", band):
            row = re.sub(r"!(\d+)(.)", lambda run: run[2] * int(run[1]), line)
            for column, char in enumerate(row):
                for bit in range(6):
                    if (ord(char) - 63) >> bit & 1:
                        picture[number * 6 + bit, column] = palette[int(index)]
    return picture[:height]


def test_sixels_are_the_picture_in_252_colours() -> None:
    y, x = np.mgrid[:40, :50]
    picture = np.stack([5 * x, 6 * y, np.where(x > 25, 255, 0)], axis=2).astype(np.uint8)
    found = unpacked(sixels(picture))
    assert (found >= 0).all()  # every pixel is drawn
    assert np.abs(found - picture).max() <= 255 / 5 + 1
    # A dither keeps the mean of a cell.
    np.testing.assert_allclose(boxed(found.astype(np.uint8), 5, 5), boxed(picture, 5, 5), atol=10)


@pytest.mark.subprocess
def test_sixels_go_where_the_terminal_says_that_it_draws_them(photo: Path) -> None:
    text = shown(photo, "-k", "box", "-o", "o.png", attributes=b"\x1b[?62;4;22c")
    assert '\x1bP0;1q"1;1;600;450' in text
    assert "▀" not in text
    assert "▀" in shown(photo, "-k", "box", "-o", "o.png", attributes=b"\x1b[?62;22c")
    # A multiplexer hands on the environment of a terminal whose pictures it does not draw.
    inside = shown(photo, "-k", "box", "-o", "o.png", attributes=b"\x1b[?1;2c", TERM="screen", KITTY_WINDOW_ID="1")
    assert "▀" in inside


@pytest.mark.subprocess
def test_several_maps_stand_side_by_side_with_their_names(photo: Path) -> None:
    text = shown(photo, "-k", "laws", "--channels", "g", "--out-dir", "out", columns=80, COLORTERM="truecolor")
    lines = text.split("\n")
    labels = [line.split() for line in lines if line and "▀" not in line and ESCAPE not in line]
    assert [len(row) for row in labels[:3]] == [2, 2, 2]
    assert "more maps" in text
    assert max(line.count("▀") + line.count(" ") for line in lines) <= 80


@pytest.mark.subprocess
@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {"NO_COLOR": "1", "TERM": "xterm-kitty"}])
def test_without_colours_there_are_letters(photo: Path, environment: dict[str, str]) -> None:
    text = shown(photo, "-k", "box", "-o", "o.png", **environment)
    assert ESCAPE not in text
    assert len(set(text)) > 6
    assert max(map(len, text.split("\n"))) <= 60


def test_a_pipe_gets_no_picture(photo: Path, tmp_path: Path) -> None:
    done = run_cli("apply", photo, "-k", "sobel", "-o", tmp_path / "o.png", "--show").ok()
    assert ESCAPE not in done.stdout
    assert "▀" not in done.stdout
    assert "standard output is none" in done.stderr


@pytest.mark.parametrize(
    "flags",
    [["-o", "m.npy"], ["-o", "-"], ["-o", "o.png", "--json"], ["--out-dir", "d", "--format", "npy"]],
    ids=" ".join,
)
def test_what_cannot_be_shown_is_refused(flags: list[str], photo: Path) -> None:
    done = run_cli("apply", photo.name, "-k", "sobel", *flags, "--show", cwd=photo.parent)
    assert done.exit_code == 2
    assert "--show" in done.stderr
    assert sorted(path.name for path in photo.parent.iterdir()) == ["p.png"]


def test_several_inputs_are_not_shown(photo: Path) -> None:
    other = photo.with_name("q.png")
    other.write_bytes(photo.read_bytes())
    done = run_cli(
        "apply", photo, other, "-k", "sobel", "--layout", "picture", "--out-dir", photo.parent / "o", "--show"
    )
    assert done.exit_code == 2
    assert "one input, not of 2" in done.stderr
