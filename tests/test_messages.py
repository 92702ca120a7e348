"""Messages that misled, each once: the fact is the fact, and the hint helps."""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from conftest import load_image, run_cli, save_image
from PIL import Image, PngImagePlugin


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> Path:
    monkeypatch.chdir(tmp_path)
    save_image(tmp_path / "g.png", rng.integers(0, 256, (12, 15), dtype=np.uint8))
    save_image(tmp_path / "la.png", rng.integers(0, 256, (12, 15, 2), dtype=np.uint8))
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.txt").write_text("hello")
    (tmp_path / "link.png").symlink_to("gone.png")
    (tmp_path / "-dash.png").symlink_to("g.png")
    return tmp_path


def said(*words: str, code: int) -> str:
    result = run_cli(*words)
    assert result.exit_code == code, result.stderr
    assert len(result.stderr.splitlines()) <= 2
    return result.stderr


@pytest.mark.parametrize("kind", ["profile", "text"])
def test_a_profile_or_text_that_pillow_does_not_read_is_named(place: Path, kind: str) -> None:
    size = PngImagePlugin.MAX_TEXT_CHUNK + 1
    info = PngImagePlugin.PngInfo()
    if kind == "text":
        info.add_text("Comment", "x" * size, zip=True)
    profile = {"icc_profile": bytes(size)} if kind == "profile" else {}
    Image.new("L", (9, 9)).save(place / "p.png", pnginfo=info, **profile)
    told = said("apply", "p.png", "-k", "box", code=3)
    assert "more than 1 MiB of colour profile" in told
    assert "makes no sense" not in told
    assert "-strip" in told


def test_grey_with_alpha_is_told_its_own_planes(place: Path) -> None:
    assert "--channels l,a takes it in" in run_cli("apply", "la.png", "-k", "sobel", "--out-dir", "o").ok().stdout


def test_a_plane_may_be_named_again(place: Path) -> None:
    rgb = "[[[[1, 2]], [[3, 4]], [[5, 6]]]]"
    assert "--channels l,l,l gives the one plane 3 times" in said("apply", "g.png", "-k", rgb, "-o", "o.npy", code=5)
    run_cli("apply", "g.png", "-k", rgb, "--channels", "l,l,l", "-o", "o.npy").ok()
    save_image(place / "rgb.png", np.repeat(load_image(place / "g.png")[..., None], 3, axis=2))
    run_cli("apply", "rgb.png", "-k", rgb, "-o", "rgb.npy").ok()
    np.testing.assert_array_equal(np.load(place / "o.npy"), np.load(place / "rgb.npy"))
    told = run_cli("apply", "g.png", "-k", "sobel", "--channels", "l,l", "--out-dir", "o", "--json").ok().json
    assert [one["name"] for one in told["maps"]] == ["x-l", "y-l", "x-l2", "y-l2"]


@pytest.mark.parametrize(("output", "stored"), [("o.npy", False), ("o.pfm", False), ("o.tif", False), ("o.png", True)])
def test_what_becomes_of_samples_that_are_no_numbers(place: Path, output: str, stored: bool) -> None:
    import tifffile

    tifffile.imwrite(place / "nan.tif", np.array([[1, np.nan, 3]] * 3, np.float32))
    told = run_cli("apply", "nan.tif", "-k", "1", "-o", output).ok().stderr
    assert "3 samples are not a number" in told
    assert ("taken as 0" in told) == stored
    if output == "o.npy":
        assert np.isnan(np.load(place / output)).sum() == 3


@pytest.mark.parametrize(
    ("words", "code", "fact", "hint"),
    [
        ("apply g.png -k box -o folder", 2, "-o folder is a folder", "--out-dir folder"),
        ("apply g.png -k box -o new/", 2, "-o new/ is a folder", "-o new/edges.png"),
        ("apply g.png -k box -o o.xyz", 2, "-o o.xyz: format 'xyz' is not known", "png"),
        ("apply g.png -k folder -o o.png", 4, "folder is a folder, not a kernel file", "name a file in it"),
        ("apply g.png -k folder/ -o o.png", 4, "folder/ is a folder", "name a file in it"),
        ("apply g.png -k 1e308,1e308 -o o.npy", 2, "maps may reach inf", "smaller numbers"),
        ("apply g.png -k 1e-310,1e-310 -o o.npy", 2, "they lose their digits", "larger numbers"),
        ("apply g.png sobel", 2, "a kernel has that name", "-k sobel"),
        ("apply g.png -k sobel sharpen", 2, "a kernel has that name", "-k sharpen"),
        ("apply g.png -k sobel --stride 2,2", 2, "'2,2' is not a whole number", "N, or HxW"),
        ("apply g.png -k sobel --depth 12", 2, "--depth '12' is not known", "hint: one of 1, 8, 16, float"),
        ("apply g.png -k sobel --device gpu", 2, "--device 'gpu' is not known", "hint: one of cpu, cuda, mps"),
        ("apply g.png -k sobel --max-taps 3", 4, "18 taps, more than the limit of 3", "--max-taps"),
        ("apply g.png -k sobel --frames 3", 2, "the file has one frame", "first or all"),
        ("apply g.png -k sobel --normalize 0.5", 2, "1 numbers, which is odd", "means then as many stds"),
        ("apply g.png -k sobel --normalize 0.5,0", 2, "a standard deviation of 0", "means then as many stds"),
        ("apply g.png -k sobel --bias x", 2, "--bias 'x' is no number", "--bias 10"),
        ("apply link.png -k sobel", 3, "is a link to gone.png, which is not there", "gone"),
        ("apply text.txt -k sobel", 3, "is not an image", ".txt is no picture"),
        ("apply --files-from g.png -k sobel", 2, "is a picture (png), not a list", "convcli apply g.png"),
        ("apply g.png -k gaussian:3", 4, "parameters of a family are KEY=VALUE", "gaussian:sigma=3"),
        ("kernels show box:rotate=abc", 4, "'abc' is not a number", "rotate=45"),
        ("shape 3,224,224 conv:1,k=3", 2, "is neither a shape nor a file", "3x224x224 is a shape"),
        ("aply g.png", 2, "no such command 'aply'", "did you mean apply"),
        ("apply g.png --kernle sobel", 2, "no such option: --kernle", "--kernel"),
        ("apply g.png -k sobel -stride 2", 2, "no such option: -stride", "hint: two dashes: --stride"),
        ("apply g.png -blur 0x2", 2, "no such option: -blur", "hint: -k gaussian:sigma=2"),
        ("apply g.png -k gaussian --sigma 2", 2, "no such option: --sigma", "hint: -k gaussian:sigma=2"),
        ("apply g.png -k sobel --borderType 4", 2, "no such option: --borderType", "hint: --padding-mode replicate"),
        ("apply g.png -k sobel -s 2", 2, "no such option: -s", "hint: --stride 2"),
        ("apply -dash.png -k sobel", 2, "no such option: -dash.png", "hint: ./-dash.png is the file of that name"),
        ("apply -i g.png -k sobel", 2, "no such option: -i", "inputs need no flag"),
        ("apply g.png -k sobel -zq", 2, "no such option: -zq", "convcli apply --help"),
        ("apply g.png -k sobel -j all", 2, "--jobs: 'all' is not a whole number", "--jobs N: files at a time [cores]"),
        ("apply g.png -k", 2, "option '-k' requires an argument", "--kernel SPEC: name, family:key=value"),
        ("compare g.png g.png -k sobel", 2, "too many arguments: g.png", "hint: convcli compare [OPTIONS] IMAGE"),
        ("compare g.png -k sobel --engine fft", 2, "no such option: --engine", "it is one of convcli apply"),
        ("explain g.png -k sobel", 2, "missing option '--at'", "--at ROW,COL: the output sample"),
        ("kernels show", 2, "missing argument 'SPEC'", "hint: convcli kernels show [OPTIONS] SPEC"),
        ("kernels export sobel -o", 2, "option '-o' requires an argument", "convcli kernels export --help"),
        ("animate 5x5 conv:1,k=3 --fps x", 2, "--fps: 'x' is not a number", "--fps F: windows a second"),
        ("play g.png -o p.png", 2, "-o p.png: a page is .html", "hint: -o p.html"),
        ("g.png -k sobel", 2, "no such command 'g.png'", "hint: convcli apply g.png -k sobel"),
        ("apply g.png -k sobel --padding zeros", 2, "unknown padding 'zeros'", "what fills it is the padding mode"),
        ("apply g.png -k sobel --padding-mode same", 2, "unknown padding mode 'same'", "padding=same"),
        ("shape 3x8x8 --pad 1", 2, "no such option: --pad", "hint: --padding 1"),
        ("compare g.png -k 1e-40", 2, "float32 begins at 1.175e-38", "--dtype float64"),
    ],
)
def test_one_fact_and_what_to_do(place: Path, words: str, code: int, fact: str, hint: str) -> None:
    told = said(*words.split(), code=code).splitlines()
    assert fact in told[0]
    assert told[1].startswith("hint: ")
    assert hint in told[1]


@pytest.mark.parametrize(("program", "suffix"), [("gzip", ".gz"), ("bzip2", ".bz2"), ("xz", ".xz")])
def test_what_is_compressed_as_a_whole_is_told_how_to_unpack(program, suffix, photo, tmp_path):
    """Kernels, checkpoints, stacks and pictures; the command that the hint names does it."""
    pack = {"gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress}[program]
    np.save(tmp_path / "k.npy", np.ones((3, 3)))
    np.savez(tmp_path / "k.npz", np.ones((3, 3)))
    (tmp_path / "s.toml").write_text("layers = ['conv:sobel']")
    (tmp_path / "m.onnx").write_bytes(b"\x08\x07")
    (tmp_path / "my photo.png").write_bytes(photo.read_bytes())
    for flag, name in (
        ("-k", "k.npy"),
        ("-k", "k.npz"),
        ("--stack", "s.toml"),
        ("--stack", "m.onnx"),
        ("", "my photo.png"),
    ):
        packed = tmp_path / (name + suffix)
        packed.write_bytes(pack((tmp_path / name).read_bytes()))
        (tmp_path / name).unlink()
        words = [flag, packed.name] if flag else ["-k", "sobel"]
        failed = run_cli("apply", photo if flag else packed.name, *words, "-o", "o.png", cwd=tmp_path)
        assert failed.exit_code in (2, 3, 4)
        hint = failed.stderr.rpartition("hint: ")[2].strip()
        assert f"{program} -dk" in hint, failed.stderr
        if shutil.which(program):
            subprocess.run(hint[hint.index(program) :], shell=True, check=True, cwd=tmp_path)
            assert (tmp_path / name).exists()
    (tmp_path / "wrong.npz").write_bytes(pack(b"PK"))
    said = run_cli("apply", photo, "-k", "wrong.npz", "-o", "o.png", cwd=tmp_path).stderr
    assert f"hint: {program} -dc wrong.npz > unpacked-wrong.npz" in said
    (tmp_path / "wrong.onnx").write_bytes(pack(b"PK"))
    assert f"{program} -dc" in run_cli("apply", photo, "--stack", "wrong.onnx", "-o", "o.png", cwd=tmp_path).stderr
