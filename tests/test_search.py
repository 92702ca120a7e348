"""A search takes every image, knows outputs by what they say, and tells what it passes over."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from conftest import load_image, run_cli, save_image
from PIL import Image

from convcli.images import formats, recognise
from convcli.images.recognise import passed_over
from convcli.images.rename import folds_case
from convcli.pipeline.batch import find_inputs
from convcli.pipeline.inputs import Search
from convcli.pipeline.search import is_output, read_stamp

SAMPLES = np.arange(16 * 24 * 3, dtype=np.uint8).reshape(16, 24, 3)
#: Formats of Pillow that start other programs, are containers of something else, or cannot be read.
NEVER = {"EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG", "PDF", "PALM", "IPTC", "FPX", "MIC"}


def test_every_suffix_that_pillow_reads_is_known() -> None:
    Image.init()
    registered = {suffix for suffix, name in Image.registered_extensions().items() if name not in NEVER}
    known = {suffix for suffixes, _ in recognise._OTHERS for suffix in suffixes} | set(formats.PICTURE_SUFFIXES)
    assert registered <= known
    heif = {".heic", ".heif", ".heics", ".heifs", ".hif"}  # registered where pillow_heif is loaded
    assert known - registered <= heif | {".im"}, "Pillow 15 drops it"


def test_first_bytes_are_those_that_pillow_takes() -> None:
    Image.init()
    plugin_of = Image.registered_extensions()
    for suffixes, magics in recognise._OTHERS:
        name = {"MPO": "JPEG", "AVIF": "AVIF"}.get(plugin_of[suffixes[0]], plugin_of[suffixes[0]])
        accept = Image.OPEN[name][1]
        assert (accept is None) == (not magics), suffixes
        for magic in magics:
            head = magic.replace(b"?", b"\x20" if name == "GBR" else b"\0").ljust(32, b"\0")
            assert accept(head), (name, magic)


WRITTEN_BY_PILLOW = {
    **dict.fromkeys([".png", ".jpg", ".tif", ".webp", ".bmp", ".tga", ".ppm", ".gif", ".jp2", ".j2k", ".avif"]),
    **dict.fromkeys([".ico", ".dds", ".pcx", ".sgi", ".rgb", ".icns", ".mpo", ".qoi", ".blp"]),
}


@pytest.mark.parametrize("suffix", WRITTEN_BY_PILLOW)
def test_what_pillow_writes_is_taken_and_read(suffix: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    image = Image.fromarray(SAMPLES)
    if suffix in (".icns", ".ico"):
        image = image.resize((32, 32))
    if suffix == ".blp":
        image = image.quantize(16)
    try:
        image.save(tmp_path / "in" / f"a{suffix}")
    except (OSError, KeyError, ValueError) as error:
        pytest.skip(f"Pillow does not write it: {error}")
    result = run_cli("apply", tmp_path / "in", "-k", "identity", "--layout", "picture", "--out-dir", tmp_path / "o")
    assert "note: not read:" not in result.ok().stderr
    assert len([one for one in (tmp_path / "o").glob("a_identity.*") if one.suffix != ".json"]) == 1


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp", ".bmp", ".gif", ".jp2", ".ico", ".dds", ".ppm"])
def test_a_file_without_suffix_is_taken_if_it_is_an_image(suffix: str, tmp_path: Path) -> None:
    Image.fromarray(SAMPLES).save(tmp_path / f"a{suffix}")
    (tmp_path / f"a{suffix}").rename(tmp_path / "IMG_0001")
    (tmp_path / "README").write_text("no image")
    (tmp_path / "empty").touch()
    passed: Counter[str] = Counter()
    assert [source.stem for source in find_inputs([str(tmp_path)], Search(passed=passed))] == ["IMG_0001"]
    assert passed == {"without suffix": 2}


def test_what_is_passed_over_is_counted_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recognise, "_is_installed", lambda _module: False)
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    (folder / ".git").mkdir()
    save_image(folder / "a.png", SAMPLES)
    for name in ("b.heic", "c.txt", "d.TXT", "a.png.orig", "walk.fit", "Makefile", ".hidden.png"):
        (folder / name).write_bytes(b"\x0e\x10 what it is not")
    flags = ("-k", "box", "--layout", "picture", "--out-dir", tmp_path / "o")
    said = run_cli("apply", folder, *flags, "--json").ok()
    assert "note: not read: 1 .heic (pip install 'convcli[heif]' reads it), 2 .txt, " in said.stderr
    expected = {".txt": 2, ".heic": 1, ".orig": 1, ".fit": 1, "without suffix": 1, "hidden file": 1, "subfolder": 1}
    assert said.json_lines[-1]["not_read"] == {**expected, "hidden folder": 1}
    (folder / "a.png").unlink()
    nothing = run_cli("apply", folder, *flags)
    assert nothing.exit_code == 3
    assert "1 .heic" in nothing.stderr
    assert "--allow-empty" in nothing.stderr
    assert run_cli("apply", folder, *flags, "--allow-empty").ok().stdout.startswith("0 of 0 done")


def test_an_empty_list_pattern_or_folder_can_be_allowed(tmp_path: Path) -> None:
    (tmp_path / "list").touch()
    (tmp_path / "empty").mkdir()
    for words, code in ((["--files-from", "list"], 2), (["*.png"], 3), (["empty"], 3), (["empty", "-r"], 3)):
        command = ("apply", *words, "-k", "box", "--out-dir", "o")
        assert run_cli(*command, cwd=tmp_path).exit_code == code
        summary = run_cli(*command, "--allow-empty", "--json", "-q", cwd=tmp_path).ok().json
        assert (summary["inputs"], summary["failed"]) == (0, 0)
    for flags in ((), ("-r",), ("-r", "--allow-empty")):
        assert run_cli("apply", "missing", *flags, "-k", "box", "--out-dir", "o", cwd=tmp_path).exit_code == 3


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "photos"
    place.mkdir()
    save_image(place / "a.png", SAMPLES)
    return place


def test_a_photograph_that_is_called_like_an_output_is_not_replaced(folder: Path) -> None:
    shutil.copy(folder / "a.png", folder / "a_box.png")
    photo = (folder / "a_box.png").read_bytes()
    flags = ("apply", ".", "-k", "box", "--layout", "picture", "--overwrite", "-q")
    refused = run_cli(*flags, cwd=folder)
    assert refused.exit_code == 6
    assert "a_box.png is an input and would be replaced (from a.png)" in refused.stderr
    assert (folder / "a_box.png").read_bytes() == photo


@pytest.mark.parametrize("name", ["png", "jpeg", "tiff", "webp", "avif", "jp2", "bmp", "tga", "ppm", "pfm", "gif"])
def test_an_output_is_known_by_what_it_says(name: str, folder: Path) -> None:
    flags = ("apply", "a.png", "-k", "box", "--layout", "picture", "--format", name)
    run_cli(*flags, cwd=folder).ok()
    [made] = [path for path in folder.glob("a_box*") if path.suffix != ".json"]
    assert is_output(made)
    assert not is_output(folder / "a.png")
    if "stamp" in formats.BY_NAME[name].keeps:
        stamp = read_stamp(made)
        assert stamp is not None
        assert (stamp["input"], stamp["kernel"]) == ("a", "box")
    # As whatever it is called, and by no batch: the second search takes the photograph alone.
    result = run_cli("apply", ".", "-k", "sobel", "--layout", "picture", "--json", "-q", cwd=folder).ok()
    assert [line.get("reason") for line in result.json_lines[:-1]] == ["an output of an earlier run", None]
    assert result.json_lines[-1]["not_read"] == {}, "a sidecar is no file that anybody misses"
    again = run_cli("apply", ".", *flags[2:], "--overwrite", "--json", "-q", cwd=folder).ok()
    assert again.json_lines[-1]["done"] == 1
    (folder / "a.png").unlink()
    alone = run_cli("apply", ".", *flags[2:], "--overwrite", "-q", cwd=folder)
    assert alone.exit_code == 3, "not 0: nothing would be done"
    assert "no image in this folder but 2 written into --out-dir" in alone.stderr
    elsewhere = find_inputs([str(folder)], Search(out_dir=folder.parent))
    assert made in [source.path for source in elsewhere]


def test_a_command_that_would_replace_its_inputs_does_not_do_nothing(folder: Path) -> None:
    flags = ("apply", ".", "-k", "box", "--layout", "picture", "--name", "{stem}.{ext}", "--overwrite")
    refused = run_cli(*flags, cwd=folder)
    assert refused.exit_code == 6
    np.testing.assert_array_equal(load_image(folder / "a.png"), SAMPLES)


def test_names_that_differ_in_case_clash_where_the_disk_says_so(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "a.png", folder / "A.png")
    flags = ("apply", folder, "-k", "box", "--layout", "picture", "-q", "--out-dir")
    run_cli(*flags, tmp_path / "o").ok()
    assert {path.name for path in (tmp_path / "o").glob("*.png")} == {"a_box.png", "A_box.png"}
    # A folder in which a name in capitals is the same file looks like one of a disk that does not tell them apart.
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "x").touch()
    assert not folds_case(tmp_path / "p" / "yet" / "unmade")
    (tmp_path / "p" / "X").hardlink_to(tmp_path / "p" / "x")
    assert folds_case(tmp_path / "p")
    refused = run_cli(*flags, tmp_path / "p")
    assert refused.exit_code == 6
    assert "would be written by" in refused.stderr


def test_kinds_beyond_the_first_are_one_number(tmp_path: Path) -> None:
    for number in range(9):
        (tmp_path / f"a.{number}").touch()
    save_image(tmp_path / "a.png", SAMPLES)
    assert passed_over(tmp_path / "a.3") == ".3"
    said = run_cli("apply", tmp_path, "-k", "box", "--out-dir", tmp_path / "o").ok().stderr
    assert ", 3 others\n" in said
