"""Rows of the flags of ``apply``: each fits its field, and the options of encoders reach the file or are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import load_image, run_cli
from PIL import Image

import convcli
from convcli.engine import ENGINES, parse_border
from convcli.errors import UsageError
from convcli.images import formats
from convcli.images.formats import Picture
from convcli.images.reading import probe
from convcli.pipeline.flags import SECTIONS
from convcli.pipeline.inputs import InputFile
from convcli.pipeline.manifest import parameter_key
from convcli.pipeline.plan import Planner
from convcli.pipeline.request import OPTIONS, ApplyRequest, RunFlags, parse_request
from convcli.pipeline.tones import parse_tone

ROWS = {row.key: row for row in OPTIONS}


def test_every_field_has_one_row_and_every_name_is_its_own() -> None:
    assert [*ROWS] == [row.key for row in OPTIONS]
    assert {*ROWS} == {*ApplyRequest._fields, *RunFlags._fields} - {"to_stdout", "whole_names", "out_url", "stage"}
    names = [name for row in OPTIONS for name in (row.flag, row.short) if name]
    assert len(set(names)) == len(names)
    assert [row.section for row in OPTIONS] == sorted((row.section for row in OPTIONS), key=SECTIONS.index)


@pytest.mark.parametrize("row", OPTIONS, ids=lambda row: row.key)
def test_the_default_that_is_shown_is_the_default(row: object) -> None:
    default = getattr(ApplyRequest(), row.key, getattr(RunFlags(), row.key, None))
    if row.kind is bool:
        assert default is False
    elif default is not None and row.default and row.default != "here":
        assert row.value_of(row.default) == default


def test_words_that_completion_offers_are_understood() -> None:
    assert ROWS["engine"].values == ("auto", *ENGINES)
    for row in OPTIONS:
        for word in row.values:
            text = f"{word}1" if word.endswith(":") else word
            if row.key in ApplyRequest._fields:
                assert row.value_of(text) in (text, ":".join(text), None) or row.key in ("normalize", "nodata")
    for border in ROWS["padding_mode"].values:
        parse_border(f"{border}1" if border.endswith(":") else border)
    for tone in ROWS["tone"].values:
        parse_tone(f"{tone}1" if tone.endswith(":") else tone)


def test_options_of_encoders_are_those_of_the_formats_and_writers() -> None:
    options = {row.key for row in OPTIONS if row.encodes}
    assert options == set().union(*(row.options for row in formats.FORMATS)) == {*ApplyRequest().encoding}
    assert options <= {*Picture._fields}


@pytest.mark.parametrize("suffix", ["jpg", "webp"])
def test_a_file_gets_smaller_with_its_quality(suffix: str, photo: Path, tmp_path: Path) -> None:
    sizes = []
    for quality in (95, 60, 20):
        path = tmp_path / f"{quality}.{suffix}"
        result = run_cli("apply", photo, "-k", "identity", "-o", path, "--quality", quality).ok()
        assert f"is lossy (quality {quality}" in result.stdout
        sizes.append(path.stat().st_size)
    assert sizes[0] > sizes[1] > sizes[2]
    assert np.abs(load_image(tmp_path / f"95.{suffix}").astype(int) - load_image(photo)).mean() < 4


def test_without_a_quality_jpeg_has_92_and_webp_is_lossless(photo: Path, tmp_path: Path) -> None:
    for name, flags in (("a.jpg", []), ("b.jpg", ["--quality", "92", "--subsampling", "444"]), ("c.webp", [])):
        run_cli("apply", photo, "-k", "identity", "-o", tmp_path / name, "-q", *flags).ok()
    np.testing.assert_array_equal(load_image(tmp_path / "a.jpg"), load_image(tmp_path / "b.jpg"))
    np.testing.assert_array_equal(load_image(tmp_path / "c.webp"), load_image(photo))


def test_chroma_takes_less_room_when_it_is_subsampled(photo: Path, tmp_path: Path) -> None:
    sizes = []
    for word in ("444", "422", "420"):
        path = tmp_path / f"{word}.jpg"
        run_cli("apply", photo, "-k", "identity", "-o", path, "--subsampling", word, "-q").ok()
        sizes.append(path.stat().st_size)
    assert sizes[0] > sizes[1] > sizes[2]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--quality", "50"], "--quality does nothing to png"),
        (["--quality", "50", "-o", "e.tiff", "--depth", "8"], "--quality does nothing to tiff"),
        (["--quality", "50", "-o", "e.tiff"], "--quality does nothing to raw maps"),
        (["--quality", "50", "-o", "-"], "--quality does nothing to png"),
        (["--subsampling", "420", "-o", "e.webp"], "--subsampling does nothing to webp"),
        (["--compress", "small", "--format", "bmp"], "--compress does nothing to bmp"),
        (["--compress", "small", "--format", "npy"], "--compress does nothing to raw maps"),
        (["--quality", "0", "-o", "e.jpg"], "--quality 0 is too small"),
        (["--quality", "101", "-o", "e.jpg"], "--quality 101 is too large"),
        (["--subsampling", "411", "-o", "e.jpg"], "--subsampling '411' is not known"),
    ],
)
def test_options_that_a_format_does_not_take_are_refused(flags: list[str], says: str, photo: Path) -> None:
    result = run_cli("apply", photo, "-k", "box", "--dry-run", *flags)
    assert result.exit_code == 2
    assert says in result.stderr.splitlines()[0]


def test_a_dry_run_says_what_is_lost(photo: Path) -> None:
    flags = ["-o", "e.jpg", "--quality", "50", "--subsampling", "420"]
    result = run_cli("apply", photo, "-k", "box", "--dry-run", *flags).ok()
    assert "JPEG is lossy (quality 50, chroma 4:2:0)" in result.stdout


def test_outputs_are_out_of_date_if_pixels_change_and_only_then(photo: Path) -> None:
    def key(**flags: object) -> str:
        request = parse_request({"kernels": ("box",), "format": "jpeg", "layout": "picture", **flags})
        return parameter_key(Planner(request).plan(InputFile(photo), probe(photo)))

    keys = [key(), key(quality=50), key(quality=60), key(subsampling="420")]
    assert len(set(keys)) == 4
    assert key(compress="small") == key(threads=1, memory="1G", out_dir="elsewhere", overwrite=True) == keys[0]


def test_python_takes_the_same_options(photo: Path, tmp_path: Path) -> None:
    [report] = convcli.apply(photo, "box", output=tmp_path / "e.webp", quality=30)
    assert any("lossy (quality 30" in note for note in report["notes"])
    with pytest.raises(UsageError, match="--quality does nothing to png"):
        convcli.apply(photo, "box", output=tmp_path / "e.png", quality=30)


def test_frames_of_an_animation_have_the_quality(tmp_path: Path, rng: np.random.Generator) -> None:
    samples = rng.integers(0, 256, (3, 40, 50, 3), dtype=np.uint8)
    frames = [Image.fromarray(frame) for frame in samples]
    frames[0].save(tmp_path / "in.webp", save_all=True, append_images=frames[1:], lossless=True)
    for name, flags in (("lossless", []), ("lossy", ["--quality", "10"])):
        run_cli("apply", tmp_path / "in.webp", "-k", "identity", "-o", tmp_path / f"{name}.webp", "-q", *flags).ok()
    with Image.open(tmp_path / "lossy.webp") as image:
        assert image.n_frames == 3
    assert (tmp_path / "lossy.webp").stat().st_size < (tmp_path / "lossless.webp").stat().st_size / 2
