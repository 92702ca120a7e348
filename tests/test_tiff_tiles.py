"""Tiled TIFF: the values of strips, in tiles that every reader of gigapixel pictures takes."""

from __future__ import annotations

import io
import shutil
import subprocess
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import tifffile
from conftest import run_cli
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from convcli.images import tiff
from convcli.images.animation import open_animation
from convcli.images.arrays import open_raw
from convcli.images.formats import Picture
from convcli.images.reading import open_planes, read
from convcli.images.tiff import TiffWriter

RNG = np.random.default_rng(25)
DTYPES = {"1": np.bool_, "8": np.uint8, "16": np.uint16, "float": np.float32}
needs_vips = pytest.mark.skipif(shutil.which("vips") is None, reason="vips is not installed")


def samples_of(depth, *shape):
    values = RNG.standard_normal(shape) if depth == "float" else RNG.integers(0, 65536, shape)
    return (values % 2 if depth == "1" else values).astype(DTYPES[depth])


def assert_tiled(page, side):
    assert (page.tilewidth, page.tilelength) == (side, side)
    assert not {273, 278, 279} & {tag.code for tag in page.tags}, "tags of strips"
    tags = [tag.code for tag in page.tags]
    assert tags == sorted(tags)
    assert len(page.dataoffsets) == np.prod(page.chunked)


@settings(max_examples=120)
@given(data=st.data(), side=st.sampled_from([16, 32, 48]), depth=st.sampled_from(sorted(DTYPES)))
def test_every_reader_has_the_values(data, side, depth):
    height, width, n_pages = (
        data.draw(st.integers(1, most), label) for most, label in [(70, "height"), (70, "width"), (3, "pages")]
    )
    n_planes = 1 if depth == "1" else data.draw(st.integers(1, 4), "planes")
    pages = samples_of(depth, n_pages, height, width, n_planes)
    file = io.BytesIO()
    options = {"picture_format": "tiff", "width_px": width, "height_px": height, "n_planes": n_planes, "depth": depth}
    compress = data.draw(st.sampled_from(["fast", "default", "small"]))
    with open_animation(file, n_frames=n_pages, tile=side, compress=compress, **options) as writer:
        for page in pages:
            step = side * data.draw(st.integers(1, 3), "rows of tiles")
            for top in range(0, height, step):
                band, cut = page[top : top + step], data.draw(st.integers(0, step), "cut")
                writer.append(writer.join([writer.encode(part) for part in (band[:cut], band[cut:]) if len(part)]))
    file.seek(0)
    with tifffile.TiffFile(file) as found:
        assert len(found.pages) == n_pages
        for page, wanted in zip(found.pages, pages, strict=True):
            assert_tiled(page, side)
            np.testing.assert_array_equal(page.asarray().reshape(wanted.shape), wanted)
    white = {"1": 255, "8": 1, "16": 1, "float": 1}[depth]
    for frame, wanted in enumerate(pages):
        np.testing.assert_array_equal(read(file.getvalue(), frame=frame).samples, wanted * white)
        if depth in ("1", "8") or n_planes == 1:
            picture = Image.open(file)
            picture.seek(frame)
            np.testing.assert_array_equal(np.asarray(picture).reshape(wanted.shape), wanted)


@settings(max_examples=60)
@given(
    n_maps=st.integers(1, 3), height=st.integers(1, 70), width=st.integers(1, 70), side=st.sampled_from([16, 48]),
    step=st.integers(1, 40), dtype=st.sampled_from(["float32", "float64"]),
)  # fmt: skip
def test_raw_maps_are_put_into_their_tiles(n_maps, height, width, side, step, dtype):
    maps = RNG.standard_normal((n_maps, height, width)).astype(dtype)
    names, file = tuple(f"map {index}" for index in range(n_maps)), io.BytesIO()
    options = {"raw_format": "tiff", "names": names, "height_px": height, "width_px": width, "dtype": dtype}
    with open_raw(file, tile=side, **options) as writer:
        for top in range(0, height, step):
            writer.write(maps[:, top : top + step])
    file.seek(0)
    with tifffile.TiffFile(file) as found:
        for page, wanted, name in zip(found.pages, maps, names, strict=True):
            assert_tiled(page, side)
            assert page.tags[285].value == name
            np.testing.assert_array_equal(page.asarray(), wanted)


def test_any_number_of_planes():
    picture, file = samples_of("16", 20, 33, 7), io.BytesIO()
    writer = TiffWriter(file, Picture(33, 20, 7, "16", "tiff", tile=16))
    writer.append(writer.join([writer.encode(picture[:5]), writer.encode(picture[5:])]))
    writer.finish()
    file.seek(0)
    np.testing.assert_array_equal(tifffile.imread(file), picture)
    np.testing.assert_array_equal(read(file.getvalue()).samples, picture)


def test_bands_that_are_no_rows_of_tiles_are_refused():
    writer = TiffWriter(io.BytesIO(), Picture(8, 40, 1, "8", "tiff", tile=16))
    band = samples_of("8", 20, 8)
    writer.append(writer.join([writer.encode(band)]))
    with pytest.raises(ValueError, match="multiple of 16 rows"):
        writer.append(writer.join([writer.encode(band)]))


def test_edge_tiles_repeat_the_last_row_and_column():
    """TIFF 6.0 §15, "Padding"."""
    file, picture = io.BytesIO(), samples_of("8", 20, 18, 1)
    options = {"picture_format": "tiff", "width_px": 18, "height_px": 20, "n_planes": 1}
    with open_animation(file, n_frames=1, tile=16, **options) as writer:
        writer.write(picture)
    file.seek(0)
    with tifffile.TiffFile(file) as found:
        page = found.pages[0]
        tiles = [np.frombuffer(file.getvalue()[at : at + 256], np.uint8).reshape(16, 16) for at in page.dataoffsets]
        assert list(page.databytecounts) == [256] * 4
    whole = np.block([tiles[:2], tiles[2:]])
    np.testing.assert_array_equal(whole, np.pad(picture[..., 0], ((0, 12), (0, 14)), mode="edge"))


@pytest.mark.parametrize("pages", [1, 3])
def test_large_files_are_bigtiff(monkeypatch, pages):
    monkeypatch.setattr(tiff, "_BIG", 1000)
    picture, file = samples_of("8", 20, 33, 3), io.BytesIO()
    options = {"picture_format": "tiff", "width_px": 33, "height_px": 20, "n_planes": 3}
    with open_animation(file, n_frames=pages, tile=16, **options) as writer:
        for _ in range(pages):
            writer.write(picture)
    file.seek(0)
    with tifffile.TiffFile(file) as found:
        assert found.is_bigtiff
        np.testing.assert_array_equal(found.asarray().reshape(pages, 20, 33, 3)[-1], picture)


def test_padding_and_places_count_towards_four_gigabytes():
    assert not TiffWriter(io.BytesIO(), Picture(60_000, 60_000, 1, "8", "tiff")).is_big
    # 3.6 GB of samples in tiles of 256 bytes: places and lengths take another GB at most.
    assert TiffWriter(io.BytesIO(), Picture(60_000, 60_000, 1, "8", "tiff", tile=16)).is_big
    assert not TiffWriter(io.BytesIO(), Picture(100, 1_100_000, 1, "8", "tiff")).is_big
    assert TiffWriter(io.BytesIO(), Picture(100, 1_100_000, 1, "8", "tiff", tile=4096)).is_big


@pytest.fixture
def picture(tmp_path):
    samples = samples_of("8", 83, 75, 3)
    Image.fromarray(samples).save(tmp_path / "in.png")
    return samples


OUTPUTS = {
    "picture": ("-k", "sharpen", "--depth", "8"),
    "deep": ("-k", "gaussian:sigma=2", "--depth", "16"),
    "bits": ("-k", "identity", "--depth", "1", "--channels", "luma"),
    "floats": ("-k", "sobel", "--layout", "picture", "--depth", "float"),
    "raw": ("-k", "sobel"),
    "raw doubles": ("-k", "sobel", "--dtype", "float64"),
    "region": ("-k", "sharpen", "--depth", "8", "--region", "3,5,50,40"),
    "fft": ("-k", "gaussian:sigma=2", "--depth", "8", "--engine", "fft"),
    "layers": ("--layers", "conv:sharpen maxpool:2", "--depth", "8"),
    "transposed": ("-k", "sharpen", "--transposed", "--stride", "2", "--padding", "1"),
    "sheet": ("-k", "sobel", "--layout", "sheet"),
    "colours": ("-k", "laplacian4", "--channels", "luma", "--layout", "picture", "--colormap", "viridis"),
}


@pytest.mark.parametrize("flags", OUTPUTS.values(), ids=OUTPUTS)
def test_every_output_has_the_values_of_strips(tmp_path, picture, flags):
    for name, more in {"strips": (), "tiles": ("--tile", "16"), "threads": ("--tile", 16, "--threads", 3)}.items():
        more = ("--threads", 1, *more) if name != "threads" else more
        run_cli("apply", "in.png", *flags, "-o", f"{name}.tif", "-q", *more, cwd=tmp_path).ok()
    strips, tiles = (tifffile.imread(tmp_path / f"{name}.tif") for name in ("strips", "tiles"))
    assert strips.dtype == tiles.dtype
    if flags[-1] == "fft":  # sums of another transform
        assert np.abs(strips.astype(int) - tiles).max() <= 1
    else:
        np.testing.assert_array_equal(tiles, strips)
    with tifffile.TiffFile(tmp_path / "tiles.tif") as found:
        for page in found.pages:
            assert_tiled(page, 16)
    if flags[-1] != "fft":  # its tiles depend on the number of threads
        assert (tmp_path / "tiles.tif").read_bytes() == (tmp_path / "threads.tif").read_bytes()


def test_maps_are_a_tiled_file_each(tmp_path, picture):
    words = ("apply", "in.png", "-k", "sobel", "--format", "tiff", "-q")
    run_cli(*words, "--tile", 32, "--compress", "small", "--name", "{kernel}-{channel}.{ext}", cwd=tmp_path).ok()
    files = sorted(tmp_path.glob("*.tif"))
    assert len(files) == 6
    run_cli(*words, "--out-dir", "plain", "--name", "{kernel}-{channel}.{ext}", cwd=tmp_path).ok()
    for file in files:
        with tifffile.TiffFile(file) as found:
            assert_tiled(found.pages[0], 32)
            np.testing.assert_array_equal(found.asarray(), tifffile.imread(tmp_path / "plain" / file.name))


def test_pages_stay_pages(tmp_path):
    frames = samples_of("8", 3, 40, 21, 3)
    tifffile.imwrite(tmp_path / "in.tif", frames, photometric="rgb")
    words = ("apply", "in.tif", "-k", "identity", "--frames", "all", "--depth", 8, "--tile", 16)
    run_cli(*words, "-o", "out.tif", cwd=tmp_path).ok()
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out.tif"), frames)
    with tifffile.TiffFile(tmp_path / "out.tif") as found:
        assert len(found.pages) == 3
        assert_tiled(found.pages[2], 16)


def test_standard_output_too(tmp_path, picture):
    words = ("apply", "in.png", "-k", "identity", "-o", "-", "--format", "tiff", "--tile", 16)
    samples = tifffile.imread(io.BytesIO(run_cli(*words, "--depth", 8, cwd=tmp_path).ok().stdout_bytes))
    np.testing.assert_array_equal(samples, picture)
    maps = tifffile.imread(io.BytesIO(run_cli(*words, cwd=tmp_path).ok().stdout_bytes))
    np.testing.assert_array_equal(maps.transpose(1, 2, 0), picture)


def test_a_zarr_becomes_tiles(tmp_path):
    zarr = pytest.importorskip("zarr")
    samples = samples_of("8", 3, 70, 50)
    zarr.create_array(tmp_path / "in.zarr", shape=samples.shape, dtype="u1", chunks=(3, 16, 16))[:] = samples
    words = ("apply", "in.zarr", "-k", "identity", "--tile", 16)
    run_cli(*words, "-o", "out.tif", cwd=tmp_path).ok()
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out.tif"), samples)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("-o", "x.png"), "--tile does nothing to png"),
        (("-o", "x.npy"), "--tile does nothing to raw maps"),
        (("--format", "jpeg"), "--tile does nothing to jpeg"),
        (("-o", "x.tif", "--compress", "small"), "--compress does nothing to raw maps"),
    ],
)
def test_other_formats_are_refused_before_an_input_is_opened(tmp_path, words, message):
    result = run_cli("apply", "absent.png", "-k", "sobel", "--tile", 256, *words, cwd=tmp_path)
    assert result.exit_code == 2
    assert message in result.stderr
    if "--tile" in message:
        assert "--format tiff, or no --tile" in result.stderr


def test_a_picture_that_keeps_another_format_is_refused(tmp_path, picture):
    result = run_cli("apply", "in.png", "-k", "sobel", "--layout", "picture", "--tile", 256, cwd=tmp_path)
    assert (result.exit_code, "--tile does nothing to png" in result.stderr) == (2, True)
    assert [file.name for file in tmp_path.iterdir()] == ["in.png"]


@pytest.mark.parametrize("side", ["0", "8", "250", "8192", "x", "256x256"])
def test_a_side_is_a_multiple_of_16(tmp_path, picture, side):
    result = run_cli("apply", "in.png", "-k", "sobel", "-o", "x.tif", "--tile", side, cwd=tmp_path)
    assert result.exit_code == 2
    assert "--tile" in result.stderr


def test_in_place_tiles_the_tiffs_of_a_batch(tmp_path, picture):
    Image.fromarray(picture).save(tmp_path / "a.jpg")
    tifffile.imwrite(tmp_path / "b.tif", picture, photometric="rgb")
    result = run_cli("apply", "a.jpg", "b.tif", "-k", "identity", "--in-place", "--tile", 16, cwd=tmp_path).ok()
    assert "--tile does nothing to jpeg, but to tiff" in result.stdout + result.stderr
    with tifffile.TiffFile(tmp_path / "b.tif") as found:
        assert_tiled(found.pages[0], 16)
        np.testing.assert_array_equal(found.asarray(), picture)


def test_names_that_follow_their_input(tmp_path, picture):
    tifffile.imwrite(tmp_path / "b.tif", picture, photometric="rgb")
    words = ("--name", "{stem}-out.{suffix}", "--layout", "picture", "--tile", 32)
    run_cli("apply", "b.tif", "in.png", "-k", "identity", *words, cwd=tmp_path).ok()
    with tifffile.TiffFile(tmp_path / "b-out.tif") as found:
        assert_tiled(found.pages[0], 32)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "in-out.png")), picture)


def test_another_tile_is_another_file(tmp_path, picture):
    words = ("apply", "in.png", "-k", "sharpen", "--layout", "picture", "--format", "tiff", "--resume", "-q")
    for side in (16, 32):
        run_cli(*words, "--tile", side, cwd=tmp_path).ok()
        with tifffile.TiffFile(next(tmp_path.glob("*.tif"))) as found:
            assert_tiled(found.pages[0], side)


def test_memory_is_a_row_of_tiles(tmp_path):
    """One thread holds one row of tiles and a strip, whatever the height; threads have what the memory leaves them."""
    height, width, side = 4096, 2048, 256
    Image.fromarray(np.zeros((height, width), np.uint8)).save(tmp_path / "in.png")
    peaks = []
    for words in (("--threads", 1), ("--threads", 1, "--tile", side), ("--threads", 6, "--tile", side)):
        tracemalloc.start()
        words = ("-k", "gaussian:sigma=1", "--depth", 8, "-o", "x.tif", "--overwrite", "--memory", "1M", *words)
        run_cli("apply", "in.png", *words, cwd=tmp_path).ok()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    strips, tiles, threads = peaks
    assert tiles - strips < 3.5 * side * width
    assert threads - tiles < 12 * side * width  # the plan for six threads differs; without a bound it is 46


@needs_vips
@pytest.mark.parametrize("depth", ["8", "16", "float"])
def test_libvips_reads_tiles(tmp_path: Path, depth: str) -> None:
    samples = samples_of("16" if depth == "float" else depth, 83, 75, 3)
    tifffile.imwrite(tmp_path / "in.tif", samples, photometric="rgb")
    words = ("-k", "identity", "--layout", "picture", "--depth", depth, "--tile", 32, "--compress", "default")
    run_cli("apply", "in.tif", *words, "-o", "tiles.tif", cwd=tmp_path).ok()
    subprocess.run(["vips", "copy", "tiles.tif", "out.v"], cwd=tmp_path, check=True)
    subprocess.run(["vips", "rawsave", "out.v", "out.raw"], cwd=tmp_path, check=True)
    found = np.fromfile(tmp_path / "out.raw", DTYPES[depth]).reshape(samples.shape)
    np.testing.assert_array_equal(found, samples)


def test_windows_of_tiles(tmp_path, picture):
    run_cli("apply", "in.png", "-k", "identity", "--depth", 8, "--tile", 16, "-o", "t.tif", cwd=tmp_path).ok()
    with open_planes(tmp_path / "t.tif", window_bytes=10) as opened:
        np.testing.assert_array_equal(opened.planes.rows(9, 41), picture.transpose(2, 0, 1)[:, 9:41])
