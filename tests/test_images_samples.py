"""Samples that were once read wrongly in silence: each right value comes from another program or from bytes by hand."""

from __future__ import annotations

import io
import shutil
import struct
import subprocess
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from conftest import load_image, run_cli
from PIL import Image as Pillow

from convcli.errors import ImageError
from convcli.images.animation import open_animation
from convcli.images.formats import FORMATS
from convcli.images.frames import probe_frames, read_frames
from convcli.images.reading import open_planes, probe, read
from convcli.images.write import write_picture

RNG = np.random.default_rng(3)
needs_magick = pytest.mark.skipif(shutil.which("convert") is None, reason="ImageMagick writes what Pillow cannot")
needs_vips = pytest.mark.skipif(shutil.which("vips") is None, reason="libvips is an independent reader")


def tiff(samples: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, samples, **options)
    return file.getvalue()


def as_stored(samples: np.ndarray, planar: bool) -> np.ndarray:
    return np.ascontiguousarray(samples.transpose(2, 0, 1)) if planar else samples


def integers(dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    if np.dtype(dtype).kind == "f":
        return RNG.normal(size=shape).astype(dtype)
    info = np.iinfo(dtype)
    return RNG.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64"])
@pytest.mark.parametrize("n_planes", [1, 2, 3, 4])
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("layout", [{}, {"compression": "zlib"}, {"tile": (16, 16)}, {"byteorder": ">"}], ids=str)
def test_every_kind_of_tiff_is_what_tifffile_wrote(dtype: str, n_planes: int, planar: bool, layout: dict) -> None:
    samples = integers(dtype, (21, 18, n_planes))
    colour = n_planes >= 3
    extra = {"extrasamples": ["unassalpha"]} if n_planes in (2, 4) else {}
    if n_planes > 1:
        extra["planarconfig"] = "separate" if planar else "contig"
    stored = as_stored(samples, planar) if n_planes > 1 else samples[..., 0]
    data = tiff(stored, photometric="rgb" if colour else "minisblack", **extra, **layout)
    image = read(data)
    np.testing.assert_array_equal(image.samples, samples)
    assert image.info.plane_names == (*(("r", "g", "b") if colour else ("l",)), *(("a",) if n_planes in (2, 4) else ()))
    bits, kind = np.dtype(dtype).itemsize * 8, np.dtype(dtype).kind
    assert image.info.white == (1.0 if kind == "f" else 2 ** (bits - (kind == "i")) - 1)
    assert any("24 bits" in note for note in image.info.notes) == (dtype in ("uint32", "int32", "float64"))
    with open_planes(data, window_bytes=10) as opened:
        band = opened.planes[:, 5:20] if isinstance(opened.planes, np.ndarray) else opened.planes.rows(5, 20)
        np.testing.assert_array_equal(band, samples.transpose(2, 0, 1)[:, 5:20])


@needs_magick
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("mode", ["gray", "rgb"])
def test_lzw_is_what_tifffile_reads_uncompressed(bits: int, mode: str, tmp_path: Path) -> None:
    """ImageMagick writes LZW with a predictor, which neither tifffile nor Pillow alone reads with 16 bits."""
    samples = integers(f"uint{bits}", (40, 33, 3) if mode == "rgb" else (40, 33))
    tifffile.imwrite(tmp_path / "in.tif", samples, photometric="rgb" if mode == "rgb" else "minisblack")
    subprocess.run(["convert", tmp_path / "in.tif", "-compress", "LZW", tmp_path / "out.tif"], check=True)
    with tifffile.TiffFile(tmp_path / "out.tif") as file:
        assert int(file.pages[0].compression) == 5
    np.testing.assert_array_equal(read(tmp_path / "out.tif").samples, samples.reshape(40, 33, -1))


@needs_vips
@pytest.mark.parametrize("options", ["compression=lzw", "compression=lzw,predictor=horizontal", "compression=deflate"])
@pytest.mark.parametrize("tiles", ["", ",tile=true,tile-width=16,tile-height=16"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_tiff_of_libvips(options: str, tiles: str, dtype: str, tmp_path: Path) -> None:
    samples = integers(dtype, (50, 37, 3))
    tifffile.imwrite(tmp_path / "in.tif", samples, photometric="rgb")
    subprocess.run(["vips", "copy", tmp_path / "in.tif", f"{tmp_path / 'out.tif'}[{options}{tiles}]"], check=True)
    np.testing.assert_array_equal(read(tmp_path / "out.tif").samples, samples)
    with open_planes(tmp_path / "out.tif", window_bytes=10) as opened:
        np.testing.assert_array_equal(opened.planes.rows(9, 41), samples.transpose(2, 0, 1)[:, 9:41])


def by_hand(bits: int, rows: list[list[int]], photometric: int = 1, compress: bool = False) -> bytes:
    """A grey TIFF of any depth, written byte by byte."""
    data = b""
    for row in rows:
        text = "".join(f"{value:0{bits}b}" for value in row)
        data += int(text.ljust(-(-len(text) // 8) * 8, "0"), 2).to_bytes(-(-len(text) // 8), "big")
    data = zlib.compress(data) if compress else data
    height, width = len(rows), len(rows[0])
    tags = [(256, width), (257, height), (258, bits), (259, 8 if compress else 1), (262, photometric), (273, 8)]
    tags += [(277, 1), (278, height), (279, len(data))]
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory + bytes(4)


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("bits", [6, 10, 12, 14])
def test_white_of_odd_depths_is_their_largest_value(bits: int, compress: bool) -> None:
    rows = RNG.integers(0, 2**bits, (5, 7)).tolist()
    image = read(by_hand(bits, rows, compress=compress))
    assert image.samples[..., 0].tolist() == rows
    assert image.info.white == 2**bits - 1
    inverted = read(by_hand(bits, rows, photometric=0, compress=compress))
    np.testing.assert_array_equal(inverted.samples[..., 0], 2**bits - 1 - np.array(rows))


@pytest.mark.parametrize("bits", [2, 4])
def test_shallow_grey_is_spread_as_in_a_png(bits: int) -> None:
    rows = RNG.integers(0, 2**bits, (5, 7)).tolist()
    assert (read(by_hand(bits, rows)).samples[..., 0] == np.array(rows) * 255 // (2**bits - 1)).all()


@pytest.mark.parametrize(("bits", "value", "reverse"), [(8, -6, 5), (16, 100, -101), (32, -(2**31), 2**31 - 1)])
def test_white_is_zero_of_signed_integers(bits: int, value: int, reverse: int) -> None:
    assert read(tiff(np.full((1, 1), value, f"int{bits}"), photometric="miniswhite")).samples.item() == reverse


def test_int16_reaches_white_at_its_own_maximum(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.array([[-5, 0, 3000, 32767]], np.int16))
    run_cli("apply", tmp_path / "a.tif", "-k", "[[1]]", "-o", tmp_path / "a.png", "-q").ok()
    assert load_image(tmp_path / "a.png").ravel().tolist() == [0, 0, round(3000 * 65535 / 32767), 65535]


def test_an_unnamed_band_is_a_plane_and_said() -> None:
    samples = integers("uint8", (4, 5, 4))
    image = read(tiff(samples, photometric="rgb", extrasamples=["unspecified"]))
    np.testing.assert_array_equal(image.samples, samples)
    assert image.info.plane_names == ("r", "g", "b", "c0")
    assert "planes that the file does not name: c0" in image.info.notes


@pytest.mark.parametrize("bits", [2, 4, 12])
def test_windows_of_shallow_and_odd_depths(bits: int) -> None:
    data = by_hand(bits, RNG.integers(0, 2**bits, (9, 7)).tolist())
    with open_planes(data, window_bytes=1) as opened:
        found = opened.planes if isinstance(opened.planes, np.ndarray) else opened.planes.rows(0, 9)
        np.testing.assert_array_equal(found, read(data).planes)


def test_float_colours_are_divided_by_their_alpha() -> None:
    samples = np.array([[[0.25, 0, 0.5, 0.5], [0.3, 0.2, 0.1, 0]]], np.float32)
    found = read(tiff(samples, photometric="rgb", extrasamples=["assocalpha"])).samples
    assert found.tolist() == [[[0.5, 0, 1, 0.5], [0, 0, 0, 0]]]


def test_a_window_checks_its_white() -> None:
    data = b"P5\n3 2\n100\n" + bytes([1, 2, 3, 4, 5, 255])
    with open_planes(data, window_bytes=1) as opened:
        assert opened.planes.rows(0, 1).max() == 3
        with pytest.raises(ImageError, match="has sample 255, above its white 100"):
            opened.planes.rows(1, 2)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_premultiplied_alpha_is_divided_out(dtype: str) -> None:
    white = np.iinfo(dtype).max
    samples = np.array([[[white // 4, 0, white // 2, white // 2], [9, 9, 9, 0]]], dtype)
    image = read(tiff(samples, photometric="rgb", extrasamples=["assocalpha"]))
    assert image.samples[0, 0, 2] == white
    assert abs(int(image.samples[0, 0, 0]) - white // 2) <= 2
    assert "premultiplied alpha is divided out" in image.info.notes


def test_inks_of_16_bits() -> None:
    samples = integers("uint16", (4, 5, 4))
    image = read(tiff(samples, photometric="separated"))
    exact = (1 - samples[..., :3] / 65535) * (1 - samples[..., 3:] / 65535) * 65535
    assert np.abs(image.samples - exact).max() <= 1


@pytest.mark.parametrize("compression", ["jpeg", "tiff_lzw", "raw"])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK", "YCbCr"])
def test_tiff_through_pillow(compression: str, mode: str) -> None:
    picture = Pillow.fromarray(integers("uint8", (16, 24, 3))).convert(mode)
    file = io.BytesIO()
    picture.save(file, "TIFF", compression=compression)
    expected = Pillow.open(io.BytesIO(file.getvalue()))
    expected = expected if mode == "L" else expected.convert("RGB")
    image = read(file.getvalue())
    np.testing.assert_array_equal(image.samples, np.asarray(expected).reshape(16, 24, -1))
    is_said = any("is converted to RGB" in note for note in image.info.notes)
    assert is_said == (mode == "CMYK" or (mode == "YCbCr" and compression != "jpeg"))


def test_a_tiff_that_does_not_say_what_is_white() -> None:
    data = by_hand(8, [[0, 1, 255]])
    silent = data.replace(struct.pack("<HHII", 262, 4, 1, 1), struct.pack("<HHII", 32768, 4, 1, 1))
    image = read(silent)
    assert image.samples.ravel().tolist() == [0, 1, 255]
    assert "the file does not say which value is white: 0 is taken for black" in image.info.notes


def test_an_imagej_stack_with_one_page_is_said() -> None:
    data = tiff(np.zeros((5, 8, 8), np.uint16), imagej=True)
    assert probe(data).n_frames in (1, 5)
    said = [note for note in probe(data).notes if "ImageJ" in note]
    assert said == ([] if probe(data).n_frames == 5 else ["4 images of an ImageJ stack without pages are not read"])


def test_palette_tiff() -> None:
    indexes, table = integers("uint8", (6, 7)), RNG.integers(0, 65536, (3, 256)).astype(np.uint16)
    image = read(tiff(indexes, photometric="palette", colormap=table))
    np.testing.assert_array_equal(image.samples, (table >> 8).astype(np.uint8).T[indexes])


@pytest.mark.parametrize(
    ("text", "expected", "white"),
    [
        (b"P2\n4 1\n1023\n0 1 512 1023\n", [0, 1, 512, 1023], 1023),
        (b"P2\n2 2 # four\n65535\n0 1\n# and\n512 65535", [0, 1, 512, 65535], 65535),
        (b"P2\n2 1\n15\n7 15\n", [7, 15], 15),
        (b"P3\n1 1\n300\n1 2 300\n", [1, 2, 300], 300),
        (b"P1\n4 2\n0110\n1 0 0 1\n", [255, 0, 0, 255, 0, 255, 255, 0], 255),
        (b"P4\n4 2\n\x60\x90", [255, 0, 0, 255, 0, 255, 255, 0], 255),
    ],
)
def test_netpbm_in_words_and_bits(text: bytes, expected: list[int], white: int) -> None:
    image = read(text)
    assert image.samples.ravel().tolist() == expected
    assert image.info.white == white


@pytest.mark.parametrize(
    "text",
    [b"P2\n2 1\n255\n7\n", b"P2\n2 1\n15\n7 16\n", b"P2\n2 1\n255\n7 -1\n", b"P1\n2 1\n1 2\n", b"P5\n2 1\n100\n\1\xff"],
)
def test_netpbm_that_breaks_its_header(text: bytes) -> None:
    with pytest.raises(ImageError):
        read(text)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(rows: list[bytes], width: int, bits: int, colour: int, *extra: tuple[bytes, bytes]) -> bytes:
    header = struct.pack(">IIBBBBB", width, len(rows), bits, colour, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = [(b"IHDR", header), *extra, (b"IDAT", body), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*one) for one in chunks)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_transparent_grey_at_every_depth(bits: int) -> None:
    values = list(range(2**bits)) if bits < 8 else [0, 3, 2**bits - 1, 3]
    key = values[1]
    text = "".join(f"{value:0{bits}b}" for value in values)
    row = int(text.ljust(-(-len(text) // 8) * 8, "0"), 2).to_bytes(-(-len(text) // 8), "big")
    image = read(png([row], len(values), bits, 0, (b"tRNS", struct.pack(">H", key))))
    white = 65535 if bits == 16 else 255
    assert image.info.plane_names == ("l", "a")
    assert image.samples[0, :, 0].tolist() == [value * white // (2**bits - 1) for value in values]
    assert image.samples[0, :, 1].tolist() == [0 if value == key else white for value in values]


@pytest.mark.parametrize("bits", [8, 16])
def test_transparent_colour_at_every_depth(bits: int) -> None:
    pixels = np.array([[[10, 20, 30], [10, 20, 31], [10, 20, 30]]], ">u2" if bits == 16 else "u1")
    image = read(png([pixels.tobytes()], 3, bits, 2, (b"tRNS", struct.pack(">3H", 10, 20, 30))))
    white = 65535 if bits == 16 else 255
    assert image.samples[0, :, 3].tolist() == [0, white, 0]
    np.testing.assert_array_equal(image.samples[..., :3], pixels)


def test_a_picture_with_a_one_bit_key_is_written(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png([bytes([0b10100000])], 4, 1, 0, (b"tRNS", b"\0\1")))
    run_cli("apply", tmp_path / "a.png", "-k", "[[1]]", "-o", tmp_path / "out.png", "-q").ok()
    assert load_image(tmp_path / "out.png")[0, :, 1].tolist() == [0, 255, 0, 255]


def test_a_gamma_that_is_lost_is_said() -> None:
    row = [bytes([0, 64, 128])]
    assert probe(png(row, 3, 8, 0, (b"gAMA", struct.pack(">I", 100000)))).metadata.left_out == ("gAMA",)
    assert probe(png(row, 3, 8, 0, (b"gAMA", struct.pack(">I", 45455)))).metadata.left_out == ()


@pytest.mark.parametrize("bits", [10, 12])
def test_deep_avif_says_that_it_is_read_with_8(bits: int) -> None:
    cv2 = pytest.importorskip("cv2", reason="writes deep AVIF")
    ramp = np.tile(np.linspace(0, 2**bits - 1, 64).astype(np.uint16), (64, 1))
    _, data = cv2.imencode(".avif", np.stack([ramp] * 3, -1), [cv2.IMWRITE_AVIF_DEPTH, bits])
    assert f"{bits}-bit samples are read with 8 bits" in probe(data.tobytes()).notes
    _, data = cv2.imencode(".avif", np.stack([ramp >> bits - 8] * 3, -1).astype(np.uint8))
    assert not probe(data.tobytes()).notes


def test_deep_sgi_says_that_it_is_read_with_8() -> None:
    for bytes_a_sample, said in ((1, ()), (2, ("16-bit samples are read with 8 bits",))):
        file = io.BytesIO()
        Pillow.new("RGB", (5, 4)).save(file, "SGI", bpc=bytes_a_sample)
        assert probe(file.getvalue()).notes == said


@needs_magick
@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_jpeg_2000_keeps_its_units(bits: int, tmp_path: Path) -> None:
    samples = RNG.integers(0, 2**bits, (30, 40)).astype(np.uint16)
    samples[0, :2] = 0, 2**bits - 1
    spread = np.rint(samples * (65535 / (2**bits - 1))).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", spread)
    command = ["convert", tmp_path / "a.tif", "-depth", str(bits), "-define", "jp2:rate=1", tmp_path / "a.jp2"]
    subprocess.run(command, check=True)
    image = read(tmp_path / "a.jp2")
    assert image.info.white == 2**bits - 1
    assert np.abs(image.samples[..., 0].astype(int) - samples).max() <= 3  # ImageMagick's is lossy


@needs_magick
def test_jpeg_2000_of_deep_colour_says_that_it_is_read_with_8(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", integers("uint16", (20, 20, 3)), photometric="rgb")
    subprocess.run(["convert", tmp_path / "a.tif", "-depth", "16", tmp_path / "a.jp2"], check=True)
    assert "16-bit samples are read with 8 bits" in probe(tmp_path / "a.jp2").notes


def control(
    number: int, size: tuple[int, int], at: tuple[int, int], dispose: int = 0, blend: int = 0
) -> tuple[bytes, bytes]:
    return b"fcTL", struct.pack(">IIIIIHHBB", number, *size, *at, 70, 1000, dispose, blend)


def apng(*frames: tuple[tuple[bytes, bytes], np.ndarray], first_is_shown: bool = True, plays: int = 3) -> bytes:
    """An animation of 8-bit RGBA; with ``first_is_shown`` False its default image is no frame."""
    height, width = frames[0][1].shape[:2]
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)),
        (b"acTL", struct.pack(">II", len(frames), plays)),
    ]
    if not first_is_shown:
        parts.append((b"IDAT", zlib.compress(bytes((4 * width + 1) * height))))
    for index, (head, pixels) in enumerate(frames):
        body = zlib.compress(b"".join(b"\0" + row.tobytes() for row in pixels))
        is_default = index == 0 and first_is_shown
        parts += [head, (b"IDAT", body) if is_default else (b"fdAT", struct.pack(">I", index) + body)]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*one) for one in (*parts, (b"IEND", b"")))


RED, GREEN = (255, 0, 0, 255), (0, 255, 0, 128)


def block(colour: tuple[int, ...], height: int = 2, width: int = 2) -> np.ndarray:
    return np.full((height, width, 4), colour, np.uint8)


def test_apng_blends_half_clear_pixels_over() -> None:
    data = apng((control(0, (2, 2), (0, 0)), block(RED)), (control(1, (1, 1), (0, 0), blend=1), block(GREEN, 1, 1)))
    first, second = (image.samples.copy() for image in read_frames(data))
    np.testing.assert_array_equal(first, block(RED))
    assert second[0, 0].tolist() == [127, 128, 0, 255]  # 128/255 of green over opaque red
    np.testing.assert_array_equal(second[1], block(RED)[1])
    assert probe(data).duration_ms == 70
    assert probe(data).loop == 3


def test_apng_disposal() -> None:
    """After "previous" the earlier canvas is back, after "background" the place is clear."""
    small = block((0, 0, 255, 255), 1, 1)
    for dispose, left in ((0, small[0, 0]), (1, (0, 0, 0, 0)), (2, RED)):
        data = apng(
            (control(0, (2, 2), (0, 0)), block(RED)),
            (control(1, (1, 1), (1, 1), dispose), small),
            (control(2, (1, 1), (0, 0)), small),
        )
        shown = read(data, frame=2).samples
        assert shown[1, 1].tolist() == list(left)
        assert shown[0, 0].tolist() == [0, 0, 255, 255]


def test_the_colour_key_of_an_animated_png_is_clear() -> None:
    """Green counts as transparent: nothing of the second frame covers the first."""
    rows = [zlib.compress(b"\0" + bytes(colour)) for colour in ((255, 0, 0), (0, 255, 0))]
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)),
        (b"tRNS", bytes((0, 0, 0, 255, 0, 0))),
        (b"acTL", struct.pack(">II", 2, 0)),
        control(0, (1, 1), (0, 0), blend=1),
        (b"IDAT", rows[0]),
        control(1, (1, 1), (0, 0), blend=1),
        (b"fdAT", struct.pack(">I", 2) + rows[1]),
        (b"IEND", b""),
    ]
    data = b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*one) for one in parts)
    assert probe(data).plane_names == ("r", "g", "b", "a")
    assert [image.samples.ravel().tolist() for image in read_frames(data)] == [[255, 0, 0, 255]] * 2


def test_small_files_of_many_huge_frames_are_refused_when_planned() -> None:
    file = io.BytesIO()
    frames = [Pillow.new("P", (1000, 1000), index % 2) for index in range(3)]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    numbers = range(3)
    assert len(probe_frames(file.getvalue(), numbers)) == 3
    with pytest.raises(ImageError, match="3 frames of 1000 x 1000 is 3,000,000 pixels; the limit is 2,560,000"):
        probe_frames(file.getvalue(), numbers, max_pixels=20_000)


def test_a_default_image_is_no_frame() -> None:
    data = apng((control(0, (2, 2), (0, 0)), block(RED)), first_is_shown=False)
    assert probe(data).n_frames == 1
    np.testing.assert_array_equal(read(data).samples, block(RED))


def test_frames_are_counted_not_believed() -> None:
    data = apng((control(0, (2, 2), (0, 0)), block(RED)))
    claim = chunk(b"acTL", struct.pack(">II", 30_000_000, 0))
    assert probe(data.replace(chunk(b"acTL", struct.pack(">II", 1, 3)), claim)).n_frames == 1
    three = apng(*[(control(index, (2, 2), (0, 0)), block(RED)) for index in range(3)])
    with pytest.raises(ImageError, match="has 3 frames; the limit is 2") as caught:
        probe(three, max_frames=2)
    assert caught.value.facts == {"n_frames": 3, "max_frames": 2}


def test_planes_that_a_small_file_claims() -> None:
    lie = by_hand(8, [[0, 1, 255]]).replace(struct.pack("<HHII", 277, 4, 1, 1), struct.pack("<HHII", 277, 4, 1, 65535))
    with pytest.raises(ImageError, match="has 65,535 planes; the limit is 1,024"):
        read(lie)
    data = tiff(np.zeros((2, 2, 2000), np.uint8), photometric="minisblack", planarconfig="contig")
    with pytest.raises(ImageError, match="has 2,000 planes; the limit is 1,024") as caught:
        probe(data)
    assert caught.value.facts == {"n_planes": 2000, "max_planes": 1024}
    assert read(data, max_planes=2000).samples.shape == (2, 2, 2000)


@pytest.mark.parametrize("kind", ["WEBP", "AVIF", "GIF", "PNG"])
def test_times_of_frames(kind: str) -> None:
    frames = [Pillow.new("RGB", (16, 16), (i * 60, 9, 9)) for i in range(4)]
    times = [30, 70, 500, 20]
    file = io.BytesIO()
    frames[0].save(file, kind, save_all=True, append_images=frames[1:], duration=times, loop=2)
    assert [image.info.duration_ms for image in read_frames(file.getvalue())] == times
    assert probe(file.getvalue()).loop == {"AVIF": 0, "GIF": 3}.get(kind, 2)  # a GIF repeats after the first time


@pytest.mark.parametrize("kind", ["gif", "webp", "png", "avif"])
@pytest.mark.parametrize("loop", [0, 1, 2, 5])
def test_how_often_an_animation_is_played(kind: str, loop: int) -> None:
    frames = [np.full((6, 6, 3), value, np.uint8) for value in (0, 90, 250)]
    file = io.BytesIO()
    size = {"n_frames": 3, "width_px": 6, "height_px": 6, "n_planes": 3}
    with open_animation(file, picture_format=kind, loop=loop, durations_ms=[75, 4, 100], **size) as writer:
        for frame in frames:
            writer.write(frame)
    infos = [image.info for image in read_frames(file.getvalue())]
    assert infos[0].loop == loop
    assert [info.duration_ms for info in infos] == ([80, 10, 100] if kind == "gif" else [75, 4, 100])


def test_rounded_times_are_said(tmp_path: Path) -> None:
    frames = [Pillow.new("RGB", (16, 16), (i * 60, 9, 9)) for i in range(2)]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], duration=[75, 40], lossless=True)
    for suffix, said in (("gif", True), ("png", False)):
        result = run_cli("apply", tmp_path / "a.webp", "-k", "box", "-o", tmp_path / f"b.{suffix}").ok()
        assert ("1 of 2 frame times are rounded to 10 ms (75 to 80)" in result.stdout) == said


def test_pictures_left_unread_are_said() -> None:
    file = io.BytesIO()
    one = Pillow.new("RGB", (16, 16))
    one.save(file, "MPO", save_all=True, append_images=[one])
    assert "further pictures in the file (MPO) are not read" in probe(file.getvalue()).notes
    file = io.BytesIO()
    one.save(file, "JPEG")
    assert not probe(file.getvalue()).notes


def test_smaller_icons_left_unread_are_said() -> None:
    file = io.BytesIO()
    Pillow.new("RGB", (64, 64)).save(file, "ICO", sizes=[(16, 16), (32, 32), (64, 64)])
    info = probe(file.getvalue())
    assert (info.width_px, info.notes) == (64, ("2 smaller pictures in the file are not read",))


@needs_magick
def test_layers_left_unread_are_said(tmp_path: Path) -> None:
    subprocess.run(
        ["convert", "-size", "9x5", "xc:red", "xc:blue", "xc:lime", "-depth", "8", tmp_path / "a.psd"], check=True
    )
    info = probe(tmp_path / "a.psd")
    assert (info.width_px, info.height_px, info.n_frames) == (9, 5, 1)
    assert any("layers are not read" in note for note in info.notes)


def jpeg(size: tuple[int, int] = (64, 64), grey_from: int = 64, **options: Any) -> bytes:
    samples = RNG.integers(0, 256, (*size, 3), dtype=np.uint8)
    samples[grey_from:] = 128
    file = io.BytesIO()
    Pillow.fromarray(samples).save(file, "JPEG", **options)
    return file.getvalue()


@pytest.mark.parametrize(
    "options", [{}, {"restart_marker_rows": 1}, {"subsampling": 0}, {"progressive": True}], ids=str
)
@pytest.mark.parametrize("share", [0.1, 0.4, 0.6, 0.8])
def test_a_jpeg_scan_cut_short_is_refused(options: dict[str, Any], share: float) -> None:
    data = jpeg(**options)
    start = data.index(b"\xff\xda")
    cut = data[: start + int((len(data) - start) * share)].rstrip(b"\xff") + b"\xff\xd9"
    with pytest.raises(ImageError, match="damaged"):
        read(cut)
    if not options.get("progressive"):  # of these Pillow says nothing
        np.testing.assert_array_equal(read(cut, accept_damaged=True).samples, np.asarray(Pillow.open(io.BytesIO(cut))))


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"restart_marker_rows": 1}, {"restart_marker_blocks": 3}]
)
def test_a_jpeg_that_ends_in_grey_is_whole(options: dict[str, Any]) -> None:
    data = jpeg(grey_from=30, **options)
    np.testing.assert_array_equal(read(data).samples, np.asarray(Pillow.open(io.BytesIO(data))))


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_progressive_jpegs_are_whole_or_refused(mode: str, orientation: int) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    samples = RNG.integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Pillow.fromarray(samples).convert(mode).save(file, "JPEG", progressive=True, exif=exif)
    data = file.getvalue()
    assert read(data).info.orientation == orientation
    with pytest.raises(ImageError, match="damaged"):
        read(data[: len(data) * 9 // 10] + b"\xff\xd9")


def test_restart_markers_out_of_order() -> None:
    data = jpeg(restart_marker_rows=1)
    assert data.count(b"\xff\xd1") == 1
    with pytest.raises(ImageError, match="restart markers"):
        read(data.replace(b"\xff\xd1", b"\xff\xd5"))


@pytest.mark.parametrize("orientation", [2, 3, 6, 8])
@pytest.mark.parametrize("compression", [None, "tiff_lzw", "jpeg"])
def test_a_kept_orientation_of_a_tiff(orientation: int, compression: str | None, tmp_path: Path) -> None:
    samples = RNG.integers(0, 256, (4, 6, 3), dtype=np.uint8)
    Pillow.fromarray(samples).save(tmp_path / "a.tif", tiffinfo={274: orientation}, compression=compression)
    whole = read(tmp_path / "a.tif", orientation="keep").samples
    turned = read(tmp_path / "a.tif").samples
    assert whole.shape == (4, 6, 3)
    assert turned.shape == ((6, 4, 3) if orientation >= 5 else (4, 6, 3))
    with Pillow.open(tmp_path / "a.tif") as image:
        np.testing.assert_array_equal(turned, np.asarray(image))
    for suffix in ("tif", "jpg"):
        out = tmp_path / f"out.{suffix}"
        run_cli(
            "apply", tmp_path / "a.tif", "-k", "[[1]]", "-o", out, "--orientation", "keep", "--depth", "8", "-q"
        ).ok()
        assert probe(out).orientation == orientation
        assert read(out, orientation="keep").samples.shape == (4, 6, 3)


def test_formats_with_quality_say_that_they_are_lossy(tmp_path: Path) -> None:
    samples = np.add.outer(np.arange(64), np.arange(64))[:, :, None] * np.uint8([1, 2, 1])
    sizes = {}
    for row in FORMATS:
        if "quality" not in row.options:
            continue
        for quality in (None, 20, 95):
            file = io.BytesIO()
            write_picture(file, samples.astype(np.uint8), picture_format=row.name, quality=quality)
            sizes[row.name, quality] = len(file.getvalue())
            is_exact = np.array_equal(read(file.getvalue()).samples, samples.astype(np.uint8))
            assert is_exact == (quality is None and row.quality is None), (row.name, quality)
        assert sizes[row.name, 20] < sizes[row.name, 95], row.name


@pytest.mark.parametrize("kind", ["jpeg", "avif"])
def test_subsampling_blurs_colour_only(kind: str) -> None:
    samples = np.zeros((32, 32, 3), np.uint8)
    samples[:, ::2] = 255, 0, 0
    errors = []
    for subsampling in ("4:4:4", "4:2:0"):
        file = io.BytesIO()
        write_picture(file, samples, picture_format=kind, subsampling=subsampling, quality=95)
        errors.append(np.abs(read(file.getvalue()).samples.astype(int) - samples).mean())
    assert errors[0] < 10 < errors[1]


@pytest.mark.parametrize(("n_planes", "depth"), [(1, np.uint16), (3, np.uint8)])
def test_jpeg_2000_takes_the_depth_that_it_can(n_planes: int, depth: type, tmp_path: Path) -> None:
    samples = integers("uint16", (9, 12, n_planes))
    write_picture(tmp_path / "a.png", samples)
    result = run_cli("apply", tmp_path / "a.png", "-k", "[[1]]", "-o", tmp_path / "b.jp2").ok()
    found = read(tmp_path / "b.jp2").samples
    assert found.dtype == depth
    assert np.abs(found * (65535 / np.iinfo(depth).max) - samples).max() <= (0 if n_planes == 1 else 129)
    assert ("stored with 8 bits" in result.stdout) == (n_planes == 3)


@needs_vips
@pytest.mark.parametrize(("kind", "n_planes"), [("jp2", 1), ("jp2", 3), ("avif", 3)])
def test_libvips_reads_what_is_written(kind: str, n_planes: int, tmp_path: Path) -> None:
    samples = np.add.outer(np.arange(64), np.arange(64))[:, :, None] * np.ones(n_planes, int)
    write_picture(tmp_path / f"a.{kind}", samples.astype(np.uint8), picture_format=kind)
    run = subprocess.run(["vips", "copy", tmp_path / f"a.{kind}", tmp_path / "b.png"], capture_output=True)
    if run.returncode:
        pytest.skip("this libvips lacks the format")
    assert np.abs(load_image(tmp_path / "b.png").reshape(64, 64, -1)[..., :n_planes] - samples).max() <= (
        6 if kind == "avif" else 0
    )


@needs_magick
@pytest.mark.parametrize("n_planes", [1, 3, 4])
@pytest.mark.parametrize("compress", ["fast", "small"])
def test_imagemagick_reads_our_tga(n_planes: int, compress: str, tmp_path: Path) -> None:
    samples = integers("uint8", (9, 14, n_planes))
    write_picture(tmp_path / "a.tga", samples, picture_format="tga", compress=compress)
    out = f"png{'32' if n_planes == 4 else '24'}:{tmp_path / 'a.png'}"
    subprocess.run(["convert", tmp_path / "a.tga", "-auto-orient", out], check=True)
    expected = samples.repeat(3, axis=2) if n_planes == 1 else samples
    np.testing.assert_array_equal(load_image(tmp_path / "a.png"), expected)


def png_with(*extra: tuple[bytes, bytes], size: tuple[int, int] = (2, 1)) -> bytes:
    width, height = size
    rows = zlib.compress((b"\0" + bytes(3 * width)) * height)
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), *extra, (b"IDAT", rows), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*one) for one in parts)


BT2020 = struct.pack(">8I", 31270, 32900, 70800, 29200, 17000, 79700, 13100, 4600)
SRGB = struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)


@pytest.mark.parametrize(
    ("extra", "lost"),
    [
        ([(b"cHRM", BT2020)], ("cHRM",)),
        ([(b"cHRM", SRGB)], ()),
        ([(b"cICP", bytes([9, 16, 0, 1]))], ("cICP",)),
        ([(b"gAMA", struct.pack(">I", 100000)), (b"cHRM", BT2020)], ("gAMA", "cHRM")),
        ([(b"gAMA", struct.pack(">I", 45455))], ()),
    ],
)
def test_chunks_that_change_the_look_are_named(extra: list[tuple[bytes, bytes]], lost: tuple[str, ...]) -> None:
    assert probe(png_with(*extra)).metadata.left_out == lost


def test_orientation_in_xmp_alone_counts() -> None:
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    data = png_with((b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp))
    info = probe(data)
    assert (info.orientation, info.width_px, info.height_px) == (6, 1, 2)


def test_orientation_in_a_raw_profile_counts() -> None:
    """As ImageMagick writes EXIF into a PNG."""
    exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<HHHIII", 1, 274, 3, 1, 6, 0)
    text = b"\nexif\n%8d\n" % len(exif) + exif.hex().encode() + b"\n"
    info = probe(png_with((b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text))))
    assert (info.orientation, info.width_px, info.height_px) == (6, 1, 2)


@pytest.mark.parametrize("claim", [2, 30_000_000])
def test_a_claim_of_frames_that_are_not_there_is_said(claim: int) -> None:
    data = apng((control(0, (2, 2), (0, 0)), block(RED)))
    lie = data.replace(chunk(b"acTL", struct.pack(">II", 1, 3)), chunk(b"acTL", struct.pack(">II", claim, 3)))
    assert probe(data).notes == ()
    assert probe(lie).notes == (f"the file announces {claim:,} frames and has 1",)


def test_two_announcements_are_said() -> None:
    once = chunk(b"acTL", struct.pack(">II", 1, 3))
    data = apng((control(0, (2, 2), (0, 0)), block(RED))).replace(once, once + once)
    assert probe(data).notes == ("the file announces 1 and 1 frames and has 1",)


def test_accepted_damage_is_grey_and_said() -> None:
    file = io.BytesIO()
    Pillow.fromarray(RNG.integers(0, 256, (160, 160, 3), dtype=np.uint8)).save(file, "JPEG", quality=90)
    cut = file.getvalue()[: len(file.getvalue()) // 2]
    with pytest.raises(ImageError, match="truncated or damaged"):
        read(cut)
    image = read(cut, accept_damaged=True)
    assert image.info.notes == ("damaged data are accepted: what is missing is grey",)
    whole = read(file.getvalue()).samples
    np.testing.assert_array_equal(image.samples[:48], whole[:48])
    assert (image.samples[-8:] == 128).all()
