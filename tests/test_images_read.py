"""Reading: every sample at its own depth, one upright picture, ImageError for everything else."""

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import run_cli
from PIL import Image as Pillow
from PIL import PngImagePlugin

from convcli.errors import ImageError
from convcli.images.frames import read_frames
from convcli.images.planes import turn_upright
from convcli.images.reading import open_planes, probe, read
from convcli.images.write import write_picture

RNG = np.random.default_rng(7)
RGB = RNG.integers(0, 256, (13, 17, 3), dtype=np.uint8)
UPRIGHT = np.zeros((6, 8, 3), np.uint8)
UPRIGHT[0, 0] = (255, 0, 0)
UPRIGHT[0, -1] = (0, 255, 0)
UPRIGHT[-1, 0] = (0, 0, 255)
UPRIGHT[2:4, 1:3] = 128


def saved(image: Pillow.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def find_orientation(exif: bytes | None) -> int:
    block = Pillow.Exif()
    block.load(exif or b"")
    return block.get(0x0112, 1)


def assert_samples(source: object, expected: np.ndarray, **options: object) -> None:
    image = read(source, **options)
    info = image.info
    assert (info.height_px, info.width_px, info.n_planes) == expected.shape
    assert image.samples.dtype == expected.dtype == np.dtype(info.dtype)
    np.testing.assert_array_equal(image.samples, expected)
    header = probe(source, **options)
    assert (header.height_px, header.width_px, header.plane_names) == (info.height_px, info.width_px, info.plane_names)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "PPM"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_lossless_formats_give_the_samples_back(kind, mode):
    picture = Pillow.fromarray(RGB).convert(mode)
    assert_samples(saved(picture, kind), np.asarray(picture).reshape(13, 17, -1))


def test_webp_lossless_gives_the_samples_back():
    assert_samples(saved(Pillow.fromarray(RGB), "WEBP", lossless=True), RGB)


def test_jpeg_is_what_pillow_decodes():
    data = saved(Pillow.fromarray(RGB), "JPEG", quality=95)
    assert_samples(data, np.asarray(Pillow.open(io.BytesIO(data))))


def test_gif_palette_is_expanded_and_said():
    picture = Pillow.fromarray(RGB).quantize(8)
    image = read(saved(picture, "GIF"))
    np.testing.assert_array_equal(image.samples, np.asarray(picture.convert("RGB")))
    assert image.info.notes == ("palette is expanded to RGB",)


def test_palette_with_transparency_has_alpha():
    picture = Pillow.fromarray(RGB).quantize(8)
    data = saved(picture, "PNG", transparency=0)
    image = read(data)
    assert image.info.plane_names == ("r", "g", "b", "a")
    np.testing.assert_array_equal(image.samples[..., 3] == 0, np.asarray(picture) == 0)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_one_bit_is_0_and_255(kind):
    bits = RNG.integers(0, 2, (9, 11), dtype=np.uint8) * 255
    data = saved(Pillow.fromarray(bits).convert("1"), kind)
    assert_samples(data, bits[:, :, None])
    assert "1-bit samples are read as 0 and 255" in probe(data).notes


def test_grey_with_alpha():
    both = RNG.integers(0, 256, (5, 7, 2), dtype=np.uint8)
    assert_samples(saved(Pillow.fromarray(both, "LA"), "PNG"), both)
    assert probe(saved(Pillow.fromarray(both, "LA"), "PNG")).plane_names == ("l", "a")


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_becomes_rgb_and_says_so(kind):
    data = saved(Pillow.fromarray(RGB).convert("CMYK"), kind)
    image = read(data)
    np.testing.assert_array_equal(image.samples, np.asarray(Pillow.open(io.BytesIO(data)).convert("RGB")))
    assert "CMYK is converted to RGB without its ICC profile" in image.info.notes


DEEP = {
    planes: RNG.integers(0, 65536, (12, 10, planes), dtype=np.uint16) for planes in (1, 2, 3, 4)
}  # every byte of every sample differs, so a lost low byte shows


@pytest.mark.parametrize("planes", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", ["png", "tiff"])
@pytest.mark.parametrize("compress", ["fast", "default"])
def test_16_bits_keep_both_bytes(planes, kind, compress):
    file = io.BytesIO()
    write_picture(file, DEEP[planes], picture_format=kind, compress=compress)
    assert_samples(file.getvalue(), DEEP[planes])
    assert probe(file.getvalue()).white == 65535


def test_16_bit_png_by_another_encoder_with_every_filter():
    cv2 = pytest.importorskip("cv2", reason="an independent encoder of 16-bit PNG")
    ramp = (np.arange(40)[:, None, None] * 900 + np.arange(50)[:, None] * 321 + np.array([7, 80, 900])).astype(
        np.uint16
    )
    _, data = cv2.imencode(".png", ramp[:, :, ::-1])
    assert_samples(data.tobytes(), ramp)


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("dtype", ["uint16", "int32", "uint32", "float32", "float64", "int16"])
@pytest.mark.parametrize("planes", [1, 3])
def test_tiff_types_in_both_byte_orders(byteorder, compression, dtype, planes):
    tifffile = pytest.importorskip("tifffile")
    samples = (RNG.normal(size=(9, 8, planes)) * 1e4).astype(dtype)
    file = io.BytesIO()
    tifffile.imwrite(
        file,
        samples if planes == 3 else samples[..., 0],
        byteorder=byteorder,
        compression=compression,
        photometric="rgb" if planes == 3 else "minisblack",
    )
    image = read(file.getvalue())
    assert image.samples.dtype == image.info.dtype == dtype
    np.testing.assert_array_equal(image.samples, samples if planes == 3 else samples[..., :1])
    rounded = dtype in ("int32", "uint32", "float64")
    note = f"{dtype} samples are rounded to 24 bits unless --dtype float64"
    assert image.info.notes == ((note,) if rounded else ())


def test_white_is_zero_tiff_is_inverted():
    tifffile = pytest.importorskip("tifffile")
    file = io.BytesIO()
    tifffile.imwrite(file, DEEP[1][..., 0], photometric="miniswhite")
    np.testing.assert_array_equal(read(file.getvalue()).samples, 65535 - DEEP[1])


@pytest.mark.parametrize("maxval", [1, 255, 1023, 65535])
def test_pgm_keeps_its_units(maxval):
    samples = RNG.integers(0, maxval + 1, (4, 6)).astype(">u2" if maxval > 255 else "u1")
    data = b"P5\n# a comment\n6 4\n%d\n" % maxval + samples.tobytes()
    assert_samples(data, samples.astype(samples.dtype.newbyteorder("="))[:, :, None])
    assert probe(data).white == maxval


@pytest.mark.parametrize("order", ["<", ">"])
def test_pfm_is_upside_down_float(order):
    samples = RNG.normal(size=(5, 3, 3)).astype(np.float32)
    data = b"PF\n3 5\n%s1.0\n" % (b"-" if order == "<" else b"") + samples[::-1].astype(order + "f4").tobytes()
    assert_samples(data, samples)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_eight_orientations_give_one_upright_picture(orientation, kind):
    back = {6: 8, 8: 6}.get(orientation, orientation)  # the turn that undoes it
    stored = np.ascontiguousarray(turn_upright(UPRIGHT, back))
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    options = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True, "exact": True}}.get(kind, {})
    data = saved(Pillow.fromarray(stored), kind, exif=exif, **options)
    tolerance = 12 if kind == "JPEG" else 0
    image = read(data)
    assert image.info.orientation == orientation
    np.testing.assert_allclose(image.samples.astype(int), UPRIGHT, atol=tolerance)
    assert find_orientation(image.info.metadata.exif) == 1
    kept = read(data, orientation="keep")
    np.testing.assert_allclose(kept.samples.astype(int), stored, atol=tolerance)
    assert (kept.info.height_px, kept.info.width_px) == stored.shape[:2]
    if kind != "TIFF":
        assert find_orientation(kept.info.metadata.exif) == orientation
    np.testing.assert_allclose(read(data, orientation="ignore").samples.astype(int), stored, atol=tolerance)


@pytest.mark.parametrize("planes", [1, 3])
def test_16_bit_tiff_is_turned_too(planes):
    tifffile = pytest.importorskip("tifffile")
    file = io.BytesIO()
    samples = DEEP[planes] if planes == 3 else DEEP[planes][..., 0]
    photometric = "rgb" if planes == 3 else "minisblack"
    tifffile.imwrite(file, samples, photometric=photometric, extratags=[(274, "H", 1, 6, True)])
    np.testing.assert_array_equal(read(file.getvalue()).samples, np.rot90(DEEP[planes], -1))


def test_metadata_is_found():
    picture = Pillow.fromarray(RGB)
    for kind in ("JPEG", "PNG", "TIFF"):
        metadata = probe(saved(picture, kind, icc_profile=b"profile" * 30, dpi=(300, 150))).metadata
        assert metadata.icc == b"profile" * 30
        assert metadata.dpi == pytest.approx((300, 150), abs=0.02)  # PNG counts per metre


def test_frames_come_complete_and_in_order():
    frames = [Pillow.new("RGB", (6, 4), colour) for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    options = {"save_all": True, "append_images": frames[1:]}
    for kind, extra in (("GIF", {"duration": 80}), ("TIFF", {}), ("WEBP", {"lossless": True}), ("PNG", {})):
        data = saved(frames[0], kind, **options, **extra)
        assert probe(data).n_frames == 3
        found = [image.samples[..., :3].copy() for image in read_frames(data)]
        for image, frame in zip(found, frames, strict=True):
            np.testing.assert_array_equal(image, np.asarray(frame), err_msg=kind)
        np.testing.assert_array_equal(read(data, frame=2).samples[..., :3], np.asarray(frames[2]), err_msg=kind)
    assert read(saved(frames[0], "GIF", duration=80, **options)).info.duration_ms == 80


def test_frames_keep_their_memory_while_later_ones_are_drawn():
    frames = [Pillow.new("RGB", (6, 4), colour) for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255), (9, 9, 9))]
    for kind in ("GIF", "PNG", "WEBP", "TIFF"):
        options = {"lossless": True} if kind == "WEBP" else {}
        images = list(read_frames(saved(frames[0], kind, save_all=True, append_images=frames[1:], **options)))
        for image, frame in zip(images, frames, strict=True):
            np.testing.assert_array_equal(image.samples[..., :3], np.asarray(frame), err_msg=kind)


def test_a_frame_that_is_not_there():
    for kind in ("GIF", "TIFF", "PNG", "PPM"):
        with pytest.raises(ImageError, match="frame"):
            read(saved(Pillow.fromarray(RGB), kind), frame=3)


@pytest.mark.parametrize("layout", ["ppm", "pfm", "tiff-raw", "tiff-tiles", "tiff-strips", "tiff-lzw"])
def test_windows_equal_the_whole(tmp_path, layout):
    tifffile = pytest.importorskip("tifffile")
    samples = RNG.integers(0, 256, (70, 50, 3), dtype=np.uint8)
    path = tmp_path / "large"
    if layout == "ppm":
        path.write_bytes(b"P6 50 70 255\n" + samples.tobytes())
    elif layout == "pfm":
        samples = samples.astype(np.float32)
        write_picture(path, samples, picture_format="pfm")
    elif layout == "tiff-lzw":  # tifffile needs another package for it, Pillow does not
        Pillow.fromarray(samples).save(path, "TIFF", compression="tiff_lzw")
    else:
        options = {
            "tiff-raw": {},
            "tiff-tiles": {"tile": (16, 32), "compression": "zlib", "predictor": True},
            "tiff-strips": {"rowsperstrip": 9, "compression": "zlib"},
        }[layout]
        tifffile.imwrite(path, samples, photometric="rgb", **options)
    with open_planes(path, window_bytes=100) as opened:
        assert not hasattr(opened, "samples")  # it was left in its file
        assert opened.planes.shape == (3, 70, 50)
        for top, bottom in ((0, 70), (0, 1), (69, 70), (15, 17), (8, 40)):
            np.testing.assert_array_equal(opened.planes.rows(top, bottom), samples[top:bottom].transpose(2, 0, 1))
    with open_planes(path) as small:
        np.testing.assert_array_equal(small.planes, samples.transpose(2, 0, 1))


def test_errors_of_the_caller_are_not_the_images_fault(tmp_path):
    path = tmp_path / "a.ppm"
    write_picture(path, RGB, picture_format="ppm")
    with pytest.raises(ValueError, match="mine"), open_planes(path):
        raise ValueError("mine")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "BMP", "PPM", "GIF"])
def test_truncated_files_are_refused(kind, share):
    noise = RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = saved(Pillow.fromarray(noise), kind)
    with pytest.raises(ImageError) as caught:
        read(data[: int(len(data) * share)])
    assert caught.value.hint
    assert caught.value.exit_code == 3


def test_files_that_are_no_images(tmp_path):
    fake = tmp_path / "text.png"
    fake.write_text("this is not a picture\n")
    empty = tmp_path / "empty.png"
    empty.write_bytes(b"")
    cases = {fake: "not an image", empty: "empty", tmp_path: "directory", tmp_path / "no": "no such file"}
    for path, said in cases.items():
        for act in (read, probe):
            with pytest.raises(ImageError, match=said) as caught:
                act(path)
            assert str(caught.value).startswith(str(path))
            assert caught.value.hint


def test_a_file_without_permission(unprivileged):
    path = unprivileged / "secret.png"
    write_picture(path, RGB)
    path.chmod(0)
    with pytest.raises(ImageError, match="permission denied"):
        read(path)


def png_of_size(width: int, height: int) -> bytes:
    file = io.BytesIO()
    write_picture(file, RGB)
    data = bytearray(file.getvalue())
    struct.pack_into(">II", data, 16, width, height)
    import zlib

    struct.pack_into(">I", data, 29, zlib.crc32(bytes(data[12:29])))
    return bytes(data)


def test_a_bomb_is_refused_before_memory_is_taken():
    with pytest.raises(ImageError, match="the limit is") as caught:
        read(png_of_size(100_000, 100_000))
    assert "--max-pixels 10000000000" in str(caught.value.hint)
    assert caught.value.facts == {"n_pixels": 10**10, "max_pixels": 2**28}
    with pytest.raises(ImageError, match="truncated"):
        read(png_of_size(16000, 16000))
    with pytest.raises(ImageError, match="the limit is 100"):
        read(png_of_size(17, 13), max_pixels=100)
    assert read(png_of_size(17, 13), max_pixels=221).samples.shape == (13, 17, 3)


def test_samples_are_read_only():
    samples = read(saved(Pillow.fromarray(RGB), "PNG")).samples
    with pytest.raises(ValueError, match="read-only"):
        samples[0, 0] = 1


def test_pixels_outlive_the_decoder():
    import gc

    samples = read(saved(Pillow.fromarray(RGB), "PNG")).samples
    gc.collect()
    junk = [read(saved(Pillow.fromarray(255 - RGB), "PNG")).samples for _ in range(8)]
    np.testing.assert_array_equal(samples, RGB)
    del junk


def photograph(kind: str, mode: str = "RGB", **options: object) -> bytes:
    """A picture of several strips, with every PNG filter in it."""
    ramp = np.add.outer(np.arange(900), np.arange(1100))
    noise = RNG.integers(0, 40, (900, 1100, 4))
    samples = ((ramp[:, :, None] // [3, 5, 7, 2] + noise) % 256).astype(np.uint8)
    planes = {"L": 1, "RGB": 3, "RGBA": 4}[mode]
    return saved(Pillow.fromarray(samples[:, :, :planes].squeeze()), kind, **options)


@pytest.mark.parametrize(
    ("kind", "mode", "options"),
    [
        ("PNG", "RGB", {}),
        ("PNG", "RGBA", {}),
        ("PNG", "L", {}),
        ("JPEG", "RGB", {"quality": 90}),
        ("JPEG", "RGB", {"quality": 90, "progressive": True}),
        ("JPEG", "RGB", {"quality": 90, "restart_marker_rows": 1}),
        ("JPEG", "L", {"quality": 90, "restart_marker_blocks": 3}),
        ("WEBP", "RGB", {"quality": 90}),
    ],
)
@pytest.mark.parametrize("from_bytes", [False, True])
def test_rows_of_a_photograph_are_the_rows(tmp_path, kind, mode, options, from_bytes):
    path = tmp_path / "photo"
    path.write_bytes(photograph(kind, mode, **options))
    source = path.read_bytes() if from_bytes else path
    expected = np.asarray(Pillow.open(path)).reshape(900, 1100, -1)
    with open_planes(source) as opened:
        np.testing.assert_array_equal(opened.planes, expected.transpose(2, 0, 1))
    np.testing.assert_array_equal(read(source).samples, expected)


@pytest.mark.parametrize("share", [0.3, 0.7, 0.99])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_damage_found_half_way_is_an_image_error(kind, share):
    data = photograph(kind)
    with pytest.raises(ImageError, match="truncated"):
        read(data[: int(len(data) * share)])
    if kind == "PNG":
        flipped = bytearray(data)
        flipped[int(len(data) * share) - 200] ^= 0xFF
        with pytest.raises(ImageError):
            read(flipped)


def test_a_gif_without_its_end_says_that_frames_may_be_missing():
    frames = [Pillow.fromarray(RNG.integers(0, 256, (20, 20), dtype=np.uint8)) for _ in range(3)]
    data = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert not [note for note in probe(data).notes if "trailer" in note]
    assert [note for note in probe(data[:-1]).notes if "trailer" in note]


XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"
#: A Photoshop block of a JPEG with resource 0x0404, a caption in IPTC.
IPTC = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0" + (8).to_bytes(4, "big") + b"\x1c\x02\x78\0\x03cap"


def with_application_data(jpeg: bytes, number: int, body: bytes) -> bytes:
    return jpeg[:2] + bytes((0xFF, 0xE0 + number)) + (len(body) + 2).to_bytes(2, "big") + body + jpeg[2:]


@pytest.mark.parametrize(
    ("suffix", "options", "left_out"),
    [
        (".tif", {"tiffinfo": {700: XMP}}, ("XMP",)),
        (".tif", {"tiffinfo": {700: XMP}, "compression": "tiff_lzw"}, ("XMP",)),
        (".tif", {"tiffinfo": {33723: b"caption"}}, ("IPTC",)),
        (".tif", {"exif": True}, ("EXIF",)),
        (".jpg", {"xmp": XMP}, ("XMP",)),
        (".webp", {"xmp": XMP}, ("XMP",)),
        (".png", {"pnginfo": True}, ("XMP",)),
        (".png", {}, ()),
        (".tif", {}, ()),
    ],
    ids=str,
)
def test_what_no_picture_keeps_is_said(
    suffix: str, options: dict[str, Any], left_out: tuple[str, ...], tmp_path: Path
) -> None:
    if options.get("exif"):
        exif = Pillow.Exif()
        exif.get_ifd(34665)[0x9003] = "2026:01:01 00:00:00"
        exif[34665] = exif.get_ifd(34665)
        options = {"exif": exif}
    if options.get("pnginfo"):
        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", XMP.decode())
        options = {"pnginfo": info}
    path = tmp_path / f"a{suffix}"
    Pillow.new("RGB", (30, 20)).save(path, **options)
    assert probe(path).metadata.left_out == left_out
    notes = run_cli("apply", path, "-k", "sobel", "-o", tmp_path / "out.png").ok().stdout
    assert ("left out of the picture: " + ", ".join(left_out) in notes) == bool(left_out)


def test_iptc_of_a_jpeg_is_seen() -> None:
    file = io.BytesIO()
    Pillow.new("RGB", (30, 20)).save(file, "jpeg")
    assert probe(with_application_data(file.getvalue(), 13, IPTC)).metadata.left_out == ("IPTC",)
