"""Zarr in object stores: read window by window, written shard by shard, with the values of local folders."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import run_cli

from convcli.images.info import LargeImage
from convcli.images.planes import read_window
from convcli.images.reading import open_planes
from convcli.pipeline import storage
from convcli.pipeline.places import open_zarr_url
from convcli.pipeline.storage import Store

obstore = pytest.importorskip("obstore", reason="the extra cloud is not installed")
zarr = pytest.importorskip("zarr", reason="the extra zarr is not installed")


def upload(folder: Path, place: str) -> str:
    store = Store(place)
    for path in folder.rglob("*"):
        if path.is_file():
            store.put(path.relative_to(folder).as_posix(), path.read_bytes())
    return place


def save(path: Path, image: np.ndarray, **options: object) -> Path:
    array = zarr.create_array(path, shape=image.shape, dtype=image.dtype, overwrite=True, **options)
    array[:] = image
    return path


@pytest.fixture
def picture(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (3, 50, 70)).astype(np.uint8)


@pytest.mark.parametrize("version", [2, 3])
def test_a_remote_array_has_the_maps_of_the_local_one(
    bucket: str, tmp_path: Path, picture: np.ndarray, version: int
) -> None:
    local = save(tmp_path / "in.zarr", picture, chunks=(1, 16, 16), zarr_format=version)
    upload(local, f"{bucket}/in.zarr")
    for name, source in (("remote", f"{bucket}/in.zarr"), ("local", local)):
        run_cli("apply", source, "-k", "sobel", "-o", tmp_path / f"{name}.npy").ok()
    np.testing.assert_array_equal(np.load(tmp_path / "remote.npy"), np.load(tmp_path / "local.npy"))
    # A search finds the store, and takes none of its chunks for anything else.
    found = run_cli("apply", bucket, "-k", "box", "--out-dir", tmp_path / "out", "--json").ok()
    assert found.json_lines[0]["input"]["path"] == f"{bucket}/in.zarr"


def test_an_ome_image_is_read_by_windows_and_never_whole(
    bucket: str, tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = rng.integers(0, 256, (1, 200, 64)).astype(np.uint8)
    axes = [{"name": name} for name in "cyx"]
    scales = [{"axes": axes, "datasets": [{"path": "full"}, {"path": "half"}]}]
    group = zarr.create_group(tmp_path / "a.zarr", attributes={"ome": {"version": "0.5", "multiscales": scales}})
    group.create_array("full", shape=image.shape, chunks=(1, 20, 32), dtype="uint8")[:] = image
    group.create_array("half", shape=(1, 100, 32), chunks=(1, 20, 32), dtype="uint8")[:] = image[:, ::2, ::2]
    upload(tmp_path / "a.zarr", f"{bucket}/a.ome.zarr")
    seen: list[str] = []
    read_range, read = obstore.get_range_async, obstore.get_async

    def counted(call: Callable[..., object]) -> Callable[..., object]:
        return lambda store, path, **options: seen.append(path) or call(store, path, **options)

    monkeypatch.setattr(obstore, "get_async", counted(read))
    monkeypatch.setattr(obstore, "get_range_async", counted(read_range))
    with open_planes(open_zarr_url(f"{bucket}/a.ome.zarr")[0]) as opened:
        assert isinstance(opened, LargeImage)
        np.testing.assert_array_equal(read_window(opened.planes, slice(45, 55), slice(3, 9)), image[:, 45:55, 3:9])
    assert sorted(path for path in seen if "/c/" in path) == ["full/c/0/2/0"]


def test_what_is_missing_is_said(
    bucket: str, tmp_path: Path, picture: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["-k", "box", "-o", tmp_path / "x.png"]
    result = run_cli("apply", f"{bucket}/none.zarr", *words)
    assert (result.exit_code, "there is no Zarr store" in result.stderr) == (3, True)
    upload(save(tmp_path / "in.zarr", picture), f"{bucket}/in.zarr")
    Store(f"{bucket}/in.zarr").put("zarr.json", b"{")
    result = run_cli("apply", f"{bucket}/in.zarr", *words)
    assert (result.exit_code, len(result.stderr.splitlines())) == (3, 2), result
    monkeypatch.setitem(sys.modules, "zarr", None)
    assert "convcli[zarr]" in run_cli("apply", f"{bucket}/in.zarr", *words).stderr
    monkeypatch.setattr(storage, "obstore", None)
    assert "convcli[cloud]" in run_cli("apply", "s3://bucket/another.zarr", *words).stderr


def test_a_damaged_chunk_is_told_in_a_line(bucket: str, tmp_path: Path, picture: np.ndarray) -> None:
    upload(save(tmp_path / "in.zarr", picture, chunks=(1, 16, 16)), f"{bucket}/in.zarr")
    Store(f"{bucket}/in.zarr").put("c/0/1/1", b"damaged")
    result = run_cli("apply", f"{bucket}/in.zarr", "-k", "box", "-o", tmp_path / "x.png")
    assert (result.exit_code, "a chunk cannot be read" in result.stderr) == (3, True), result
    assert not (tmp_path / "x.png").exists()
