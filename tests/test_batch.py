"""Batches that die half-way: only whole files, and ``--resume`` does what is missing."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import load_image, run_cli, save_image

N_FILES = 24


@pytest.fixture
def folder(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Photographs large enough that a batch of them takes a while."""
    place = tmp_path / "in"
    place.mkdir()
    samples = rng.integers(0, 256, (700, 900, 3), dtype=np.uint8)
    for index in range(N_FILES):
        save_image(place / f"{index:02}.png", np.roll(samples, index, axis=0), compress_level=1)
    return place


def _start(folder: Path, out: Path, *flags: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "convcli", "apply", folder, "-k", "sobel", "--out-dir", out, "-q", *flags]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def _wait_for_outputs(out: Path, n_files: int) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and len(list(out.rglob("report.json"))) < n_files:
        time.sleep(0.005)


def _files(out: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file() and path.name[0] != "."}


def _assert_whole_and_complete(out: Path) -> None:
    files = _files(out)
    assert len(files) == N_FILES * 7
    assert not list(out.rglob("*.convcli-part"))
    for path in files:
        if path.suffix == ".png":
            assert load_image(path).shape == (700, 900)


@pytest.mark.subprocess
def test_ctrl_c_stops_within_a_second_and_leaves_only_whole_files(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = _start(folder, out)
    _wait_for_outputs(out, 2)
    process.send_signal(signal.SIGINT)
    asked = time.monotonic()
    _, errors = process.communicate(timeout=20)
    assert time.monotonic() - asked < 3  # one second on an idle machine
    assert process.returncode == 130
    assert b"Traceback" not in errors
    assert not list(out.rglob("*.convcli-part"))
    for path in _files(out):
        if path.suffix == ".png":
            load_image(path)
    before = _files(out)
    run_cli("apply", folder, "-k", "sobel", "--out-dir", out, "-q", "--resume").ok()
    _assert_whole_and_complete(out)
    whole = [path.parent for path in before if path.name == "report.json"]
    after = _files(out)
    assert all(after[path] == stamp for path, stamp in before.items() if path.parent in whole[:1])


@pytest.mark.subprocess
def test_after_sigkill_resume_completes_the_batch_and_does_nothing_twice(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = _start(folder, out)
    _wait_for_outputs(out, 4)
    process.kill()
    process.communicate(timeout=20)
    done = set(out.rglob("report.json"))
    assert len(done) < N_FILES
    before = _files(out)
    result = run_cli("apply", folder, "-k", "sobel", "--out-dir", out, "-q", "--resume", "--json").ok()
    _assert_whole_and_complete(out)
    skipped = sum(line["status"] == "skipped" for line in result.json_lines)
    assert skipped >= len(done) - 2  # the last ones may have had no time to be recorded
    after = _files(out)
    kept = [path for path, stamp in before.items() if after[path] == stamp]
    assert len(kept) == skipped * 7
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


def test_a_batch_gives_the_same_bytes_with_any_number_of_jobs_and_threads(folder: Path, tmp_path: Path) -> None:
    inputs = sorted(folder.iterdir())[:3]
    results = []
    for index, flags in enumerate((["-j", "1", "--threads", "1"], ["-j", "3"], ["-j", "1", "--threads", "3"])):
        out = tmp_path / f"out{index}"
        run_cli("apply", *inputs, "-k", "scharr", "--out-dir", out, "-q", *flags).ok()
        results.append({path.relative_to(out): path.read_bytes() for path in sorted(out.rglob("*.png"))})
    assert results[0] == results[1] == results[2]


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
