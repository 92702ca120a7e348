"""Float TIFF with predictor 3, which tifffile alone does not undo: as Pillow, libvips and plain loops wrote it."""

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
from PIL import Image as Pillow

from convcli.errors import ImageError
from convcli.images.reading import open_planes, read

RNG = np.random.default_rng(4)


@pytest.mark.parametrize("compression", ["tiff_adobe_deflate", "tiff_lzw"])
@pytest.mark.parametrize("size", [(1, 1), (37, 50), (300, 400)])
def test_floats_of_libtiff(compression: str, size: tuple[int, int]) -> None:
    samples = RNG.normal(size=size).astype(np.float32)
    file = io.BytesIO()
    Pillow.fromarray(samples).save(file, "TIFF", compression=compression, tiffinfo={317: 3})
    with tifffile.TiffFile(io.BytesIO(file.getvalue())) as tiff:
        assert int(tiff.pages[0].predictor) == 3
    np.testing.assert_array_equal(read(file.getvalue()).samples[..., 0], samples)
    with open_planes(file.getvalue(), window_bytes=0) as opened:
        np.testing.assert_array_equal(opened.planes.rows(0, size[0])[0], samples)


@pytest.mark.skipif(shutil.which("vips") is None, reason="libvips writes tiles and planes of colour")
@pytest.mark.parametrize("options", ["", ",tile=true,tile-width=16,tile-height=16"])
@pytest.mark.parametrize("compression", ["deflate", "lzw"])
def test_floats_of_libvips(options: str, compression: str, tmp_path: Path) -> None:
    samples = RNG.normal(size=(50, 37, 3)).astype(np.float32)
    tifffile.imwrite(tmp_path / "in.tif", samples, photometric="rgb")
    target = f"{tmp_path / 'out.tif'}[compression={compression},predictor=float{options}]"
    subprocess.run(["vips", "copy", tmp_path / "in.tif", target], check=True)
    with tifffile.TiffFile(tmp_path / "out.tif") as tiff:
        assert int(tiff.pages[0].predictor) == 3
    np.testing.assert_array_equal(read(tmp_path / "out.tif").samples, samples)


def apart(row: list[bytes], n_planes: int) -> bytes:
    """A row of big-endian samples as predictor 3 stores it, by plain loops."""
    together = b"".join(bytes(sample[place] for sample in row) for place in range(len(row[0])))
    differences = []
    for index, byte in enumerate(together):
        before = together[index - n_planes] if index >= n_planes else 0
        differences.append((byte - before) % 256)
    return bytes(differences)


def by_hand(samples: np.ndarray, order: str, kind: int = 3, compression: int = 8, n_missing: int = 0) -> bytes:
    """A TIFF of one strip."""
    height, width, n_planes = samples.shape
    data = samples.astype(samples.dtype.newbyteorder("<")).tobytes()
    if compression == 8:
        n_bytes = samples.dtype.itemsize
        flat = [row.astype(samples.dtype.newbyteorder(">")).tobytes() for row in samples]
        rows = [[row[at : at + n_bytes] for at in range(0, len(row), n_bytes)] for row in flat]
        stored = b"".join(apart(row, n_planes) for row in rows)
        data = zlib.compress(stored[: len(stored) - n_missing])
    bits = samples.dtype.itemsize * 8
    tags = [
        *((256, width), (257, height), (258, bits), (259, compression), (262, 1), (273, 8), (277, n_planes)),
        *((278, height), (279, len(data)), (317, 3), (338, 2), (339, kind)),
    ]  # fmt: skip
    tags = [tag for tag in tags if n_planes == 2 or tag[0] != 338]
    directory = struct.pack(f"{order}H", len(tags))
    for tag, value in tags:
        count, packed = 1, struct.pack(f"{order}I", value)
        if tag in (258, 339, 338):
            packed = struct.pack(f"{order}HH", value, value if n_planes == 2 and tag != 338 else 0)
            count = n_planes if tag != 338 else 1
        directory += struct.pack(f"{order}HHI", tag, 3 if tag in (258, 339, 338) else 4, count) + packed
    magic = b"II" if order == "<" else b"MM"
    return magic + struct.pack(f"{order}HI", 42, 8 + len(data)) + data + directory + bytes(4)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("n_planes", [1, 2])
def test_floats_by_hand(order: str, dtype: str, n_planes: int) -> None:
    samples = RNG.normal(size=(5, 7, n_planes)).astype(dtype)
    image = read(by_hand(samples, order))
    np.testing.assert_array_equal(image.samples, samples)
    assert image.info.plane_names == (("l",), ("l", "a"))[n_planes - 1]


def test_a_predictor_of_data_that_are_not_compressed_is_nothing() -> None:
    samples = RNG.normal(size=(5, 7, 1)).astype(np.float32)
    data = by_hand(samples, "<", compression=1)
    np.testing.assert_array_equal(np.asarray(Pillow.open(io.BytesIO(data))), samples[..., 0])
    np.testing.assert_array_equal(read(data).samples, samples)


def test_integers_have_no_such_predictor() -> None:
    data = by_hand(RNG.integers(0, 99, (5, 7, 1), dtype=np.uint16), "<", kind=1)
    with pytest.raises(ImageError, match="cannot be decoded"):
        read(data)


def test_floats_cut_short() -> None:
    data = by_hand(RNG.normal(size=(5, 7, 1)).astype(np.float32), "<", n_missing=9)
    with pytest.raises(ImageError, match="truncated: 9 bytes missing"):
        read(data)
