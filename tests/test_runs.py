"""Runs beside each other and beside other programs: nothing is replaced unasked, nothing is lost without a word."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest
from conftest import HANG_S, HeldBatch, load_image, run_cli, save_image, wait_until

from convcli.errors import OutputError
from convcli.images import rename
from convcli.images.files import PART_SUFFIX, TargetFile
from convcli.images.frames import read_frames
from convcli.images.targets import TargetFolder
from convcli.pipeline.run import Pipeline
from convcli.pipeline.search import read_stamp
from convcli.process import ending

OTHERS = b"another program's"


@pytest.fixture
def grey(tmp_path: Path, rng: np.random.Generator) -> Path:
    return save_image(tmp_path / "p.png", rng.integers(0, 256, (20, 30), dtype=np.uint8))


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(params=["link", "system call", "claim"])
def disk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Disks that have hard links, only a rename that refuses existing names, or neither."""

    def refused(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    if request.param != "link":
        monkeypatch.setattr(os, "link", refused)
    if request.param == "claim":
        monkeypatch.setattr(rename, "_renamed", lambda *_: False)
    kind: str = request.param
    return kind


def test_of_many_writers_of_one_name_one_succeeds(tmp_path: Path, disk: str) -> None:
    n_writers = 8
    for number in range(20):
        path, start = tmp_path / str(number), Barrier(n_writers)

        def write(writer: int, path: Path = path, start: Barrier = start) -> bool:
            file = TargetFile(path)
            file.file.write(bytes([writer]) * 1000)
            start.wait()
            try:
                file.commit()
            except OutputError:
                return False
            return True

        with ThreadPoolExecutor(n_writers) as pool:
            won = list(pool.map(write, range(n_writers)))
        assert won.count(True) == 1
        assert path.read_bytes() == bytes([won.index(True)]) * 1000
    assert len(list(tmp_path.iterdir())) == 20


def test_a_name_that_anything_has_is_refused(tmp_path: Path, disk: str) -> None:
    (tmp_path / "file").write_bytes(OTHERS)
    (tmp_path / "folder").mkdir()
    (tmp_path / "broken link").symlink_to("nowhere")
    for path in list(tmp_path.iterdir()):
        file = TargetFile(path)
        with pytest.raises(OutputError, match="exists"):
            file.commit()
    assert files(tmp_path) == {"file"}
    assert (tmp_path / "file").read_bytes() == OTHERS
    assert (tmp_path / "broken link").is_symlink()


def test_only_the_one_file_that_was_meant_is_replaced(tmp_path: Path) -> None:
    from convcli.images.files import FileState

    path = tmp_path / "a"
    path.write_bytes(b"old")
    meant = FileState.of(path)
    file = TargetFile(path, replaces=meant)
    path.unlink()
    path.write_bytes(OTHERS)
    with pytest.raises(OutputError):
        file.commit()
    assert path.read_bytes() == OTHERS
    file = TargetFile(path, replaces=FileState.of(path))
    file.file.write(b"new")
    file.commit()
    assert path.read_bytes() == b"new"


MEETING = """
import os, sys, time
from convcli.images.files import TargetFile
commit = TargetFile.commit
def commit_together(self):
    open({gate!r} + "-" + str(os.getpid()), "w").close()
    while not os.path.exists({gate!r}):
        time.sleep(0.001)
    commit(self)
TargetFile.commit = commit_together
sys.argv[1:] = {args!r}
from convcli.__main__ import main
main()
"""
REFUSED = """
#include <errno.h>
int link(const char *a, const char *b) { errno = EPERM; return -1; }
int linkat(int a, const char *b, int c, const char *d, int e) { errno = EPERM; return -1; }
int renameat2(int a, const char *b, int c, const char *d, unsigned e) { errno = EINVAL; return -1; }
"""


@pytest.mark.subprocess
@pytest.mark.skipif(sys.platform != "linux", reason="the library is preloaded as Linux does it")
@pytest.mark.parametrize("refused", [False, True])
def test_of_two_commands_that_end_together_one_fails(refused: bool, grey: Path, tmp_path: Path) -> None:
    environment = dict(os.environ)
    if refused:
        if (compiler := shutil.which("cc")) is None:
            pytest.skip("needs a C compiler")
        (tmp_path / "refuse.c").write_text(REFUSED)
        library = tmp_path / "refuse.so"
        subprocess.run([compiler, "-shared", "-fPIC", "-o", library, tmp_path / "refuse.c"], check=True)
        environment["LD_PRELOAD"] = str(library)
        tried = subprocess.run(
            [sys.executable, "-c", "import os; os.link('p.png', 'q')"], cwd=tmp_path, env=environment
        )
        assert tried.returncode != 0, "this system has no links for Python now"
    out, gate = tmp_path / "o" / "a.png", tmp_path / "gate"
    runs = []
    for kernel in ("box", "sharpen"):
        args = ["apply", str(grey), "-k", kernel, "-o", str(out), "-q"]
        code = MEETING.format(gate=str(gate), args=args)
        runs.append(subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.PIPE))
    wait_until(lambda: len(list(tmp_path.glob("gate-*"))) == 2)
    gate.touch()
    said = [run.communicate(timeout=HANG_S)[1] for run in runs]
    assert sorted(run.returncode for run in runs) == [0, 6]
    winner = next(kernel for kernel, run in zip(("box", "sharpen"), runs, strict=True) if run.returncode == 0)
    stamp = read_stamp(out)
    assert stamp is not None
    assert stamp["kernel"] == winner
    assert load_image(out).shape == (20, 30)
    assert files(out.parent) == {"a.png"}
    assert b"exists" in b"".join(said)


COMMANDS: dict[str, tuple[str, ...]] = {
    "picture": ("apply", "p.png", "-k", "box", "-o", "o/a.png"),
    "raw": ("apply", "p.png", "-k", "box", "-o", "o/a.npy"),
    "sidecar": ("apply", "p.png", "-k", "box", "-o", "o/a.bmp"),
    "map": ("apply", "p.png", "-k", "sobel", "--out-dir", "o"),
    "sheet": ("apply", "p.png", "-k", "sobel", "--layout", "sheet", "--out-dir", "o"),
    "animation": ("apply", "p.gif", "-k", "box", "-o", "o/a.gif"),
    "report": ("apply", "p.png", "-k", "box", "-o", "b.png", "--report", "o/r.html"),
    "play": ("play", "p.png", "--size", "16", "-o", "o/p.html"),
    "animate": ("animate", "3x3", "conv:1,k=2", "-o", "o/s.svg"),
    "explain": ("explain", "p.png", "-k", "box", "--at", "1,1", "--html", "o/e.html"),
    "export": ("kernels", "export", "box", "-o", "o/k.toml"),
    "show": ("kernels", "show", "box", "--png", "o/k.png"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_what_appears_while_a_command_works_is_not_replaced(
    name: str, grey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    Image.open(grey).save(tmp_path / "p.gif", save_all=True, append_images=[Image.new("L", (30, 20), 7)])
    commit = TargetFile.commit
    last = {"sidecar": "a.bmp.json", "map": "report.json"}.get(name, "")
    appeared: list[Path] = []

    def others_first(self: TargetFile) -> None:
        if self.path is not None and self.path.parent.name in ("o", "p_sobel") and self.path.name.endswith(last):
            self.path.write_bytes(OTHERS)
            appeared.append(tmp_path / self.path)
        commit(self)

    (tmp_path / "o").mkdir()
    monkeypatch.setattr(TargetFile, "commit", others_first)
    result = run_cli(*COMMANDS[name], cwd=tmp_path)
    assert result.exit_code == 6, result.stderr
    assert "exists: it was made while this run was at work" in result.stderr
    assert "hint:" in result.stderr
    [path] = appeared
    assert path.read_bytes() == OTHERS
    assert files(tmp_path / "o") == {str(path.relative_to(tmp_path / "o"))}, "nothing is left beside it"
    monkeypatch.undo()
    if name != "explain":
        run_cli(*COMMANDS[name], "--overwrite", cwd=tmp_path).ok()
        assert path.read_bytes() != OTHERS


def test_two_runs_with_skip_existing_share_the_work(
    grey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = save_image(tmp_path / "q.png", load_image(grey))
    flags = ("-k", "box", "--layout", "picture", "--out-dir", tmp_path / "o", "--skip-existing", "-q", "--json")
    commit = TargetFile.commit

    def others_first(self: TargetFile) -> None:
        if self.path is not None and self.path.name == "p_box.png":
            self.path.write_bytes(OTHERS)
        commit(self)

    monkeypatch.setattr(TargetFile, "commit", others_first)
    lines = run_cli("apply", grey, other, *flags, "-j", "1").ok().json_lines
    assert lines[0]["reason"] == "another run has made its outputs meanwhile"
    assert (tmp_path / "o" / "p_box.png").read_bytes() == OTHERS


def test_an_input_that_fails_leaves_none_of_its_maps(
    grey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = TargetFile.commit

    def full(self: TargetFile) -> None:
        if self.path is not None and self.path.name == "y-l.png":
            raise OutputError("the disk is full")
        commit(self)

    monkeypatch.setattr(TargetFile, "commit", full)
    flags = ("apply", grey, "-k", "sobel", "--out-dir", tmp_path / "o")
    assert run_cli(*flags).exit_code == 6
    assert not (tmp_path / "o").exists()
    monkeypatch.undo()
    run_cli(*flags).ok()


def swap_size(path: Path) -> None:
    save_image(path, np.zeros((21, 30), np.uint8))


def swap_samples(path: Path) -> None:
    samples, before = load_image(path), path.stat()
    save_image(path.with_suffix(".new.png"), samples[::-1]).replace(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def touch_in_place(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(path.read_bytes())
    os.utime(path, (1, 1))


def lie_about_time(path: Path) -> None:
    """The same file, bytes and time, but wider and less high."""
    before = path.stat()
    header = bytearray(path.read_bytes())
    header[3:8] = b"30 20"
    with path.open("r+b") as file:
        file.write(header)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("swap", [swap_size, swap_samples, touch_in_place, lie_about_time])
@pytest.mark.parametrize("when", ["before it is opened", "while it is read"])
def test_an_input_that_changes_between_plan_and_run_fails(
    swap: Callable[[Path], None], when: str, grey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if swap is lie_about_time:
        if when == "while it is read":
            pytest.skip("the samples that were read are those of the plan")
        (tmp_path / "p.pgm").write_bytes(b"P5 20 30 255\n" + bytes(600))
        grey = tmp_path / "p.pgm"
    method = "run_picture" if when == "before it is opened" else "_start"
    run: Any = getattr(Pipeline, method)

    def swapped(self: Pipeline, *args: Any, **options: Any) -> Any:
        swap(grey)
        return run(self, *args, **options)

    monkeypatch.setattr(Pipeline, method, swapped)
    result = run_cli("apply", grey, "-k", "box", "-o", tmp_path / "o.png")
    assert result.exit_code == 3
    assert "has changed since it was planned" in result.stderr
    assert not (tmp_path / "o.png").exists()


def test_frames_that_change_between_plan_and_run_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    path = tmp_path / "a.gif"
    frames = [Image.new("L", (9, 8), shade) for shade in (0, 100, 200)]
    frames[0].save(path, save_all=True, append_images=frames[1:])

    def swapped(*args: Any, **options: Any) -> Any:
        os.utime(path, (1, 1))
        return read_frames(*args, **options)

    monkeypatch.setattr("convcli.pipeline.run.read_frames", swapped)
    result = run_cli("apply", path, "-k", "box", "-o", tmp_path / "o.gif")
    assert result.exit_code == 3
    assert "has changed since it was planned" in result.stderr


@pytest.mark.subprocess
@pytest.mark.skipif(os.name == "nt" or not hasattr(os, "fork"), reason="batches work in threads there")
@pytest.mark.parametrize("how", ["removed", "renamed", "emptied"])
def test_an_output_folder_that_goes_is_said_and_resume_works_after(
    how: str, tmp_path: Path, rng: np.random.Generator, held_batch: Callable[..., HeldBatch]
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for index in range(8):
        save_image(folder / f"{index:02}.png", rng.integers(0, 256, (40, 50), dtype=np.uint8))
    batch = held_batch(folder, out, 3)
    if how == "renamed":
        out.rename(tmp_path / "elsewhere")
    elif how == "removed":
        shutil.rmtree(out)
    else:
        for place in out.glob("0*"):
            shutil.rmtree(place)
    code, errors = batch.end()
    assert code in (6, 7), errors
    assert "Traceback" not in errors
    assert "removed" in errors
    assert "--resume makes what is missing" in errors or how == "emptied"
    run_cli("apply", folder, "-k", "sobel", "--out-dir", out, "-q", "--resume").ok()
    assert len(list(out.rglob("*.png"))) == 16
    assert len(list(out.rglob("report.json"))) == 8
    assert not list(out.rglob(f"*{PART_SUFFIX}"))


def test_outputs_that_go_without_their_folder_are_said(
    grey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = save_image(tmp_path / "q.png", load_image(grey))
    run = Pipeline.run

    def removing(self: Pipeline, plan: Any) -> Any:
        shutil.rmtree(tmp_path / "o" / "p_box", ignore_errors=True)
        return run(self, plan)

    monkeypatch.setattr(Pipeline, "run", removing)
    flags = ("apply", grey, other, "-k", "box", "--out-dir", tmp_path / "o", "-q", "-j", "1")
    result = run_cli(*flags)
    assert result.exit_code == 6
    assert "gone since this run wrote them" in result.stderr
    monkeypatch.undo()
    assert run_cli(*flags, "--resume", "--json").ok().json_lines[-1]["done"] == 1


def test_resume_notices_an_output_that_was_altered_at_its_size(grey: Path, tmp_path: Path) -> None:
    flags = ("apply", grey, "-k", "box", "--layout", "picture", "--out-dir", tmp_path / "o", "--resume", "--json")
    run_cli(*flags).ok()
    made = tmp_path / "o" / "p_box.png"
    right = made.read_bytes()
    assert run_cli(*flags).ok().json["status"] == "skipped"
    made.write_bytes(bytes(len(right)))
    again = run_cli(*flags).ok().json
    assert again["status"] == "done"
    assert any("had been changed" in note for note in again["notes"])
    np.testing.assert_array_equal(load_image(made), load_image(made))
    assert made.read_bytes()[:4] == right[:4]


def test_resume_does_not_replace_what_another_has_made_since_its_own_failed(
    grey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ("apply", grey, "-k", "box", "--layout", "picture", "--out-dir", tmp_path / "o", "--resume")

    def broken(self: Pipeline, *_: object) -> None:
        raise OutputError("the disk is full")

    monkeypatch.setattr(Pipeline, "run_picture", broken)
    assert run_cli(*flags).exit_code == 6
    monkeypatch.undo()
    made = tmp_path / "o" / "p_box.png"
    made.write_bytes(OTHERS)
    assert run_cli(*flags).exit_code == 6
    assert made.read_bytes() == OTHERS
    made.unlink()
    run_cli(*flags).ok()


@pytest.mark.parametrize("flags", [["-o", "a.npy"], ["-o", "a.bmp"], ["--out-dir", "."]])
def test_a_report_left_alone_does_not_block_the_next_run(flags: list[str], grey: Path, tmp_path: Path) -> None:
    command = ("apply", grey, "-k", "sobel" if flags[0] == "--out-dir" else "box", *flags)
    run_cli(*command, cwd=tmp_path).ok()
    made = sorted(files(tmp_path) - {"p.png"})
    reports = [name for name in made if name.endswith(".json")]
    assert len(reports) == 1
    for name in set(made) - set(reports):
        assert run_cli(*command, cwd=tmp_path).exit_code == 6
        (tmp_path / name).unlink()
    run_cli(*command, cwd=tmp_path).ok()
    assert sorted(files(tmp_path) - {"p.png"}) == made
    for name in set(made) - set(reports):
        (tmp_path / name).unlink()
    (tmp_path / reports[0]).write_text(json.dumps({"outputs": [{"path": "a.npy"}]}))
    assert run_cli(*command, cwd=tmp_path).exit_code == 6, "not a report of ours"


def test_the_clean_up_after_a_signal_removes_folders_and_files(tmp_path: Path) -> None:
    for number in range(3):
        TargetFolder(tmp_path / f"{number}.zarr").folder.joinpath("zarr.json").write_text("{}")
        TargetFile(tmp_path / f"{number}.png").file.close()
    ending.clean_up()
    assert not list(tmp_path.iterdir())
