"""Which files a command line means, and what outputs are called."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from conftest import run_cli
from PIL import Image

from convcli.cli.batch import read_list
from convcli.errors import ImageError, OutputError, UsageError
from convcli.pipeline.batch import find_inputs
from convcli.pipeline.batch_files import refuse_clashes
from convcli.pipeline.inputs import InputFile, Search
from convcli.pipeline.naming import check_template, output_path


def _tree(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return folder


def test_a_folder_gives_its_images_in_order_and_no_other_file(tmp_path: Path) -> None:
    folder = _tree(tmp_path / "in", "b.png", "a.JPG", "notes.txt", ".hidden.png", "sub/c.png")
    assert [source.stem for source in find_inputs([str(folder)])] == ["a", "b"]


def test_recursive_keeps_the_tree(tmp_path: Path) -> None:
    folder = _tree(tmp_path / "in", "a.png", "sub/deep/a.png")
    found = find_inputs([str(folder)], Search(recursive=True))
    assert [source.below for source in found] == [PurePosixPath("."), PurePosixPath("sub/deep")]


def test_the_output_folder_is_not_searched(tmp_path: Path) -> None:
    folder = _tree(tmp_path / "in", "a.png", "out/a.png")
    assert len(find_inputs([str(folder)], Search(recursive=True, out_dir=folder / "out"))) == 1
    assert len(find_inputs([str(folder)], Search(recursive=True, out_dir=tmp_path))) == 2


def _record(out_dir: Path, *outputs: str) -> None:
    line = {"event": "begin", "input": "a.png", "content": "", "parameters": "", "outputs": outputs}
    (out_dir / ".convcli-manifest.jsonl").write_text(json.dumps(line) + "\n")


def test_pictures_of_earlier_batches_are_left_out_of_their_own_output_folder_only(tmp_path: Path) -> None:
    folder = _tree(tmp_path / "in", "a.png", "a_sobel.webp", "a_sobel/x-r.png", "b_sobel.png")
    _record(folder, "a_sobel.webp", "a_sobel/x-r.png")
    skipped: list[Path] = []
    found = find_inputs([str(folder)], Search(recursive=True, out_dir=folder, skipped=skipped))
    assert [source.stem for source in found] == ["a", "b_sobel"]
    assert skipped == [folder / "a_sobel.webp", folder / "a_sobel" / "x-r.png"]
    elsewhere = find_inputs([str(folder)], Search(recursive=True, out_dir=tmp_path / "next"))
    assert [source.stem for source in elsewhere] == ["a", "a_sobel", "b_sobel", "x-r"]


def test_a_folder_of_earlier_outputs_alone_says_so(tmp_path: Path) -> None:
    folder = _tree(tmp_path / "in", "a.png")
    _record(folder, "a.png")
    with pytest.raises(ImageError, match="no image in this folder but 1 written into --out-dir"):
        find_inputs([str(folder)], Search(out_dir=folder))


def test_the_output_folder_counts_as_skipped(tmp_path: Path) -> None:
    folder = _tree(tmp_path / "in", "a.png", "out/a.png")
    skipped: list[Path] = []
    assert len(find_inputs([str(folder)], Search(recursive=True, out_dir=folder / "out", skipped=skipped))) == 1
    assert skipped == [folder / "out"]


def test_linked_folders_are_searched_once_and_loops_end(tmp_path: Path) -> None:
    folder = _tree(tmp_path / "in", "z/a.png")
    _tree(tmp_path, "far/b.png", "beside/c.png")
    for name, target in {"again": "far", "far": "far", "a-z": "in/z", "self": "in", "up": "."}.items():
        (folder / name).symlink_to(tmp_path / target)
    (tmp_path / "far" / "back").symlink_to(folder)
    found = find_inputs([str(folder)], Search(recursive=True))
    assert [str(source.below / source.stem) for source in found] == ["again/b", "z/a"]


def test_a_folder_that_cannot_be_listed_is_an_input_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _tree(tmp_path / "in", "a.png", "locked/b.png", "z/c.png")
    scandir = os.scandir

    def refuse(path: str) -> object:
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = find_inputs([str(folder)], Search(recursive=True))
    assert [source.label for source in found] == [str(folder / name) for name in ("a.png", "z/c.png", "locked")]


@pytest.mark.parametrize(("name", "code"), [("x" * 300 + ".png", 7), ("x" * 300 + "[0].png", 3), ("x" * 300 + "*", 3)])
def test_a_name_that_no_file_has_is_a_failed_input_and_no_crash(
    tmp_path: Path, photo: Path, name: str, code: int
) -> None:
    result = run_cli("apply", name, photo, "-k", "sobel", "--out-dir", tmp_path / "out", "-q")
    assert "Traceback" not in result.stderr
    assert result.exit_code == code
    assert run_cli("apply", name, "-k", "sobel", "--out-dir", tmp_path / "out", "-q").exit_code == 3


def test_globs_are_expanded_and_a_name_with_brackets_is_a_name(tmp_path: Path) -> None:
    _tree(tmp_path, "a1.png", "a2.png", "b[1].png")
    assert len(find_inputs([str(tmp_path / "a*.png")])) == 2
    assert find_inputs([str(tmp_path / "b[1].png")])[0].stem == "b[1]"
    with pytest.raises(ImageError, match="no file matches"):
        find_inputs([str(tmp_path / "z*.png")])


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no image"):
        find_inputs([str(tmp_path)])


def test_an_input_named_twice_runs_once(tmp_path: Path) -> None:
    path = str(_tree(tmp_path, "a.png") / "a.png")
    assert len(find_inputs([path, path], listed=[path])) == 1


def test_lists_by_line_and_by_nul(tmp_path: Path) -> None:
    listing = tmp_path / "list"
    listing.write_bytes(b"a b.png\r\n\nc.png\n")
    assert read_list(str(listing), null=False) == ["a b.png", "c.png"]
    listing.write_bytes(b"a\nb.png\0c.png\0")
    assert read_list(str(listing), null=True) == ["a\nb.png", "c.png"]
    listing.write_bytes(b"\n")
    with pytest.raises(UsageError):
        read_list(str(listing), null=False)
    with pytest.raises(ImageError):
        read_list(str(tmp_path / "none"), null=False)


@pytest.mark.parametrize("template", ["{stem", "{nam}.png", "/x/{stem}", "../{stem}", "{stem!r}", "{stem:>5}", ""])
def test_bad_templates_are_refused(template: str) -> None:
    with pytest.raises(UsageError):
        check_template(template)


def test_a_value_cannot_climb_out_of_the_folder() -> None:
    with pytest.raises(OutputError):
        output_path(Path("out"), "{dir}/{stem}.{ext}", {"dir": "../..", "stem": "a", "ext": "png"})


def test_clashes_are_found_without_case_where_the_disk_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    cased = [(Path("a.png"), "1"), (Path("A.png"), "2")]
    refuse_clashes([(Path("a"), "1"), (Path("b"), "2"), (Path("a"), "1"), *cased], hint=lambda: "")
    with pytest.raises(OutputError, match=r"a\.png would be written by 1 and by 3"):
        refuse_clashes([*cased, (Path("a.png"), "3")], hint=lambda: "")
    monkeypatch.setattr("convcli.images.rename.folds_case", lambda _folder: True)
    with pytest.raises(OutputError, match=r"A\.png would be written by 1 and by 2"):
        refuse_clashes(cased, hint=lambda: "")


def test_stdin_has_a_name() -> None:
    assert InputFile(path=None).stem == "stdin"
    assert InputFile(path=Path(".hidden")).stem == ".hidden"


def test_limits_of_planes_and_frames_are_flags(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((9, 12, 3), 50 * index, np.uint8)) for index in range(4)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=40)
    command = ["apply", tmp_path / "a.gif", "-k", "box", "-o", tmp_path / "o.gif", "--overwrite"]
    for flag, most in (("--max-planes", 3), ("--max-frames", 4)):
        run_cli(*command, flag, most).ok()
        refused = run_cli(*command, flag, most - 1)
        assert refused.exit_code == 3
        assert f"{flag} {most}" in refused.stderr
    assert run_cli(*command, "--max-frames", "0").exit_code == 2


@pytest.mark.parametrize("layout", [[], ["--layout", "picture"]])
def test_a_damaged_jpeg_runs_as_far_as_it_goes_if_told_to(layout: list[str], tmp_path: Path) -> None:
    file = io.BytesIO()
    samples = np.random.default_rng(3).integers(0, 256, (64, 80, 3), dtype=np.uint8)
    Image.fromarray(samples).save(file, "JPEG")
    data = file.getvalue()
    start = data.index(b"\xff\xda")
    (tmp_path / "cut.jpg").write_bytes(data[: start + (len(data) - start) // 2].rstrip(b"\xff") + b"\xff\xd9")
    command = ["apply", tmp_path / "cut.jpg", "-k", "identity", "--out-dir", tmp_path, "--name", "{channel}.{ext}"]
    command += [*layout, "--format", "png"]
    assert run_cli(*command).exit_code == 3
    run_cli(*command, "--accept-damaged").ok()
    expected = np.asarray(Image.open(tmp_path / "cut.jpg"))
    if layout:
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "picture.png")), expected)
    for index, plane in enumerate("rgb" if not layout else ""):
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / f"{plane}.png")), expected[..., index])
