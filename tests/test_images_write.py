"""Writing: exact samples, valid files by other readers, whole files or none."""

import io
import itertools
import json
import shutil
import subprocess
import zlib
from concurrent.futures import ThreadPoolExecutor

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp
from PIL import Image as Pillow

from convcli.errors import OutputError, UsageError
from convcli.images.arrays import open_raw
from convcli.images.colormaps import COLORMAPS, apply_colormap
from convcli.images.files import PART_SUFFIX, TargetFile
from convcli.images.formats import FORMATS
from convcli.images.frames import read_frames
from convcli.images.info import Metadata
from convcli.images.png import adler32_combine
from convcli.images.reading import read
from convcli.images.write import open_picture, picture_notes, write_picture

RNG = np.random.default_rng(11)
RULES = {row.name: row for row in FORMATS if row.planes}
DTYPES = {"1": np.uint8, "8": np.uint8, "16": np.uint16, "float": np.float32}
TOP = {"1": 2, "8": 256, "16": 65536, "float": 65536}
CASES = [
    (kind, depth, planes)
    for kind, rule in RULES.items()
    for depth in rule.depths
    for planes in rule.planes
    if depth != "1" or planes == 1
    if depth != "16" or not rule.deep_planes or planes in rule.deep_planes
    if not (rule.alpha_is_bit and planes in (2, 4))  # test_alpha_ties.py
]


def picture(depth: str, planes: int, shape: tuple[int, int] = (37, 23)) -> np.ndarray:
    return RNG.integers(0, TOP[depth], (*shape, planes)).astype(DTYPES[depth])


def written(samples: np.ndarray, **options: object) -> bytes:
    file = io.BytesIO()
    write_picture(file, samples, **options)
    return file.getvalue()


@pytest.mark.parametrize("compress", ["fast", "default", "small"])
@pytest.mark.parametrize(("kind", "depth", "planes"), CASES)
def test_round_trip(kind, depth, planes, compress):
    samples = picture(depth, planes)
    data = written(samples, picture_format=kind, depth=depth, compress=compress)
    image = read(data)
    expected = samples * np.uint8(255) if depth == "1" else samples
    if kind == "webp" and planes < 3:
        expected = np.concatenate([samples[..., :1]] * 3 + ([samples[..., 1:]] if planes == 2 else []), axis=2)
    if kind == "gif":
        assert image.samples.shape == (37, 23, 3)
        assert np.abs(image.samples.astype(int) - samples).mean() < (1 if planes == 1 else 60)
    elif kind == "avif":
        colour = samples[..., : planes - 1] if planes in (2, 4) else samples
        found = image.samples[..., :3].mean(axis=2, keepdims=True) if planes < 3 else image.samples[..., :3]
        assert np.abs(found.astype(float) - colour).mean() < 12
        if planes in (2, 4):
            assert np.abs(image.samples[..., 3].astype(int) - samples[..., -1]).max() < 12
    elif kind == "jpeg":
        assert np.abs(image.samples.astype(int) - samples).mean() < 12
    else:
        np.testing.assert_array_equal(image.samples, expected)


@pytest.mark.parametrize(("bits", "planes"), [("1", 1), *itertools.product(["8", "16"], [1, 2, 3, 4])])
@pytest.mark.parametrize("compress", ["fast", "default", "small"])
def test_png_is_valid_by_pngcheck_and_opencv(tmp_path, bits, planes, compress):
    samples = picture(bits, planes, (50, 33))
    path = tmp_path / "a.png"
    metadata = Metadata(dpi=(300, 300), stamp="made by a test, 5 × 5")
    with open_picture(
        path, width_px=33, height_px=50, n_planes=planes, depth=bits, compress=compress, metadata=metadata
    ) as writer:
        for top in range(0, 50, 7):
            writer.write(samples[top : top + 7])
    if shutil.which("pngcheck"):
        subprocess.run(["pngcheck", "-q", path], check=True)
    cv2 = pytest.importorskip("cv2", reason="an independent decoder")
    if planes == 2:
        return  # OpenCV has no grey + alpha
    found = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    found = found[:, :, [2, 1, 0, 3][:planes]] if planes > 1 else found[:, :, None]
    np.testing.assert_array_equal(found, samples * np.uint8(255) if bits == "1" else samples)


@given(
    hnp.arrays(
        st.sampled_from([np.uint8, np.uint16]),
        hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=9).map(
            lambda s: (s[0], s[1], (s[2] - 1) % 4 + 1)
        ),
    ),
    st.integers(1, 9),
    st.sampled_from(["fast", "default", "small"]),
)
def test_png_of_any_shape_in_any_bands(samples, step, compress):
    file = io.BytesIO()
    height, width, planes = samples.shape
    depth = "16" if samples.dtype == np.uint16 else "8"
    with open_picture(
        file, width_px=width, height_px=height, n_planes=planes, depth=depth, compress=compress
    ) as writer:
        for top in range(0, height, step):
            writer.write(samples[top : top + step])
    np.testing.assert_array_equal(read(file.getvalue()).samples, samples)


@given(st.binary(max_size=70_000), st.binary(max_size=70_000))
def test_adler_of_two_pieces(first, second):
    assert adler32_combine(zlib.adler32(first), zlib.adler32(second), len(second)) == zlib.adler32(first + second)


@pytest.mark.parametrize("kind", ["png", "tiff", "ppm"])
def test_bands_may_be_encoded_by_threads(kind):
    samples = picture("8", 3, (300, 200))
    file = io.BytesIO()
    with (
        ThreadPoolExecutor(4) as pool,
        open_picture(file, width_px=200, height_px=300, n_planes=3, picture_format=kind) as writer,
    ):
        assert writer.streams
        for band in pool.map(writer.encode, [samples[top : top + 16] for top in range(0, 300, 16)]):
            writer.append(band)
    np.testing.assert_array_equal(read(file.getvalue()).samples, samples)


def test_encoded_bands_do_not_change_with_the_callers_memory():
    for kind in RULES:
        depth = RULES[kind].depths[0]
        samples = np.zeros((8, 8, 3), DTYPES[depth])
        file = io.BytesIO()
        with open_picture(file, width_px=8, height_px=16, n_planes=3, depth=depth, picture_format=kind) as writer:
            band = writer.encode(samples)
            samples[...] = 200
            writer.append(band)
            writer.append(writer.encode(samples))
        found = read(file.getvalue()).samples
        assert found[:7].max() < 10 < found[9:].min(), kind


def test_non_contiguous_rows():
    planes = picture("8", 3).transpose(2, 0, 1).copy()
    np.testing.assert_array_equal(read(written(planes.transpose(1, 2, 0))).samples, planes.transpose(1, 2, 0))
    np.testing.assert_array_equal(read(written(planes[0, ::-1])).samples[..., 0], planes[0, ::-1])


def test_metadata_is_kept_where_the_format_can_and_said_where_not():
    exif = Pillow.Exif()
    exif[0x010F] = "a camera"
    block = exif.tobytes().removeprefix(b"Exif\0\0")
    metadata = Metadata(icc=b"profile" * 9, dpi=(300, 150), exif=block, stamp="kernel sobel, correlate, 3 × 3")
    for kind, rule in RULES.items():
        planes, depth = 3, rule.depths[0]
        data = written(picture(depth, planes), picture_format=kind, metadata=metadata)
        found = read(data).info.metadata
        notes = " ".join(picture_notes(kind, planes, metadata))
        assert (found.icc == metadata.icc) == ("icc" in rule.keeps) == ("ICC" not in notes), kind
        assert (found.dpi == pytest.approx((300, 150), abs=0.1)) == ("dpi" in rule.keeps) == ("DPI" not in notes), kind
        assert (found.exif is not None) == ("exif" in rule.keeps) == ("EXIF" not in notes), kind
        stamped = b"kernel sobel, correlate, 3" in data
        assert stamped == ("stamp" in rule.keeps) == ("stamp" not in notes), kind


def test_stamp_as_other_readers_see_it():
    for stamp in ("plain", "3 × 3", "日本 → →"):
        data = written(picture("8", 1), metadata=Metadata(stamp=stamp))
        assert Pillow.open(io.BytesIO(data)).text["Description"] == stamp
        data = written(picture("8", 1), picture_format="tiff", metadata=Metadata(stamp=stamp))
        tifffile = pytest.importorskip("tifffile")
        with tifffile.TiffFile(io.BytesIO(data)) as tiff:
            assert tiff.pages[0].description == stamp
        data = written(picture("8", 1), picture_format="jpeg", metadata=Metadata(stamp=stamp))
        assert Pillow.open(io.BytesIO(data)).info["comment"].decode() == stamp


def test_what_a_format_cannot_hold_is_refused():
    for kind, depth, planes in (("jpeg", "16", 3), ("png", "float", 1), ("bmp", "8", 4), ("ppm", "8", 2)):
        with pytest.raises(OutputError, match="cannot store") as caught:
            open_picture(io.BytesIO(), width_px=1, height_px=1, n_planes=planes, depth=depth, picture_format=kind)
        assert caught.value.hint
        assert caught.value.exit_code == 6


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    writer = open_picture(path, width_px=4, height_px=4, n_planes=1)
    writer.write(np.zeros((2, 4), np.uint8))
    assert path.read_bytes() == b"old"
    assert [part.suffix for part in tmp_path.iterdir() if part != path] == [PART_SUFFIX]
    writer.abort()
    assert [part.name for part in tmp_path.iterdir()] == ["a.png"]
    with pytest.raises(KeyboardInterrupt), open_picture(path, width_px=4, height_px=4, n_planes=1) as writer:
        raise KeyboardInterrupt
    assert [part.name for part in tmp_path.iterdir()] == ["a.png"]
    with pytest.raises(OutputError, match=r"a\.png exists"):
        write_picture(path, np.zeros((4, 4), np.uint8))
    assert path.read_bytes() == b"old"
    write_picture(TargetFile(path, overwrite=True), np.zeros((4, 4), np.uint8))
    assert read(path).samples.shape == (4, 4, 1)
    writer.abort()  # after the fact: nothing
    assert [part.name for part in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_missing_rows_are_an_error_and_leave_nothing(tmp_path, kind):
    writer = open_picture(tmp_path / "a", width_px=4, height_px=4, n_planes=1, picture_format=kind)
    writer.write(np.zeros((2, 4), np.uint8))
    with pytest.raises(ValueError, match=r"rows short|whole pages"):
        writer.close()
    assert not list(tmp_path.iterdir())


def test_paths_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "no" / "a.png", tmp_path / "file" / "a.png"):
        with pytest.raises(OutputError, match="cannot write") as caught:
            write_picture(path, np.zeros((2, 2), np.uint8))
        assert caught.value.hint
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="folder exists"):
        write_picture(tmp_path / "folder", np.zeros((2, 2), np.uint8))
    with pytest.raises(OutputError, match="cannot write"):
        write_picture(TargetFile(tmp_path / "folder", overwrite=True), np.zeros((2, 2), np.uint8))
    assert sorted(part.name for part in tmp_path.iterdir()) == ["file", "folder"]


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    from convcli.images.png import PngWriter

    def fail(self, band):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(PngWriter, "append", fail)
    with pytest.raises(OutputError, match="No space left") as caught:
        write_picture(tmp_path / "a.png", np.zeros((2, 2), np.uint8))
    assert "disk is full" in caught.value.hint
    assert not list(tmp_path.iterdir())


class Unseekable(io.BytesIO):
    def seekable(self) -> bool:
        return False

    def seek(self, *_: object) -> int:
        raise OSError("this is a pipe")


@pytest.mark.parametrize("kind", list(RULES))
def test_standard_output_gets_the_same_bytes(kind):
    samples = picture(RULES[kind].depths[0], 3)
    pipe = Unseekable()
    write_picture(pipe, samples, picture_format=kind)
    assert pipe.getvalue() == written(samples, picture_format=kind)
    assert not pipe.closed


MAPS = RNG.normal(0, 400, (3, 21, 9)).astype(np.float32)
NAMES = ("x-r", "y r", "é")


def load_raw(kind: str, data: bytes) -> np.ndarray:
    file = io.BytesIO(data)
    if kind == "npy":
        return np.load(file)
    if kind == "npz":
        with np.load(file) as archive:
            assert archive["names"].tolist() == list(NAMES)
            assert str(archive["stamp"]) == "how"
            return archive["maps"]
    if kind == "safetensors":
        safetensors = pytest.importorskip("safetensors.numpy")
        size = int.from_bytes(data[:8], "little")
        assert json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["names"]) == list(NAMES)
        return safetensors.load(data)["maps"]
    tifffile = pytest.importorskip("tifffile")
    with tifffile.TiffFile(file) as tiff:
        assert tiff.pages[0].description == "how"
        assert tiff.pages[0].tags["PageName"].value == "x-r"
        assert [page.tags["PageNumber"].value for page in tiff.pages] == [(0, 3), (1, 3), (2, 3)]
        return np.stack([page.asarray() for page in tiff.pages])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["npy", "npz", "safetensors", "tiff"])
def test_raw_maps_survive_in_bands(tmp_path, kind, dtype):
    options = {"raw_format": kind, "names": NAMES, "stamp": "how", "dtype": dtype}
    path = tmp_path / "maps"
    with open_raw(path, height_px=21, width_px=9, **options) as writer:
        for top in range(0, 21, 5):
            writer.write(MAPS[:, top : top + 5])
    np.testing.assert_array_equal(load_raw(kind, path.read_bytes()), MAPS)
    pipe = Unseekable()
    with open_raw(pipe, height_px=21, width_px=9, **options) as writer:
        writer.write(MAPS)
    np.testing.assert_array_equal(load_raw(kind, pipe.getvalue()), MAPS)


def test_400_of_both_signs_survive_raw(tmp_path):
    maps = np.float32([[[-400, 0, 400]]])
    for kind in ("npy", "tiff"):
        with open_raw(tmp_path / kind, raw_format=kind, names=("x",), height_px=1, width_px=3) as writer:
            writer.write(maps)
    assert np.load(tmp_path / "npy").ravel().tolist() == [-400, 0, 400]
    assert read(tmp_path / "tiff").samples.ravel().tolist() == [-400, 0, 400]


def test_raw_maps_that_stop_half_way(tmp_path):
    with pytest.raises(ValueError, match="rows short"):
        open_raw(tmp_path / "a", raw_format="npy", names=NAMES, height_px=21, width_px=9).close()
    assert not list(tmp_path.iterdir())
    with pytest.raises(OutputError, match="raw maps"):
        open_raw(tmp_path / "a", raw_format="png", names=NAMES, height_px=1, width_px=1)


def test_colormaps_are_tables_of_256():
    ramp = np.arange(256, dtype=np.uint8)[None]
    for name in COLORMAPS:
        coloured = apply_colormap(ramp, name)
        assert coloured.shape == (1, 256, 3)
        assert len(np.unique(coloured.reshape(-1, 3), axis=0)) > 200
    assert apply_colormap(ramp, "coolwarm")[0, 128].tolist() == [221, 220, 220]
    assert apply_colormap((ramp.astype(np.uint16) * 257)[:, :, None], "magma").tolist() == (
        apply_colormap(ramp, "magma").tolist()
    )
    with pytest.raises(UsageError, match="viridiss") as caught:
        apply_colormap(ramp, "viridiss")
    assert "viridis" in caught.value.hint


def test_pages_go_to_standard_output_too():
    from convcli.images.animation import open_animation

    frames = [picture("16", 1, (8, 9)) for _ in range(3)]
    pipe = Unseekable()
    with open_animation(
        pipe, n_frames=3, width_px=9, height_px=8, n_planes=1, depth="16", picture_format="tiff"
    ) as writer:
        for frame in frames:
            writer.write(frame)
    for found, frame in zip(read_frames(pipe.getvalue()), frames, strict=True):
        np.testing.assert_array_equal(found.samples, frame)


def test_a_profile_of_another_colour_space_is_left_out_and_said(tmp_path):
    def profile(space: bytes) -> bytes:
        return (132).to_bytes(4, "big") + bytes(12) + space + bytes(112)

    for space, planes, kept in (
        (b"RGB ", 3, True),
        (b"RGB ", 4, True),
        (b"RGB ", 1, False),
        (b"GRAY", 1, True),
        (b"GRAY", 3, False),
        (b"CMYK", 3, False),
    ):
        for kind in ("png", "tiff"):
            metadata = Metadata(icc=profile(space))
            found = read(written(picture("8", planes), picture_format=kind, metadata=metadata)).info.metadata
            assert (found.icc == metadata.icc) == kept
            notes = " ".join(picture_notes(kind, planes, metadata))
            assert ("left out" in notes) != kept
    cmyk = io.BytesIO()
    Pillow.new("CMYK", (8, 8)).save(cmyk, "JPEG", icc_profile=profile(b"CMYK"))
    assert read(cmyk.getvalue()).info.metadata.icc is None
