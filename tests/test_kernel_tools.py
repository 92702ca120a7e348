"""Exported kernels run in the programs they are written for, on a photograph, against SciPy's correlation.

ImageMagick, libvips, G'MIC and FFmpeg are not needed: a test skips where its program is missing.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import correlate

from convcli import load_bank
from convcli.banks.formats import export_bank

pytestmark = pytest.mark.subprocess
SPECS = [
    "gaussian",
    "emboss",
    "[1 2; 3 4]/10",
    "motion:length=7,angle=30",
    "[1 2 4]/7",
    "[0.1 0.2 0.4; 0.1 0.1 0.1]",
    "sobel#x scale=1/8 blend_identity=1",
]


DEEP = ("-depth", "16")


def magick() -> str:
    """ImageMagick's command; something else may be called ``convert``, so it is asked."""
    for name in ("magick", "/usr/bin/convert", "convert"):
        path = shutil.which(name)
        if path:
            said = subprocess.run([path, "-version"], capture_output=True, text=True, check=False).stdout
            if "ImageMagick" in said:
                return path
    pytest.skip("ImageMagick is not installed")


def program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


@pytest.fixture(scope="module")
def patch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tools") / "in.png"
    with Image.open(Path(__file__).resolve().parent.parent / "examples" / "camera.png") as image:
        image.crop((100, 80, 220, 170)).save(path)
    return path


def run(*command: object) -> None:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr


def samples(path: Path, *, deep: bool = False) -> np.ndarray:
    """Grey samples in units of 0 to 255; ImageMagick writes 8 bits where 16 are not needed."""
    with Image.open(path) as image:
        scale = 257 if deep and image.mode.startswith("I") else 1
        return np.asarray(image).astype(float) / scale


def ours(image: Path, spec: str, mode: str = "nearest") -> np.ndarray:
    taps = load_bank(spec).weight[0, 0]
    origin = [0 if size % 2 else -1 for size in taps.shape]  # SciPy anchors at k/2, torch and we at (k-1)//2
    return correlate(samples(image), taps, mode=mode, origin=origin)


@pytest.mark.parametrize("spec", SPECS)
def test_imagemagick(spec: str, patch: Path, tmp_path: Path) -> None:
    kernel = export_bank(load_bank(spec), "imagemagick").data.decode().strip()
    run(
        magick(),
        patch,
        "-virtual-pixel",
        "Edge",
        "-morphology",
        "Correlate",
        kernel,
        "-depth",
        "16",
        tmp_path / "o.png",
    )
    theirs = samples(tmp_path / "o.png", deep=True)
    np.testing.assert_allclose(theirs, np.clip(ours(patch, spec), 0, 255), atol=0.01)


def test_imagemagick_convolve_after_the_documented_turn(patch: Path, tmp_path: Path) -> None:
    kernel = export_bank(load_bank("emboss"), "imagemagick", turn=True).data.decode().strip()
    run(
        magick(), patch, "-virtual-pixel", "Edge", "-morphology", "Convolve", kernel, "-depth", "16", tmp_path / "o.png"
    )
    theirs = samples(tmp_path / "o.png", deep=True)
    np.testing.assert_allclose(theirs, np.clip(ours(patch, "emboss"), 0, 255), atol=0.01)


@pytest.mark.parametrize("kind", [0, 1, 2, 3, 5, 7, 15, 19])
def test_laplacians_are_the_ones_imagemagick_shows(kind: int) -> None:
    taps = load_bank(f"laplacian:variant=imagemagick-{kind}").weight[0, 0]
    show = ("-define", "morphology:showKernel=1", "-morphology", "Convolve:0", f"Laplacian:{kind}", "null:")
    shown = subprocess.run([magick(), "xc:", *show], capture_output=True, text=True, check=False).stderr
    rows = [line.split(":", 1)[1].split() for line in shown.splitlines() if line.strip()[:1].isdigit()]
    assert [[float(tap) for tap in row] for row in rows] == taps.tolist()


@pytest.mark.parametrize("spec", SPECS)
def test_libvips(spec: str, patch: Path, tmp_path: Path) -> None:
    (tmp_path / "k.mat").write_bytes(export_bank(load_bank(spec), "libvips").data)
    run(program("vips"), "conv", patch, tmp_path / "o.tif", tmp_path / "k.mat", "--precision", "float")
    np.testing.assert_allclose(samples(tmp_path / "o.tif"), ours(patch, spec), atol=1e-3)


@pytest.mark.parametrize("spec", SPECS)
def test_gmic(spec: str, patch: Path, tmp_path: Path) -> None:
    kernel = export_bank(load_bank(spec), "gmic").data.decode().strip()
    run(program("gmic"), patch, kernel, "correlate[0]", "[1],1", "o[0]", f"{tmp_path / 'o.tif'},float")
    np.testing.assert_allclose(samples(tmp_path / "o.tif"), ours(patch, spec), atol=1e-3)


@pytest.mark.parametrize("spec", SPECS[:-1])
def test_ffmpeg(spec: str, patch: Path, tmp_path: Path) -> None:
    bank = load_bank(spec)
    exported = export_bank(bank, "ffmpeg", rounding=True)
    kernel = exported.data.decode().strip()
    run(
        program("ffmpeg"),
        "-v",
        "error",
        "-i",
        patch,
        "-vf",
        f"format=gray,{kernel}",
        "-pix_fmt",
        "gray",
        tmp_path / "o.png",
    )
    wanted = np.clip(ours(patch, spec, "mirror"), 0, 255)
    inner = (slice(4, -4), slice(4, -4))  # its mirrored border differs from every usual one at the right and the bottom
    np.testing.assert_allclose(samples(tmp_path / "o.png")[inner], wanted[inner], atol=0.51)


def test_matlab_text_is_octaves(tmp_path: Path) -> None:
    octave = program("octave-cli")
    (tmp_path / "k.m").write_bytes(export_bank(load_bank("kirsch"), "matlab").data)
    run(octave, "--eval", f"source('{tmp_path / 'k.m'}'); assert(size(kirsch), [3 3 8]); assert(kirsch(1, 3, 1), 5)")


def test_c_source_compiles_and_holds_the_taps(tmp_path: Path) -> None:
    compiler = program("cc")
    body = 'for (int i = 0; i < 81; i++) printf("%.17g\\n", ((double *)frei_chen)[i]);'
    main = f"#include <stdio.h>\nint main(void) {{ {body} return 0; }}\n"
    (tmp_path / "k.c").write_bytes(export_bank(load_bank("frei-chen"), "c").data + main.encode())
    run(compiler, tmp_path / "k.c", "-o", tmp_path / "k")
    printed = subprocess.run([str(tmp_path / "k")], capture_output=True, text=True, check=True).stdout
    np.testing.assert_array_equal([float(line) for line in printed.split()], load_bank("frei-chen").weight.ravel())
