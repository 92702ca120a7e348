"""Zarr in object stores: read window by window, written shard by shard, with the values of local folders."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import objects, run_cli, save_image

from convcli.images import zarr_store
from convcli.images.info import LargeImage
from convcli.images.planes import read_window
from convcli.images.reading import open_planes
from convcli.pipeline import storage
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
    with open_planes(Store(f"{bucket}/a.ome.zarr").zarr()[0]) as opened:
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


def test_a_store_of_any_name_is_read_by_its_header(bucket: str, tmp_path: Path, picture: np.ndarray) -> None:
    upload(save(tmp_path / "in.zarr", picture), f"{bucket}/in")
    for flags in (["--out-dir", tmp_path / "none"], ["-o", tmp_path / "none.zarr", "--cluster", "local:1"]):
        refused = run_cli("apply", f"{bucket}/in", "-k", "sobel", *flags)
        assert (refused.exit_code, "it is a Zarr store" in refused.stderr) == (3, True), refused
    name = re.search(r"store: (\S+) reads it", refused.stderr).group(1)
    for source, out in ((name, "out"), (tmp_path / "in.zarr", "local")):
        run_cli("apply", source, "-k", "sobel", "--out-dir", tmp_path / out, "--format", "npy").ok()
    local, found = (
        {path.relative_to(tmp_path / out): path.read_bytes() for path in (tmp_path / out).rglob("*.npy")}
        for out in ("local", "out")
    )
    assert local == found
    assert len(found) >= 2


def test_a_damaged_chunk_is_told_in_a_line(bucket: str, tmp_path: Path, picture: np.ndarray) -> None:
    upload(save(tmp_path / "in.zarr", picture, chunks=(1, 16, 16)), f"{bucket}/in.zarr")
    Store(f"{bucket}/in.zarr").put("c/0/1/1", b"damaged")
    result = run_cli("apply", f"{bucket}/in.zarr", "-k", "box", "-o", tmp_path / "x.png")
    assert (result.exit_code, "a chunk cannot be read" in result.stderr) == (3, True), result
    assert not (tmp_path / "x.png").exists()


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zarr_store, "CHUNK_PX", 4)
    monkeypatch.setattr(zarr_store, "TILE_BYTES", 16 * 16 * 4)


def objects_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_job_of_tiles_fills_a_store_with_the_bytes_of_the_local_one(
    bucket: str, tmp_path: Path, rng: np.random.Generator, small_tiles: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = rng.integers(0, 256, (50, 70)).astype(np.uint8)
    image[:20, :20] = 0  # the first tile holds nothing, and is no object
    upload(save(tmp_path / "in.zarr", image, chunks=(16, 16)), f"{bucket}/in.zarr")
    Store(bucket).put("k.txt", b"1 0 -1")
    puts: list[str] = []
    put = Store.put
    monkeypatch.setattr(Store, "put", lambda store, name, data: puts.append(f"0/{name}") or put(store, name, data))
    for place, source in ((bucket, f"{bucket}/in.zarr"), (str(tmp_path), tmp_path / "in.zarr")):
        words = ["job", "plan", f"{place}/job", source, "-k", f"{bucket}/k.txt", "-o", f"{place}/maps.zarr"]
        assert "20 shards" in run_cli(*words).ok().stdout
        run_cli("job", "run", f"{place}/job", "-q").ok()
    stored = objects(f"{bucket}/maps.zarr")
    assert stored == objects_of(tmp_path / "maps.zarr")
    assert stored.keys() == {"zarr.json", "0/zarr.json"} | set(puts)
    assert len(puts) == 19 == len(set(puts))
    run_cli("apply", tmp_path / "in.zarr", "-k", f"{bucket}/k.txt", "-o", tmp_path / "whole.npy", "-q").ok()
    np.testing.assert_array_equal(zarr.open(tmp_path / "maps.zarr")["0"][:], np.load(tmp_path / "whole.npy"))
    # A tile that is run again has the same bytes, and its commit stays the first.
    before = objects(f"{bucket}/job")
    obstore.delete(Store(f"{bucket}/job")._store, "done/00000007.jsonl")
    assert "7: 1 of 1" in run_cli("job", "run", f"{bucket}/job").ok().stderr
    assert objects(f"{bucket}/maps.zarr") == stored
    assert objects(f"{bucket}/job") == before
    assert run_cli("job", "status", f"{bucket}/job", "--json").json["missing"] == []
    assert run_cli("job", "report", f"{bucket}/job", "--json").ok().json["maps"] == 20
    # Workers read neither the bank nor anything of this machine.
    assert not any(bytes(tmp_path) in data for data in before.values())


@pytest.mark.subprocess
def test_two_workers_fill_a_store(bucket: str, tmp_path: Path, rng: np.random.Generator, small_tiles: None) -> None:
    pytest.importorskip("distributed", reason="the extra cluster is not installed")
    image = rng.integers(0, 256, (2, 60, 40)).astype(np.uint16)
    upload(save(tmp_path / "in.zarr", image, chunks=(1, 16, 16)), f"{bucket}/in.zarr")
    words = ["apply", f"{bucket}/in.zarr", "-k", "sobel", "-q", "-o"]
    run_cli(*words, f"{bucket}/maps.zarr", "--cluster", "local:2", "--shard", "2").ok()
    run_cli(*words, f"{bucket}/plain.zarr").ok()
    run_cli(*words, tmp_path / "local.npy").ok()
    for name in ("maps", "plain"):
        found = zarr.open(zarr.storage.ObjectStore(Store(f"{bucket}/{name}.zarr")._store), mode="r")["0"]
        np.testing.assert_array_equal(found[:], np.load(tmp_path / "local.npy"))
    status = run_cli("job", "status", f"{bucket}/.convcli-job-maps.zarr", "--json").json
    assert status["shards"] == status["done"] > 1
    assert run_cli(*words, f"{bucket}/out.npy", "--cluster", "local:2").exit_code == 2
    # The same pictures as inputs of a batch.
    flags = ["--out-dir", f"{bucket}/out", "--cluster", "local:1", "-q"]
    run_cli("apply", f"{bucket}/in.zarr", "-k", "box", "--format", "npy", *flags).ok()
    made = sorted(name.rpartition("/")[2] for name in objects(f"{bucket}/out", ".npy"))
    assert made == ["box-0.npy", "box-1.npy"]


@pytest.mark.parametrize("by_tiles", [False, True])
def test_a_store_that_exists_is_refused_or_deleted_first(
    bucket: str, tmp_path: Path, rng: np.random.Generator, small_tiles: None, by_tiles: bool
) -> None:
    def words(name: str) -> list[object]:
        source = save(tmp_path / "in.zarr", image, chunks=(16, 16))
        flags = [source, "-k", "identity", "-o", f"{bucket}/maps.zarr", "-q"]
        return ["job", "plan", tmp_path / name, *flags] if by_tiles else ["apply", *flags]

    image = rng.integers(1, 256, (40, 40)).astype(np.uint8)
    run_cli(*words("1")).ok()
    if by_tiles:
        run_cli("job", "run", tmp_path / "1", "-q").ok()
    before = objects(f"{bucket}/maps.zarr")
    refused = run_cli(*words("2"))
    assert (refused.exit_code, f"{bucket}/maps.zarr exists" in refused.stderr) == (6, True), refused
    assert not (tmp_path / "2").exists()
    if by_tiles:  # a place that holds a job is refused before anything is deleted
        assert run_cli(*words("1"), "--overwrite").exit_code == 6
    assert objects(f"{bucket}/maps.zarr") == before
    image = np.zeros((20, 20), np.uint8)  # nothing of it is stored: what remains would be the old one's
    run_cli(*words("3"), "--overwrite").ok()
    assert objects(f"{bucket}/maps.zarr").keys() == {"zarr.json", "0/zarr.json"}


def test_a_tile_of_a_picture_that_changed_is_a_row(
    bucket: str, tmp_path: Path, picture: np.ndarray, small_tiles: None
) -> None:
    local = save(tmp_path / "in.zarr", picture, chunks=(1, 16, 16))
    upload(local, f"{bucket}/in.zarr")
    words = [f"{bucket}/in.zarr", "-k", "identity", "-o", f"{bucket}/maps.zarr", "-q"]
    run_cli("job", "plan", f"{bucket}/job", *words).ok()
    upload(save(local, picture, chunks=(1, 8, 8)), f"{bucket}/in.zarr")
    assert run_cli("job", "run", f"{bucket}/job", "--shard", "0", "-q").exit_code == 7
    [row] = run_cli("job", "report", f"{bucket}/job", "--json").json["failures"]
    assert "changed since it was listed" in row["error"]
    Store(f"{bucket}/maps.zarr").clear()
    result = run_cli("job", "run", f"{bucket}/job", "--shard", "1")
    assert (result.exit_code, "is gone" in result.stderr) == (6, True), result


def test_a_shard_that_is_run_twice_deletes_nothing_of_its_own(
    bucket: str, tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_image(tmp_path / "a.png", rng.integers(1, 256, (20, 20), np.uint8))
    words = ["-k", "identity", "--out-dir", f"{bucket}/out", "--format", "zarr", "--overwrite", "-q"]
    run_cli("job", "plan", tmp_path / "job", tmp_path / "a.png", *words).ok()
    run_cli("job", "run", tmp_path / "job", "-q").ok()
    made = objects(f"{bucket}/out", "")
    [header] = [name for name in made if name.endswith(".zarr/zarr.json")]
    stray = header.replace("zarr.json", "0/c/9/9/9")
    Store(f"{bucket}/out").put(stray, b"of a larger picture")
    deleted: list[str] = []
    delete = obstore.delete
    monkeypatch.setattr(obstore, "delete", lambda store, names: deleted.extend(names) or delete(store, names))
    (tmp_path / "job" / "done" / "00000000.jsonl").unlink()
    run_cli("job", "run", tmp_path / "job", "-q").ok()
    assert [name for name in deleted if len(name) > 1] == ["0/c/9/9/9"]
    assert objects(f"{bucket}/out", "").keys() == made.keys()
