"""Zarr stores in and out: windows are read, tiles written, with the values of the whole at any tile and chunk."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import run_cli
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convcli.images import reading, zarr_store
from convcli.pipeline.transforms.strips import ConvRun
from convcli.pipeline.transforms.tiled import TiledRun

zarr = pytest.importorskip("zarr", reason="zarr is not installed")

MODES = {"zeros": "constant", "replicate": "edge", "reflect": "reflect", "symmetric": "symmetric", "circular": "wrap"}


def assert_maps(store, image, taps, stride, dilation, pads, mode):
    """Hold a store of maps against torch on the whole image, padded by NumPy."""
    padded = np.pad(image.astype(np.float32), [(0, 0), *pads], mode=MODES[mode])
    weight = np.repeat(taps[None, None].astype(np.float32), len(image), axis=0)
    maps = torch.nn.functional.conv2d(
        torch.from_numpy(padded), torch.from_numpy(weight), stride=stride, dilation=dilation, groups=len(image)
    )
    found = zarr.open(store, mode="r")["0"]
    assert found.metadata.dimension_names == ("c", "y", "x")
    np.testing.assert_array_equal(found[:], maps.numpy())


def save(path, image, **options):
    array = zarr.create_array(path, shape=image.shape, dtype=image.dtype, overwrite=True, **options)
    array[:] = image
    return path


@pytest.fixture
def small_tiles(monkeypatch):
    monkeypatch.setattr(zarr_store, "CHUNK_PX", 4)
    monkeypatch.setattr(zarr_store, "TILE_BYTES", 8 * 8 * 4 * 3)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), mode=st.sampled_from(sorted(MODES)))
def test_tiles_have_the_values_of_the_whole(tmp_path, small_tiles, data, mode):
    height, width = data.draw(st.integers(1, 30)), data.draw(st.integers(1, 30))
    kernel = (data.draw(st.integers(1, 5)), data.draw(st.integers(1, 5)))
    stride, dilation = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 2))
    pads = [(data.draw(st.integers(0, 4)) + dilation * (k - 1), data.draw(st.integers(0, 4))) for k in kernel]
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    image = rng.integers(0, 256, (data.draw(st.sampled_from([1, 3])), height, width)).astype(np.uint8)
    taps = rng.integers(-9, 10, kernel)
    chunks = (1, data.draw(st.integers(1, height)), data.draw(st.integers(1, width)))
    save(tmp_path / "in.zarr", image, chunks=chunks)
    (tmp_path / "k.csv").write_text("\n".join(",".join(map(str, row)) for row in taps))
    (top, bottom), (left, right) = pads
    run_cli(
        "apply", tmp_path / "in.zarr", "-k", tmp_path / "k.csv", "--stride", stride, "--dilation", dilation,
        "--padding", f"{top},{bottom},{left},{right}", "--padding-mode", mode, "-o", tmp_path / "out.zarr",
        "--overwrite", "-q", "--threads", data.draw(st.sampled_from([1, 2])),
    ).ok()  # fmt: skip
    assert_maps(tmp_path / "out.zarr", image, taps, stride, dilation, pads, mode)


def test_tiles_are_shards_and_run_by_themselves(tmp_path, small_tiles, monkeypatch):
    image = np.arange(20 * 21, dtype=np.uint16).reshape(20, 21)
    save(tmp_path / "in.zarr", image, chunks=(5, 5))
    seen = []
    tile = TiledRun._tile
    monkeypatch.setattr(TiledRun, "_tile", lambda self, *span: seen.append(span) or tile(self, *span))
    result = run_cli("apply", "in.zarr", "-k", "sobel", "-o", "out.zarr", "--json", cwd=tmp_path).ok()
    array = zarr.open(tmp_path / "out.zarr/0", mode="r")
    side = array.shards[-1]
    assert len(seen) == (-(-20 // side)) * -(-21 // side) > 1
    # One file a shard, and nothing beside them.
    assert len([file for file in (tmp_path / "out.zarr/0/c").rglob("*") if file.is_file()]) == len(seen)
    assert [child.name for child in tmp_path.iterdir() if "part" in child.name] == []
    assert result.json["outputs"][0]["path"] == "out.zarr"


def test_stacks_and_volumes_are_stored_too(tmp_path):
    volume = np.random.default_rng(0).integers(0, 9, (4, 1, 12, 13)).astype(np.float32)
    save(tmp_path / "in.zarr", volume, chunks=(1, 1, 12, 13), dimension_names=("z", "c", "y", "x"))
    np.save(tmp_path / "k.npy", np.ones((1, 1, 3, 3, 3)))
    words = ["apply", "in.zarr", "-k", "k.npy", "--frames", "all", "--padding", "1", "--padding-mode", "zeros"]
    run_cli(*words, "-o", "out.zarr", cwd=tmp_path).ok()
    found = zarr.open(tmp_path / "out.zarr/0", mode="r")
    assert found.metadata.dimension_names == ("c", "z", "y", "x")
    expected = torch.nn.functional.conv3d(
        torch.from_numpy(volume.transpose(1, 0, 2, 3)), torch.ones(1, 1, 3, 3, 3), padding=1
    )
    np.testing.assert_array_equal(found[:], expected.numpy())


@pytest.mark.parametrize(
    ("shape", "names", "planes", "frames"),
    [
        ((9, 7), None, ("l",), 1),
        ((3, 9, 7), None, ("r", "g", "b"), 1),
        ((9, 7, 3), ("y", "x", "c"), ("r", "g", "b"), 1),
        ((2, 4, 9, 7), ("time", "channel", "y", "x"), ("0", "1", "2", "3"), 2),
        ((2, 5, 9, 7), ("t", "z", "y", "x"), ("l",), 10),
    ],
)
@pytest.mark.parametrize("version", [2, 3])
def test_axes_go_by_their_names(tmp_path, shape, names, planes, frames, version):
    image = np.random.default_rng(1).integers(0, 999, shape).astype(">u2" if version == 2 else "uint16")
    attributes = {"_ARRAY_DIMENSIONS": names} if names and version == 2 else {}
    options = {"dimension_names": names} if names and version == 3 else {}
    save(
        tmp_path / "a",
        image,
        chunks=tuple(max(1, size // 2) for size in shape),
        zarr_format=version,
        attributes=attributes,
        **options,
    )
    info = reading.probe(tmp_path / "a")
    assert (info.plane_names, info.n_frames, info.height_px, info.width_px) == (planes, frames, 9, 7)
    assert (info.dtype, info.white) == ("uint16", 65535)
    assert any("axes have no names" in note for note in info.notes) == (len(shape) == 3 and names is None)
    samples = reading.read(tmp_path / "a", frame=frames - 1).samples
    last = image[tuple(-1 if name in ("t", "time", "z") else slice(None) for name in names or "cyx"[-len(shape) :])]
    if last.ndim == 2:
        last = last[None]
    elif names and names[-1] == "c":
        last = last.transpose(2, 0, 1)
    np.testing.assert_array_equal(samples, last.transpose(1, 2, 0))


def test_an_ome_image_is_read_at_full_resolution(tmp_path):
    axes = [{"name": "c"}, {"name": "y"}, {"name": "x"}]
    scales = [{"axes": axes, "datasets": [{"path": "full"}, {"path": "half"}]}]
    group = zarr.create_group(tmp_path / "a.zarr", attributes={"ome": {"version": "0.5", "multiscales": scales}})
    for name, side in (("full", 8), ("half", 4)):
        group.create_array(name, shape=(1, side, side), chunks=(1, 4, 4), dtype="uint8")[:] = side
    assert reading.read(tmp_path / "a.zarr").samples[..., 0].tolist() == [[8] * 8] * 8


def test_rows_of_one_chunk_have_the_byte_order_of_this_machine(tmp_path):
    save(tmp_path / "a.zarr", np.ones((2, 60, 40), np.uint16), chunks=(1, 16, 16))
    with reading.open_planes(tmp_path / "a.zarr", window_bytes=0) as opened:
        assert memoryview(opened.planes.rows(0, 10)).format == "H"


def test_chunks_that_are_not_stored_are_said(tmp_path):
    array = zarr.create_array(tmp_path / "a.zarr", shape=(8, 8), chunks=(4, 4), dtype="uint8", fill_value=7)
    array[:4, :4] = 1
    assert "3 of 4 chunks are not stored and read as 7" in reading.probe(tmp_path / "a.zarr").notes


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: zarr.create_group(path), "0 arrays (none)"),
        (lambda path: [zarr.create_array(path, name=n, shape=(2, 2), dtype="u1") for n in "ab"], "(a, b)"),
        (lambda path: zarr.create_array(path, shape=(2, 2, 2, 2), dtype="u1"), "4 axes without names"),
        (lambda path: zarr.create_array(path, shape=(4,), dtype="u1"), "1 axes without names"),
        (lambda path: zarr.create_array(path, shape=(2, 2), dtype="c8"), "complex64"),
        (lambda path: zarr.create_array(path, shape=(2, 2), dtype="u1", dimension_names=("a", "x")), "no picture's"),
        (lambda path: path.mkdir() or (path / "zarr.json").write_text("{"), "a.zarr"),
        (lambda path: path.mkdir() or (path / ".zarray").write_text("[]"), "a.zarr"),
    ],
)  # fmt: skip
def test_stores_that_are_no_pictures_are_refused(tmp_path, make, said):
    make(tmp_path / "a.zarr")
    result = run_cli("apply", "a.zarr", "-k", "sobel", "-o", "x.png", cwd=tmp_path)
    assert (result.exit_code, said in result.stderr, len(result.stderr.splitlines()) <= 2) == (3, True, True), result


def test_damaged_chunks_are_an_error(tmp_path):
    save(tmp_path / "a.zarr", np.ones((64, 64), np.float32), chunks=(32, 32))
    for chunk in (tmp_path / "a.zarr/c").rglob("*"):
        if chunk.is_file():
            chunk.write_bytes(b"\x28\xb5\x2f\xfd" + b"damaged")
    result = run_cli("apply", "a.zarr", "-k", "sobel", "-o", "x.zarr", cwd=tmp_path)
    assert (result.exit_code, "chunk cannot be read" in result.stderr) == (3, True), result.stderr
    assert sorted(child.name for child in tmp_path.iterdir()) == ["a.zarr"]


def test_stores_are_whole_or_not_there(tmp_path, photo, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["apply", photo, "-k", "sobel", "-o", "x.zarr"]
    run_cli(*words).ok()
    taken = run_cli(*words)
    assert (taken.exit_code, "exists" in taken.stderr) == (6, True)
    run_cli(*words, "--overwrite", "--stride", "2").ok()
    assert zarr.open("x.zarr/0", mode="r").shape[1:] == (200, 300)
    assert run_cli("apply", photo, "-k", "sobel", "--format", "zarr", "-o", "-").exit_code == 2
    (tmp_path / "y.zarr").mkdir()
    (tmp_path / "y.zarr" / "mine").write_text("kept")
    assert run_cli("apply", photo, "-k", "sobel", "-o", "y.zarr").exit_code == 6
    assert (tmp_path / "y.zarr" / "mine").read_text() == "kept"


def test_without_zarr_it_is_said_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "zarr", None)
    (tmp_path / "a").mkdir()
    (tmp_path / "a/zarr.json").write_text("{}")
    result = run_cli("apply", tmp_path / "a", "-k", "sobel", "-o", tmp_path / "x.png")
    assert (result.exit_code, "convcli[zarr]" in result.stderr) == (3, True)


def test_a_search_finds_stores_and_does_not_look_into_them(tmp_path, photo):
    image = np.ones((8, 8), np.uint8)
    for place in ("a.zarr", "below/b.zarr"):
        save(tmp_path / "in" / place, image, chunks=(4, 4))
    (tmp_path / "in" / "c.png").write_bytes(photo.read_bytes())
    result = run_cli("apply", "in", "-r", "-k", "box", "--out-dir", "out", "--layout", "picture", cwd=tmp_path).ok()
    found = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.png"))
    assert found == ["a_box.png", "below/b_box.png", "c_box.png"], result.stderr


def test_strips_of_a_region_read_each_row_of_chunks_once(tmp_path, rng, monkeypatch):
    image = rng.integers(0, 256, (3, 200, 90), dtype=np.uint8)
    save(tmp_path / "a.zarr", image, chunks=(3, 32, 16), dimension_names=("c", "y", "x"))
    reads = []
    read = zarr_store.ZarrPlanes._read
    monkeypatch.setattr(zarr_store.ZarrPlanes, "_read", lambda self, *at: reads.append(at) or read(self, *at))
    words = ["-k", "sobel", "--region", "20,10,40,150", "--combine", "none", "--threads", "1", "--memory", "24K"]
    run_cli("apply", tmp_path / "a.zarr", *words, "-o", tmp_path / "e.npy").ok()
    # Rows 9 to 161 lie in six rows of chunks.
    assert len(reads) == 6, reads
    run_cli("apply", tmp_path / "a.zarr", *words[:2], *words[4:6], "-o", tmp_path / "whole.npy").ok()
    np.testing.assert_array_equal(np.load(tmp_path / "e.npy"), np.load(tmp_path / "whole.npy")[:, 10:160, 20:60])


def test_raw_maps_take_no_pass_for_ranges(tmp_path, photo, monkeypatch):
    monkeypatch.setattr(ConvRun, "ranges", lambda _: pytest.fail("raw maps have no tone"))
    run_cli("apply", photo, "-k", "1 2 3;4 5 6", "-o", tmp_path / "e.zarr").ok()
    run_cli("apply", photo, "-k", "1 2 3;4 5 6", "-o", tmp_path / "e.npy").ok()
