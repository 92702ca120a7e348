"""Jobs on a Dask cluster of this machine, over a store: workers and clients are killed, and nothing is lost."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import HANG_S, objects, run_cli, save_image, wait_until

pytest.importorskip("distributed", reason="the extra cluster is not installed")

from poison import Poison

from convcli.errors import UsageError
from convcli.pipeline.cluster import DaskRunner, open_cluster
from convcli.pipeline.job_drive import Lost, drive
from convcli.pipeline.places import open_objects
from convcli.pipeline.shards import Job


@pytest.fixture(scope="module")
def cluster(store_server: dict[str, str]) -> Iterator[DaskRunner]:
    """Two workers whose environment has the credentials, as it has to be."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in store_server.items():
            patch.setenv(name, value)
        with open_cluster("local:2") as runner:
            yield runner


@pytest.fixture
def poisoned(cluster: DaskRunner, tmp_path: Path) -> Iterator[DaskRunner]:
    """The cluster, with workers that die or wait at certain names."""
    plugin = Poison(tmp_path)
    cluster.client.wait_for_workers(2, timeout=HANG_S)  # one that died in the test before may be on its way
    cluster.client.register_plugin(plugin, name=str(tmp_path))
    yield cluster
    (tmp_path / "gate").touch()
    cluster.client.unregister_worker_plugin(str(tmp_path))


def put_photos(place: str, folder: Path, names: list[str]) -> None:
    rng = np.random.default_rng(5)
    folder.mkdir()
    for name in names:
        save_image(folder / name, rng.integers(0, 256, (9, 12), np.uint8))
        open_objects(place).put(name, (folder / name).read_bytes())


def numbered(count: int, **others: int) -> list[str]:
    """Return names of photos; some of them have another name, by their number."""
    named = {number: f"{name}-{number:02}.png" for name, number in others.items()}
    return [named.get(number, f"{number:02}.png") for number in range(count)]


def plan(bucket: str, shard: int) -> str:
    flags = ["-k", "sobel", "--out-dir", f"{bucket}/out", "--shard", shard, "-q"]
    run_cli("job", "plan", f"{bucket}/job", f"{bucket}/in", *flags).ok()
    return f"{bucket}/job"


def local_batch(folder: Path, out: Path) -> dict[str, bytes]:
    name = "{dir}/{stem}.{suffix}_{bank}/{kernel}-{channel}.{ext}"
    run_cli("apply", folder, "-k", "sobel", "--out-dir", out, "--name", name, "-q").ok()
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*.png")}


def commits(job: str) -> list[str]:
    return sorted(name.removeprefix("done/") for name in objects(job) if name.startswith("done/"))


def test_a_worker_that_dies_half_way_loses_nothing(poisoned: DaskRunner, bucket: str, tmp_path: Path) -> None:
    put_photos(f"{bucket}/in", tmp_path / "in", numbered(60, once=31))
    job = plan(bucket, 10)
    results = dict(drive(job, poisoned, range(6)))
    assert (tmp_path / "once-31.png-died").exists()
    assert results.keys() == set(range(6))
    assert not any(result.n_failed for result in results.values())
    assert commits(job) == [f"{number:08}.jsonl" for number in range(6)]
    made = {name: data for name, data in objects(f"{bucket}/out").items() if name.endswith(".png")}
    assert made == local_batch(tmp_path / "in", tmp_path / "local")
    assert len(list(Job(open_objects(job)).rows())) == len(made) == 120


def test_an_input_that_kills_its_worker_is_a_row(poisoned: DaskRunner, bucket: str, tmp_path: Path) -> None:
    put_photos(f"{bucket}/in", tmp_path / "in", numbered(4, die=3))
    job = plan(bucket, 2)
    results = dict(drive(job, poisoned, range(2)))
    assert {shard: (result.n_inputs, result.n_failed) for shard, result in results.items()} == {0: (2, 0), 1: (2, 1)}
    rows = list(Job(open_objects(job)).rows())
    [failed] = [row for row in rows if "error" in row]
    assert failed["input"] == "die-03.png"
    assert "its worker was lost 2 times" in failed["error"]
    (tmp_path / "in" / "die-03.png").unlink()
    made = {name: data for name, data in objects(f"{bucket}/out").items() if name.endswith(".png")}
    assert made == local_batch(tmp_path / "in", tmp_path / "local")
    assert [row["input"] for row in rows] == sorted(row["input"] for row in rows)
    assert commits(job) == ["00000000.jsonl", "00000001.jsonl"]


@pytest.mark.subprocess
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_a_client_that_ends_is_followed_by_another(
    end: signal.Signals, poisoned: DaskRunner, bucket: str, tmp_path: Path
) -> None:
    put_photos(f"{bucket}/in", tmp_path / "in", numbered(12, hold=7))
    words = ["apply", f"{bucket}/in", "-k", "sobel", "--out-dir", f"{bucket}/out", "--shard", "2"]
    where = ["--cluster", poisoned.client.scheduler.address]
    code = (
        # A job in the background of a shell ignores Ctrl-C.
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"sys.argv[1:] = {[*words, *where, '-q']}\n"
        "from convcli.__main__ import main; main()"
    )
    client = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    job = f"{bucket}/out/.convcli-job"
    is_held = (tmp_path / "hold-07.png-held").exists
    wait_until(lambda: client.poll() is not None or (is_held() and len(commits(job)) == 5))
    assert client.returncode is None, client.communicate()
    client.send_signal(end)
    _, errors = client.communicate()
    assert client.returncode == (130 if end == signal.SIGINT else -end)
    assert errors == "" if end == signal.SIGKILL else "5 of 6 shards done" in errors and "--resume" in errors
    (tmp_path / "gate").touch()
    before = commits(job)
    again = run_cli(*words, *where, "--resume", "--json").ok()
    # The worker may have ended the shard of the dead client meanwhile: then there was nothing to do.
    assert again.json["done"] in (0, 2)
    assert len(before) == 5
    assert commits(job) == [f"{number:08}.jsonl" for number in range(6)]
    made = {name: data for name, data in objects(f"{bucket}/out").items() if name.endswith(".png")}
    assert made == local_batch(tmp_path / "in", tmp_path / "local")
    written = b"".join(data for name, data in objects(f"{bucket}/out").items() if not name.endswith(".png"))
    assert b"a-secret-nobody-may-see" not in written


def test_workers_of_other_versions_are_refused(cluster: DaskRunner, bucket: str, tmp_path: Path) -> None:
    put_photos(f"{bucket}/in", tmp_path / "in", numbered(2))
    job = plan(bucket, 1)
    facts = json.loads(open_objects(job).get("job.json")[0])
    facts["versions"]["numpy"] = "1.0"
    open_objects(job).put("job.json", json.dumps(facts).encode())
    with pytest.raises(UsageError, match=r"numpy 1\.0"):
        list(drive(job, cluster, range(2)))
    assert not commits(job)


def test_the_room_is_never_exceeded_and_errors_are_values(cluster: DaskRunner) -> None:
    taken, yielded = [], []

    def tasks() -> Iterator[int]:
        for number in range(30):
            taken.append(number)
            assert len(taken) - len(yielded) <= 3
            yield number

    for task, answer in cluster.run(_inverse, tasks(), room=3):
        yielded.append(task)
        assert (answer == 1 / task) if task else isinstance(answer, Lost)
    assert sorted(yielded) == taken == list(range(30))


def _inverse(number: int) -> float:
    return 1 / number


@pytest.mark.parametrize(
    "text", ["local:x", "local:0", "nowhere", "tcp://127.0.0.1:1", "none.json", "slurm:0", "slurm:2"]
)
def test_clusters_that_are_none_are_refused(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("shutil.which", lambda _name: None)  # a machine without SLURM
    with pytest.raises(UsageError) as caught, open_cluster(text, timeout_s=1):
        pass
    assert caught.value.hint
    if text.startswith("tcp"):  # a scheduler is asked only once there is a job for it
        return
    save_image(tmp_path / "a.png", np.zeros((5, 5), np.uint8))
    refused = run_cli("apply", "a.png", "-k", "sobel", "--out-dir", "out", "--cluster", text)
    assert (refused.exit_code, "hint:" in refused.stderr) == (2, True), refused
    assert not (tmp_path / "out").exists()


@pytest.mark.subprocess
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="SLURM is for Linux")
def test_slurm_gets_jobs_that_it_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("dask_jobqueue", reason="the extra cluster is not installed")
    # Stands for SLURM: starts the script that it is given, and ends its group of processes.
    for name, lines in {
        "sbatch": 'for script; do :; done; cp "$script" "$0-script"; setsid sh "$0-script" > "$0-log" 2>&1 & echo $!',
        "scancel": 'for id; do kill -- -$id; done; echo "$@" > "$0-ids"',
    }.items():
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\n{lines}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    (tmp_path / "in").mkdir()
    save_image(tmp_path / "in" / "a.png", np.zeros((5, 5), np.uint8))
    said: list[str] = []
    run_cli("job", "plan", tmp_path / "job", tmp_path / "in", "-k", "sobel", "--out-dir", tmp_path / "out", "-q").ok()
    with open_cluster("slurm:1", said.append) as runner:
        [(shard, result)] = drive(str(tmp_path / "job"), runner, [0])
    assert (shard, result.n_inputs, result.n_failed) == (0, 1, 0)
    text = "\n".join(said)
    assert "sbatch gets 1 of this job" in text
    assert "#SBATCH --cpus-per-task=1" in text
    assert "--nthreads 1" in text
    wait_until((tmp_path / "bin" / "scancel-ids").exists)
