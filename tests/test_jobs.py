"""Jobs of shards: every input is done once, a bad one is a row, and only commits say what is done."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from conftest import load_image, run_cli, save_image, wait_until
from hypothesis import given
from hypothesis import strategies as st

from convcli.banks.load import load_bank
from convcli.errors import ConvcliError, ImageError, UsageError
from convcli.pipeline.job_facts import decode, encode
from convcli.pipeline.jobs import summarise
from convcli.pipeline.objects import Entry, Folder
from convcli.pipeline.shard_run import ShardTask, run_shard
from convcli.pipeline.shards import Job, ShardSize, cut, parse_shard_size


@pytest.fixture
def photos(tmp_path: Path, rng: np.random.Generator) -> Path:
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.png", "a.bmp", "b.png", "sub/a.png", "sub/é .png"):
        save_image(folder / name, rng.integers(0, 256, (9, 12, 3), np.uint8))
    return folder


def plan(folder: Path, photos: Path, *flags: object, shard: str = "2") -> Path:
    words = ["job", "plan", folder / "job", photos, "-r", "-k", "sobel", "--out-dir", folder / "out", "--shard", shard]
    run_cli(*words, "-q", *flags).ok()
    return folder / "job"


def pictures(folder: Path) -> dict[str, bytes]:
    found = [path for path in folder.rglob("*.png") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def rows_of(job: Path) -> list[dict[str, object]]:
    return list(Job(Folder(job)).rows())


def test_a_job_writes_the_samples_of_a_local_batch(photos: Path, tmp_path: Path) -> None:
    job = plan(tmp_path, photos)
    assert run_cli("job", "run", job, "-j", 1).exit_code == 0
    local = tmp_path / "local"
    name = "{dir}/{stem}.{suffix}_{bank}/{kernel}-{channel}.{ext}"
    run_cli("apply", photos, "-r", "-k", "sobel", "--out-dir", local, "--name", name).ok()
    assert pictures(tmp_path / "out") == pictures(local)
    assert len(pictures(local)) == 5 * 6


def test_rows_hold_what_the_files_hold(photos: Path, tmp_path: Path) -> None:
    job = plan(tmp_path, photos)
    run_cli("job", "run", job, "-q").ok()
    rows = rows_of(job)
    assert [row["input"] for row in rows[::6]] == ["a.bmp", "a.png", "b.png", "sub/a.png", "sub/é .png"]
    for row in rows:
        path = tmp_path / "out" / str(row["output"])
        assert hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest() == row["digest"]
        assert path.stat().st_size == row["bytes"]
        values = np.array([row["min"], row["max"]])
        # Sobel is shown by absolute values: the largest stored sample is the largest magnitude, clipped to white.
        assert load_image(path).max() == min(255, np.abs(values).max())
    lists = [json.loads(line) for path in (job / "lists").iterdir() for line in path.read_text().splitlines()]
    listed = {one["name"]: one["etag"] for one in lists}
    assert all(listed.values())
    assert {str(row["input"]): row["etag"] for row in rows} == listed
    table = tmp_path / "rows.csv"
    run_cli("job", "report", job, "-o", table).ok()
    with table.open(newline="", encoding="utf-8") as file:
        assert [one["digest"] for one in csv.DictReader(file)] == [row["digest"] for row in rows]


def test_a_bad_input_is_a_row_and_the_others_are_done(photos: Path, tmp_path: Path) -> None:
    (photos / "b.png").write_text("no picture")
    job = plan(tmp_path, photos, shard="100")
    save_image(photos / "sub" / "a.png", np.zeros((2, 2), np.uint8))  # another than the one that was listed
    (photos / "a.bmp").unlink()
    result = run_cli("job", "run", job)
    assert result.exit_code == 7
    report = run_cli("job", "report", job, "--json")
    assert report.exit_code == 7
    assert report.json["inputs_done"] == 2
    failures = {one["input"]: one["error"] for one in report.json["failures"]}
    assert failures.keys() == {"a.bmp", "b.png", "sub/a.png"}
    assert "changed since it was listed" in failures["sub/a.png"]
    assert run_cli("job", "run", job).exit_code == 0  # it is done


def test_only_shards_without_a_commit_are_run(photos: Path, tmp_path: Path) -> None:
    job = plan(tmp_path, photos)
    run_cli("job", "run", job, "--shard", "1", "-q").ok()
    assert run_cli("job", "status", job, "--json").json["missing"] == [0, 2]
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.png")}
    assert len(before) == 12
    run_cli("job", "run", job, "-q").ok()
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert run_cli("job", "status", job).ok().stdout.startswith("3 of 3 shards done (5 inputs")


def test_two_runs_of_one_shard_make_one_commit(photos: Path, tmp_path: Path) -> None:
    job = plan(tmp_path, photos, shard="100")
    gate = threading.Barrier(2)
    results = []

    def run() -> None:
        waited = []

        def wait(_outcome: object) -> None:
            if not waited:  # both have seen that there is no commit
                waited.append(gate.wait(60))

        results.append(run_shard(ShardTask(str(job), 0), jobs=1, watch=wait))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(result.committed for result in results) == [False, True]
    assert [path.name for path in (job / "done").iterdir()] == ["00000000.jsonl"]
    assert len(rows_of(job)) == 30


@pytest.mark.subprocess
def test_a_killed_run_leaves_no_commit_and_is_run_again(photos: Path, tmp_path: Path) -> None:
    job, gate = plan(tmp_path, photos, shard="100"), tmp_path / "gate"
    os.mkfifo(gate)
    code = (
        "import sys; from convcli.pipeline.shard_run import ShardTask, run_shard\n"
        f"run_shard(ShardTask({str(job)!r}, 0), jobs=1, watch=lambda _: open({str(gate)!r}).read())"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    wait_until(lambda: pictures(tmp_path / "out"))  # an input is done, and it waits
    process.kill()
    process.wait()
    assert run_cli("job", "status", job, "--json").json["done"] == 0
    run_cli("job", "run", job, "-q").ok()
    assert len(rows_of(job)) == len(pictures(tmp_path / "out")) == 30


@pytest.mark.subprocess
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes of a batch are forked on Linux only")
def test_an_input_that_kills_its_process_is_a_row(photos: Path, tmp_path: Path) -> None:
    job = plan(tmp_path, photos, shard="100")
    code = (
        "import os, signal, sys; from convcli.pipeline.run import Pipeline; run = Pipeline.run\n"
        "def die(self, plan):\n"
        "    if plan.input.path.name == 'b.png': os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return run(self, plan)\n"
        "Pipeline.run = die\n"
        f"sys.argv[1:] = ['job', 'run', {str(job)!r}, '-j', '2']\n"
        "from convcli.__main__ import main; main()"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 7
    [bad] = [row for row in rows_of(job) if "error" in row]
    assert bad["input"] == "b.png"
    assert f"signal {int(signal.SIGKILL)}" in str(bad["error"])
    assert len(pictures(tmp_path / "out")) == 24


@pytest.mark.parametrize("name", ["numpy", "convcli", "python", "core"])
def test_other_versions_are_refused(name: str, photos: Path, tmp_path: Path) -> None:
    job = plan(tmp_path, photos)
    facts = json.loads((job / "job.json").read_text())
    facts["versions"][name] = "0.7"
    (job / "job.json").write_text(json.dumps(facts))
    result = run_cli("job", "run", job)
    assert result.exit_code == 2
    assert f"{name} 0.7" in result.stderr
    assert not (job / "done").exists()


def test_the_taps_are_those_of_the_day_of_the_plan(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "k.txt").write_text("1 0 -1")
    words = ["job", "plan", tmp_path / "job", photos, "-k", tmp_path / "k.txt", "--out-dir", tmp_path / "out"]
    run_cli(*words, "--format", "npy").ok()
    (tmp_path / "k.txt").unlink()
    run_cli("job", "run", tmp_path / "job", "-q").ok()
    samples = load_image(photos / "b.png").astype(int)
    maps = np.load(tmp_path / "out" / "b.png_k" / "k-r.npy")
    np.testing.assert_array_equal(maps[0, :, 1:-1], samples[:, :-2, 0] - samples[:, 2:, 0])


@pytest.mark.parametrize(
    "spec", ["sobel", "mr8", "gaussian:sigma=1.3 bias=0.1", "random:out_channels=2,in_channels=3,seed=1"]
)
def test_a_bank_keeps_every_bit(spec: str) -> None:
    bank = load_bank(spec)
    again = decode(json.loads(json.dumps(encode(bank))))
    np.testing.assert_array_equal(again.weight, bank.weight)
    assert (again.kernel_names, again.bias, again.reduction) == (bank.kernel_names, bank.bias, bank.reduction)


def test_a_stack_runs_as_it_was_planned(photos: Path, tmp_path: Path) -> None:
    stack = tmp_path / "stem.toml"
    stack.write_text('layers = ["conv:2,k=3,p=1", "relu"]\ninit = {kind = "kaiming_normal", seed = 3}\n')
    flags = ["--stack", stack, "--out-dir"]
    run_cli("job", "plan", tmp_path / "job", photos, *flags, tmp_path / "out", "-q").ok()
    stack.rename(tmp_path / "gone.toml")
    run_cli("job", "run", tmp_path / "job", "-q").ok()
    (tmp_path / "gone.toml").rename(stack)
    run_cli("apply", photos / "b.png", *flags, tmp_path / "local", "-q").ok()
    [made] = [path for path in (tmp_path / "out").iterdir() if path.name.startswith("b.png")]
    [local] = [path for path in (tmp_path / "local").iterdir() if path.is_dir()]
    assert pictures(made) == pictures(local)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["-o", "x.png"], "-o is one file"),
        ([], "needs a folder for its outputs"),
        (["--out-dir", "o", "--skip-existing"], "--skip-existing"),
        (["--out-dir", "o", "--name", "{dir}/{stem}.{ext}"], "two inputs one name"),
        (["--out-dir", "o", "--name", "{dir}/{file}{index}.{ext}"], "two inputs one name"),
        (["--out-dir", "o", "--shard", "0"], "--shard '0'"),
        (["--out-dir", "o", "--shard", "1,2"], "--shard '1,2'"),
        (["--out-dir", "photos"], "not empty"),
        (["--out-dir", "o", "-k", "sobbel"], "sobbel"),
    ],
)
def test_mistakes_are_refused_and_leave_nothing(words: list[str], says: str, photos: Path, tmp_path: Path) -> None:
    kernel = [] if "-k" in words else ["-k", "sobel"]
    result = run_cli("job", "plan", "job", "photos", *kernel, *words, cwd=tmp_path)
    assert result.exit_code in (2, 4, 6)
    assert says in result.stderr
    assert "hint:" in result.stderr
    assert not (tmp_path / "job").exists()


def test_mistakes_with_a_job(photos: Path, tmp_path: Path) -> None:
    job = plan(tmp_path, photos)
    again = ["job", "plan", job, photos, "-k", "box", "--out-dir", tmp_path / "other"]
    assert "holds a job" in run_cli(*again).stderr
    for words in (["run", job, "--shard", "3"], ["run", job, "--shard", "2-1"], ["run", photos], ["status", photos]):
        result = run_cli("job", *words)
        assert result.exit_code == 2
        assert "hint:" in result.stderr
    (tmp_path / "empty").mkdir()
    for nothing in ("empty", "mistyped", "photos/*.jpg"):
        result = run_cli("job", "plan", tmp_path / "j2", tmp_path / nothing, "-k", "box", "--out-dir", tmp_path / "o2")
        assert (result.exit_code, "hint:" in result.stderr) == (3, True), result
        assert not (tmp_path / "j2").exists()


def test_a_pattern_means_what_it_means_to_apply(photos: Path, tmp_path: Path) -> None:
    shutil.copy(photos / "a.png", photos / "b[1].png")
    for number, (word, files) in enumerate({"*.png": ["a.png", "b.png", "b[1].png"], "b[1].png": ["b[1].png"]}.items()):
        job = plan(tmp_path / str(number), photos / word)
        run_cli("job", "run", job, "-q").ok()
        assert {row["input"] for row in rows_of(job)} == {str(photos / name) for name in files}


@given(
    sizes=st.lists(st.lists(st.integers(0, 50), max_size=7), max_size=7),
    count=st.integers(1, 5),
    n_bytes=st.integers(1, 100),
)
def test_shards_hold_every_entry_once_and_no_more_than_asked(sizes: list[list[int]], count: int, n_bytes: int) -> None:
    numbers = iter(range(1000))
    pages = [[Entry(str(next(numbers)), size, "") for size in page] for page in sizes]
    shards = list(cut(pages, ShardSize(count, n_bytes)))
    assert [entry for shard in shards for entry in shard] == [entry for page in pages for entry in page]
    for shard in shards:
        assert 1 <= len(shard) <= count
        assert len(shard) == 1 or sum(entry.size for entry in shard) <= n_bytes
    # Greedy: the first entry of the next shard had no room.
    for shard, following in pairwise(shards):
        assert len(shard) == count or sum(entry.size for entry in [*shard, following[0]]) > n_bytes


def test_a_listing_is_read_as_it_is_cut() -> None:
    read = []

    def pages() -> Iterator[list[Entry]]:
        for number in range(1000):
            read.append(number)
            yield [Entry(f"{number}-{index}", 1, "") for index in range(1000)]

    for number, shard in enumerate(cut(pages(), ShardSize(1000))):
        assert len(shard) == 1000
        assert len(read) <= number + 2
    assert len(read) == 1000


def test_sizes_of_shards() -> None:
    assert parse_shard_size(" 10 , 2K ") == ShardSize(10, 2048)
    for text in ("", "x", "1,1", "1K,2K", "-1"):
        with pytest.raises(UsageError):
            parse_shard_size(text)


def test_a_folder_creates_once(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    winners: list[int] = []

    def create(number: int) -> None:
        if folder.create("done/1", str(number).encode()):
            winners.append(number)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [winner] = winners
    assert folder.get("done/1")[0] == str(winner).encode()
    assert [entry.name for page in folder.pages() for entry in page] == ["done/1"]
    with pytest.raises(ImageError):
        folder.get("none")
    (tmp_path / "file").write_text("")
    with pytest.raises(ConvcliError, match="file"):
        folder.put("file/x", b"")


def test_totals_count_inputs_and_files_once() -> None:
    row = {"bytes": 5, "clipped_low": 1, "clipped_high": 1}
    rows = [{"input": "a", "output": "s", **row}, {"input": "a", "output": "s", **row}, {"input": "b", "error": "x"}]
    totals = summarise(iter(rows))
    assert (totals["inputs_done"], totals["inputs_failed"], totals["maps"], totals["bytes"]) == (1, 1, 2, 5)


def members(folder: Path) -> dict[str, bytes]:
    """Return the files of all tars of a folder, by their names."""
    found = {}
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as archive:
            found |= {one.name: archive.extractfile(one).read() for one in archive}
    return found


def test_a_shard_is_one_tar_in_the_naming_of_webdataset(photos: Path, tmp_path: Path) -> None:
    (photos / "bad.png").write_text("no picture")
    job = plan(tmp_path, photos, "--format", "tar", "--stats", "parquet")
    assert run_cli("job", "run", job, "-q").exit_code == 7
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"{n:08}.tar" for n in range(3)]
    found = {name: data for name, data in members(tmp_path / "out").items() if name.endswith(".png")}
    name = "{dir}/{stem}%2E{suffix}.{bank}.{kernel}-{channel}.{ext}"
    local = tmp_path / "local"
    run_cli("apply", photos, "-r", "-k", "sobel", "--out-dir", local, "--name", name, "-q")
    assert found == pictures(local)
    # A key ends at the first dot of the file name (WebDataset), and tells a.png and a.bmp apart.
    keys = {name.rpartition("/")[0] + "/" + name.rpartition("/")[2].partition(".")[0] for name in found}
    assert len(keys) == 5
    rows = rows_of(job)
    assert {str(row["member"]): row["digest"] for row in rows if "member" in row} == {
        name: hashlib.blake2b(data, digest_size=16).hexdigest() for name, data in found.items()
    }
    [failed] = [row for row in rows if "error" in row]
    assert failed["input"] == "bad.png"
    totals = summarise(iter(rows))
    assert totals["bytes"] == sum(map(len, found.values()))
    before = (tmp_path / "out" / "00000001.tar").read_bytes()
    (job / "done" / "00000001.parquet").unlink()
    run_cli("job", "run", job, "-q")
    after = (tmp_path / "out" / "00000001.tar").read_bytes()
    assert [len(after), members(tmp_path / "out").keys()] == [len(before), members(tmp_path / "out").keys()]


def test_pictures_in_a_tar_are_inputs(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with tarfile.open(tmp_path / "in" / "photos.tar", "w") as archive:
        archive.add(photos, "all")
    (tmp_path / "in" / "broken.tar").write_bytes(b"x" * 2000)
    whole = tmp_path / "in" / "photos.tar"
    with tarfile.open(whole) as archive:
        end = next(member.offset_data for member in archive if member.isfile()) + 20  # within its samples
    (tmp_path / "in" / "cut.tar").write_bytes(whole.read_bytes()[:end])
    job = plan(tmp_path, tmp_path / "in")
    assert run_cli("job", "run", job, "-q").exit_code == 7
    name = "{dir}/{stem}.{suffix}_{bank}/{kernel}-{channel}.{ext}"
    run_cli("apply", photos, "-r", "-k", "sobel", "--out-dir", tmp_path / "local", "--name", name).ok()
    assert pictures(tmp_path / "out" / "photos.tar" / "all") == pictures(tmp_path / "local")
    assert sorted({str(row["input"]) for row in rows_of(job)})[:3] == ["broken.tar", "cut.tar", "photos.tar/all/a.bmp"]
    for named in (whole, tmp_path / "in"):
        refused = run_cli("apply", named, "-k", "sobel", "--out-dir", tmp_path / "none")
        assert refused.exit_code == 3
        assert "convcli job plan" in refused.stderr
    failed = {row["input"]: row["error"] for row in rows_of(job) if "error" in row}
    assert failed.keys() == {"broken.tar", "cut.tar"}
    assert all("cannot be read as a tar" in str(error) for error in failed.values())


def test_a_picture_of_a_tar_that_is_empty_or_a_namesake_fails_alone(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with tarfile.open(tmp_path / "in" / "x.tar", "w") as archive:
        for picture, name in (("a.png", "a.png"), ("b.png", "b.png"), ("b.png", "a.png"), ("a.png", "./b.png")):
            archive.add(photos / picture, name)
        archive.addfile(tarfile.TarInfo("empty.png"))
    for format_ in ("png", "tar"):
        job = plan(tmp_path / format_, tmp_path / "in", "--format", format_)
        assert run_cli("job", "run", job, "-q").exit_code == 7
        rows = rows_of(job)
        failed = [(row["input"], row["error"]) for row in rows if "error" in row]
        assert [name for name, _ in failed] == ["x.tar/a.png", "x.tar/./b.png", "x.tar/empty.png"]
        assert all("has this name" in str(error) for _, error in failed[:2])
        done = [row for row in rows if "error" not in row]
        # Every output is of one input, and of the first with its name.
        assert len({row.get("member", row["output"]) for row in done}) == len(done) == 12


def test_commits_beyond_the_job_and_damaged_files_of_it(photos: Path, tmp_path: Path) -> None:
    job = plan(tmp_path, photos)
    (job / "done").mkdir(exist_ok=True)
    (job / "done" / "00000077.jsonl").write_text('{"input": "q.png", "error": "x"}')
    assert "shards done" in run_cli("job", "status", job).ok().stdout
    run_cli("job", "run", job, "-q").ok()
    assert "q.png" not in run_cli("job", "report", job, "--json").stdout
    (job / "done" / "00000000.jsonl").unlink()
    (job / "lists" / "00000000.jsonl").write_text('{"input": 3}')
    assert "damaged" in run_cli("job", "run", job, "--shard", "0").stderr
    facts = json.loads((job / "job.json").read_text())
    for number in (-3, 10**15, "2", None):
        (job / "job.json").write_text(json.dumps({**facts, "shards": number}))
        result = run_cli("job", "status", job)
        assert (result.exit_code, "number of shards" in result.stderr) == (2, True)


def test_tar_and_parquet_are_for_jobs(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for flags in (["--format", "tar"], ["--stats", "parquet"], ["--shard", "5"], ["--job", "x"]):
        result = run_cli("apply", photos, "-k", "box", "--out-dir", tmp_path / "o", *flags)
        assert result.exit_code == 2
        assert "--cluster" in result.stderr
    words = ["job", "plan", tmp_path / "j", photos, "-k", "box", "--out-dir", tmp_path / "o"]
    assert "--name" in run_cli(*words, "--format", "tar", "--name", "{dir}/{file}/{kernel}.{ext}").stderr
    assert "xyz" in run_cli(*words, "--format", "tar:xyz").stderr
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "convcli[parquet]" in run_cli(*words, "--stats", "parquet").stderr
