"""Files made to break readers: every one is read, or refused with an ImageError; none hangs, warns or tracebacks."""

import cProfile
import io
import struct
import warnings
import zlib
from collections.abc import Iterator

import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from convcli.errors import ImageError
from convcli.images.frames import read_frames
from convcli.images.reading import open_planes, probe, read
from convcli.images.write import write_picture

RNG = np.random.default_rng(5)
MAX_PIXELS = 1 << 22
LIBTIFF = ("tempfile.tif", "LZWDecode", "Fax", "TIFF", "JPEG", "_TIFF", "Cannot")


def seeds() -> dict[str, bytes]:
    """One small file of each kind."""
    noise = RNG.integers(0, 256, (24, 32, 4), dtype=np.uint8)
    rgb, rgba = Pillow.fromarray(noise[..., :3]), Pillow.fromarray(noise)
    palette = rgb.quantize(16)
    exif = Pillow.Exif()
    exif[0x0112] = 6
    frames = [Pillow.new("RGB", (32, 24), (40 * index, 9, 200)) for index in range(3)]
    every = {"save_all": True, "append_images": frames[1:]}

    def made(image: Pillow.Image, kind: str, **options: object) -> bytes:
        file = io.BytesIO()
        image.save(file, kind, **options)
        return file.getvalue()

    def ours(samples: np.ndarray, kind: str, **options: object) -> bytes:
        file = io.BytesIO()
        write_picture(file, samples, picture_format=kind, **options)
        return file.getvalue()

    def tiff(samples: np.ndarray, **options: object) -> bytes:
        file = io.BytesIO()
        tifffile.imwrite(file, samples, **options)
        return file.getvalue()

    deep = RNG.integers(0, 65536, (24, 32, 3), dtype=np.uint16)
    return {
        "png": made(rgb, "PNG", exif=exif, dpi=(72, 72), icc_profile=b"p" * 40),
        "png-rgba": made(rgba, "PNG"),
        "png-palette": made(palette, "PNG", transparency=3),
        "png-16": ours(deep, "png"),
        "png-1": made(rgb.convert("1"), "PNG"),
        "apng": made(frames[0], "PNG", **every),
        "jpeg": made(rgb, "JPEG", exif=exif, dpi=(72, 72)),
        "jpeg-progressive": made(rgb, "JPEG", progressive=True),
        "jpeg-cmyk": made(rgb.convert("CMYK"), "JPEG"),
        "tiff": made(rgb, "TIFF", exif=exif),
        "tiff-lzw": made(rgb, "TIFF", compression="tiff_lzw"),
        "tiff-deflate": made(rgb, "TIFF", compression="tiff_adobe_deflate"),
        "tiff-jpeg": made(rgb, "TIFF", compression="jpeg"),
        "tiff-g4": made(rgb.convert("1"), "TIFF", compression="group4"),
        "tiff-16": ours(deep, "tiff", compress="default"),
        "tiff-float": ours(deep.astype(np.float32), "tiff"),
        "tiff-pages": made(frames[0], "TIFF", **every),
        "tiff-apart": tiff(deep.transpose(2, 0, 1), photometric="rgb", planarconfig="separate"),
        "tiff-tiles": tiff(deep, photometric="rgb", tile=(16, 16), compression="zlib"),
        "tiff-inks": tiff(noise, photometric="separated"),
        "tiff-palette": tiff(noise[..., 0], photometric="palette", colormap=np.zeros((3, 256), np.uint16)),
        "tiff-extra": tiff(noise, photometric="rgb", extrasamples=["assocalpha"]),
        "avif": made(rgba, "AVIF"),
        "plain": b"P3 4 2 900 # text\n" + b" ".join(b"%d" % value for value in range(24)),
        "webp": made(rgba, "WEBP"),
        "webp-lossless": made(rgb, "WEBP", lossless=True),
        "webp-animated": made(frames[0], "WEBP", **every),
        "bmp": made(rgb, "BMP"),
        "bmp-palette": made(palette, "BMP"),
        "gif": made(palette, "GIF"),
        "gif-animated": made(frames[0], "GIF", **every),
        "ppm": made(rgb, "PPM"),
        "pgm-16": ours(deep[..., 0], "ppm"),
        "pbm": made(rgb.convert("1"), "PPM"),
        "pfm": ours(deep[..., 0].astype(np.float32), "pfm"),
        "tga": made(rgb, "TGA"),
        "pcx": made(rgb, "PCX"),
        "ico": made(rgb, "ICO"),
        "jp2": made(rgb, "JPEG2000"),
        "sgi": made(rgb, "SGI"),
        "dds": made(rgba, "DDS"),
    }


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_claiming(width: int, height: int, rows: bytes, color: int = 2, bits: int = 8) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def liars() -> Iterator[tuple[str, bytes]]:
    """Headers that promise what the file does not hold, and bombs that hold more than they seem to."""
    zeros = zlib.compress(bytes(1 << 20), 9)
    sizes = [
        (0, 0),
        (0, 5),
        (5, 0),
        (1, 1),
        (60000, 1),
        (1, 60000),
        (2**31 - 1, 1),
        (2**31 - 1, 2**31 - 1),
        (2**32 - 1, 7),
    ]
    for width, height in sizes:
        for color in (0, 2, 3, 4, 6, 7):
            for bits in (1, 8, 16):
                yield f"png {width}x{height} {color}/{bits}", png_claiming(width, height, zeros, color, bits)
        yield (
            f"bmp {width}x{height}",
            (
                b"BM"
                + struct.pack("<IHHI", 54, 0, 0, 54)
                + struct.pack("<IIIHHIIIIII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
            ),
        )
        yield f"ppm {width}x{height}", b"P6 %d %d 255\n" % (width, height) + bytes(3000)
        yield f"pgm16 {width}x{height}", b"P5 %d %d 65535\n" % (width, height) + bytes(3000)
        yield f"pbm {width}x{height}", b"P4 %d %d\n" % (width, height) + bytes(3000)
        yield f"plain {width}x{height}", b"P3 %d %d 255\n" % (width, height) + b"1 2 3 " * 300
        yield f"pfm {width}x{height}", b"PF %d %d -1.0\n" % (width, height) + bytes(3000)
        clip = min(width, 65535), min(height, 65535)
        yield (
            f"gif {clip}",
            b"GIF89a"
            + struct.pack("<HHBBB", *clip, 0, 0, 0)
            + b","
            + struct.pack("<HHHHB", 0, 0, *clip, 0)
            + b"\x08\x01\0;",
        )
        entries = [
            (256, 4, width),
            (257, 4, height),
            (258, 3, 8),
            (259, 3, 1),
            (262, 3, 1),
            (273, 4, 8),
            (277, 3, 1),
            (278, 4, height),
            (279, 4, 100),
        ]
        directory = struct.pack("<H", len(entries)) + b"".join(
            struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries
        )
        yield f"tiff {width}x{height}", b"II*\0" + struct.pack("<I", 108) + bytes(100) + directory + bytes(4)
        yield f"bigtiff {width}x{height}", b"II+\0\x08\0\0\0" + struct.pack("<Q", 2**60)
    for head in (
        b"P5",
        b"P6 ",
        b"P6 3",
        b"P6 x y 255\n",
        b"P6 3 3 0\n",
        b"P6 3 3 70000\n" + bytes(99),
        b"P6 -3 3 255\n",
        b"PF 2 2 0\n" + bytes(99),
        b"PF 2 2 nan\n" + bytes(99),
        b"P5 # no end of comment",
        b"P5 " + b"9" * 5000 + b" 1 255\n",
    ):
        yield f"netpbm {head[:12]!r}", head
    yield "bomb", png_claiming(20000, 20000, zlib.compress(bytes(20001 * 20000 * 3 // 8), 9)[:400_000], 2)
    text = zlib.compress(b"a" * (1 << 26), 9)
    ihdr = struct.pack(">IIBBBBB", 2, 2, 8, 0, 0, 0, 0)
    yield (
        "text bomb",
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", ihdr)
        + chunk(b"zTXt", b"k\0\0" + text)
        + chunk(b"IDAT", zlib.compress(bytes(6)))
        + chunk(b"IEND", b""),
    )
    yield (
        "icc bomb",
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", ihdr)
        + chunk(b"iCCP", b"k\0\0" + text)
        + chunk(b"IDAT", zlib.compress(bytes(6)))
        + chunk(b"IEND", b""),
    )
    loop = b"II*\0\x08\0\0\0" + struct.pack("<H", 1) + struct.pack("<HHII", 256, 3, 1, 4) + struct.pack("<I", 8)
    yield "tiff that is its own next page", loop
    for word in (
        b"",
        b"\0",
        b"\0" * 64,
        b"hello",
        b"<svg/>",
        b"%!PS-Adobe\n",
        b"RIFF\0\0\0\0WEBP",
        b"\x89PNG",
        b"\xff\xd8\xff",
        b"BM",
        b"II*\0",
        b"GIF89a",
    ):
        yield f"only {word!r}", word


def corpus() -> Iterator[tuple[str, bytes]]:
    for name, data in seeds().items():
        for tenth in range(1, 10):
            yield f"{name} cut at {tenth}0 %", data[: len(data) * tenth // 10]
        for back in (1, 2, 5, 12):
            yield f"{name} without its last {back}", data[:-back]
        for start in range(0, min(len(data), 40), 1):  # headers are where lies pay
            changed = bytearray(data)
            changed[start] ^= 0xFF
            yield f"{name} byte {start} inverted", bytes(changed)
        for index in range(24):
            changed = bytearray(data)
            for place in RNG.integers(0, len(data), 1 + index // 4):
                changed[place] = RNG.integers(0, 256)
            yield f"{name} random bytes {index}", bytes(changed)
        yield f"{name} with a tail", data + bytes(100)
        yield f"{name} doubled", data + data
    yield from liars()


def check_refusal(error: ImageError) -> None:
    """Refusals are one line and say what to do."""
    assert error.hint
    assert "\n" not in str(error)


def meet(data: bytes) -> bool:
    """Put one file through all the ways to read it; return whether its samples were read."""
    try:
        probe(data)
        image = read(data, max_pixels=MAX_PIXELS)
    except ImageError as error:
        check_refusal(error)
        return False
    info = image.info
    assert image.samples.shape == (info.height_px, info.width_px, info.n_planes)
    image.samples.sum()
    try:
        with open_planes(data, max_pixels=MAX_PIXELS, window_bytes=1000) as opened:
            planes = opened.planes
            band = planes[:, :1] if isinstance(planes, np.ndarray) else planes.rows(0, 1)
            assert band.shape == (info.n_planes, 1, info.width_px)
    except ImageError as error:
        check_refusal(error)
    if 1 < info.n_frames < 50:
        try:
            for frame in read_frames(data, max_pixels=MAX_PIXELS):
                frame.samples.sum()
        except ImageError as error:
            check_refusal(error)
    return True


def test_the_corpus_is_large_and_the_seeds_are_sound():
    assert sum(1 for _ in corpus()) >= 2000
    for name, data in seeds().items():
        assert meet(data), name


def test_every_hostile_file_is_read_or_refused_in_bounded_work(capfd):
    """Work is counted in calls: the most any file takes is 120,000, of a TIFF that promises many pages."""
    laborious = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, data in corpus():
            calls = cProfile.Profile()
            try:
                calls.runcall(meet, data)
            except BaseException as error:
                error.add_note(f"file: {name}")
                raise
            n_calls = sum(entry.callcount for entry in calls.getstats())
            if n_calls > 1_000_000:
                laborious.append((name, n_calls))
    assert not laborious
    printed = capfd.readouterr()
    assert not printed.out
    # libtiff complains on the terminal, and Pillow has no public way to stop it; no other library does
    assert not [line for line in printed.err.splitlines() if not line.startswith(LIBTIFF)]


@pytest.mark.parametrize("kind", ["png", "jpeg", "tiff", "webp", "gif", "bmp", "ppm"])
def test_a_file_cut_in_half_is_never_read(kind):
    data = seeds()[kind]
    assert not meet(data[: len(data) // 2])
