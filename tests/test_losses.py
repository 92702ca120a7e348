"""Every loss of a plane, a bit, a frame, a time, a profile or a text, and the note that says it with its numbers."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from conftest import run_cli
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from convcli.images.formats import FORMATS
from convcli.images.reading import probe

RGB = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)
GREY = RGB[..., 0]
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def pillow(kind: str, mode: str = "RGB", **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(RGB).convert(mode).save(file, kind, **options)
    return file.getvalue()


def tiff(samples: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    options.setdefault("photometric", "rgb" if samples.ndim == 3 else "minisblack")
    tifffile.imwrite(file, samples, **options)
    return file.getvalue()


def animated(kind: str, *arrays: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    first, *others = (Image.fromarray(array) for array in arrays or (RGB, 255 - RGB))
    first.save(file, kind, save_all=True, append_images=others, **options)
    return file.getvalue()


def exif(text: str = "Maker", orientation: int = 1) -> bytes:
    block = Image.Exif()
    block[0x010F], block[0x0112] = text, orientation
    return block.tobytes()


def png(*chunks: tuple[bytes, bytes], **options: Any) -> bytes:
    """A PNG with more chunks before its pixels."""
    data = pillow("PNG", **options)
    extra = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    return data[:33] + extra + data[33:]


def texts() -> bytes:
    info = PngInfo()
    for key in ("Title", "Author"):
        info.add_text(key, "words")
    info.add_itxt("Copyright", "words", zip=True)
    return pillow("PNG", pnginfo=info)


def sub_ifds() -> bytes:
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(RGB, photometric="rgb", subifds=2)
        writer.write(RGB[::2, ::2], photometric="rgb")
        writer.write(RGB[::4, ::4], photometric="rgb")
    return file.getvalue()


def pages_of_two_profiles() -> bytes:
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for profile in (SRGB, None, None):
            writer.write(RGB, photometric="rgb", iccprofile=profile, contiguous=False)
    return file.getvalue()


def avif_thirds() -> bytes:
    """An AVIF of which two frames last a third of a time of 10 ms: its clock counts 300 to a second."""
    data = animated("AVIF", RGB, 255 - RGB, RGB // 2, duration=[1, 10, 30])
    for kind, before in ((b"mdhd", 20), (b"mvhd", 20)):
        at = data.index(kind) + 4 + before
        data = data[:at] + struct.pack(">I", 300) + data[at + 4 :]
    return data


def with_transfer(data: bytes, transfer: int) -> bytes:
    at = data.index(b"colrnclx") + 10
    return data[:at] + struct.pack(">H", transfer) + data[at + 2 :]


ALPHA = np.dstack([RGB, GREY])
FRAMES = {"duration": [33, 70], "loop": 3}
PNG, JPEG = pillow("PNG"), pillow("JPEG", quality=95)
META = pillow("JPEG", exif=exif(), icc_profile=SRGB, dpi=(300, 300))
DEEP = tiff(RGB.astype(np.uint16) * 257)
LEFT = "left out of the picture: "
#: Input, output, flags, the note.
LOSSES: list[tuple[str, Callable[[], bytes] | bytes, str, str, str]] = [
    # planes
    ("alpha into JPEG", lambda: pillow("PNG", "RGBA"), "o.jpg", "", "jpeg holds no alpha: it is dropped"),
    ("alpha into BMP", lambda: pillow("PNG", "RGBA"), "o.bmp", "", "bmp holds no alpha: it is dropped"),
    ("alpha into PPM", lambda: pillow("PNG", "LA"), "o.ppm", "", "ppm holds no alpha: it is dropped"),
    ("alpha into PFM", lambda: pillow("PNG", "LA"), "o.pfm", "", "pfm holds no alpha: it is dropped"),
    ("alpha of maps", lambda: pillow("PNG", "RGBA"), "o.npy", "", "alpha is left out of the maps"),
    ("alpha into GIF", lambda: tiff(ALPHA, extrasamples=["unassalpha"]), "o.gif", "", "GIF's alpha has 1 bit"),
    ("CMYK", lambda: pillow("JPEG", "CMYK", icc_profile=SRGB), "o.png", "", "CMYK is converted to RGB without its ICC"),
    ("YCbCr", lambda: pillow("TIFF", "YCbCr"), "o.png", "", "YCbCr is converted to RGB"),
    ("palette", lambda: pillow("PNG", "P"), "o.png", "", "palette is expanded to RGB"),
    ("colours of GIF", PNG, "o.gif", "", "GIF holds 256 colours: colour is quantised"),
    ("grey of WebP", lambda: pillow("PNG", "L"), "o.webp", "", "webp has no grey: the plane is stored three times"),
    (
        "unnamed band",
        lambda: tiff(ALPHA, extrasamples=["unspecified"]),
        "o.npy",
        "",
        "planes that the file does not name",
    ),
    # bits
    ("1 bit in", lambda: pillow("PNG", "1"), "o.png", "", "1-bit samples are read as 0 and 255"),
    ("1 bit out", lambda: pillow("PNG", "L"), "o.png", "--depth 1", "uint8 samples are stored with 1 bit as png"),
    ("16 bits into WebP", DEEP, "o.webp", "", "uint16 samples are stored with 8 bits as webp"),
    ("16 bits into colour JP2", DEEP, "o.jp2", "", "uint16 samples are stored with 8 bits as jp2"),
    ("16 bits into 8", DEEP, "o.png", "--depth 8", "uint16 samples are stored with 8 bits as png"),
    (
        "float into PNG",
        lambda: tiff(GREY / np.float32(255)),
        "o.png",
        "",
        "float32 samples are stored with 16 bits as png",
    ),
    (
        "float into PPM",
        lambda: tiff(GREY / np.float32(255)),
        "o.ppm",
        "",
        "float32 samples are stored with 16 bits as ppm",
    ),
    ("double", lambda: tiff(GREY / 255), "o.npy", "", "float64 samples are rounded to 24 bits unless --dtype float64"),
    ("fax", lambda: pillow("TIFF", "1", compression="group4"), "o.png", "", "damage of fax data is not noticed"),
    ("32-bit integers", lambda: tiff(GREY.astype(np.uint32)), "o.npy", "", "uint32 samples are rounded to 24 bits"),
    ("half", lambda: tiff(GREY.astype(np.float16)), "o.npy", "", "float16 samples are read as float32"),
    ("JPEG", PNG, "o.jpg", "", "JPEG is lossy (quality 92, no chroma subsampling)"),
    ("AVIF", PNG, "o.avif", "--subsampling 420", "AVIF is lossy (quality 90, chroma 4:2:0)"),
    ("WebP", PNG, "o.webp", "--quality 80", "WebP is lossy (quality 80, chroma 4:2:0)"),
    ("JP2", PNG, "o.jp2", "--quality 80", "JPEG 2000 is lossy (quality 80)"),
    # frames
    ("MPO", lambda: animated("MPO"), "o.png", "", "further pictures in the file (MPO) are not read"),
    (
        "icon",
        lambda: pillow("ICO", sizes=[(16, 16), (8, 8)]),
        "o.png",
        "",
        "1 smaller pictures in the file are not read",
    ),
    ("pictures below a page", sub_ifds, "o.npy", "", "pictures below the page are not read (SubIFDs: 2)"),
    (
        "second PGM",
        b"P5 2 2 255\n" + b"\1" * 4 + b"P5 2 2 255\n" + b"\1" * 4,
        "o.png",
        "",
        "15 bytes after the picture are not read",
    ),
    (
        "default picture",
        lambda: animated("PNG", RGB, RGB // 2, RGB // 3, default_image=True),
        "o.png",
        "",
        "the picture for programs that show no animation",
    ),
    (
        "equal frames",
        lambda: animated("TIFF", RGB, RGB, GREY[..., None] | RGB),
        "o.gif",
        "",
        "1 frames equal the one before and are joined with it",
    ),
    # times and plays
    (
        "times into GIF",
        lambda: animated("WEBP", lossless=True, **FRAMES),
        "o.gif",
        "",
        "1 of 2 frame times are rounded to 10 ms (33 to 30)",
    ),
    (
        "times into TIFF",
        lambda: animated("WEBP", lossless=True, **FRAMES),
        "o.tif",
        "--depth 8",
        "tiff keeps no frame times: 103 ms in all, played 3 times",
    ),
    ("no times", lambda: animated("TIFF"), "o.webp", "", "2 frames have no time: 100 ms each"),
    ("no plays", lambda: animated("TIFF"), "o.webp", "", "the file does not say how often it is played: once"),
    ("times of AVIF", avif_thirds, "o.webp", "", "times of 2 frames are read in whole milliseconds"),
    # profiles and metadata
    ("profile into BMP", META, "o.bmp", "", "bmp cannot keep the ICC profile"),
    (
        "profile of another space",
        lambda: pillow("PNG", "L", icc_profile=SRGB),
        "o.png",
        "",
        "the ICC profile is of RGB and is left out of a picture of 1 planes",
    ),
    (
        "profiles of pages",
        pages_of_two_profiles,
        "o.tif",
        "--depth 8",
        "2 frames have another ICC profile, DPI or EXIF than the first",
    ),
    ("DPI into WebP", META, "o.webp", "", "webp cannot keep the DPI"),
    (
        "broken DPI into JPEG",
        lambda: pillow("TIFF", dpi=(72.5, 100)),
        "o.jpg",
        "",
        "DPI are rounded to whole numbers (72.5 x 100 to 72 x 100)",
    ),
    (
        "huge DPI into JPEG",
        lambda: pillow("TIFF", dpi=(70000, 70000)),
        "o.jpg",
        "",
        "jpeg cannot keep 70,000 DPI (at most 65,535)",
    ),
    ("EXIF into JP2", META, "o.jp2", "", "jp2 cannot keep the EXIF"),
    ("EXIF into TIFF", META, "o.tif", "--depth 8", "tiff cannot keep the EXIF"),
    (
        "long EXIF into JPEG",
        lambda: pillow("PNG", exif=exif("M" * 70000)),
        "o.jpg",
        "",
        "jpeg cannot keep EXIF of 70,0",
    ),
    (
        "orientation",
        lambda: pillow("JPEG", exif=exif(orientation=6)),
        "o.png",
        "--orientation ignore",
        "orientation 6 is ignored",
    ),
    ("XMP", lambda: pillow("JPEG", xmp=b"<x:xmpmeta/>"), "o.png", "", LEFT + "XMP"),
    ("gamma", lambda: png((b"gAMA", struct.pack(">I", 100000))), "o.png", "", LEFT + "gAMA"),
    ("cICP", lambda: png((b"cICP", bytes([9, 16, 0, 1]))), "o.png", "", LEFT + "cICP"),
    (
        "colours of AVIF",
        lambda: with_transfer(pillow("AVIF"), 16),
        "o.png",
        "",
        LEFT + "colour space (primaries 1, transfer 16 of H.273)",
    ),
    ("pixel aspect", lambda: png((b"pHYs", struct.pack(">IIB", 2, 1, 0))), "o.png", "", LEFT + "pixel aspect 2:1"),
    ("texts of PNG", texts, "o.png", "", LEFT + "text (Title, Author, Copyright)"),
    ("comment of JPEG", lambda: pillow("JPEG", comment=b"words"), "o.png", "", LEFT + "text (comment)"),
    ("comment of GIF", lambda: pillow("GIF", "L", comment=b"words"), "o.png", "", LEFT + "text (comment)"),
    ("comment of PGM", b"P5\n# words\n2 2 255\n" + b"\1" * 4, "o.png", "", LEFT + "text (comment)"),
    (
        "tags of TIFF",
        lambda: tiff(RGB, description="words", extratags=[(315, 2, 0, "Me", True), (34735, 3, 4, (1, 1, 0, 0), True)]),
        "o.png",
        "",
        LEFT + "GeoTIFF, text (ImageDescription, Artist)",
    ),
    # damage that is accepted
    (
        "damaged JPEG",
        JPEG[: len(JPEG) * 3 // 4],
        "o.png",
        "--accept-damaged",
        "damaged data are accepted: what is missing is grey",
    ),
]


@pytest.mark.parametrize("case", LOSSES, ids=lambda case: case[0])
def test_every_loss_is_said(case: tuple[str, Callable[[], bytes] | bytes, str, str, str], tmp_path: Path) -> None:
    _, made, name, flags, note = case
    (tmp_path / "in").write_bytes(made if isinstance(made, bytes) else made())
    arguments = ["apply", tmp_path / "in", "-k", "identity", "-o", tmp_path / name, "--json", *flags.split()]
    report = run_cli(*arguments).ok().json
    assert note in "; ".join(report["notes"]), report["notes"]


KEEPS = {"icc": "ICC profile", "dpi": "DPI", "exif": "EXIF"}


@pytest.mark.parametrize("row", [row for row in FORMATS if row.planes], ids=lambda row: row.name)
def test_metadata_are_in_the_file_or_in_a_note(row: Any, tmp_path: Path) -> None:
    """Pillow looks for what a format is said to keep."""
    (tmp_path / "in.jpg").write_bytes(META)
    out = tmp_path / f"o{row.suffixes[0]}"
    depth = ["--depth", "8"] if row.name == "tiff" else []
    notes = run_cli("apply", tmp_path / "in.jpg", "-k", "identity", "-o", out, "--json", *depth).ok().json["notes"]
    found: dict[str, Any] = {}
    if row.name != "pfm":  # which Pillow reads, without any metadata
        with Image.open(out) as image:
            found = {"icc": image.info.get("icc_profile"), "dpi": image.info.get("dpi"), "exif": image.info.get("exif")}
    for key, word in KEEPS.items():
        said = f"{row.name} cannot keep the {word}" in notes
        assert bool(found.get(key)) != said, (key, notes)
    if found.get("icc"):
        assert found["icc"] == SRGB
    if found.get("dpi"):
        assert found["dpi"] == pytest.approx((300, 300), abs=0.02)


def test_outputs_of_convcli_lose_nothing_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "in.png").write_bytes(PNG)
    for row in FORMATS:
        if not row.planes or row.name == "pfm":
            continue
        out = tmp_path / f"o{row.suffixes[0]}"
        run_cli(
            "apply", tmp_path / "in.png", "-k", "identity", "-o", out, "-q", *(["--depth", "8"] * (row.name == "tiff"))
        )
        report = (
            run_cli("apply", out, "-k", "identity", "-o", tmp_path / "again.png", "--overwrite", "--json").ok().json
        )
        assert not [note for note in report["notes"] if "left out" in note], (row.name, report["notes"])


@pytest.mark.parametrize("order", ["little", "big"])
def test_an_upright_exif_keeps_every_other_byte(order: str) -> None:
    """Pillow would leave out the thumbnail and move what makers' notes point to."""
    mark, pack = (b"II", "<") if order == "little" else (b"MM", ">")
    entries = struct.pack(f"{pack}HHII", 0x010F, 2, 6, 38) + struct.pack(f"{pack}HHIHH", 0x0112, 3, 1, 6, 0)
    block = mark + struct.pack(f"{pack}HIH", 42, 8, 2) + entries + struct.pack(f"{pack}I", 44) + b"Maker\0"
    thumbnail = struct.pack(f"{pack}H", 1) + struct.pack(f"{pack}HHIHH", 0x0103, 3, 1, 6, 0) + bytes(4) + b"pixels"
    data = pillow("JPEG", exif=b"Exif\0\0" + block + thumbnail)
    info = probe(data)
    assert info.orientation == 6
    changed = struct.pack(f"{pack}HHIHH", 0x0112, 3, 1, 1, 0)
    expected = (block + thumbnail).replace(struct.pack(f"{pack}HHIHH", 0x0112, 3, 1, 6, 0), changed)
    assert info.metadata.exif == expected
    assert probe(data, orientation="keep").metadata.exif == block + thumbnail
