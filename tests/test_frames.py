"""Frames and pages: each by itself, kept together where the output can hold them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from conftest import load_image, run_cli
from PIL import Image
from scipy import ndimage

from convcli.errors import UsageError
from convcli.pipeline.frames import check_frames, parse_frames

PAGES = [np.zeros((16, 12), np.uint8), np.full((16, 12), 255, np.uint8), np.full((16, 12), 90, np.uint8)]


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    images = [Image.fromarray(page) for page in PAGES]
    images[0].save(tmp_path / "pages.tif", save_all=True, append_images=images[1:])
    return tmp_path / "pages.tif"


@pytest.fixture
def animation(tmp_path: Path, rng: np.random.Generator) -> Path:
    frames = [Image.fromarray(rng.integers(0, 256, (20, 30), dtype=np.uint8)) for _ in range(3)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=[40, 80, 120], loop=0)
    return tmp_path / "a.gif"


def read_pages(path: Path) -> list[np.ndarray]:
    with Image.open(path) as image:
        pages = []
        for index in range(image.n_frames):
            image.seek(index)
            pages.append(np.array(image))
    return pages


def test_two_pages_do_not_bleed(pages: Path, tmp_path: Path) -> None:
    run_cli("apply", pages, "-k", "box:size=5", "-o", tmp_path / "out.tif", "--depth", "8", "-q").ok()
    for page, expected in zip(read_pages(tmp_path / "out.tif"), PAGES, strict=True):
        np.testing.assert_array_equal(page, expected)


def test_maps_of_every_frame_have_a_folder_of_their_own(pages: Path, tmp_path: Path) -> None:
    result = run_cli("apply", pages, "-k", "sobel", "--out-dir", tmp_path, "--json", "-q").ok()
    assert sorted(path.name for path in (tmp_path / "pages_sobel").iterdir()) == ["000", "001", "002"]
    assert sorted(line["input"]["path"] for line in result.json_lines[:-1]) == [f"{pages}[{i}]" for i in range(3)]


def test_chosen_frames(pages: Path, tmp_path: Path) -> None:
    run_cli("apply", pages, "-k", "identity", "--frames", "1", "--layout", "picture", "--out-dir", tmp_path, "-q").ok()
    assert load_image(tmp_path / "pages_identity_001.tif").min() == 255
    assert run_cli("apply", pages, "-k", "identity", "--frames", "7", "--out-dir", tmp_path).exit_code == 2
    assert parse_frames("0,2-", 4) == (0, 2, 3)
    with pytest.raises(UsageError):
        parse_frames("2-1", 4)


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tiff"])
def test_an_animation_is_kept_with_its_times(suffix: str, animation: Path, tmp_path: Path) -> None:
    out = tmp_path / f"out.{suffix}"
    depth = ["--depth", "8"] if suffix == "tiff" else []
    run_cli("apply", animation, "-k", "box", "-o", out, "-q", *depth).ok()
    with Image.open(animation) as source, Image.open(out) as image:
        assert image.n_frames == 3
        for index in range(3):
            source.seek(index)
            image.seek(index)
            plane = np.array(source.convert("RGB"))[..., 0].astype(float)
            expected = ndimage.uniform_filter(plane, 3, mode="nearest")
            stored = np.array(image.convert("RGB"))[..., 0]
            assert np.abs(stored - expected).max() <= (4 if suffix == "gif" else 1)
    with Image.open(out) as image:
        if suffix != "tiff":
            assert image.info.get("loop") == 0
        if suffix in ("gif", "png"):
            assert image.info["duration"] == 40


def test_one_picture_file_cannot_hold_an_animation(animation: Path, tmp_path: Path) -> None:
    result = run_cli("apply", animation, "-k", "box", "-o", tmp_path / "out.jpg")
    assert result.exit_code == 2
    assert "--frames" in result.stderr
    run_cli("apply", animation, "-k", "box", "-o", tmp_path / "out.jpg", "--frames", "first").ok()


def test_stretch_takes_the_range_of_all_frames(pages: Path, tmp_path: Path) -> None:
    run_cli("apply", pages, "-k", "identity", "--tone", "stretch", "-o", tmp_path / "o.png", "-q").ok()
    assert [page.flat[0] for page in read_pages(tmp_path / "o.png")] == [0, 255, 90]


def test_a_3d_kernel_runs_over_the_frames(pages: Path, tmp_path: Path) -> None:
    taps = np.zeros((1, 1, 3, 1, 1))
    taps[0, 0, :, 0, 0] = [-1, 0, 1]
    np.save(tmp_path / "time.npy", taps)
    result = run_cli("apply", pages, "-k", tmp_path / "time.npy", "-o", tmp_path / "m.npy", "--json").ok()
    volume = np.stack(PAGES).astype(np.float64)
    expected = ndimage.correlate1d(volume, [-1, 0, 1], axis=0, mode="nearest")
    np.testing.assert_array_equal(np.load(tmp_path / "m.npy"), expected[None])
    assert result.json["shape"]["output"] == [1, 3, 16, 12]
    run_cli("apply", pages, "-k", tmp_path / "time.npy", "--out-dir", tmp_path, "-q").ok()
    assert len(list((tmp_path / "pages_time").glob("*.png"))) == 3


def test_a_3d_kernel_on_one_picture_is_geometry(grey_photo: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "time.npy", np.ones((1, 1, 3, 1, 1)))
    result = run_cli("apply", grey_photo, "-k", tmp_path / "time.npy", "--out-dir", tmp_path)
    assert result.exit_code == 5
    assert "frames" in result.stderr


def save_pages(path: Path, *pages: np.ndarray) -> Path:
    tifffile.imwrite(path, pages[0], photometric="rgb" if pages[0].ndim == 3 else "minisblack")
    for page in pages[1:]:
        tifffile.imwrite(path, page, photometric="rgb" if page.ndim == 3 else "minisblack", append=True)
    return path


GREY, COLOUR = np.full((16, 12), 90, np.uint8), np.full((16, 12, 3), 60, np.uint8)
UNLIKE = {
    "colour then grey": ([COLOUR, GREY], "r,g,b"),
    "grey then colour": ([GREY, COLOUR], "r,g,b"),
    "8 bits then 16": ([GREY, np.full((16, 12), 4000, np.uint16)], "uint16"),
    "16x12 then 9x12": ([GREY, GREY[:9]], "9x12"),
}


@pytest.mark.parametrize("case", UNLIKE)
@pytest.mark.parametrize("suffix", ["tif", "png"])
def test_unlike_pages_make_no_picture(case: str, suffix: str, tmp_path: Path) -> None:
    pages, difference = UNLIKE[case]
    source = save_pages(tmp_path / "in.tif", *pages)
    depth = ["--depth", "8"] if suffix == "tif" else []
    result = run_cli("apply", source, "-k", "identity", "-o", tmp_path / f"o.{suffix}", *depth)
    assert result.exit_code == 2
    for words in ("2 frames", difference, "--frames 0", "--out-dir"):
        assert words in result.stderr
    assert not (tmp_path / f"o.{suffix}").exists()


def test_unlike_pages_are_files_in_a_folder(tmp_path: Path) -> None:
    deep = np.full((16, 12), 4000, np.uint16)
    source = save_pages(tmp_path / "in.tif", COLOUR, GREY, deep)
    flags = ["--layout", "picture", "--out-dir", tmp_path, "--json", "-q"]
    reports = run_cli("apply", source, "-k", "identity", *flags).ok().json_lines
    for index, page in enumerate([COLOUR, GREY, deep]):
        np.testing.assert_array_equal(load_image(tmp_path / f"in_identity_{index:03}.tif"), page)
    assert any("frame 0 has planes r,g,b" in note for note in reports[0]["notes"])


@pytest.mark.parametrize("flags", [["m.npy"], ["m.tif"], ["s.png", "--layout", "sheet"], ["-"], ["o.jpg"]])
def test_frames_that_are_not_joined_are_no_single_file(flags: list[str], pages: Path, tmp_path: Path) -> None:
    out, *more = flags
    if out == "-":
        more = ["--format", "npy"]
    result = run_cli("apply", pages, "-k", "sobel", "-o", out, *more, cwd=tmp_path)
    assert result.exit_code == 2
    assert "3 frames" in result.stderr
    assert "--frames 0" in result.stderr
    assert result.stdout_bytes == b""
    assert [path.name for path in tmp_path.iterdir()] == ["pages.tif"]


def test_depth_of_joined_pages(tmp_path: Path) -> None:
    source = save_pages(tmp_path / "in.tif", np.full((4, 5), 4000, np.uint16), np.full((4, 5), 9, np.uint16))
    result = run_cli("apply", source, "-k", "identity", "-o", tmp_path / "o.png", "--depth", "16")
    assert result.exit_code == 2
    assert "8 bits" in result.stderr
    report = run_cli("apply", source, "-k", "identity", "-o", tmp_path / "o.png", "--json").ok().json
    assert any("uint16 samples are stored with 8 bits as png" in note for note in report["notes"])
    flags = ["--layout", "picture", "--out-dir", tmp_path, "--json"]
    report = run_cli("apply", source, "-k", "identity", *flags).ok().json
    assert [page.flat[0] for page in read_pages(tmp_path / "in_identity.tif")] == [4000, 9]
    assert not any("stored with" in note for note in report["notes"])


def test_notes_of_all_frames_are_kept(tmp_path: Path) -> None:
    images = [Image.fromarray(COLOUR), Image.fromarray(COLOUR).convert("P")]
    images[0].save(tmp_path / "in.tif", save_all=True, append_images=images[1:])
    report = run_cli("apply", tmp_path / "in.tif", "-k", "box", "-o", tmp_path / "o.tif", "--depth", "8", "--json").ok()
    assert any("palette" in note for note in report.json["notes"])


def test_an_animation_with_alpha_is_not_made_a_gif(tmp_path: Path) -> None:
    frames = [Image.new("RGBA", (20, 16), (value, 0, 0, 255)) for value in (40, 90)]
    for frame in frames:
        frame.putpixel((3, 3), (0, 0, 0, 0))
    frames[0].save(tmp_path / "in.gif", save_all=True, append_images=frames[1:], disposal=2)
    run_cli("apply", tmp_path / "in.gif", "-k", "box", "--layout", "picture", "--out-dir", tmp_path, "-q").ok()
    with Image.open(tmp_path / "in_box.png") as image:
        assert image.n_frames == 2
        assert image.convert("RGBA").getpixel((15, 10)) == (40, 0, 0, 255)


@pytest.mark.parametrize("text", ["bogus", "", "1,", "-2", "3-1", "1-2-3", "9" * 5000])
def test_bad_frames_are_refused_whatever_the_file(text: str) -> None:
    with pytest.raises(UsageError, match="--frames"):
        check_frames(text)


def test_frames_come_in_the_order_of_the_file() -> None:
    assert check_frames(" 2 , 0-1") == "2,0-1"
    assert parse_frames("2,0,0-1", 3) == (0, 1, 2)


def test_a_file_of_one_frame_is_itself_whatever_the_word(grey_photo: Path, tmp_path: Path) -> None:
    for word in ("0", "All", "first"):
        run_cli("apply", grey_photo, "-k", "box", "--frames", word, "--out-dir", tmp_path / word, "-q").ok()
        assert (tmp_path / word / "camera_box" / "box-l.png").exists()
    result = run_cli("apply", grey_photo, "-k", "box", "--frames", "1", "--out-dir", tmp_path)
    assert result.exit_code == 2


def test_bad_frames_are_refused_before_any_file_is_opened(tmp_path: Path) -> None:
    result = run_cli("apply", tmp_path / "none.png", "-k", "box", "--frames", "bogus", "--out-dir", tmp_path)
    assert result.exit_code == 2
    assert "'bogus' is not a frame" in result.stderr
    result = run_cli("apply", tmp_path / "none.png", "-k", "box", "--frames", "0", "--out-dir", tmp_path)
    assert result.exit_code == 3


def test_notes_are_about_the_file_that_is_written(tmp_path: Path) -> None:
    source = save_pages(tmp_path / "in.tif", np.full((4, 5), 0.3, np.float32), np.full((4, 5), 2.5, np.float32))
    flags = ["--layout", "picture", "--tone", "offset:0", "--out-dir", tmp_path, "--json"]
    report = run_cli("apply", source, "-k", "identity", *flags).ok().json
    assert report["outputs"][0]["depth"] == "float"
    assert not any("stored with" in note for note in report["notes"])
    assert [page.flat[0] for page in read_pages(tmp_path / "in_identity.tif")] == [np.float32(0.3), 2.5]


def test_a_failing_animation_leaves_no_folder(animation: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from convcli.errors import ImageError

    def broken(*_args: object) -> None:
        raise ImageError("its second frame is damaged")

    monkeypatch.setattr("convcli.pipeline.writers.PictureOutput.append", broken)
    result = run_cli("apply", animation, "-k", "box", "--layout", "picture", "--out-dir", tmp_path / "out")
    assert result.exit_code == 3
    assert not (tmp_path / "out").exists()
