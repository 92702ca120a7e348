"""Batches that die half-way: only whole files, and ``--resume`` does what is missing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import HANG_S, children_of, is_running, load_image, pictures, run_cli, save_image, wait_until
from PIL import Image

from convcli.errors import OutputError
from convcli.images import reading
from convcli.pipeline import workers
from convcli.pipeline.batch import find_inputs, plan_batch, run_batch
from convcli.pipeline.inputs import InputFile
from convcli.pipeline.manifest import Manifest
from convcli.pipeline.plan import Planner
from convcli.pipeline.request import parse_request
from convcli.pipeline.run import Pipeline

N_FILES = 24


@pytest.fixture
def folder(tmp_path: Path, rng: np.random.Generator) -> Path:
    """24 pictures, no two of them equal."""
    place = tmp_path / "in"
    place.mkdir()
    samples = rng.integers(0, 256, (210, 300, 3), dtype=np.uint8)
    for index in range(N_FILES):
        save_image(place / f"{index:02}.png", np.roll(samples, index, axis=0), compress_level=1)
    return place


def _files(out: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file() and path.name[0] != "."}


def _assert_whole_and_complete(out: Path) -> None:
    files = _files(out)
    assert len(files) == N_FILES * 7
    assert not list(out.rglob("*.convcli-part"))
    for path in files:
        if path.suffix == ".png":
            assert load_image(path).shape == (210, 300)


needs_workers = pytest.mark.skipif(sys.platform != "linux", reason="batches work in threads elsewhere")


@needs_workers
@pytest.mark.subprocess
def test_ctrl_c_stops_at_once_and_leaves_only_whole_files(folder: Path, tmp_path: Path, held_batch: Any) -> None:
    out = tmp_path / "out"
    batch = held_batch(folder, out, 2)
    before = _files(out)
    assert len(before) == 2 * 7
    batch.process.send_signal(signal.SIGINT)
    batch.wait_until_stopped()
    assert batch.end() == (130, "convcli: interrupted, 2 of 24 done\n")
    assert not list(out.rglob("*.convcli-part"))
    assert _files(out) == before
    run_cli("apply", folder, "-k", "sobel", "--out-dir", out, "-q", "--resume").ok()
    _assert_whole_and_complete(out)
    after = _files(out)
    assert all(after[path] == stamp for path, stamp in before.items())


@needs_workers
@pytest.mark.subprocess
def test_after_sigkill_resume_completes_the_batch_and_does_nothing_twice(
    folder: Path, tmp_path: Path, held_batch: Any
) -> None:
    out = tmp_path / "out"
    batch = held_batch(folder, out, 4)
    workers = children_of(batch.process.pid)
    batch.process.kill()
    batch.process.communicate(timeout=HANG_S)
    wait_until(lambda: not any(map(is_running, workers)))
    assert len(list(out.rglob("report.json"))) == 4
    assert list(out.rglob("*.convcli-part"))
    before = _files(out)
    result = run_cli("apply", folder, "-k", "sobel", "--out-dir", out, "-q", "--resume", "--json").ok()
    _assert_whole_and_complete(out)
    assert [line["status"] for line in result.json_lines[:-1]].count("skipped") == 4
    after = _files(out)
    assert all(after[path] == stamp for path, stamp in before.items())
    again = run_cli("apply", folder, "-k", "sobel", "--out-dir", out, "-q", "--resume", "--json").ok()
    assert again.json_lines[-1]["skipped"] == N_FILES
    assert _files(out) == after


def test_resume_does_what_changed_and_refuses_what_is_not_ours(tmp_path: Path, rng: np.random.Generator) -> None:
    for name in "abc":
        save_image(tmp_path / f"{name}.png", rng.integers(0, 256, (20, 20), dtype=np.uint8))
    inputs = [tmp_path / f"{name}.png" for name in "abc"]
    out = tmp_path / "out"

    def resume(*flags: object) -> dict[str, int]:
        result = run_cli("apply", *inputs, "-k", "sobel", "--out-dir", out, "-q", "--resume", "--json", *flags).ok()
        return {key: result.json_lines[-1][key] for key in ("done", "skipped")}

    assert resume() == {"done": 3, "skipped": 0}
    assert resume() == {"done": 0, "skipped": 3}
    save_image(inputs[0], rng.integers(0, 256, (20, 20), dtype=np.uint8))
    assert resume() == {"done": 1, "skipped": 2}
    (out / "b_sobel" / "x-l.png").unlink()
    assert resume() == {"done": 1, "skipped": 2}
    assert resume("--stride", "2") == {"done": 3, "skipped": 0}
    shutil.rmtree(out)
    (out / "a_sobel").mkdir(parents=True)
    (out / "a_sobel" / "x-l.png").write_bytes(b"somebody's")
    refused = run_cli("apply", *inputs, "-k", "sobel", "--out-dir", out, "-q", "--resume")
    assert refused.exit_code == 6
    assert (out / "a_sobel" / "x-l.png").read_bytes() == b"somebody's"


@pytest.fixture
def three(tmp_path: Path, rng: np.random.Generator) -> Path:
    """A folder of three small pictures."""
    place = tmp_path / "three"
    place.mkdir()
    for name in "abc":
        save_image(place / f"{name}.png", rng.integers(0, 256, (20, 20), dtype=np.uint8))
    return place


def _apply(*args: object, cwd: Path | None = None) -> tuple[int, int]:
    """Run and return how many were done and left alone."""
    lines = run_cli("apply", *args, "-q", "--json", cwd=cwd).ok().json_lines
    return lines[-1]["done"], lines[-1]["skipped"]


BANK = """
name = "pair"
orientation = "correlate"
combine = "magnitude"
[[kernel]]
name = "x"
taps = [[1, 0, -1]]
[[kernel]]
name = "y"
taps = [[2, 0, 1]]
"""


def test_resume_sees_an_edited_bank_and_a_reshaped_kernel(three: Path, tmp_path: Path) -> None:
    bank, taps = tmp_path / "pair.toml", tmp_path / "taps.csv"
    bank.write_text(BANK)
    taps.write_text("1,2,3,4\n")
    for kernel, out, change in (
        (bank, tmp_path / "1", lambda: bank.write_text(BANK.replace("magnitude", "max"))),
        (taps, tmp_path / "2", lambda: taps.write_text("1,2\n3,4\n")),
    ):
        flags = (three, "-k", kernel, "--out-dir", out, "--resume")
        assert _apply(*flags) == (3, 0)
        assert _apply(*flags) == (0, 3)
        change()
        assert _apply(*flags) == (3, 0)


def test_resume_reads_names_with_line_separators_and_a_torn_last_line(three: Path, tmp_path: Path) -> None:
    (three / "a.png").rename(three / "a\u2028b\x85c.png")
    out = tmp_path / "out"
    flags = (three, "-k", "sobel", "--out-dir", out, "--resume", "-j", "1")
    assert _apply(*flags) == (3, 0)
    assert _apply(*flags) == (0, 3)
    record = out / ".convcli-manifest.jsonl"
    data = record.read_bytes()
    cut = data.rindex(b'{"event": "begin"')
    for name in json.loads(data[cut:].splitlines()[0])["outputs"]:  # a death that early has left no file of it
        (out / name).unlink()
    record.write_bytes(data[: cut + 20])
    assert _apply(*flags) == (1, 2)
    assert _apply(*flags) == (0, 3)
    with record.open("ab") as file:
        file.write(
            b'{"event": 3}\n{"event": "begin", "outputs": 3}\n[]\n\xff\n{"event": "done", "outputs": {"a": 1}}\n{'
        )
    assert _apply(*flags) == (0, 3)


def test_resume_from_another_folder_knows_the_record(three: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / "deep").mkdir(parents=True)
    first = _apply("three", "-k", "sobel", "--out-dir", "out/deep", "--resume", cwd=tmp_path)
    second = _apply("../three", "-k", "sobel", "--out-dir", "deep", "--resume", cwd=tmp_path / "out")
    assert (first, second) == ((3, 0), (0, 3))
    (tmp_path / "out").rename(tmp_path / "moved")
    assert _apply(three, "-k", "sobel", "--out-dir", tmp_path / "moved" / "deep", "--resume") == (0, 3)


def test_one_file_found_through_two_folders_has_two_records(three: Path, tmp_path: Path) -> None:
    (three / "sub").mkdir()
    (three / "a.png").rename(three / "sub" / "a.png")
    flags = ("-r", three, three / "sub", "-k", "sobel", "--out-dir", tmp_path / "out", "--resume")
    assert _apply(*flags) == (4, 0)
    assert _apply(*flags) == (0, 4)
    (tmp_path / "out" / "a_sobel" / "x-l.png").unlink()
    assert _apply(*flags) == (1, 3)


def test_an_output_that_another_input_has_taken_since_is_made_again(three: Path, tmp_path: Path) -> None:
    flags = ("-k", "sobel", "--layout", "picture", "--name", "one.{ext}", "--out-dir", tmp_path / "out", "--resume")
    shutil.copy(three / "a.png", three / "b.png")
    for name in "aba":  # the same bytes: the size does not tell
        result = run_cli("apply", three / f"{name}.png", *flags, "-q", "--json").ok()
        assert "skipped" not in result.json["status"]


def test_a_second_run_into_a_folder_waits_its_turn(three: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    leftover = out / "a_sobel" / ".0123.convcli-part"
    leftover.parent.mkdir(parents=True)
    leftover.write_bytes(b"of a run that is still writing")
    flags = (three, "-k", "sobel", "--out-dir", out, "-q")
    other = Manifest(out)
    other.lock(alone=False)
    refused = run_cli("apply", *flags, "--resume")
    assert refused.exit_code == 6
    assert "another run is writing into" in refused.stderr
    assert "hint:" in refused.stderr
    assert leftover.exists()
    run_cli("apply", *flags).ok()  # batches of other inputs may share a folder
    assert leftover.exists()
    other.close()
    other = Manifest(out)
    other.lock(alone=True)
    assert run_cli("apply", *flags, "--overwrite").exit_code == 6
    other.close()
    (three / "a.png").write_bytes((three / "b.png").read_bytes())
    assert _apply(*flags[:-1], "--resume") == (1, 2)
    assert not leftover.exists()


def test_a_record_that_has_changed_since_it_was_read_is_not_used(tmp_path: Path) -> None:
    late = Manifest(tmp_path)
    (tmp_path / ".convcli-manifest.jsonl").write_text("{}\n")
    with pytest.raises(OutputError, match="another run has written"):
        late.lock(alone=True)


def test_skip_existing_with_one_map_missing_leaves_the_report(three: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    flags = ("apply", three / "a.png", "-k", "sobel", "--out-dir", out, "--skip-existing", "--json", "-q")
    run_cli(*flags).ok()
    report = (out / "a_sobel" / "report.json").read_bytes()
    (out / "a_sobel" / "y-l.png").unlink()
    again = run_cli(*flags).ok().json
    assert (out / "a_sobel" / "y-l.png").exists()
    assert (out / "a_sobel" / "report.json").read_bytes() == report
    assert any("1 of 2 outputs exist" in note for note in again["notes"])


@pytest.mark.parametrize("output_format", ["png", "webp"])
def test_outputs_of_one_batch_are_the_inputs_of_the_next(three: Path, tmp_path: Path, output_format: str) -> None:
    blurred = tmp_path / "blurred"
    stage = ("--layout", "picture", "--format", output_format)
    assert _apply(three, "-k", "gaussian", *stage, "--out-dir", blurred) == (3, 0)
    assert _apply(blurred, "-k", "sobel", "--out-dir", tmp_path / "out") == (3, 0)


def test_what_a_command_writes_is_not_its_input_the_second_time(three: Path) -> None:
    for name in "abc":  # one by one, so that no batch has recorded them
        run_cli("apply", three / f"{name}.png", "-k", "sobel", "--layout", "picture", "-q", cwd=three).ok()
    flags = (".", "-k", "sobel", "--layout", "picture", "--overwrite")
    result = run_cli("apply", *flags, "--json", "-q", cwd=three).ok()
    reasons = [line["reason"] for line in result.json_lines if line["status"] == "skipped"]
    assert reasons == ["an output of this command"] * 3
    named = run_cli("apply", "a.png", "a_sobel.png", *flags[1:], "-q", cwd=three)
    assert named.exit_code == 6
    assert "is an input and would be replaced" in named.stderr


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_bug_in_one_file_ends_that_file_only(
    three: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs: str
) -> None:
    run = Pipeline.run

    def broken(self: Pipeline, plan: Any) -> dict[str, Any]:
        if plan.input.stem == "b":
            raise ZeroDivisionError("on purpose")
        return run(self, plan)

    monkeypatch.setattr(Pipeline, "run", broken)
    request = parse_request({"kernels": ("sobel",), "out_dir": str(tmp_path / "out")})
    outcomes = list(run_batch(plan_batch(request, find_inputs([str(three)])), jobs=int(jobs)))
    assert len([outcome for outcome in outcomes if outcome.report is not None]) == 2
    [failed] = [outcome for outcome in outcomes if outcome.error is not None]
    assert failed.error.exit_code == 1
    assert "this is a bug (ZeroDivisionError: on purpose)" in str(failed.error)
    assert failed.bug is not None
    assert "in broken" in failed.bug
    with pytest.raises(ZeroDivisionError):
        list(run_batch(plan_batch(request, find_inputs([str(three / "b.png")]))))


def test_a_bug_while_one_file_is_planned_ends_that_file_only(three: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Planner.plan

    def broken(self: Planner, source: InputFile, info: Any) -> Any:
        return plan(self, source, None if source.stem == "b" else info)

    monkeypatch.setattr(Planner, "plan", broken)
    batch = plan_batch(parse_request({"kernels": ("sobel",), "out_dir": "out"}), find_inputs([str(three)]))
    assert len(batch.plans) == 2
    assert batch.settled[0].bug is not None


def test_a_flag_that_fits_no_input_is_one_error(three: Path, tmp_path: Path) -> None:
    result = run_cli("apply", three, "-k", "sobel", "--channels", "a", "--out-dir", tmp_path / "out")
    assert result.exit_code == 2
    assert result.stderr.count("error:") == 1
    save_image(three / "rgba.png", np.zeros((20, 20, 4), dtype=np.uint8))
    assert run_cli("apply", three, "-k", "sobel", "--channels", "a", "--out-dir", tmp_path / "out").exit_code == 7


def test_frames_are_planned_in_one_pass(tmp_path: Path, rng: np.random.Generator, monkeypatch: Any) -> None:
    pages = [Image.fromarray(rng.integers(0, 256, (8, 9 + i), dtype=np.uint8)) for i in range(5)]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    opened = []
    original = reading.open_decoder
    monkeypatch.setattr(reading, "open_decoder", lambda *args: opened.append(1) or original(*args))
    request = parse_request({"kernels": ("sobel",), "out_dir": str(tmp_path / "out"), "frames": "1,3-4"})
    batch = plan_batch(request, [InputFile(path=tmp_path / "pages.tif")])
    assert [plan.info.width_px for plan in batch.plans] == [10, 12, 13]
    assert len(opened) <= 2


def test_closing_a_batch_early_stops_its_threads(folder: Path, tmp_path: Path) -> None:
    request = parse_request({"kernels": ("sobel",), "out_dir": str(tmp_path / "out")})
    outcomes = run_batch(plan_batch(request, find_inputs([str(folder)])), jobs=2)
    next(outcomes)
    outcomes.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("file-")]
    assert not list((tmp_path / "out").rglob("*.convcli-part"))
    begun = (tmp_path / "out" / ".convcli-manifest.jsonl").read_text().splitlines()
    assert sum(json.loads(line)["event"] == "begin" for line in begun) <= 4


def test_tasks_that_wait_are_not_begun_after_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []
    both, release = threading.Barrier(3), threading.Event()

    def work(task: int) -> None:
        begun.append(task)
        both.wait(HANG_S)
        release.wait(HANG_S)

    def interrupted(_crew: object) -> None:
        both.wait(HANG_S)
        raise KeyboardInterrupt

    monkeypatch.setattr(workers, "_take", interrupted)
    with pytest.raises(KeyboardInterrupt):
        next(workers.work_together(range(9), work, 2, stop=release.set))
    assert sorted(begun) == [0, 1]


def test_work_in_order_is_in_order_and_only_a_little_ahead() -> None:
    taken: list[int] = []

    def tasks() -> Iterator[int]:
        for task in range(40):
            taken.append(task)
            yield task

    done = [threading.Event() for _ in range(42)]
    for event in done[40:]:
        event.set()

    def work(task: int) -> int:
        if task % 3 == 0:  # every third task ends after the two behind it
            assert done[task + 1].wait(HANG_S)
            assert done[task + 2].wait(HANG_S)
        done[task].set()
        return task * task

    results = workers.work_in_order(tasks(), work, 3)
    assert [next(results) for _ in range(4)] == [0, 1, 4, 9]
    assert max(taken) == 3 + 2 * 3
    assert list(results) == [task * task for task in range(4, 40)]


def test_work_in_order_raises_what_a_task_raises_and_begins_no_more() -> None:
    begun: list[int] = []

    def work(task: int) -> int:
        begun.append(task)
        if task == 3:
            raise ValueError("three")
        return task

    results = workers.work_in_order(iter(range(100)), work, 2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)
    assert max(begun) <= 3 + 2 * 2
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("worker-")]


def test_a_batch_gives_the_same_pictures_with_any_number_of_jobs_and_threads(folder: Path, tmp_path: Path) -> None:
    inputs = sorted(folder.iterdir())[:3]
    results = []
    for index, flags in enumerate((["-j", "1", "--threads", "1"], ["-j", "3"], ["-j", "1", "--threads", "3"])):
        out = tmp_path / f"out{index}"
        run_cli("apply", *inputs, "-k", "scharr", "--out-dir", out, "-q", *flags).ok()
        results.append(pictures(out))
    assert results[0] == results[1] == results[2]
    assert len(results[0]) == 18


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("mount"), reason="mounting a small tmpfs needs root")
def test_a_full_disk_is_said_and_leaves_no_half_file(folder: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("this machine does not let tests mount a tmpfs")
    try:
        result = run_cli("apply", folder, "-k", "sobel", "--out-dir", disk, "-q", "-j", "1")
        assert result.exit_code == 7
        assert "space" in result.stderr
        assert "Traceback" not in result.stderr
        assert not list(disk.rglob("*.convcli-part"))
        for path in disk.rglob("*.png"):
            load_image(path)
    finally:
        subprocess.run(["umount", disk], check=True)


def test_an_input_that_vanishes_while_the_batch_runs_is_said(three: Path, tmp_path: Path) -> None:
    request = parse_request({"kernels": ("sobel",), "out_dir": str(tmp_path / "out")})
    batch = plan_batch(request, find_inputs([str(three)]))
    (three / "b.png").unlink()
    [failed] = [outcome.error for outcome in run_batch(batch) if outcome.error is not None]
    assert str(failed).endswith("b.png: was removed or renamed while the batch ran")
    assert failed.hint == "put it back, and --resume does what is missing"
