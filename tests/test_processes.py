"""Batches in processes of their own, always in a real process: what a worker does, loses, leaves, and how it dies."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import HANG_S, HeldBatch, children_of, is_running, pictures, save_image, wait_until
from PIL import Image

pytestmark = [
    pytest.mark.subprocess,
    pytest.mark.skipif(sys.platform != "linux", reason="batches work in threads elsewhere"),
]


def run_code(code: str) -> str:
    """Run a script in a process of its own; return what it prints."""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=HANG_S)
    assert result.returncode == 0, result.stderr
    return result.stdout


def command(*args: object) -> list[str]:
    return [sys.executable, "-m", "convcli", "apply", *map(str, args)]


@pytest.fixture
def folder(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Six small pictures, one of which is none."""
    place = tmp_path / "in"
    place.mkdir()
    for index in range(6):
        save_image(place / f"{index}.png", rng.integers(0, 256, (40, 50, 3), dtype=np.uint8))
    (place / "3.png").write_bytes(b"\x89PNG\r\n\x1a\nand nothing more")
    return place


def test_the_example_of_the_module_runs() -> None:
    assert run_code("import doctest, convcli.pipeline.pool as m; print(doctest.testmod(m))").startswith(
        "TestResults(failed=0"
    )


def test_what_work_raises_is_raised_by_the_caller_and_nobody_is_left() -> None:
    out = run_code("""
import multiprocessing, os
from convcli.pipeline.pool import work_apart
def work(task):
    if task == 5:
        raise ZeroDivisionError("five")
    return os.getpid()
seen = set()
try:
    for _, pid in work_apart(range(40), work, 3, stop=lambda: None, lost=lambda task, pid, code: code):
        seen.add(pid)
except ZeroDivisionError as error:
    print(error, os.getpid() in seen, multiprocessing.active_children())
""")
    assert out == "five False []\n"


def test_a_task_whose_process_dies_is_lost_and_the_others_are_done() -> None:
    out = run_code("""
import os, signal
from convcli.pipeline.pool import work_apart
def work(task):
    if task in (2, 7):
        os.kill(os.getpid(), signal.SIGKILL)
    if task == 4:
        os._exit(3)
    return task
print(sorted(work_apart(range(12), work, 2, stop=lambda: None, lost=lambda task, pid, code: 100 - code)))
""")
    lost = {2: 109, 7: 109, 4: 97}
    assert out == f"{[(task, lost.get(task, task)) for task in range(12)]}\n"


def test_closing_early_begins_nothing_more(tmp_path: Path) -> None:
    out = run_code(f"""
import os
from contextlib import closing
from convcli.pipeline.pool import work_apart
def work(task):
    open({str(tmp_path)!r} + f"/{{task}}", "w").close()
with closing(work_apart(range(50), work, 2, stop=lambda: None, lost=lambda task, pid, code: code)) as results:
    next(results)
print(len(os.listdir({str(tmp_path)!r})))
""")
    assert int(out) <= 4


def test_results_are_those_of_one_process(folder: Path, tmp_path: Path) -> None:
    results = []
    for jobs in (1, 3):
        out = tmp_path / f"out{jobs}"
        run = subprocess.run(
            command(folder, "-k", "sobel", "--out-dir", out, "--json", "-j", jobs),
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 7
        assert "3.png" in run.stderr
        assert run.stderr.count("hint:") == 1
        lines = sorted(
            (json.loads(line) for line in run.stdout.splitlines()[:-1]), key=lambda line: line["input"]["path"]
        )
        assert [line["status"] for line in lines] == ["done", "done", "done", "failed", "done", "done"]
        assert lines[3]["error"]["kind"] == "image"
        assert lines[3]["error"]["message"].count("3.png") == 1
        results.append((pictures(out), [statistics(line) for line in lines]))
    assert results[0] == results[1]
    assert len(results[0][0]) == 5 * 6


def statistics(line: dict[str, Any]) -> list[tuple[float, float]]:
    return [(one["min"], one["mean"]) for one in line.get("maps", [])]


def test_frames_of_standard_input(tmp_path: Path, rng: np.random.Generator) -> None:
    pages = [Image.fromarray(rng.integers(0, 256, (30, 20 + i), dtype=np.uint8)) for i in range(4)]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    flags = command("-", "-k", "sobel", "--out-dir", tmp_path / "out", "--json", "-q")
    run = subprocess.run(flags, input=(tmp_path / "pages.tif").read_bytes(), capture_output=True, check=True)
    *lines, summary = map(json.loads, run.stdout.splitlines())
    assert summary["done"] == 4
    assert sorted(line["input"]["path"] for line in lines) == [f"<stdin>[{i}]" for i in range(4)]


BROKEN = """
import os, signal, sys
from convcli.pipeline.run import Pipeline
run = Pipeline.run
def broken(self, plan):
    if plan.input.stem == "4":
        {what}
    return run(self, plan)
Pipeline.run = broken
sys.argv[1:] = {args!r}
from convcli.__main__ import main
main()
"""


@pytest.mark.parametrize(
    ("what", "code", "said"),
    [
        ("raise ZeroDivisionError('on purpose')", 1, "this is a bug (ZeroDivisionError: on purpose)"),
        ("raise MemoryError", 7, "not enough memory"),
        ("os.kill(os.getpid(), signal.SIGKILL)", 7, "the process that worked on it was killed (signal 9)"),
        ("os._exit(5)", 7, "the process that worked on it ended early (exit code 5)"),
    ],
)
def test_what_befalls_one_file_leaves_the_others_alone(
    folder: Path, tmp_path: Path, what: str, code: int, said: str
) -> None:
    args = ["apply", str(folder), "-k", "sobel", "--out-dir", str(tmp_path / "out"), "-j", "2", "-q"]
    script = BROKEN.format(what=what, args=args)
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=HANG_S)
    assert run.returncode == code
    assert f"4.png: {said}" in run.stderr
    assert ("in broken" in run.stderr) == (code == 1)
    assert {path.parent.name for path in (tmp_path / "out").rglob("report.json")} == {
        f"{i}_sobel" for i in (0, 1, 2, 5)
    }


N_FILES, N_FREE = 30, 3


@pytest.fixture
def busy(tmp_path: Path, rng: np.random.Generator, held_batch: Callable[..., HeldBatch]) -> HeldBatch:
    """A batch of 30 pictures, three of which are done, with both workers half-way through the next two."""
    (tmp_path / "many").mkdir()
    first = tmp_path / "many" / "00.png"
    save_image(first, rng.integers(0, 256, (70, 90, 3), dtype=np.uint8))
    for index in range(1, N_FILES):
        (tmp_path / "many" / f"{index:02}.png").hardlink_to(first)
    return held_batch(tmp_path / "many", tmp_path / "out", N_FREE)


@pytest.mark.parametrize(
    ("number", "to_all", "times"),
    [
        (signal.SIGINT, True, 1),
        (signal.SIGINT, False, 1),
        (signal.SIGINT, True, 3),  # an impatient user
        (signal.SIGTERM, True, 4),
        (signal.SIGTERM, False, 1),
    ],
)
def test_a_signal_to_the_parent_or_to_all_ends_all_in_order(
    busy: HeldBatch, number: signal.Signals, to_all: bool, times: int
) -> None:
    workers = children_of(busy.process.pid)
    assert len(workers) == 2
    for _ in range(times):
        (os.killpg if to_all else os.kill)(busy.process.pid, number)
    busy.wait_until_stopped()
    assert busy.end() == (130, f"convcli: interrupted, {N_FREE} of {N_FILES} done\n")
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
    assert not list(busy.out.rglob("*.convcli-part"))


def test_a_worker_that_is_killed_costs_its_file_and_leaves_nothing(busy: HeldBatch) -> None:
    being_written = {part.parent.name[:2] for part in busy.out.rglob("*.convcli-part")}
    for pid in children_of(busy.process.pid):
        os.kill(pid, signal.SIGKILL)
    code, errors = busy.end()
    assert code == 7
    lost = set(re.findall(r"(\d\d)\.\w+: the process that worked on it was killed", errors))
    assert lost == being_written, errors
    done = {path.parent.name[:2] for path in busy.out.rglob("report.json")}
    assert done == {f"{index:02}" for index in range(N_FILES)} - lost
    assert not list(busy.out.rglob("*.convcli-part"))


def test_what_a_killed_worker_was_writing_is_removed(folder: Path, tmp_path: Path) -> None:
    """Killed just before a file gets its name: its part is there then, and gone in the end."""
    code = f"""
import os, signal, sys
from convcli.images.files import TargetFile
commit = TargetFile.commit
def commit_or_die(self):
    if self.path.name == "2.png":
        open({str(tmp_path / "seen")!r}, "w").write(self._part.name)
        os.kill(os.getpid(), signal.SIGKILL)
    commit(self)
TargetFile.commit = commit_or_die
from convcli.__main__ import main
sys.argv = ["convcli", "apply", {str(folder)!r}, "-k", "sobel", "--layout", "picture", "--name", "{{stem}}.{{ext}}",
            "--out-dir", {str(tmp_path / "out")!r}, "-q", "-j", "2"]
main()
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=HANG_S)
    assert run.returncode == 7, run.stderr
    assert "2.png: the process that worked on it was killed (signal 9)" in run.stderr
    assert (tmp_path / "seen").read_text().endswith(".convcli-part")
    left = sorted(path.name for path in (tmp_path / "out").iterdir() if path.name != ".convcli-manifest.jsonl")
    assert left == ["0.png", "1.png", "4.png", "5.png"]


@pytest.mark.parametrize("n_allowed", [0, 1])
def test_work_is_done_by_as_many_processes_as_can_be_started(n_allowed: int) -> None:
    out = run_code(f"""
import errno, os
from convcli.pipeline import pool as processes
start, started = processes._Crew.start_one, []
def start_some(self):
    if len(started) == {n_allowed}:
        raise OSError(errno.EAGAIN, "no more")
    started.append(1)
    start(self)
processes._Crew.start_one = start_some
results = list(processes.work_apart(range(9), lambda task: os.getpid(), 4, stop=lambda: None, lost=lambda *_: None))
print(sorted(task for task, _ in results) == list(range(9)), [{{pid for _, pid in results}} == {{os.getpid()}}])
""")
    assert out.split() == ["True", f"[{n_allowed == 0}]"]


def test_as_many_processes_as_the_system_allows(folder: Path, tmp_path: Path) -> None:
    """A pipe takes two files; with none left there is at least the process that asked."""
    for index, n_files in enumerate((40, 13, 12, 11, 10, 9)):
        limited = f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({n_files}, {n_files}))"
        main = "import sys; from convcli.__main__ import main; sys.argv[0] = 'convcli'; main()"
        flags = command(folder, "-k", "sobel", "--out-dir", tmp_path / f"out{index}", "-q", "-j", "40")[3:]
        run = subprocess.run(
            [sys.executable, "-c", f"{limited}; {main}", *flags], capture_output=True, text=True, timeout=HANG_S
        )
        assert "Traceback" not in run.stderr, run.stderr
        assert run.returncode == 7, run.stderr
        if index == 0:
            assert len(list((tmp_path / "out0").rglob("report.json"))) == 5


def test_workers_die_with_a_parent_that_is_killed(busy: HeldBatch, tmp_path: Path) -> None:
    workers = children_of(busy.process.pid)
    assert len(workers) == 2
    busy.process.kill()
    busy.process.communicate(timeout=HANG_S)
    wait_until(lambda: not any(map(is_running, workers)))
    flags = command(tmp_path / "many", "-k", "sobel", "--out-dir", busy.out, "-q", "--resume")
    subprocess.run(flags, check=True, timeout=HANG_S)
    assert len(list(busy.out.rglob("report.json"))) == N_FILES
    assert not list(busy.out.rglob("*.convcli-part"))
