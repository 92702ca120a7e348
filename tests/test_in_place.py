"""Pictures replaced in their place: whole or not at all, with mode, owner and format; and hints that can be pasted."""

from __future__ import annotations

import os
import re
import shlex
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from conftest import load_image, run_cli, save_image
from PIL import Image
from scipy.ndimage import correlate

from convcli.images.files import PART_SUFFIX
from convcli.pipeline.run import Pipeline

SHARPEN = np.array([[0, -1, 0], [-1, 5, -1], [0, -1, 0]])
FLAGS = ("-k", "sharpen", "--in-place")


def sharpened(samples: np.ndarray) -> np.ndarray:
    return np.clip(correlate(samples.astype(int), SHARPEN, mode="nearest"), 0, 255)


@pytest.fixture
def grey(tmp_path: Path, rng: np.random.Generator) -> Path:
    return save_image(tmp_path / "p.png", rng.integers(0, 256, (20, 30), dtype=np.uint8))


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def test_a_picture_is_replaced_with_its_mode_and_keeps_the_old_one_if_asked(grey: Path, tmp_path: Path) -> None:
    before, bytes_before = load_image(grey), grey.read_bytes()
    grey.chmod(0o640)
    result = run_cli("apply", grey, *FLAGS, "--backup", ".orig").ok()
    np.testing.assert_array_equal(load_image(grey), sharpened(before))
    assert stat.S_IMODE(grey.stat().st_mode) == 0o640
    assert (tmp_path / "p.png.orig").read_bytes() == bytes_before
    assert names(tmp_path) == ["p.png", "p.png.orig"]
    assert "mode and owner are kept" in result.stdout
    assert ".orig at the end" in result.stdout
    now = grey.read_bytes()
    refused = run_cli("apply", grey, *FLAGS, "--backup", ".orig")
    assert refused.exit_code == 6
    assert "p.png.orig exists" in refused.stderr
    assert grey.read_bytes() == now
    run_cli("apply", grey, *FLAGS, "--backup", ".orig", "--overwrite").ok()
    assert (tmp_path / "p.png.orig").read_bytes() == now
    run_cli("apply", grey, *FLAGS).ok()
    assert names(tmp_path) == ["p.png", "p.png.orig"]


FORMATS = ["png", "jpeg", "tiff", "webp", "avif", "jp2", "bmp", "tga", "ppm", "gif"]


@pytest.mark.parametrize("name", FORMATS)
def test_a_picture_keeps_its_format_whatever_it_is_called(name: str, tmp_path: Path, photo: Path) -> None:
    path = tmp_path / "photo.of.mine"
    pillow = {"jp2": "JPEG2000"}.get(name, name.upper())
    with Image.open(photo) as image:
        image.resize((40, 30)).save(path, pillow)
    run_cli("apply", path, *FLAGS).ok()
    with Image.open(path) as image:
        assert image.format == pillow
        assert image.size == (40, 30)
    assert names(tmp_path) == ["photo.of.mine"], "no report beside it"


def test_a_tree_is_searched_and_each_file_is_changed_once(tmp_path: Path, rng: np.random.Generator) -> None:
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    before = {}
    for name in ("a.png", "sub/b.png", "sub/c.jpg"):
        before[name] = rng.integers(0, 256, (20, 30), dtype=np.uint8)
        save_image(tree / name, before[name], **({"quality": 100} if name.endswith("jpg") else {}))
    (tree / "album.png").symlink_to("sub/b.png")
    (tree / "notes.txt").write_text("no picture")
    result = run_cli("apply", tree, "-r", *FLAGS, "--json").ok()
    assert (result.json_lines[-1]["done"], result.json_lines[-1]["skipped"]) == (3, 1)
    assert any("the same file as" in line.get("reason", "") for line in result.json_lines)
    for name in ("a.png", "sub/b.png"):
        np.testing.assert_array_equal(load_image(tree / name), sharpened(before[name]))
    assert (tree / "album.png").is_symlink()
    assert names(tree) == ["a.png", "album.png", "notes.txt", "sub/b.png", "sub/c.jpg"]
    # They are photographs still: the next search takes them.
    assert (
        run_cli("apply", ".", "-k", "box", "--layout", "picture", "--json", cwd=tree).ok().json_lines[-1]["done"] == 2
    )


def test_links_stay_and_are_said(grey: Path, tmp_path: Path) -> None:
    before = load_image(grey)
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "link.png").symlink_to("../p.png")
    said = run_cli("apply", tmp_path / "there" / "link.png", *FLAGS, "--backup", "~").ok().stdout
    assert "a link: the file that it names is replaced, the link stays" in said
    assert (tmp_path / "there" / "link.png").readlink() == Path("../p.png")
    np.testing.assert_array_equal(load_image(grey), sharpened(before))
    assert names(tmp_path) == ["p.png", "p.png~", "there/link.png"]
    (tmp_path / "hard.png").hardlink_to(grey)
    second = grey.read_bytes()
    assert "hard links" in run_cli("apply", grey, *FLAGS).ok().stdout
    assert (tmp_path / "hard.png").read_bytes() == second


def fail_at_the_end(self: Pipeline, *_: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("when", ["tone", "rename"])
def test_the_old_picture_stays_on_any_error(
    when: str, grey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = grey.read_bytes()
    if when == "rename":
        monkeypatch.setattr(Path, "replace", fail_at_the_end)
    else:
        monkeypatch.setattr("convcli.pipeline.writers.PictureOutput.append", fail_at_the_end)
    result = run_cli("apply", grey, *FLAGS, "--backup", ".b")
    assert result.exit_code in (1, 6)
    assert grey.read_bytes() == before
    assert not list(tmp_path.glob(f"*{PART_SUFFIX}"))


def test_a_picture_that_changes_meanwhile_is_left_alone(grey: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = np.zeros((5, 6), np.uint8)

    def swap(_plan: Any, info: Any = None) -> None:
        if info is None:  # after the last look before the end
            save_image(grey, other)

    monkeypatch.setattr("convcli.pipeline.run._refuse_changed", swap)
    result = run_cli("apply", grey, *FLAGS)
    assert result.exit_code == 6
    assert "has changed since it was read, and is left alone" in result.stderr
    np.testing.assert_array_equal(load_image(grey), other)


@pytest.mark.skipif(os.name == "nt" or not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root")
def test_the_owner_is_kept_or_the_picture_is_left_alone(unprivileged: Path, rng: np.random.Generator) -> None:
    path = save_image(unprivileged / "p.png", rng.integers(0, 256, (20, 30), dtype=np.uint8))
    before = path.read_bytes()
    os.seteuid(0)
    path.chmod(0o666)
    os.chown(path, 4321, 4321)
    os.seteuid(65534)
    refused = run_cli("apply", path, *FLAGS)
    assert refused.exit_code == 6
    assert "is of user 4321 and group 4321" in refused.stderr
    assert path.read_bytes() == before
    os.seteuid(0)
    run_cli("apply", path, *FLAGS).ok()
    found = path.stat()
    os.seteuid(65534)
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (4321, 4321, 0o666)


def test_frames_stay_frames(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((9, 12), 60 * index, np.uint8)) for index in range(3)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=80, loop=0)
    run_cli("apply", tmp_path / "a.gif", "-k", "box", "--in-place").ok()
    with Image.open(tmp_path / "a.gif") as image:
        assert (image.n_frames, image.info["duration"], image.info["loop"]) == (3, 80, 0)
    frames[1] = Image.new("L", (5, 5))
    frames[0].save(tmp_path / "b.tif", save_all=True, append_images=frames[1:])
    refused = run_cli("apply", tmp_path / "b.tif", "-k", "box", "--in-place")
    assert refused.exit_code == 2
    assert "do not go into one file" in refused.stderr


def test_what_would_lose_is_refused(grey: Path, tmp_path: Path) -> None:
    def refused(*args: object, code: int) -> str:
        before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
        result = run_cli("apply", *args)
        assert result.exit_code == code, result.stderr
        assert "hint:" in result.stderr
        assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before
        return result.stderr

    tifffile.imwrite(tmp_path / "i16.tif", np.full((8, 9), -7, np.int16))
    assert "int16 samples would be stored with 16 bits" in refused(tmp_path / "i16.tif", *FLAGS, code=6)
    Image.open(grey).resize((64, 64)).save(tmp_path / "i.ico")
    assert "ico is not written" in refused(tmp_path / "i.ico", *FLAGS, code=6)
    grey.chmod(0o444)
    assert "read-only (mode 444)" in refused(grey, *FLAGS, code=3)
    grey.chmod(0o644)
    assert "no natural combination" in refused(grey, "-k", "leung-malik", "--in-place", code=2)
    flags = {"-o": "a.png", "--out-dir": tmp_path, "--name": "{stem}.{ext}", "--format": "png", "--frames": "0"}
    for flag, value in flags.items():
        assert f"--in-place and {flag} exclude each other" in refused(grey, *FLAGS, flag, value, code=2)
    assert "--resume cannot tell" in refused(grey, *FLAGS, "--resume", code=2)
    assert "writes no sheet" in refused(grey, *FLAGS, "--layout", "sheet", code=2)
    assert "--backup is for --in-place" in refused(grey, "-k", "box", "--backup", ".b", code=2)
    assert "no end of a name" in refused(grey, *FLAGS, "--backup", "../b", code=2)
    result = run_cli("apply", "-", *FLAGS, stdin=grey.read_bytes())
    assert result.exit_code == 2
    assert "this input is none" in result.stderr


def test_options_of_encoders_go_to_the_formats_that_take_them(grey: Path, tmp_path: Path) -> None:
    photo = save_image(tmp_path / "p.jpg", load_image(grey))
    result = run_cli("apply", grey, photo, *FLAGS, "--quality", "30", "--json").ok()
    notes = {Path(line["input"]["path"]).name: line["notes"] for line in result.json_lines[:-1]}
    assert "--quality does nothing to png, but to jpeg, webp, avif, jp2" in notes["p.png"]
    assert any("quality 30" in note for note in notes["p.jpg"])


def test_a_name_may_end_in_the_suffix_of_the_input(grey: Path, tmp_path: Path) -> None:
    for name in ("a.JPG", "b.bmp", "c.png"):
        Image.open(grey).save(tmp_path / name)
    Image.open(grey).save(tmp_path / "lying.png", "JPEG")
    (tmp_path / "none").write_bytes(grey.read_bytes())
    flags = ("-k", "sharpen", "--layout", "picture", "--out-dir", "o", "--name", "{stem}-s.{suffix}")
    run_cli("apply", "a.JPG", "b.bmp", "c.png", "lying.png", *flags, cwd=tmp_path).ok()
    found = {}
    for path in (tmp_path / "o").glob("*-s.???"):
        with Image.open(path) as image:
            found[path.name] = image.format
    assert found == {"a-s.JPG": "JPEG", "b-s.bmp": "BMP", "c-s.png": "PNG", "lying-s.png": "PNG"}
    for name, said in (("none", "a file without one is not written"), ("a.JPG", "disagree")):
        refused = run_cli("apply", name, *flags, "--format", "png", "--overwrite", cwd=tmp_path)
        assert refused.exit_code in (2, 6)
        assert said in refused.stderr


HINTS: dict[str, tuple[list[str], list[str]]] = {
    "two folders": (["a/p.jpg", "b/p.jpg"], ["--layout", "picture"]),
    "two folders, maps": (["a/p.jpg", "b/p.jpg"], []),
    "two formats": (["p.jpg", "p.png"], ["--layout", "picture", "--format", "png"]),
    "a name of one's own": (["a/p.jpg", "b/p.jpg"], ["--layout", "picture", "--name", "{stem}.{ext}"]),
    "a name without the stem": (["a.jpg", "b.jpg"], ["--layout", "picture", "--name", "it's {bank}.{ext}"]),
    "a name without the map": (["a.jpg"], ["--name", "{stem}.{ext}"]),
    "neither": (["a/p.jpg", "b/p.jpg"], ["--name", "{stem}.{ext}"]),
    "the input's suffix": (["a/p.jpg", "b/p.jpg"], ["--layout", "picture", "--name", "{stem}.{suffix}"]),
}


@pytest.mark.parametrize("case", HINTS)
def test_a_hint_can_be_pasted(case: str, tmp_path: Path) -> None:
    inputs, flags = HINTS[case]
    for name in inputs:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("L", (20, 20)).save(tmp_path / name)
    command = ("apply", *inputs, "-k", "sobel", *flags, "--out-dir", "o", "-q")
    refused = run_cli(*command, cwd=tmp_path)
    assert refused.exit_code == 6
    found = re.search(r"hint: (--name .*) keeps them apart", refused.stderr)
    assert found
    run_cli(*command, *shlex.split(found[1]), cwd=tmp_path).ok()
    made = {path.name for path in (tmp_path / "o").rglob("*.*") if path.suffix in (".png", ".jpg")}
    assert made


def test_a_hint_keeps_the_tree_of_a_search(tmp_path: Path) -> None:
    for name in ("x/deep/p.jpg", "x/deep/p.png", "x/q.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (20, 20)).save(tmp_path / name)
    command = ("apply", "x", "-r", "-k", "box", "--layout", "picture", "--format", "png", "--out-dir", "o", "-q")
    refused = run_cli(*command, cwd=tmp_path)
    found = re.search(r"hint: (--name .*) keeps them apart", refused.stderr)
    assert found
    run_cli(*command, *shlex.split(found[1]), cwd=tmp_path).ok()
    made = [name for name in names(tmp_path / "o") if name[0] != "."]
    assert made == ["deep/p-jpg_box.png", "deep/p-png_box.png", "q-jpg_box.png"]
