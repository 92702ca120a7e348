"""Plain TIFFs read where they lie: Pillow and tifffile say what is in them, and what is not plain is left to them."""

from __future__ import annotations

import io
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from convcli.errors import ImageError
from convcli.images import probe, read
from convcli.images.decode import PillowDecoder
from convcli.images.failures import DECODER_ERRORS
from convcli.images.sniff import sniff
from convcli.images.tiff_stored import open_stored_tiff

KINDS = [("u1", 1), ("u1", 3), ("u1", 4), ("u2", 1), ("u2", 3), ("u2", 4), ("f4", 1)]


def tiff_of(samples: np.ndarray, byteorder: str = "<", **options: object) -> io.BytesIO:
    """Return a TIFF of (H, W) or (H, W, P) by tifffile."""
    file = io.BytesIO()
    photometric = "rgb" if samples.ndim == 3 else "minisblack"
    extra = ["unassalpha"] if samples.shape[2:] == (4,) else None
    options = {"metadata": None, "photometric": photometric, "extrasamples": extra} | options
    tifffile.imwrite(file, samples, byteorder=byteorder, **options)
    return file


def random_samples(rng: np.random.Generator, kind: tuple[str, int], height: int, width: int) -> np.ndarray:
    dtype, n_planes = kind
    shape = (height, width, n_planes)[: 3 if n_planes > 1 else 2]
    return rng.integers(0, 256 ** min(np.dtype(dtype).itemsize, 2), shape).astype(dtype)


def assert_as_pillow_reads_it(file: io.BytesIO) -> None:
    stored = open_stored_tiff(file, 0)
    assert stored is not None
    file.seek(0)
    pillow = PillowDecoder(file, sniff(file.getvalue()[:32]), 0, "apply")
    assert stored.info == pillow.info
    np.testing.assert_array_equal(stored.decode(), pillow.decode())


@given(
    kind=st.sampled_from(KINDS),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    strip=st.integers(1, 50),
    byteorder=st.sampled_from("<>"),
    dpi=st.sampled_from([None, (300.0, 72.5), (0.5, 2.0)]),
    unit=st.sampled_from([None, "INCH", "CENTIMETER", "NONE"]),
    icc=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_plain_tiffs_are_read_as_pillow_reads_them(
    kind: tuple[str, int],
    height: int,
    width: int,
    strip: int,
    byteorder: str,
    dpi: tuple[float, float] | None,
    unit: str | None,
    icc: bool,
    seed: int,
) -> None:
    samples = random_samples(np.random.default_rng(seed), kind, height, width)
    options: dict[str, object] = {"rowsperstrip": strip, "description": "a picture", "software": "a test"}
    if dpi is not None:
        options |= {"resolution": dpi, "resolutionunit": unit}
    if icc:
        options["iccprofile"] = bytes(range(200))
    file = tiff_of(samples, byteorder, **options)
    assert_as_pillow_reads_it(file)
    np.testing.assert_array_equal(read(file.getvalue()).samples.squeeze(), samples.squeeze())


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "I;16", "F"])
def test_what_pillow_writes_is_plain(mode: str, tmp_path: Path) -> None:
    image = Image.effect_noise((37, 23), 60).convert(mode)
    image.save(tmp_path / "a.tif", dpi=(150, 150), description="text")
    assert_as_pillow_reads_it(io.BytesIO((tmp_path / "a.tif").read_bytes()))


@pytest.mark.parametrize("tool", ["vips copy {} {}[strip]", "vips copy {} {}", "convert {} {}", "gm convert {} {}"])
def test_what_others_write_is_read(tool: str, photo: Path, tmp_path: Path) -> None:
    command = tool.format(photo, tmp_path / "a.tif").split()
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    subprocess.run(command, check=True, capture_output=True)
    file = io.BytesIO((tmp_path / "a.tif").read_bytes())
    if open_stored_tiff(file, 0) is not None:
        assert_as_pillow_reads_it(file)
    with Image.open(photo) as image:
        np.testing.assert_array_equal(read(tmp_path / "a.tif").samples[..., :3], np.asarray(image.convert("RGB")))


NOT_PLAIN = {
    "compressed": {"compression": "zlib"},
    "tiled": {"tile": (16, 16)},
    "planes apart": {"planarconfig": "separate"},
    "white is zero": {"photometric": "miniswhite"},
    "premultiplied": {"extrasamples": ["assocalpha"]},
    "turned": {"extratags": [(274, 3, 1, 6, True)]},
    "unknown tag": {"extratags": [(65000, 3, 1, 6, True)]},
    "a thumbnail": {"subfiletype": 1},
}


@pytest.mark.parametrize("what", NOT_PLAIN)
def test_what_is_not_plain_is_left_to_others(what: str) -> None:
    n_planes = {"planes apart": 3, "premultiplied": 4}.get(what, 1)
    samples = random_samples(np.random.default_rng(1), ("u1", n_planes), 32, 32)
    assert open_stored_tiff(tiff_of(samples), 0) is not None
    assert open_stored_tiff(tiff_of(samples, **NOT_PLAIN[what]), 0) is None


def test_strips_in_another_order_are_left_to_others() -> None:
    file = tiff_of(random_samples(np.random.default_rng(6), ("u1", 1), 20, 16), rowsperstrip=10)
    file.seek(0)
    with tifffile.TiffFile(file) as tiff:
        tag = tiff.pages[0].tags["StripOffsets"]
        first, second = tag.value
    data = bytearray(file.getvalue()) + bytes(1000)
    struct.pack_into("<II", data, tag.valueoffset, second, first)
    turned = io.BytesIO(bytes(data))
    assert open_stored_tiff(turned, 0) is None
    whole = read(file.getvalue()).samples
    np.testing.assert_array_equal(read(bytes(data)).samples, np.concatenate([whole[10:], whole[:10]]))


def test_pages_are_left_to_others() -> None:
    file = tiff_of(np.zeros((2, 16, 16), np.uint8), photometric="minisblack")
    assert open_stored_tiff(file, 0) is None
    assert probe(file.getvalue()).n_frames == 2


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_every_cut_is_an_error_and_no_picture(kind: tuple[str, int]) -> None:
    file = tiff_of(random_samples(np.random.default_rng(2), kind, 20, 30), rowsperstrip=7)
    data = file.getvalue()
    assert open_stored_tiff(io.BytesIO(data), 0) is not None
    last = 0
    for length in range(8, len(data), 97):
        if open_stored_tiff(io.BytesIO(data[:length]), 0) is not None:
            last = length
        else:
            with pytest.raises(ImageError):
                read(data[:length])
    assert last == 0


@given(position=st.integers(0, 250), value=st.integers(0, 255), kind=st.sampled_from(KINDS))
def test_a_flipped_byte_is_plain_to_pillow_too_or_left_to_it(position: int, value: int, kind: tuple[str, int]) -> None:
    """Whatever the header says: where it is read here, Pillow reads the same picture, or fails, or warns."""
    data = bytearray(tiff_of(random_samples(np.random.default_rng(3), kind, 9, 11)).getvalue())
    data[position % len(data)] = value
    file = io.BytesIO(bytes(data))
    try:
        stored = open_stored_tiff(file, 0)
    except (struct.error, KeyError) as error:  # pragma: no cover
        pytest.fail(f"not left to others: {error}")
    if stored is None:
        return
    try:
        pillow = PillowDecoder(file, sniff(bytes(data[:32])), 0, "apply")
        expected = pillow.decode()
    except (Warning, *DECODER_ERRORS):
        return
    assert stored.info == pillow.info
    np.testing.assert_array_equal(stored.decode(), expected)
