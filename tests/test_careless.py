"""What careless people did, each once: sizes that formats refuse, pipes for files, names that clash, lying headers."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from conftest import load_image, run_cli, save_image
from PIL import Image

from convcli.engine import plan_conv
from convcli.errors import ImageError
from convcli.images.reading import probe, read
from convcli.pipeline import run as pipeline
from convcli.pipeline.inputs import InputFile
from convcli.pipeline.outputs import how_to_tell_apart
from convcli.pipeline.transforms.strips import strip_rows


def refused(*args: object, code: int) -> str:
    """Return what was said on standard error in one or two lines."""
    result = run_cli("apply", *args)
    assert result.exit_code == code, result.stderr
    assert len(result.stderr.splitlines()) <= 2
    assert "Traceback" not in result.stderr
    return result.stderr


@pytest.fixture
def grey(tmp_path: Path, rng: np.random.Generator) -> Path:
    return save_image(tmp_path / "g.png", rng.integers(0, 256, (60, 80), dtype=np.uint8))


@pytest.mark.parametrize(("suffix", "most"), [("webp", 16383), ("jpg", 65500), ("gif", 65535)])
def test_formats_that_hold_no_picture_of_that_size(suffix: str, most: int, tmp_path: Path) -> None:
    fits = save_image(tmp_path / "fits.png", np.zeros((2, most), np.uint8))
    run_cli("apply", fits, "-k", "box", "-o", tmp_path / f"fits.{suffix}", "-q").ok()
    assert load_image(tmp_path / f"fits.{suffix}").shape[:2] == (2, most)
    larger = save_image(tmp_path / "larger.png", np.zeros((2, most + 1), np.uint8))
    said = refused(larger, "-k", "box", "-o", tmp_path / f"larger.{suffix}", "-q", code=6)
    assert f"2 x {most + 1} pixels: at most {most} a side" in said


def test_inline_kernels_of_different_planes(grey: Path, tmp_path: Path) -> None:
    said = refused(grey, "-k", "[[[[1]],[[1]],[[1]]]]", "-k", "1 0 -1", "-o", tmp_path / "o.png", code=4)
    assert "kernels of different planes do not stack: matrix 3, matrix 1" in said


def test_colours_for_a_file_of_floats(grey: Path, tmp_path: Path) -> None:
    said = refused(grey, "-k", "box", "--colormap", "viridis", "-o", tmp_path / "o.pfm", code=2)
    assert "--colormap does nothing to pfm" in said


def test_means_of_three_planes_for_a_stack_on_one(grey: Path, tmp_path: Path) -> None:
    stack = tmp_path / "stack.toml"
    stack.write_text('name = "pool"\ninput = "1x60x80"\nlayers = ["maxpool:k=2"]\n')
    said = refused(grey, "--stack", stack, "--normalize", "imagenet", "--out-dir", tmp_path / "o", code=2)
    assert "3 means for 1 planes" in said


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
class TestPipes:
    """Whoever opens a pipe waits for the other end, for ever."""

    @pytest.mark.usefixtures("grey")
    def test_in_a_folder_and_in_a_pattern_they_are_no_images(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "a.jpg")
        assert "would write" in run_cli("apply", tmp_path, "-k", "box", "--dry-run").ok().stdout
        assert "no file matches" in refused(str(tmp_path / "*.jpg"), "-k", "box", code=3)

    def test_as_an_input_they_are_refused(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "a.jpg")
        assert "convcli apply - reads standard input" in refused(tmp_path / "a.jpg", "-k", "box", code=3)

    def test_as_an_output_they_are_not_replaced(self, grey: Path, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "o.png")
        said = refused(grey, "-k", "box", "-o", tmp_path / "o.png", "--overwrite", code=6)
        assert "-o - >" in said
        assert (tmp_path / "o.png").is_fifo()
        (tmp_path / "link.png").symlink_to(tmp_path / "o.png")
        assert "-o - >" in refused(grey, "-k", "box", "-o", tmp_path / "link.png", "--overwrite", code=6)
        assert (tmp_path / "link.png").is_symlink()

    def test_streams_named_as_files_are_not_replaced(self, grey: Path) -> None:
        assert "-o - >" in refused(grey, "-k", "box", "-o", "/dev/fd/1", "--format", "png", "--overwrite", code=6)

    def test_a_pipe_that_is_called_a_manifest_is_not_read(self, grey: Path, tmp_path: Path) -> None:
        (tmp_path / "below").mkdir()
        os.mkfifo(tmp_path / "below" / ".convcli-manifest.jsonl")
        result = run_cli("apply", tmp_path, "-r", "-k", "box", "--dry-run", "--out-dir", tmp_path / "o")
        assert str(grey) in result.ok().stdout


@pytest.mark.parametrize(
    ("names", "template"),
    [
        (("a/p.jpg", "b/p.jpg"), "{parent}/{stem}"),
        (("p.jpg", "p.png"), "{stem}-{suffix}"),
        (("a/p.jpg", "b/p.jpg", "a/p.png"), "{parent}/{stem}-{suffix}"),
        (("x/a/p.jpg", "y/a/p.jpg"), None),
    ],
)
def test_the_hint_for_inputs_of_one_name_helps(
    names: tuple[str, ...], template: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (20, 20)).save(name)
    flags = ["-k", "box", "--layout", "picture", "--format", "png", "--out-dir", "out"]
    said = refused(*names, *flags, code=6)
    if template is None:
        assert "another --out-dir, one folder at a time" in said
        return
    assert f"--name '{template}_{{bank}}.{{ext}}' keeps them apart" in said
    run_cli("apply", *names, *flags, "--name", f"{template}_{{bank}}.{{ext}}", "-q").ok()
    assert len(list(Path("out").rglob("*.png"))) == len(names)


def test_pages_of_one_file_are_told_apart_by_their_number() -> None:
    pages = [InputFile(Path("a.tif"), frame=number) for number in range(3)]
    assert how_to_tell_apart(pages, "a.{ext}") == "--name 'a_{frame}.{ext}' keeps them apart"
    assert how_to_tell_apart([*pages, InputFile(Path("b.tif"))]).startswith("--name '{stem}_{bank}.{ext}'")


def test_lists_from_other_programs(grey: Path, tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_bytes(b"\xef\xbb\xbf" + os.fsencode(grey) + b"\r\n")
    run_cli("apply", "--files-from", names, "-k", "box", "--out-dir", tmp_path / "o", "-q").ok()
    names.write_bytes(os.fsencode(grey) + b"\0")
    assert "-0 where names end in NUL" in refused("--files-from", names, "-k", "box", code=2)


def test_outputs_of_another_batch_within_the_folder_are_not_read(grey: Path, tmp_path: Path) -> None:
    Image.new("L", (20, 20)).save(tmp_path / "h.png")
    flags = ["-k", "box", "--layout", "picture", "-q"]
    run_cli("apply", tmp_path, *flags, "--out-dir", tmp_path / "first").ok()
    result = run_cli("apply", tmp_path, "-r", *flags, "--out-dir", tmp_path.parent / f"{tmp_path.name}-second").ok()
    second = tmp_path.parent / f"{tmp_path.name}-second"
    assert sorted(path.name for path in second.rglob("*.png")) == ["g_box.png", "h_box.png"], result.stderr
    (tmp_path / "g.png").unlink()
    (tmp_path / "h.png").unlink()
    said = refused(tmp_path, "-r", "-k", "box", "--out-dir", tmp_path.parent / "third", "--dry-run", code=3)
    assert f"2 that an earlier batch wrote into {tmp_path / 'first'}" in said
    assert "name that folder" in said
    # named itself, it is an input like any other
    run_cli("apply", tmp_path / "first", *flags, "--out-dir", tmp_path / "third").ok()
    assert len(list((tmp_path / "third").rglob("*.png"))) == 2


def test_a_file_where_a_folder_should_be(grey: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("x")
    for flags in (["--out-dir", tmp_path / "taken"], ["-o", tmp_path / "taken" / "deep" / "o.png"]):
        for inputs in ([grey], [grey, save_image(tmp_path / "h.png", np.zeros((20, 20), np.uint8))][: 3 - len(flags)]):
            assert "taken is no folder" in refused(*inputs, "-k", "box", *flags, code=6)


def test_outputs_of_a_batch_that_ended_early_hint_at_going_on(grey: Path, tmp_path: Path) -> None:
    other = save_image(tmp_path / "h.png", np.zeros((20, 20), np.uint8))
    flags = ["-k", "box", "--layout", "picture", "--out-dir", tmp_path / "o"]
    run_cli("apply", grey, other, *flags, "-q").ok()
    assert "--resume goes on" in refused(grey, other, *flags, code=6)
    (tmp_path / "o" / ".convcli-manifest.jsonl").unlink()
    assert "--resume" not in refused(grey, other, *flags, code=6)


def test_memory_that_runs_out_is_no_bug(grey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_out(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(pipeline.Pipeline, "_prepare", run_out)
    assert "--memory 256M takes less" in refused(grey, "-k", "box", "-o", tmp_path / "o.png", code=2)


def test_more_pixels_than_are_read_are_refused_before_memory_is_planned(tmp_path: Path) -> None:
    header = struct.pack("<IiiHHIIiiII", 40, 60000, 60000, 1, 24, 0, 0, 0, 0, 0, 0)
    lying = tmp_path / "lying.bmp"
    lying.write_bytes(b"BM" + struct.pack("<IHHI", 1000, 0, 0, 54) + header + bytes(900))
    said = refused(lying, "-k", "box", "-o", tmp_path / "o.png", code=3)
    assert "3,600,000,000 pixels; the limit is 268,435,456" in said


def test_a_tiff_that_cannot_hold_its_pixels_takes_no_memory() -> None:
    file = io.BytesIO()
    tifffile.imwrite(file, np.zeros((64, 64), np.float64), compression="zlib", rowsperstrip=64)
    file.seek(0)
    with tifffile.TiffFile(file) as tiff:
        tags = {name: tiff.pages[0].tags[name].valueoffset for name in ("ImageWidth", "ImageLength", "RowsPerStrip")}
    data = bytearray(file.getvalue())
    for place in tags.values():
        struct.pack_into("<H", data, place, 16000)
    with pytest.raises(ImageError, match="cannot hold 16000 x 16000 pixels"):
        read(bytes(data))


def test_a_blank_fax_is_a_picture() -> None:
    file = io.BytesIO()
    Image.new("1", (9921, 14043), 1).save(file, "tiff", compression="group4", tiffinfo={278: 14043})
    assert read(file.getvalue()).samples.min() == 255


def test_an_orientation_in_xmp_is_no_orientation_of_the_tiff() -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/" tiff:Orientation="6"></x:xmpmeta>'
    samples = np.arange(40 * 33, dtype=np.uint8).reshape(40, 33)
    for compression in (None, "zlib"):
        file = io.BytesIO()
        options = {"compression": compression, "extratags": [(700, 1, len(xmp), xmp, True)], "metadata": None}
        tifffile.imwrite(file, samples, **options)
        assert probe(file.getvalue()).width_px == 33
        np.testing.assert_array_equal(read(file.getvalue()).samples[..., 0], samples)


def test_a_strip_of_very_long_rows_is_few_of_them() -> None:
    rows = {}
    for width, height in ((2000, 3000), (4_000_000, 12)):
        conv = plan_conv((3, height, width), np.ones((6, 1, 3, 3)), padding=((1, 1), (1, 1)), groups=3)
        rows[width] = strip_rows(conv, 64 << 20, 6)
    assert rows[2000] >= 32
    assert rows[4_000_000] == 1


def test_maps_that_wait_are_part_of_the_memory_of_a_transform() -> None:
    """38 kernels of 49 x 49 on long rows: a band of all maps must fit beside the spectra."""
    weight = np.random.default_rng(0).normal(size=(38, 1, 49, 49))
    options = {"padding": ((24, 24), (24, 24)), "engine": "fft", "threads": 2, "memory": 512 << 20}
    plan = plan_conv((1, 600, 20_000), weight, maps_kept=3, **options)
    assert plan.threads * plan.band_rows * 38 * 20_000 * 4 * 3 < plan.memory_bytes <= 512 << 20
    assert plan.band_rows < plan_conv((1, 600, 20_000), weight, **options).band_rows


@pytest.mark.subprocess
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory in kilobytes")
def test_a_bank_on_long_rows_keeps_to_its_memory(tmp_path: Path, rng: np.random.Generator) -> None:
    tifffile.imwrite(tmp_path / "long.tif", rng.random((40, 40_000), dtype=np.float32))
    flags = ["--combine", "max", "-o", tmp_path / "o.pgm", "--depth", "8", "--tone", "clip", "-q", "--memory", "60M"]
    code = """
import re, sys
from convcli import __main__ as program
program._leave = lambda code: print(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
program.main()
"""
    command = [sys.executable, "-c", code, "apply", tmp_path / "long.tif", "-k", "mr8", *flags]
    run = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True)
    peak_kb = int(run.stdout)
    assert load_image(tmp_path / "o.pgm").shape == (40, 40_000)
    assert peak_kb < 400_000, "1.3 GB before the maps were counted"


def test_a_batch_with_infinite_samples_says_which_inputs_have_them(tmp_path: Path, rng: np.random.Generator) -> None:
    values = rng.random((40, 30)).astype(np.float32)
    for name in ("a", "b", "c"):
        tifffile.imwrite(tmp_path / f"{name}.tif", values)
    values[3, 3], values[9, 9] = np.nan, np.inf
    tifffile.imwrite(tmp_path / "odd.tif", values)
    result = run_cli("apply", tmp_path, "-k", "sobel", "--out-dir", tmp_path / "out").ok()
    assert "samples are not a number, taken as 0 in 1 of 4 inputs (first odd.tif)" in result.stderr.replace(
        f"{tmp_path}/", ""
    )
    assert "values -inf to inf) in 4 of 4 inputs" in result.stderr


@pytest.mark.parametrize(
    "words", ["-k box --out-dir=~/x", "-k box -o $HOME/x.png", "-k ~/k.npy", "-k box --report ~/r.md"]
)
def test_what_the_shell_has_left_unexpanded_makes_no_folder(
    words: str, grey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    result = run_cli("apply", grey.name, *words.split(), cwd=tmp_path)
    assert result.exit_code == 2
    assert "the shell has not expanded" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("hint: /home/me/")
    assert not [path.name for path in tmp_path.iterdir() if path.name[0] in "~$"]


def test_a_name_that_no_file_can_have_is_no_bug(grey: Path, tmp_path: Path) -> None:
    name = "n" * 300
    for words in (
        ("apply", grey, "-k", "box", "-o", f"{name}.png"),
        ("apply", grey, "--stack", name),
        ("kernels", "export", "box", "-o", f"{name}.npy"),
        ("shape", name, "conv:3,k=3"),
        ("animate", "5x5", "conv:1,k=3", "-o", f"{name}.svg"),
    ):
        result = run_cli(*words, cwd=tmp_path)
        assert result.exit_code == 2, result.stderr
        assert "bytes is too long" in result.stderr
        assert len(result.stderr.splitlines()) == 2
