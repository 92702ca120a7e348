"""One image on several workers: tiles of its maps are tasks, and the store holds the values of the whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import run_cli
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convcli.cli.job import JOB_FOLDER
from convcli.images import zarr_store
from convcli.pipeline.job_drive import drive
from convcli.pipeline.jobs import Batch, plan_job, resume_job
from convcli.pipeline.objects import Folder
from convcli.pipeline.shard_run import ShardTask, run_shard
from convcli.pipeline.shards import Job, ShardSize

zarr = pytest.importorskip("zarr", reason="the extra zarr is not installed")
pytest.importorskip("distributed", reason="the extra cluster is not installed")


class Here:
    """Runs tasks in this process, one at a time."""

    n_workers = 1

    def run(self, work: Callable, tasks: Iterable, *, room: int) -> Iterator:
        assert room >= 1
        return ((task, work(task)) for task in tasks)


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zarr_store, "CHUNK_PX", 4)
    monkeypatch.setattr(zarr_store, "TILE_BYTES", 8 * 8 * 4)


def save(path: Path, image: np.ndarray, chunks: tuple[int, int]) -> Path:
    array = zarr.create_array(path, shape=image.shape, dtype=image.dtype, chunks=chunks, overwrite=True)
    array[:] = image
    return path


def plan(folder: Path, source: Path, *, shard: int, **flags: object) -> Path:
    given = {"kernels": (str(folder / "k.csv"),), "output": str(folder / "out.zarr"), **flags}
    plan_job(Folder(folder / "job"), Batch([str(source)], given), ShardSize(shard))
    return folder / "job"


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_tiles_of_tasks_have_the_values_of_the_whole(tmp_path: Path, small_tiles: None, data: st.DataObject) -> None:
    folder = tmp_path / str(len(list(tmp_path.iterdir())))
    folder.mkdir()
    sides = data.draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
    kernel = data.draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    flags = {
        "stride": str(data.draw(st.integers(1, 3))),
        "dilation": str(data.draw(st.integers(1, 2))),
        "padding_mode": data.draw(st.sampled_from(["zeros", "replicate", "reflect", "symmetric", "circular"])),
    }
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    image = rng.integers(0, 256, sides).astype(np.uint8)
    chunks = (data.draw(st.integers(1, sides[0])), data.draw(st.integers(1, sides[1])))
    np.savetxt(folder / "k.csv", rng.integers(-9, 10, kernel), fmt="%d", delimiter=",")
    job = plan(folder, save(folder / "in.zarr", image, chunks), shard=data.draw(st.integers(1, 4)), **flags)
    results = list(drive(str(job), Here(), range(Job(Folder(job)).n_shards)))
    assert not any(result.n_failed for _, result in results)
    # The whole, as an array of another format: no tile is made for it.
    words = [f"--{key.replace('_', '-')}={value}" for key, value in flags.items()]
    run_cli("apply", folder / "in.zarr", "-k", folder / "k.csv", *words, "-o", folder / "whole.npy", "-q").ok()
    whole = np.load(folder / "whole.npy")
    found = zarr.open(folder / "out.zarr", mode="r")["0"]
    np.testing.assert_array_equal(found[:], whole)
    rows = list(Job(Folder(job)).rows())
    assert min(row["min"] for row in rows) == whole.min()
    assert max(row["max"] for row in rows) == whole.max()


def test_every_tile_is_one_file_and_may_be_run_twice(tmp_path: Path, small_tiles: None) -> None:
    (tmp_path / "k.csv").write_text("1,0,-1")
    image = np.arange(20 * 21, dtype=np.uint16).reshape(20, 21)
    job = plan(tmp_path, save(tmp_path / "in.zarr", image, (5, 5)), shard=2)
    tiles = [entry.name for shard in range(5) for entry in Job(Folder(job)).entries(shard)]
    assert tiles == [f"{x},{y},{min(8, 21 - x)},{min(8, 20 - y)}" for y in (0, 8, 16) for x in (0, 8, 16)]
    assert not list((tmp_path / "out.zarr").rglob("c/*/*/*"))
    run_shard(ShardTask(str(job), 1), jobs=1)
    written = {path.relative_to(tmp_path).as_posix() for path in (tmp_path / "out.zarr").rglob("c/*/*/*")}
    assert written == {"out.zarr/0/c/0/0/2", "out.zarr/0/c/0/1/0"}
    before = (tmp_path / "out.zarr/0/c/0/1/0").read_bytes()
    (job / "done" / "00000001.jsonl").unlink()
    run_shard(ShardTask(str(job), 1), jobs=1)
    assert (tmp_path / "out.zarr/0/c/0/1/0").read_bytes() == before


def test_any_scheduler_can_fill_a_store(tmp_path: Path, small_tiles: None) -> None:
    image = np.arange(9 * 17, dtype=np.uint8).reshape(9, 17)
    save(tmp_path / "in.zarr", image, (5, 5))
    words = ["job", "plan", tmp_path / "job", tmp_path / "in.zarr", "-k", "identity", "-o", tmp_path / "out.zarr"]
    assert "6 shards" in run_cli(*words).ok().stdout  # a tile a shard
    run_cli("job", "run", tmp_path / "job", "--shard", "5", "-q").ok()
    found = zarr.open(tmp_path / "out.zarr", mode="r")["0"]
    assert (found[0, 8:, 16:] == image[8:, 16:]).all()
    run_cli("job", "run", tmp_path / "job", "-q").ok()
    np.testing.assert_array_equal(found[0], image)


def test_another_image_or_flag_is_not_resumed(tmp_path: Path, small_tiles: None) -> None:
    (tmp_path / "k.csv").write_text("1,0,-1")
    image = np.zeros((9, 9), np.uint8)
    source = save(tmp_path / "in.zarr", image, (5, 5))
    job = plan(tmp_path, source, shard=2)
    given = {"kernels": (str(tmp_path / "k.csv"),), "output": str(tmp_path / "out.zarr")}
    assert resume_job(Folder(job), Batch([str(source)], given)).n_shards == 2
    with pytest.raises(Exception, match="set of flags"):
        resume_job(Folder(job), Batch([str(source)], {**given, "stride": "2"}))
    save(source, image, (3, 3))
    result = run_shard(ShardTask(str(job), 0), jobs=1)
    assert (result.n_inputs, result.n_failed) == (2, 2)
    assert "changed since it was listed" in next(iter(Job(Folder(job)).rows()))["error"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["a.png", "b.png", "-k", "box"], "takes one image"),
        (["a.png", "-k", "box", "--transposed"], "--transposed"),
        (["a.png", "-k", "box", "--nodata", "0"], "--nodata"),
        (["a.png", "-k", "box", "--region", "0,0,1,1"], "--region"),
        (["none.png", "-k", "box"], "none.png"),
    ],
)
def test_jobs_that_tiles_cannot_do_are_refused(words: list[str], says: str, tmp_path: Path) -> None:
    result = run_cli("apply", *words, "-o", "o.zarr", "--cluster", "local:1", cwd=tmp_path)
    assert result.exit_code in (2, 3)
    assert says in result.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.subprocess
def test_two_workers_fill_one_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    image = rng.integers(0, 256, (900, 1100)).astype(np.uint8)
    (tmp_path / "k.csv").write_text("\n".join(",".join(map(str, row)) for row in rng.integers(-9, 10, (7, 7))))
    save(tmp_path / "in.zarr", image, (256, 256))
    monkeypatch.setattr(zarr_store, "TILE_BYTES", 256 * 256 * 4)
    words = ["apply", tmp_path / "in.zarr", "-k", tmp_path / "k.csv", "--stride", "2", "-q", "-o"]
    run_cli(*words, tmp_path / "out.zarr", "--cluster", "local:2", "--shard", "2").ok()
    run_cli(*words, tmp_path / "local.npy").ok()
    np.testing.assert_array_equal(zarr.open(tmp_path / "out.zarr")["0"][:], np.load(tmp_path / "local.npy"))
    status = run_cli("job", "status", tmp_path / f"{JOB_FOLDER}-out.zarr", "--json").json
    assert status["shards"] == status["done"] >= 3
    assert run_cli(*words, tmp_path / "out.zarr", "--cluster", "local:2").exit_code == 6
