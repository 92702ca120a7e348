"""Fields of rare formats that Pillow passes over: each is heeded, said or refused.

Right values come from bytes by hand; ImageMagick and FFmpeg read the same of every file that is not refused.
"""

from __future__ import annotations

import io
import shutil
import struct
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from conftest import run_cli
from PIL import Image as Pillow

from convcli.errors import ImageError
from convcli.images.info import Image
from convcli.images.reading import open_planes, probe, read

RNG = np.random.default_rng(5)
H, W = 7, 12
BYTES = RNG.integers(0, 256, (H, W), dtype=np.uint8)
PIXELS = RNG.integers(0, 256, (H, W, 4), dtype=np.uint8)


def tiff(
    samples: np.ndarray, *, bits: int, photometric: int, n_planes: int = 1, **tags: tuple[int, list[int]]
) -> bytes:
    """Return a TIFF of one strip, little-endian; further tags as ``t320=(type, values)``."""
    data = samples.tobytes()
    fields = {256: (3, [W]), 257: (3, [H]), 258: (3, [bits] * n_planes), 259: (3, [1]), 262: (3, [photometric])}
    fields |= {273: (4, [8]), 277: (3, [n_planes]), 278: (3, [H]), 279: (4, [len(data)])}
    fields |= {int(name[1:]): value for name, value in tags.items()}
    data += bytes(len(data) % 2)
    start = 8 + len(data)
    rest, directory = b"", struct.pack("<H", len(fields))
    for tag, (kind, values) in sorted(fields.items()):
        packed = struct.pack(f"<{len(values)}{ {2: 'B', 3: 'H', 4: 'I'}[kind] }", *values)
        place = packed.ljust(4, b"\0")
        if len(packed) > 4:
            place = struct.pack("<I", start + 6 + 12 * len(fields) + len(rest))
            rest += packed + bytes(len(packed) % 2)
        directory += struct.pack("<HHI", tag, kind, len(values)) + place
    return b"II*\0" + struct.pack("<I", start) + data + directory + bytes(4) + rest


def said(data: bytes) -> str:
    return "; ".join(probe(data).notes)


def test_a_tiff_palette_of_8_bits_is_not_black() -> None:
    data = tiff(BYTES, bits=8, photometric=3, t320=(3, [*range(256)] * 3))
    np.testing.assert_array_equal(read(data).samples, np.repeat(BYTES[:, :, None], 3, axis=2))
    assert "16 bits" not in said(data)


@pytest.mark.parametrize(("colour", "n_said"), [(0x1234, 1), (0x1200, 0), (0x1212, 0)])
def test_a_tiff_palette_of_16_bits_says_what_is_cut(colour: int, n_said: int) -> None:
    data = tiff(BYTES, bits=8, photometric=3, t320=(3, [colour] + [0] * 767))
    assert said(data).count("1 colours of the palette have 16 bits and are read with 8") == n_said
    assert (read(data).samples[BYTES == 0] == [0x12, 0, 0]).all()


def test_white_is_zero_leaves_alpha() -> None:
    both = np.stack([BYTES, 255 - BYTES // 2], axis=-1)
    image = read(tiff(both, bits=8, photometric=0, n_planes=2, t338=(3, [2])))
    np.testing.assert_array_equal(image.samples, np.stack([255 - BYTES, 255 - BYTES // 2], axis=-1))


def test_white_is_zero_leaves_unnamed_planes() -> None:
    both = np.stack([BYTES, 255 - BYTES // 2], axis=-1)
    image = read(tiff(both, bits=8, photometric=0, n_planes=2, t338=(3, [0])))
    np.testing.assert_array_equal(image.samples[..., 1], both[..., 1])


def test_inks_of_floats_are_no_whole_numbers() -> None:
    inks = RNG.random((H, W, 4)).astype(np.float32)
    samples = read(tiff(inks, bits=32, photometric=5, n_planes=4, t339=(3, [3] * 4))).samples
    np.testing.assert_allclose(samples, (1 - inks[..., :3]) * (1 - inks[..., 3:]), atol=1e-6)


def test_a_predictor_of_packbits_is_ignored() -> None:
    rows = b"".join(bytes([W - 1]) + row.tobytes() for row in BYTES)
    data = tiff(np.frombuffer(rows, np.uint8), bits=8, photometric=1, t259=(3, [32773]), t317=(3, [2]))
    np.testing.assert_array_equal(read(data).samples[..., 0], BYTES)


@pytest.mark.parametrize(("n_planes", "tags", "names"), [
    (3, {}, ("c0", "c1", "c2")),
    (4, {"t332": (3, [2])}, ("c0", "c1", "c2", "c3")),
    (4, {"t338": (3, [2])}, ("c0", "c1", "c2", "a")),
    (5, {"t338": (3, [2])}, ("c0", "c1", "c2", "c3", "a")),
])  # fmt: skip
def test_inks_that_are_not_cmyk_stay(n_planes: int, tags: dict, names: tuple[str, ...]) -> None:
    stored = RNG.integers(0, 256, (H, W, n_planes), dtype=np.uint8)
    data = tiff(stored, bits=8, photometric=5, n_planes=n_planes, **tags)
    image = read(data)
    assert image.info.plane_names == names
    assert "inks stay as they are stored: c0, c1, c2" in said(data)
    np.testing.assert_array_equal(image.samples, stored)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_signed_planes_of_cielab_do_not_wrap(dtype: type) -> None:
    middle = (np.iinfo(dtype).max + 1) // 2
    stored = np.zeros((H, W, 3), dtype)
    stored[:, ::2, 1], stored[:, 1::2, 1] = 1, np.iinfo(dtype).max  # 1 and -1
    data = tiff(stored, bits=8 * stored.itemsize, photometric=8, n_planes=3)
    np.testing.assert_array_equal(read(data).samples[0, :2, 1], [middle + 1, middle - 1])
    assert f"{middle} added" in said(data)
    assert "added" not in said(tiff(stored, bits=8 * stored.itemsize, photometric=9, n_planes=3))


@pytest.mark.parametrize(
    ("photometric", "word"), [(4, "a transparency mask"), (32803, "a colour filter array"), (77, "an unknown kind")]
)
def test_samples_of_other_kinds_are_named(photometric: int, word: str) -> None:
    assert f"samples of {word} (PhotometricInterpretation {photometric}) stay" in said(
        tiff(BYTES, bits=8, photometric=photometric)
    )


def test_missing_and_scaled_samples_of_gdal_are_said() -> None:
    scale = b'<GDALMetadata><Item name="SCALE" sample="0" role="scale">0.01</Item></GDALMetadata>\0'
    notes = said(tiff(BYTES, bits=8, photometric=1, t42113=(2, [*b"-9999\0"]), t42112=(2, [*scale])))
    assert "marks missing samples with -9999: --nodata -9999 leaves them out" in notes
    assert "scale and offset of the file (GDAL) are not applied" in notes


def test_pages_that_are_copies_or_masks_are_said() -> None:
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(BYTES)
        writer.write(BYTES[::2, ::2], subfiletype=1)
        writer.write(BYTES > 99, subfiletype=4, photometric=4)
    notes = ["; ".join(probe(file.getvalue(), frame=frame).notes) for frame in range(3)]
    assert "copy" not in notes[0]
    assert "smaller copy of another page" in notes[1]
    assert "mask of another page" in notes[2]


def png(index: list[int], palette: bytes) -> bytes:
    parts = [(b"IHDR", struct.pack(">IIBBBBB", len(index), 1, 8, 3, 0, 0, 0)), (b"PLTE", palette)]
    parts += [(b"IDAT", zlib.compress(bytes([0, *index]))), (b"IEND", b"")]
    body = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def test_an_index_beyond_the_palette_is_refused() -> None:
    assert read(png([0, 1], bytes(range(6)))).samples.tolist() == [[[0, 1, 2], [3, 4, 5]]]
    with pytest.raises(ImageError, match="colour 2 of a palette of 2"):
        read(png([0, 2], bytes(range(6))))


def fits(samples: np.ndarray, bits: int, **cards: float) -> bytes:
    fields = {"SIMPLE": "T", "BITPIX": bits, "NAXIS": samples.ndim}
    fields |= {f"NAXIS{axis + 1}": size for axis, size in enumerate(samples.shape[::-1])} | cards
    head = "".join(f"{name:8}= {value:>20}".ljust(80) for name, value in fields.items()) + "END".ljust(80)
    data = samples.tobytes()
    return head.ljust(-(-len(head) // 2880) * 2880).encode() + data + bytes(-len(data) % 2880)


def test_fits_is_right_or_refused() -> None:
    np.testing.assert_array_equal(read(fits(BYTES, 8)).samples[::-1, :, 0], BYTES)
    shorts = RNG.integers(-30000, 30000, (H, W)).astype(">i2")
    for cards in ({}, {"BZERO": 32768}, {"BSCALE": 0.5}):
        with pytest.raises(ImageError, match="signed or scaled FITS: BITPIX 16"):
            read(fits(shorts, 16, **cards))
    with pytest.raises(ImageError, match="BZERO 7"):
        read(fits(BYTES, 8, BZERO=7))
    assert "2 of 3 planes of the FITS are not read" in said(fits(np.stack([BYTES] * 3), 8))
    assert "float64 samples are read as float32" in said(fits(RNG.random((H, W)).astype(">f8"), -64))


def psd(n_channels: int, mode: int) -> bytes:
    head = b"8BPS" + struct.pack(">H6xHIIHH", 1, n_channels, H, W, 8, mode)
    return head + bytes(12) + bytes(2) + np.stack([BYTES] * n_channels).tobytes()


@pytest.mark.parametrize(
    ("n_channels", "mode", "n_left"),
    [(1, 1, 0), (2, 1, 1), (3, 3, 0), (4, 3, 0), (5, 3, 2), (4, 4, 0), (5, 4, 1), (3, 7, 2)],
)
def test_channels_of_a_psd_that_are_left_are_said(n_channels: int, mode: int, n_left: int) -> None:
    notes = said(psd(n_channels, mode))
    assert (f"{n_left} further channels" in notes) if n_left else ("further" not in notes)


def tga(kind: int, bits: int, descriptor: int, data: bytes, palette: bytes = b"", palette_bits: int = 0) -> bytes:
    counts = (0, len(palette) * 8 // palette_bits, palette_bits) if palette else (0, 0, 0)
    return struct.pack("<BBBHHBHHHHBB", 0, bool(palette), kind, *counts, 0, 0, W, H, bits, descriptor) + palette + data


def test_alpha_of_a_tga() -> None:
    data = PIXELS[..., :2].tobytes()
    assert read(tga(2, 16, 0x20, data)).info.plane_names == ("r", "g", "b")
    assert read(tga(2, 16, 0x21, data)).info.plane_names == ("r", "g", "b", "a")
    assert "counts no bits of alpha" in said(tga(2, 32, 0x20, PIXELS.tobytes()))
    assert "counts no" not in said(tga(2, 32, 0x28, PIXELS.tobytes()))
    assert "alpha of the palette is not read" in said(tga(1, 8, 0x20, (BYTES % 16).tobytes(), bytes(range(64)), 32))


def bmp(bits: int, packing: int, rows: bytes, header_bytes: int = 40, masks: tuple[int, ...] = ()) -> bytes:
    header = struct.pack("<IiiHHIIiiII", header_bytes, W, H, 1, bits, packing, len(rows), 0, 0, 0, 0)
    header = (header + struct.pack(f"<{len(masks)}I", *masks)).ljust(header_bytes, b"\0")
    start = 14 + len(header)
    return b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start) + header + rows


def test_alpha_of_a_bmp_that_is_not_read_is_said() -> None:
    shorts = PIXELS[..., :2].tobytes()
    masks = (0x7C00, 0x3E0, 0x1F)
    assert "alpha in pixels of 16 bits" in said(bmp(16, 3, shorts, 108, (*masks, 0x8000)))
    assert said(bmp(16, 3, shorts, 108, (*masks, 0))) == ""
    assert said(bmp(16, 3, shorts, masks=(0xF800, 0x7E0, 0x1F))) == ""  # 5 and 6 bits are no 16-bit samples
    assert "fourth byte of each pixel" in said(bmp(32, 0, PIXELS.tobytes()))
    assert said(bmp(32, 0, (PIXELS & [255, 255, 255, 0]).astype(np.uint8).tobytes())) == ""


@pytest.mark.parametrize(("data", "fact"), [
    (struct.pack(">8I", 0x59A66A95, W, H, 32, 4 * H * W, 1, 0, 0) + PIXELS.tobytes(), "Sun raster of 32 bits"),
    (struct.pack(">HBBHHHHII84xI", 474, 0, 1, 2, W, H, 1, 0, 255, 2).ljust(512, b"\0") + bytes(84), "colour map 2"),
    (b'/* XPM */\nstatic char *a[] = {\n"2 1 2 1",\n"a c #111122223333",\n"b c #445566",\n"ab"};\n', "#111122223333"),
    (b'/* XPM */\nstatic char *a[] = {\n"2 1 2 1",\n"a c #f00",\n"b c #445566",\n"ab"};\n', "#f00"),
], ids=["sun", "sgi", "xpm16", "xpm4"])  # fmt: skip
def test_what_pillow_would_misread_is_refused(data: bytes, fact: str) -> None:
    with pytest.raises(ImageError, match=fact):
        read(data)


def test_a_pcx_without_its_palette_is_refused() -> None:
    head = struct.pack("<BBBBHHHHHH", 10, 5, 1, 8, 0, 0, W - 1, H - 1, 72, 72) + bytes(49)
    data = (head + struct.pack("<BHH", 1, W, 1)).ljust(128, b"\0") + (BYTES % 192).tobytes()
    with pytest.raises(ImageError, match="palette is not at its end"):
        read(data + bytes(900))
    grey = bytes(value for value in range(256) for _ in range(3))
    np.testing.assert_array_equal(read(data + b"\x0c" + grey).samples[..., 0], BYTES % 192)


def test_set_bits_of_an_xbm_are_black() -> None:
    data = b"#define a_width 10\n#define a_height 1\nstatic unsigned char a_bits[] = {\n0x01,0x02};\n"
    assert (read(data).samples[0, :, 0] == [0, *[255] * 8, 0]).all()


def dds(flags: int, fourcc: bytes, bits: int, masks: tuple[int, ...], more: int = 0, extended: bytes = b"") -> bytes:
    head = (
        b"DDS "
        + struct.pack("<7I44x", 124, 0x1007, H, W, 0, 0, 1)
        + struct.pack("<2I4s5I", 32, flags, fourcc, bits, *masks)
    )
    return head + struct.pack("<5I", 0x1000, more, 0, 0, 0) + extended + PIXELS.tobytes() * 8


def test_what_a_dds_loses_is_said() -> None:
    masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    assert said(dds(0x41, bytes(4), 32, masks)) == ""
    assert "faces of the cube" in said(dds(0x41, bytes(4), 32, masks, 0xFE00))
    assert "10-bit samples are read with 8 bits" in said(
        dds(0x41, bytes(4), 32, (0x3FF00000, 0xFFC00, 0x3FF, 0xC0000000))
    )
    assert "half floats" in said(dds(4, b"DX10", 0, (0, 0, 0, 0), extended=struct.pack("<5I", 95, 3, 0, 1, 0)))


def test_the_mask_of_a_pointer_is_said() -> None:
    rows, mask = bytes(8 * 24), bytes(8 * 4)
    dib = struct.pack("<IiiHHIIiiII", 40, 8, 16, 1, 24, 0, len(rows) + len(mask), 0, 0, 0, 0) + rows + mask
    cur = struct.pack("<HHH", 0, 2, 1) + struct.pack("<BBBBHHII", 8, 8, 0, 0, 0, 0, len(dib), 22) + dib
    assert "the mask of the pointer is not read" in said(cur)


@pytest.mark.parametrize(("dtype", "alpha", "stored", "n_lost"), [
    (np.int16, [-300, 0, 10000, 32767], [0, 0, 20000, 65535], 1),
    (np.float32, [-0.5, 0.5, 1.5, np.nan], [0, 32768, 65535, 0], 3),
    (np.uint16, [0, 1, 2, 65535], [0, 1, 2, 65535], 0),
])  # fmt: skip
def test_a_kept_alpha_is_clipped_and_counted(
    dtype: type, alpha: list, stored: list, n_lost: int, tmp_path: Path
) -> None:
    samples = np.zeros((1, 4, 2), dtype)
    samples[0, :, 1] = alpha
    tifffile.imwrite(tmp_path / "a.tif", samples, photometric="minisblack", planarconfig="contig", extrasamples=[2])
    flags = ("-k", "identity", "-o", tmp_path / "b.png", "--alpha", "keep", "--depth", "16")
    said = run_cli("apply", tmp_path / "a.tif", *flags).ok().stdout
    assert read(tmp_path / "b.png").samples[0, :, 1].tolist() == stored
    assert (f"{n_lost} samples of alpha lie outside 0 to white" in said) == bool(n_lost)


def test_a_kept_alpha_has_the_units_of_its_colours(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", PIXELS, photometric="rgb", extrasamples=[2])
    flags = ("-k", "identity", "-o", tmp_path / "b.tif", "--layout", "picture", "--alpha", "keep", "--depth", "float")
    run_cli("apply", tmp_path / "a.tif", *flags).ok()
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "b.tif"), PIXELS.astype(np.float32))


def whole_and_windows(data: bytes) -> list[np.ndarray]:
    with open_planes(data, window_bytes=0) as image:
        assert not isinstance(image, Image)
        return [read(data).samples[..., 0], image.planes.rows(0, image.info.height_px)[0]]


def test_windows_heed_the_order_of_bits() -> None:
    reversed_bits = np.packbits(np.unpackbits(BYTES[..., None], axis=2)[..., ::-1], axis=2)
    for samples in whole_and_windows(tiff(reversed_bits, bits=8, photometric=1, t266=(3, [2]))):
        np.testing.assert_array_equal(samples, BYTES)


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize(("tags", "value"), [([], 0), ([(42113, 2, 0, "-9999", True)], -9999)])
def test_tiles_that_are_not_stored_are_said(compression: str | None, tags: list, value: int) -> None:
    stored = RNG.integers(1, 999, (48, 48), dtype=np.int16)
    file = io.BytesIO()
    tifffile.imwrite(file, stored, tile=(16, 16), metadata=None, compression=compression, extratags=tags)
    with tifffile.TiffFile(io.BytesIO(file.getvalue())) as page:
        places = [(page.pages[0].tags[code], page.pages[0].tags[code].valueoffset) for code in (324, 325)]
    data = bytearray(file.getvalue())
    for tag, place in places:
        n_bytes = 2 if tag.dtype == 3 else 4
        data[place + 4 * n_bytes : place + 5 * n_bytes] = bytes(n_bytes)
    expected = stored.copy()
    expected[16:32, 16:32] = value
    for samples in whole_and_windows(bytes(data)):
        np.testing.assert_array_equal(samples, expected)
    assert f"1 of 9 tiles are not stored and read as {value}" in said(bytes(data))


def test_a_profile_of_a_bmp_and_the_scale_of_a_pfm_are_said() -> None:
    header = bytearray(bmp(24, 0, bytes(H * 3 * W), 124))
    assert said(bytes(header)) == ""
    header[70:74] = b"DEBM"
    assert "the ICC profile in the file is not read" in said(bytes(header))
    assert said(b"Pf\n1 1\n-2.5\n" + bytes(4)) == "the scale 2.5 in the header is not applied"
    assert said(b"Pf\n1 1\n1\n" + bytes(4)) == ""


@pytest.mark.parametrize(("kind", "body"), [(b"sCAL", b"\x011.5\x002.5"), (b"oFFs", bytes(9)), (b"mDCV", bytes(24))])
def test_chunks_that_say_what_samples_mean_are_named(kind: bytes, body: bytes) -> None:
    data = png([0, 1], bytes(range(6)))
    extra = struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    assert probe(data[:33] + extra + data[33:]).metadata.left_out == (kind.decode(),)


def test_gamma_beside_srgb_is_no_loss() -> None:
    data = png([0, 1], bytes(range(6)))
    parts = [(b"sRGB", b"\0"), (b"gAMA", struct.pack(">I", 100000))]
    extra = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    ]
    assert probe(data[:33] + b"".join(extra) + data[33:]).metadata.left_out == ()
    assert probe(data[:33] + extra[1] + data[33:]).metadata.left_out == ("gAMA",)


@pytest.mark.skipif(shutil.which("convert") is None, reason="ImageMagick writes LZW with the low bit first")
@pytest.mark.parametrize("depth", ["8", "16"])
def test_lzw_with_its_bits_reversed(depth: str, tmp_path: Path) -> None:
    flags = ["-size", f"{W}x{H}", "-depth", "8", "rgba:-", "-depth", depth, "-compress", "lzw"]
    write = ["convert", *flags, "-define", "tiff:fill-order=lsb", str(tmp_path / "a.tif")]
    subprocess.run(write, input=PIXELS.tobytes(), check=True)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert (file.pages[0].compression, file.pages[0].fillorder) == (5, 2)
    whole = read(tmp_path / "a.tif").samples
    np.testing.assert_array_equal(whole, PIXELS if depth == "8" else PIXELS * np.uint16(257))
    with open_planes(tmp_path / "a.tif", window_bytes=0) as image:
        assert not isinstance(image, Image)
        np.testing.assert_array_equal(image.planes.rows(0, H), whole.transpose(2, 0, 1))


@pytest.mark.parametrize(("name", "flags", "is_said"), [
    ("b.pfm", (), True), ("b.pfm", ("--unit",), False), ("b.tif", ("--layout", "picture", "--depth", "float"), True),
    ("b.tif", ("--layout", "picture", "--depth", "float", "--tone", "stretch"), False), ("b.png", (), False),
])  # fmt: skip
def test_white_of_float_pictures_is_said(name: str, flags: tuple[str, ...], is_said: bool, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", PIXELS[..., :3], photometric="rgb")
    told = run_cli("apply", tmp_path / "a.tif", "-k", "identity", "-o", tmp_path / name, *flags).ok().stdout
    assert ("white is 255 in the file, and 1 in float pictures of other programs: --unit" in told) == is_said


@pytest.mark.parametrize(("photometric", "flags", "said_of"), [
    (8, (), "planes l, a*, b* are stored as red, green and blue"), (5, (), "planes c0, c1, c2 are stored as red"),
    (5, ("--channels", "c0,c1,c2"), ""), (2, (), ""), (8, ("--groups", "1"), ""),
])  # fmt: skip
def test_planes_in_place_of_colours_are_said(
    photometric: int, flags: tuple[str, ...], said_of: str, tmp_path: Path
) -> None:
    (tmp_path / "a.tif").write_bytes(tiff(PIXELS[..., :3].copy(), bits=8, photometric=photometric, n_planes=3))
    told = run_cli("apply", tmp_path / "a.tif", "-k", "box", "-o", tmp_path / "b.png", *flags).ok().stdout
    assert (said_of in told) if said_of else ("stored as red" not in told)


def test_signed_samples_of_jpeg_2000_are_said() -> None:
    file = io.BytesIO()
    Pillow.fromarray(BYTES).save(file, "JPEG2000", no_jp2=True)
    data = bytearray(file.getvalue())
    assert said(bytes(data)) == ""
    data[data.find(b"\xff\x4f\xff\x51") + 42] |= 0x80
    np.testing.assert_array_equal(read(bytes(data)).samples[..., 0], BYTES)
    assert said(bytes(data)) == "samples are signed in the file and read with 128 added"


def test_a_clear_index_needs_no_colour() -> None:
    # Two colours, and pixels 0, 1, 3 in codes of three bits: clear, 0, 1, 3, end.
    codes = sum(code << 3 * at for at, code in enumerate([4, 0, 1, 3, 5])).to_bytes(2, "little")
    head = b"GIF89a" + struct.pack("<HHBBB", 3, 1, 0x80, 0, 0) + bytes(range(6))
    picture = b"," + struct.pack("<HHHHB", 0, 0, 3, 1, 0) + bytes([2, len(codes)]) + codes + b"\0;"
    with pytest.raises(ImageError, match="colour 3 of a palette of 2"):
        read(head + picture)
    samples = read(head + b"\x21\xf9\x04\x01\0\0\x03\0" + picture).samples
    assert samples[0, :2].tolist() == [[0, 1, 2, 255], [3, 4, 5, 255]]
    assert samples[0, 2, 3] == 0
