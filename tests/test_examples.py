"""The scripts in examples/ do what they say, and the page for those who come from another program is true."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from conftest import REPOSITORY, load_image, run_cli, save_image
from scipy.ndimage import correlate

EXAMPLES = REPOSITORY / "examples"
ENVIRONMENT = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}
NAMES = ["plain.png", "with space.png", "quo'te\".png", "new\nline.png", "-dash.png", "{stem}.png"]
SHARPEN = np.array([[0, -1, 0], [-1, 5, -1], [0, -1, 0]])


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False)


def script(folder: Path, name: str, *words: str) -> subprocess.CompletedProcess[str]:
    return run(folder, "sh", str(EXAMPLES / name), *words)


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("[!.]*") if path.is_file()}


@pytest.mark.subprocess
def test_a_tree_from_find_is_kept(tmp_path: Path, rng: np.random.Generator) -> None:
    photos = tmp_path / "-pho tos"
    samples = {}
    for place in ("", "a/", "a/deep er/", "only folders/below/"):
        (photos / place).mkdir(parents=True, exist_ok=True)
        for name in NAMES:
            samples[place + name] = rng.integers(0, 256, (8, 9), np.uint8)
            save_image(photos / (place + name), samples[place + name])
    (photos / "a" / "notes.txt").write_text("no picture")
    for _ in range(2):  # the second run leaves what exists
        done = script(tmp_path, "tree-from-find.sh", "-pho tos", "out")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert files(tmp_path / "out") == set(samples)
    for name, photo in samples.items():
        expected = np.clip(correlate(photo.astype(int), SHARPEN, mode="nearest"), 0, 255)
        np.testing.assert_array_equal(load_image(tmp_path / "out" / name), expected)


@pytest.mark.subprocess
def test_edges_of_a_folder_keep_its_tree_and_what_exists(tmp_path: Path, rng: np.random.Generator) -> None:
    photos = tmp_path / "-pho tos"
    for place in ("", "a/deep er/"):
        (photos / place).mkdir(parents=True, exist_ok=True)
        for name in NAMES:
            save_image(photos / (place + name), rng.integers(0, 256, (8, 9), np.uint8))
    for _ in range(2):
        done = script(tmp_path, "edges-of-a-folder.sh", "-pho tos", "out")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        stems = {name.removesuffix(".png") for name in NAMES}
        assert files(tmp_path / "out") == {f"{place}{stem}_sobel.png" for stem in stems for place in ("", "a/deep er/")}
    assert script(tmp_path, "edges-of-a-folder.sh", "out").returncode == 2


@pytest.mark.subprocess
def test_half_size_copies_keep_names_and_formats(tmp_path: Path, rng: np.random.Generator) -> None:
    (tmp_path / "-pho tos" / "sub").mkdir(parents=True)
    for name in ("a.png", "sub/b c.jpg"):
        save_image(tmp_path / "-pho tos" / name, rng.integers(0, 256, (8, 11), np.uint8))
    for _ in range(2):
        done = script(tmp_path, "half-size.sh", "-pho tos", "out")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert {name: load_image(tmp_path / "out" / name).shape for name in files(tmp_path / "out")} == {
            "a.png": (4, 6),
            "sub/b c.jpg": (4, 6),
        }


@pytest.mark.subprocess
def test_a_tree_is_sharpened_in_its_place_once(tmp_path: Path, rng: np.random.Generator) -> None:
    photos = tmp_path / "-pho tos"
    before = {}
    for place in ("", "sub/"):
        (photos / place).mkdir(parents=True, exist_ok=True)
        for name in NAMES:
            before[place + name] = rng.integers(0, 256, (8, 9), np.uint8)
            save_image(photos / (place + name), before[place + name])
    (photos / "plain.png").chmod(0o600)
    done = script(tmp_path, "sharpen-in-place.sh", "-pho tos")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert files(photos) == set(before) | {f"{name}.orig" for name in before}
    for name, photo in before.items():
        expected = np.clip(correlate(photo.astype(int), SHARPEN, mode="nearest"), 0, 255)
        np.testing.assert_array_equal(load_image(photos / name), expected)
        np.testing.assert_array_equal(load_image(photos / f"{name}.orig"), photo)
    assert (photos / "plain.png").stat().st_mode & 0o777 == 0o600
    after = {name: (photos / name).read_bytes() for name in before}
    assert script(tmp_path, "sharpen-in-place.sh", "-pho tos").returncode == 6
    assert {name: (photos / name).read_bytes() for name in before} == after
    undo = "find '-pho tos' -name '*.orig' -exec sh -c 'for old do mv -- \"$old\" \"${old%.orig}\"; done' sh {} +"
    assert run(tmp_path, "sh", "-c", undo.replace("'-pho", "'./-pho", 1)).returncode == 0
    assert files(photos) == set(before)
    np.testing.assert_array_equal(load_image(photos / "plain.png"), before["plain.png"])


@pytest.mark.subprocess
def test_a_tree_from_find_does_not_search_its_own_output(tmp_path: Path, photo: Path) -> None:
    shutil.copy(photo, tmp_path / "a.png")
    for _ in range(2):
        assert script(tmp_path, "tree-from-find.sh", ".", "o[u]t").returncode == 0
        assert files(tmp_path) == {"a.png", "o[u]t/a.png"}
    assert script(tmp_path, "tree-from-find.sh", ".", ".").returncode == 2


@pytest.mark.subprocess
def test_nightly_does_not_search_its_own_output(tmp_path: Path, photo: Path) -> None:
    shutil.copy(photo, tmp_path / "a.png")
    for _ in range(2):
        assert script(tmp_path, "nightly.sh", ".", "out").returncode == 0
        assert files(tmp_path) == {"a.png", "out/a_sobel.png"}


@pytest.mark.subprocess
def test_a_tree_from_find_names_broken_pictures(tmp_path: Path, photo: Path) -> None:
    (tmp_path / "photos" / "sub").mkdir(parents=True)
    (tmp_path / "photos" / "bad.jpg").write_text("not a picture")
    shutil.copy(photo, tmp_path / "photos" / "sub" / "good.png")
    done = script(tmp_path, "tree-from-find.sh", "photos", "out")
    assert done.returncode == 1
    assert "bad.jpg" in done.stderr
    assert files(tmp_path / "out") == {"sub/good.png"}


@pytest.mark.subprocess
def test_many_processes_do_all_photographs(tmp_path: Path, rng: np.random.Generator) -> None:
    names = [*NAMES, *(f"{number}.png" for number in range(20))]
    for name in names:
        save_image(tmp_path / name, rng.integers(0, 256, (8, 9), np.uint8))
    done = script(tmp_path, "many-processes.sh", "-o ut", "3", *names)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert files(tmp_path / "-o ut") == {f"{name.removesuffix('.png')}_sobel.png" for name in names}
    assert script(tmp_path, "many-processes.sh", "out2", "3", "plain.png", "missing.png").returncode == 123
    assert script(tmp_path, "many-processes.sh", "out").returncode == 2


@pytest.mark.subprocess
def test_nightly_does_what_is_new_and_is_silent(tmp_path: Path, photo: Path) -> None:
    photos = tmp_path / "-pho tos"
    (photos / "sub").mkdir(parents=True)
    shutil.copy(photo, photos / "sub" / "a.png")
    for name in ("a", "b"):
        shutil.copy(photo, photos / f"{name}.png")
        done = script(tmp_path, "nightly.sh", "-pho tos", "-o ut")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    out = tmp_path / "-o ut"
    made = out / "a_sobel.png"
    before = made.stat().st_mtime_ns
    (photos / "bad.png").write_text("not a picture")
    shutil.copy(photo, photos / "new.png")
    done = script(tmp_path, "nightly.sh", "-pho tos", "-o ut")
    assert done.returncode == 7
    assert "bad.png" in done.stderr
    assert "the others are done" in done.stderr
    assert files(out) == {"a_sobel.png", "b_sobel.png", "new_sobel.png", "sub/a_sobel.png"}
    assert made.stat().st_mtime_ns == before
    assert script(tmp_path, "nightly.sh", "missing", "out").returncode == 2


@pytest.mark.subprocess
@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_makes_what_is_older_than_its_photograph_or_kernel(tmp_path: Path, photo: Path) -> None:
    (tmp_path / "photos").mkdir()
    for name in ("a.png", "b.png"):
        shutil.copy(photo, tmp_path / "photos" / name)
    kernel = tmp_path / "own.toml"
    shutil.copy(REPOSITORY / "kernels" / "sharpen.toml", kernel)
    words = ["make", "-f", str(EXAMPLES / "pictures.mk"), "KERNEL=own.toml"]
    assert run(tmp_path, *words).returncode == 0
    out = tmp_path / "edges"
    assert files(out) == {"a.png", "b.png"}
    assert run(tmp_path, *words, "-q").returncode == 0, "nothing to do"
    old = out.joinpath("a.png").stat().st_mtime
    os.utime(tmp_path / "photos" / "a.png", (old + 5, old + 5))
    done = run(tmp_path, *words)
    assert done.returncode == 0
    assert done.stdout.count("convcli apply") == 1
    os.utime(kernel, (old + 100, old + 100))
    assert run(tmp_path, *words).stdout.count("convcli apply") == 2
    (tmp_path / "photos" / "bad.png").write_text("not a picture")
    assert run(tmp_path, *words).returncode == 2
    assert files(out) == {"a.png", "b.png"}


@pytest.fixture(scope="module")
def page() -> ModuleType:
    spec = importlib.util.spec_from_file_location("coming_from", EXAMPLES / "coming_from.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def section_of(page: ModuleType, program: str) -> str:
    return dict(page.sections(page.PAGE.read_text(encoding="utf-8")))[program]


PROGRAMS = ("ImageMagick", "libvips", "FFmpeg", "G'MIC")
JOBS = ("Gaussian blur", "Box blur", "Median", "Unsharp", "Sharpen", "Emboss", "Sobel", "Laplacian", "Motion blur")
JOBS += ("3×3 with divisor and bias", "5×5", "Separable", "LoG", "DoG", "High-pass", "Border, edge", "Border, mirror")
JOBS += ("Border, tile", "Border, black", "Alpha", "16 bits")


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_page_has_the_usual_filters_and_its_reasons_fit_its_numbers(page: ModuleType, program: str) -> None:
    rows = page.rows(section_of(page, program)).values()
    for job in JOBS:
        assert any(row.filter.startswith(job) for row in rows), job
    outputs = [row.here.rpartition(" ")[2] for row in rows if row.here]
    assert len(set(outputs)) == len(outputs) >= 20
    for row in rows:
        assert row.why, row
        if not (row.there and row.here):
            assert row.numbers == ("–",) * 3, row
            continue
        largest, mean, inside = map(float, row.numbers)
        levels = 65535 if "deep.png" in row.here else 255
        assert max(mean, inside) <= largest <= levels, row
        if row.why.startswith("equal"):
            assert largest == 0, row
        elif row.why.startswith(("rounding", "cut to 8 bits")):
            assert 0 < largest <= 2, row
            assert mean < 0.5, row
        elif row.why.startswith("border"):
            assert inside <= 1 < largest, row
        else:
            assert row.why.startswith(("kernel", "combine", "colour")), row
            assert inside >= 1, row


def words_of(lines: list[str]) -> dict[str, list[list[str]]]:
    """Return the words of every call of convcli in lines, as the shell splits them; one shell does all."""
    calls = "convcli() { printf '%s\\0' \"$@\"; printf '\\n\\0'; }"
    text = "\n".join([calls, *(f"{line} || exit\nprintf '\\f\\0'" for line in lines)])
    said = subprocess.run(["sh", "-c", text], capture_output=True, text=True, check=True).stdout
    split = [[call.split("\0")[:-1] for call in part.split("\n\0")[:-1]] for part in said.split("\f\0")[:-1]]
    return dict(zip(lines, split, strict=True))


def test_the_shell_splits_lines() -> None:
    lines = ["convcli apply a.png -k '1 2; 3 4' -o \"b c.png\"", "convcli x && convcli y z"]
    assert list(words_of(lines).values()) == [
        [["apply", "a.png", "-k", "1 2; 3 4", "-o", "b c.png"]],
        [["x"], ["y", "z"]],
    ]


@pytest.mark.subprocess
@pytest.mark.parametrize("program", PROGRAMS)
def test_the_lines_run_and_are_as_far_apart_as_the_page_says(page: ModuleType, program: str) -> None:
    section, found = section_of(page, program), page.find_program(program)
    words = words_of([row.here for row in page.rows(section).values() if row.here])

    def run_here(line: str, folder: Path) -> None:
        assert words[line], line
        for call in words[line]:
            run_cli(*call, cwd=folder).ok()

    measured = list(page.measure(section, run_here))  # raises if a line fails
    assert len(measured) > 20
    if found is None:
        pytest.skip(f"{program} is not installed; our lines run")
    if f"Measured with {program} {found[1]}" not in section:
        pytest.skip(f"{program} {found[1]} is not the version of the page (`make docs`); the lines run")
    for _, row, apart in measured:
        if apart is not None:
            largest, mean, inside = map(float, row.numbers)
            levels = 2 if "deep.png" in row.here else 1
            assert abs(apart[0] - largest) <= levels, row
            assert abs(apart[1] - mean) <= 0.02, row
            assert abs(apart[2] - inside) <= levels, row


def test_differences_are_seen(page: ModuleType) -> None:
    ours = np.full((60, 60, 4), 100, np.uint8)
    theirs = ours.copy()
    assert page.difference(theirs, ours) == (0, 0, 0)
    theirs[0, 0, 0] = 151  # alpha is 100 of 255
    assert page.difference(theirs, ours) == pytest.approx((20, 20 / 60 / 60 / 4, 0))
    theirs[30, 30, 3] = 110
    assert page.difference(theirs, ours)[2] == 10
    with pytest.raises(RuntimeError, match="60, 60, 3"):
        page.difference(theirs[..., :3], ours)
    with pytest.raises(RuntimeError, match="uint16"):
        page.difference(theirs.astype(np.uint16), ours)


def test_a_line_that_fails_is_named(page: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no-such-kernel"):
        page.run("convcli apply missing.png -k no-such-kernel -o x.png", tmp_path)


def test_rows_of_a_program_that_is_missing_are_kept_and_say_so(
    page: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    section = section_of(page, "libvips")
    monkeypatch.setattr(page, "find_program", lambda _: None)
    kept = page.remade(section)
    assert page.rows(kept) == page.rows(section)
    assert "not installed when this page was last made" in kept
    assert page.remade(kept) == kept


def test_the_readme_leads_to_the_page() -> None:
    assert "(examples/coming-from.md)" in (REPOSITORY / "README.md").read_text(encoding="utf-8")


def job_inputs(folder: Path, rng: np.random.Generator) -> Path:
    (folder / "in put").mkdir()
    for name in ("a.png", "b.png", "c.png"):
        save_image(folder / "in put" / name, rng.integers(0, 256, (8, 9), np.uint8))
    (folder / "in put" / "bad.png").write_text("no picture")
    return folder / "in put"


def of_job(folder: Path) -> set[str]:
    return {name for name in files(folder / "out") if name.endswith(".png")}


MADE = {f"{name}.png_sobel/{kernel}-l.png" for name in "abc" for kernel in "xy"}


@pytest.mark.subprocess
@pytest.mark.skipif(shutil.which("parallel") is None, reason="GNU parallel is not installed")
def test_gnu_parallel_runs_a_job_and_goes_on_with_what_is_missing(tmp_path: Path, rng: np.random.Generator) -> None:
    job_inputs(tmp_path, rng)
    done = script(tmp_path, "job-parallel.sh", "a j'ob", "in put", "out", "2")
    assert done.returncode == 7, done.stderr  # as in a local batch
    assert "3 inputs done, 1 failed, 6 maps" in done.stdout
    assert of_job(tmp_path) == MADE
    (tmp_path / "a j'ob" / "done" / "00000001.jsonl").unlink()
    shutil.rmtree(tmp_path / "out" / "c.png_sobel")
    before = (tmp_path / "out" / "a.png_sobel" / "x-l.png").stat().st_mtime_ns
    script(tmp_path, "job-parallel.sh", "a j'ob", "in put", "out")
    assert of_job(tmp_path) == MADE
    assert (tmp_path / "out" / "a.png_sobel" / "x-l.png").stat().st_mtime_ns == before


@pytest.mark.subprocess
def test_slurm_runs_a_shard_a_task(tmp_path: Path, rng: np.random.Generator) -> None:
    job_inputs(tmp_path, rng)
    run(tmp_path, "convcli", "job", "plan", "a j'ob", "in put", "-k", "sobel", "--out-dir", "out", "--shard", "2")
    # Stands for sbatch: runs the script that it reads once for each number of the array.
    fake = tmp_path / "bin" / "sbatch"
    fake.parent.mkdir()
    fake.write_text(
        '#!/bin/sh\nset -e\necho "$@"\ncat > script\nfor n in 0 1; do\n'
        "SLURM_ARRAY_TASK_ID=$n SLURM_CPUS_PER_TASK=1 sh script\ndone\n"
    )
    fake.chmod(0o755)
    path = {**ENVIRONMENT, "PATH": f"{fake.parent}:{ENVIRONMENT['PATH']}"}
    words = ["sh", str(EXAMPLES / "job-slurm.sh"), "a j'ob", "--partition=short"]
    done = subprocess.run(words, cwd=tmp_path, env=path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--array=0-1 " in done.stdout
    assert "--partition=short" in done.stdout
    assert of_job(tmp_path) == MADE


@pytest.mark.subprocess
def test_kubernetes_runs_a_shard_a_pod(tmp_path: Path, rng: np.random.Generator) -> None:
    import yaml

    job_inputs(tmp_path, rng)
    run(tmp_path, "convcli", "job", "plan", "a j'ob", "in put", "-k", "sobel", "--out-dir", "out", "--shard", "2")
    spec = yaml.safe_load(script(tmp_path, "job-kubernetes.sh", "a j'ob", "image:1").stdout)["spec"]
    assert (spec["completionMode"], spec["completions"]) == ("Indexed", 2)
    [container] = spec["template"]["spec"]["containers"]
    for index in ("0", "1"):
        words = [*container["command"], *container["args"]]
        pod = {**ENVIRONMENT, "JOB_COMPLETION_INDEX": index}
        assert subprocess.run(words, cwd=tmp_path, env=pod, capture_output=True, check=False).returncode == 0
    assert of_job(tmp_path) == MADE
