"""Kernel files as other programs and people write them: the taps are those of the program or of its documentation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.io
import scipy.signal
import torch
from conftest import run_cli
from PIL import Image

from convcli import load_bank
from convcli.banks.formats import export_bank, read_bank
from convcli.errors import KernelError

BINOMIAL = [[1, 2, 1], [2, 4, 2], [1, 2, 1]]
BLUR = (np.array(BINOMIAL) / 16).tolist()
SOBEL = [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]
SHARPEN = [[0, -1, 0], [-1, 5, -1], [0, -1, 0]]
BOX = np.full((3, 3), 1 / 9).tolist()
SMALL = [[0.5, -1.25], [2, 1e-5]]
RAMP = [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
# SExtractor's default.conv, its manual's gauss masks have the same form.
DEFAULT_CONV = "CONV NORM\n# 3x3 ``all-ground'' convolution mask with FWHM = 2 pixels.\n1 2 1\n2 4 2\n1 2 1\n"
SVG = '<svg xmlns="http://www.w3.org/2000/svg"><filter id="f"><feConvolveMatrix {}/></filter></svg>'
# The example of GDAL's VRT tutorial: a Gaussian of standard deviation 0.25 pixels... as a square of 3.
VRT = """<VRTDataset rasterXSize="8" rasterYSize="8"><VRTRasterBand dataType="Float32" band="1"><KernelFilteredSource>
<SourceFilename>in.tif</SourceFilename><SourceBand>1</SourceBand><Kernel{}><Size>3</Size><Coefs>{}</Coefs></Kernel>
</KernelFilteredSource></VRTRasterBand></VRTDataset>"""
OCTAVE = "# Created by Octave 8.4.0, Thu Jan 01 00:00:00 2026 UTC <me@here>\n# name: k\n# type: {}\n{}\n"

#: File name, text, taps of its first kernel (or of all, for several).
TABLE: list[tuple[str, str, object]] = [
    # NumPy and Python
    ("repr.txt", repr(np.array(SMALL)), SMALL),
    ("str.txt", str(np.array(SMALL)), SMALL),
    ("int.txt", str(np.array(BINOMIAL)), BINOMIAL),
    ("array.py", "import numpy as np\nk = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16\n", BLUR),
    ("dtype.py", "kernel = np.array([[0, -1, 0],\n    [-1, 5, -1],\n    [0, -1, 0]], dtype=np.float32)", SHARPEN),
    ("factor.py", "k = 1/16 * np.array([[1,2,1],[2,4,2],[1,2,1]], np.float64)", BLUR),
    ("ones.py", "kernel = np.ones((3, 3), np.float32) / 9", BOX),
    ("sum.py", "k = np.array([[1., 2., 1.], [2., 4., 2.], [1., 2., 1.]])\nk = k / k.sum()", BLUR),
    ("divide.py", "k = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]], float)\nk /= 16", BLUR),
    ("outer.py", "g = np.array([1, 2, 1]) / 4\nk = np.outer(g, g)", BLUR),
    ("transposed.py", "k = np.array([[-1, -2, -1], [0, 0, 0], [1, 2, 1]]).T", SOBEL),
    ("list.py", "kernel = [[1/16, 2/16, 1/16],\n  [2/16, 4/16, 2/16],\n  [1/16, 2/16, 1/16],]  # blur\n", BLUR),
    ("tuples.py", "kernel = ((0, -1, 0), (-1, 5, -1), (0, -1, 0))", SHARPEN),
    ("bare.txt", "[[0, -1, 0], [-1, 5., -1], [0, -1, 0],]", SHARPEN),
    ("prompt.txt", ">>> k\narray([[ 0, -1,  0],\n       [-1,  5, -1],\n       [ 0, -1,  0]])\n", SHARPEN),
    ("ipython.txt", "In [3]: k\nOut[3]: \narray([[0.5, -1.25],\n       [2.0, 1e-05]])\n", SMALL),
    ("reshape.py", "k = np.array([1, 2, 3, 4, 5, 6, 7, 8, 9]).reshape(3, 3)", RAMP),
    # torch
    ("tensor.txt", repr(torch.tensor(BINOMIAL)), BINOMIAL),
    ("tensor64.txt", repr(torch.tensor([[0.5, -1.25], [2.0, 0.75]], dtype=torch.float64)), [[0.5, -1.25], [2, 0.75]]),
    ("parameter.txt", "Parameter containing:\n" + repr(torch.tensor([[1.0, 2.0]], requires_grad=True)), [[1, 2]]),
    ("device.txt", "tensor([[1., 2.],\n        [3., 4.]], device='cuda:0', grad_fn=<MulBackward0>)", [[1, 2], [3, 4]]),
    (
        "tensor.py",
        "import torch\nk = torch.tensor([[0., -1., 0.], [-1., 5., -1.], [0., -1., 0.]]).view(1, 1, 3, 3)",
        SHARPEN,
    ),
    # C, C++, GLSL, JavaScript
    ("k.c", "static const double k[3][3] = {\n {-1, 0, 1}, /* top */\n {-2, 0, 2},\n {-1, 0, 1}};\n", SOBEL),
    ("f.c", "float k[3][3] = {{1.f/16, 2.f/16, 1.f/16}, {2.f/16, 4.f/16, 2.f/16}, {1.f/16, 2.f/16, 1.f/16}};", BLUR),
    ("named.c", "#define N 2\nstatic int k[N][N] = {{1, 2}, {3, 4}};", [[1, 2], [3, 4]]),
    ("flat.c", "float k[9] = {\n  0, -1, 0,\n  -1, 5, -1,\n  0, -1, 0 };\n", SHARPEN),
    ("line.c", "const float k[3] = {0.25f, 0.5f, 0.25f}; // 1-D", [[0.25, 0.5, 0.25]]),
    ("sized.c", "int k[3][3] = {1,2,1, 2,4,2, 1,2,1};", BINOMIAL),
    ("brace.txt", "{{0,-1,0},{-1,5,-1},{0,-1,0}}", SHARPEN),
    ("opencv.cpp", "cv::Mat k = (cv::Mat_<float>(3,3) << 1, 2, 3);", None),
    ("k.glsl", "const float kernel[9] = float[](\n  0., -1., 0.,\n  -1., 5., -1.,\n  0., -1., 0.\n);", SHARPEN),
    ("sized.glsl", "const float k[9] = float[9](\n 1.0,2.0,1.0,\n 2.0,4.0,2.0,\n 1.0,2.0,1.0);", BINOMIAL),
    ("mat3.glsl", "const mat3 k = mat3(\n 1., 2., 3.,\n 4., 5., 6.,\n 7., 8., 9.);", RAMP),
    ("k.rs", "let k: [[f32; 3]; 2] = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]];", [[1, 2, 3], [4, 5, 6]]),
    ("k.java", "double[][] k = new double[][]{{1,2},{3,4}};", [[1, 2], [3, 4]]),
    ("k.js", "const kernel = [\n  [0, -1, 0],\n  [-1, 5, -1],\n  [0, -1, 0]\n];", SHARPEN),
    # MATLAB and Octave
    ("factor.m", "k = (1/16)*[1 2 1; 2 4 2; 1 2 1];", BLUR),
    ("bare.m", "(1/16)*[1 2 1; 2 4 2; 1 2 1]", BLUR),
    ("over.m", "k = [1 2 1; 2 4 2; 1 2 1]/16;", BLUR),
    ("lines.m", "k = [\n  0 -1  0\n -1  5 -1\n  0 -1  0\n];", SHARPEN),
    ("column.m", "w = [\n0.25\n0.5\n0.25\n];", [[0.25], [0.5], [0.25]]),
    ("transpose.m", "k = [1 2 1]' * [1 2 1] / 16;", BLUR),
    ("script.m", "clc;\nI = imread('a.tif');\nh = [1 2 1; 2 4 2; 1 2 1]/16;\nJ = imfilter(I, h);\n", BLUR),
    ("two.m", "x = [-1 -2 -1; 0 0 0; 1 2 1];\ny = x';\n", [[-1, -2, -1], [0, 0, 0], [1, 2, 1]]),
    ("ones.m", "k = ones(3)/9;", BOX),
    ("display.m", ">> k\n\nk =\n\n    0.5000   -1.2500\n    2.0000    0.7500\n\n", [[0.5, -1.25], [2, 0.75]]),
    ("scaled.m", "ans =\n\n   1.0e+03 *\n\n    1.5000   -2.0000\n\n", [[1500, -2000]]),
    ("continued.m", "k = [0 -1 0; ...\n -1 5 -1; ...\n 0 -1 0];", SHARPEN),
    ("octave.txt", OCTAVE.format("matrix", "# rows: 2\n# columns: 2\n 0.5 -1.25\n 2 1e-05\n"), SMALL),
    ("octave.mat", OCTAVE.format("matrix", "# rows: 2\n# columns: 2\n 0.5 -1.25\n 2 1e-05\n"), SMALL),
    ("scalar.txt", OCTAVE.format("scalar", "0.25"), [[0.25]]),
    ("pages.txt", OCTAVE.format("matrix", "# ndims: 3\n 2 2 1\n 1\n 3\n 2\n 4\n"), [[1, 2], [3, 4]]),
    # SVG (Filter Effects Module, section 9.9): turned; divisor = sum by default; 1 if that is 0
    ("emboss.svg", SVG.format('order="3" kernelMatrix="1 2 3 4 5 6 7 8 9" divisor="1"'), np.rot90(RAMP, 2).tolist()),
    ("sum.svg", SVG.format('order="3" kernelMatrix="1 2 1 2 4 2 1 2 1"'), BLUR),
    ("zero.svg", SVG.format("kernelMatrix='1 0 -1 2 0 -2 1 0 -1'"), SOBEL),
    ("row.svg", SVG.format('order="3,1" kernelMatrix="1,2,1" divisor="4" preserveAlpha="true"'), [[0.25, 0.5, 0.25]]),
    # order 2: the target is (1, 1), the lower right of the window, so zeros follow it
    ("even.svg", SVG.format('order="2" kernelMatrix="1 2 3 4" divisor="1"'), [[4, 3, 0], [2, 1, 0], [0, 0, 0]]),
    # SExtractor, GDAL, GRASS
    ("default.conv", DEFAULT_CONV, BLUR),
    ("nonorm.conv", DEFAULT_CONV.replace("NORM", "NONORM"), BINOMIAL),
    ("mexhat.conv", "CONV NORM\n-1 0\n0 3\n", [[-0.25, 0, 0], [0, 0.75, 0], [0, 0, 0]]),
    ("box.vrt", VRT.format(' normalized="1"', "1 1 1 1 1 1 1 1 1"), BOX),
    ("plain.vrt", VRT.format("", "0 -1 0 -1 5 -1 0 -1 0"), SHARPEN),
    ("separable.vrt", VRT.format(' normalized="1"', "1 2 1"), BLUR),
    ("mean.mf", "TITLE 3x3 average\nMATRIX 3\n1 1 1\n1 1 1\n1 1 1\nDIVISOR 9\nTYPE P\n", BOX),
    ("zero.mf", "MATRIX 3\n1 2 1\n2 4 2\n1 2 1\nDIVISOR 0\nTYPE P\n", BLUR),
    # spreadsheets and pandas
    ("excel.csv", "sep=;\n1;2\n3;4\n", [[1, 2], [3, 4]]),
    ("german.csv", "0,5;-1,25\n2;0,75\n", [[0.5, -1.25], [2, 0.75]]),
    ("quoted.csv", '"0,5","-1,25"\n"2,0","0,75"\n', [[0.5, -1.25], [2, 0.75]]),
    ("tabs.tsv", "0,5\t-1,25\n2\t0,75\n", [[0.5, -1.25], [2, 0.75]]),
    ("header.csv", ",0,1\n0,0.5,-1.25\n1,2.0,0.75\n", [[0.5, -1.25], [2, 0.75]]),
    ("words.csv", "left,right\n1,2\n3,4\n", [[1, 2], [3, 4]]),
    ("returns.csv", "1,2\r\r\n3,4\r\r\n", [[1, 2], [3, 4]]),
    ("mac.csv", "1,2\r3,4\r", [[1, 2], [3, 4]]),
    ("line.txt", "1 0 -1; 2 0 -2; 1 0 -1", [[1, 0, -1], [2, 0, -2], [1, 0, -1]]),
    ("blanks.json", " " * 8 + "[[1, 2], [3, 4]]", [[1, 2], [3, 4]]),
    # Matrix Market (NIST): arrays by column; coordinates from 1
    ("array.mtx", "%%MatrixMarket matrix array real general\n% k\n2 2\n1\n3\n2\n4\n", [[1, 2], [3, 4]]),
    (
        "sparse.mtx",
        "%%MatrixMarket matrix coordinate real general\n2 3 2\n1 1 5\n2 3 -1.5\n",
        [[5, 0, 0], [0, 0, -1.5]],
    ),
    ("half.mtx", "%%MatrixMarket matrix coordinate integer symmetric\n2 2 2\n1 1 5\n2 1 7\n", [[5, 7], [7, 0]]),
]


@pytest.mark.parametrize(("name", "text", "taps"), TABLE, ids=[row[0] for row in TABLE])
def test_the_table(name: str, text: str, taps: object, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(text.encode())
    if taps is None:
        with pytest.raises(KernelError):
            load_bank(str(path))
        return
    bank = load_bank(str(path))
    wanted = np.array(taps, float)
    found = bank.weight[-1, 0] if name in ("outer.py",) else bank.weight[0, 0]
    np.testing.assert_allclose(found, wanted, rtol=1e-15, atol=0)


def test_the_table_is_large_enough() -> None:
    assert sum(taps is not None for _, _, taps in TABLE) >= 60


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig", "utf-32"])
def test_unicode_text_of_spreadsheets(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "k.csv").write_bytes("0,5\t-1,25\r\n2\t0,75\r\n".encode(encoding))
    assert load_bank(str(tmp_path / "k.csv")).weight[0, 0].tolist() == [[0.5, -1.25], [2, 0.75]]


@pytest.mark.parametrize("format_", ["numpy", "c", "glsl", "matlab"])
@pytest.mark.parametrize("spec", ["sobel", "[0.5 -1.25; 2 0.75]", "roberts"])
def test_code_that_is_written_is_read(spec: str, format_: str, tmp_path: Path) -> None:
    bank = load_bank(spec)
    (tmp_path / "k.txt").write_bytes(export_bank(bank, format_).data)
    np.testing.assert_array_equal(load_bank(str(tmp_path / "k.txt")).weight, bank.weight)


@pytest.mark.parametrize("compressed", [False, True])
def test_matlab_files_through_scipy(compressed: bool, tmp_path: Path) -> None:
    path = tmp_path / "k.mat"
    cells = np.empty(2, object)
    cells[:] = [np.array(SOBEL, float), np.array(SMALL)]
    scipy.io.savemat(path, {"k": np.array(BLUR), "c": cells, "word": "text"}, do_compression=compressed)
    assert load_bank(f"{path}#k").weight[0, 0].tolist() == BLUR
    assert load_bank(f"{path}#c.1").weight[0, 0].tolist() == SOBEL
    assert load_bank(f"{path}#c.2").weight[0, 0].tolist() == SMALL
    with pytest.raises(KernelError, match="3 entries") as caught:
        load_bank(str(path))
    assert "c.1 3x3" in str(caught.value.hint)
    scipy.io.savemat(path, {"pages": np.arange(18.0).reshape(3, 3, 2)}, do_compression=compressed)
    assert load_bank(str(path)).weight[1, 0].tolist() == np.arange(18.0).reshape(3, 3, 2)[:, :, 1].tolist()
    scipy.io.savemat(path, {"z": np.array([[1j]])})
    with pytest.raises(KernelError, match="z is complex"):
        load_bank(str(path))
    scipy.io.savemat(path, {"big": np.zeros((3000, 3000))}, do_compression=True)
    with pytest.raises(KernelError, match="limit"):
        load_bank(str(path), max_taps=1_000_000)


#: Text that was read wrongly or refused for a wrong reason → the reason now.
REFUSED = [
    ("k.csv", "1,2,1\n1,0 -1\n1,2,1\n", r"line 2: '0 -1' has a blank"),
    ("k.csv", "0,5 -1,0\n", r"'5 -1' has a blank"),
    ("k.txt", "0.5\t1 -1\n", r"'1 -1' has a blank"),
    ("k.yaml", "taps:\n  - [1, 0 -1]\n", "not one number"),
    ("k.py", "k = np.array([[1, 0 -1, 2]])", "comma forgotten"),
    ("k.json", '{"taps": [["0 -1", 2]]}', "not one number"),
    ("k.txt", "[[0. 0. 0. ... 0. 0. 0.]\n [1. 1. 1. ... 1. 1. 1.]]", r"line 1: the printer left numbers out"),
    ("k.txt", "tensor([[1., 2.],\n        ...,\n        [3., 4.]])", r"line 2: the printer left numbers out"),
    ("k.m", "k = fspecial('gaussian', 5, 1);", r"'fspecial\(…\)' would have to be run"),
    ("k.py", "k = cv2.getGaussianKernel(5, 1)", "would have to be run"),
    ("k.py", "k = np.array([[1, 2], [3, 4]])\nk[1, 1] = 7\n", "line 2: 'k' gets single elements"),
    ("k.m", "k = ones(3)/9;\nk(2,2) = 7;\n", "line 2: 'k' gets single elements"),
    ("k.py", "k = np.array([[1, 2], [3, 4]])\nk = cv2.flip(k, 1)\n", r"'cv2.flip\(…\)' would have to be run"),
    ("k.c", "float k[2][2] = {{1,2},{3,4}};\nfor (int i = 0; i < 2; i++) k[i][0] /= 2;\n", "would have to be run"),
    ("k.c", "float k[2][2] = {{1,2},{3,4}};\nfor (int i = 0; i < 2; i++)\n  k[i][0] /= 2;\n", "single elements"),
    ("k.c", "float k[3] = {1, 2};", "2 numbers for an array of 3"),
    ("k.py", "k = np.array([[1, 2], [3]])", "line 1: ragged rows"),
    ("k.py", "k = [[1+2j, 0]]", "not a real number"),
    ("k.txt", OCTAVE.format("range", "# base, limit, increment\n0 4 1"), "is a range, which is not read"),
    ("k.txt", OCTAVE.format("sparse matrix", "# nnz: 1\n# rows: 1\n# columns: 1\n1 1 2\n"), "is a sparse matrix"),
    ("k.txt", OCTAVE.format("complex matrix", "# rows: 1\n# columns: 1\n (1,2)\n"), "is a complex matrix"),
    (
        "k.mtx",
        "%%MatrixMarket matrix coordinate complex general\n1 1 1\n1 1 2 3\n",
        "complex general matrix is not read",
    ),
    ("k.mtx", "%%MatrixMarket matrix coordinate real general\n1000000 1000000 1\n1 1 2\n", "more than the limit"),
    ("k.svg", SVG.format('order="3" kernelMatrix="1 2 3"'), "3 numbers, order '3' needs 9"),
    ("k.svg", "<svg></svg>", "without <feConvolveMatrix>"),
    ("k.mf", "MATRIX 3\n1 1 1\n1 1 1\n1 1 1\nDIVISOR 9\nTYPE S\n", "TYPE S"),
    ("k.vrt", VRT.format("", "1 2"), "2 coefficients, Size 3 needs 9 or 3"),
    ("k.conv", "CONV NORM\n1 2\n3\n", "rows of 2, 1 numbers"),
    ("k.csv", "1,2;3,4\n", "a separator, or the end of a row"),
    ("k.txt", "k =\n\n  Columns 1 through 2\n\n   1 2\n", "split the columns"),
    ("k.toml", 'name = "k"\nsource = "x"\ntaps = [\n  [1, 2],\n  [3, "x"],\n]\n', "line 5, kernel"),
    ("k.toml", 'name = "k"\n\nscale = 1\ntaps = [[1, "x"]]\n', "line 4, kernel"),
    ("k.json", '{"name": "k",\n "taps": [\n  [1, 2],\n  [3, "x"]]}', "line 4, kernel"),
    ("k.toml", ".".join("a" * 50_000) + " = 1\n", "nested too deeply"),
]


@pytest.mark.parametrize(("name", "text", "reason"), REFUSED)
def test_the_reason_of_a_refusal_is_the_true_one(name: str, text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(KernelError, match=reason):
        read_bank(tmp_path / name)
    result = run_cli("kernels", "check", tmp_path / name)
    assert result.exit_code == 4
    assert len(result.stderr.strip().splitlines()) <= 2


NOTED = [
    ("k.csv", "1,2,3,4,5,6,7,8,9\n", "write ';' between rows for 3x3"),
    ("k.csv", "0,1,2\n5,6,7\n8,9,1\n", "line 1 counts 0, 1, 2"),
    ("k.csv", ",0,1\n0,5,6\n1,7,8\n", "a header and an index, and are left out"),
    ("k.csv", "0,5;1\n2;3\n", "decimal mark"),
    ("k.c", "float k[9] = {1,2,3,4,5,6,7,8,9};", "read as 1x9, not as 3x3"),
    ("k.glsl", "mat3 k = mat3(1.,2.,3.,4.,5.,6.,7.,8.,9.);", "GLSL itself fills columns"),
    ("k.svg", SVG.format('order="1" kernelMatrix="1" bias="0.5"'), "bias 0.5 of white is 127.5"),
    ("k.py", "k = [[1, 2], [3, 4]]\nout = cv2.filter2D(image, -1, k)\n", "not read: line 2"),
]


@pytest.mark.parametrize(("name", "text", "note"), NOTED)
def test_what_is_assumed_is_said(name: str, text: str, note: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    assert note in " ".join(load_bank(str(tmp_path / name)).notes)


def test_colours_of_16_bits_lose_no_bytes(tmp_path: Path) -> None:
    import tifffile

    grey = np.array([[1, 257], [65535, 4660]], np.uint16)
    colour = np.stack([grey, grey, grey + 1], axis=-1)
    tifffile.imwrite(tmp_path / "grey.tiff", np.stack([grey] * 3, axis=-1), photometric="rgb")
    assert load_bank(str(tmp_path / "grey.tiff")).weight[0, 0].tolist() == grey.tolist()
    tifffile.imwrite(tmp_path / "k.tiff", colour, photometric="rgb")
    (tmp_path / "k.ppm").write_bytes(b"P6 2 2 65535\n" + colour.astype(">u2").tobytes())
    (tmp_path / "k.png").write_bytes(_png16(colour))
    with Image.open(tmp_path / "k.png") as image:
        assert image.size == (2, 2)
    for name in ("k.tiff", "k.ppm", "k.png"):
        with pytest.raises(KernelError, match=r"16 bits|coloured"):
            load_bank(str(tmp_path / name))
    (tmp_path / "k.pgm").write_bytes(b"P5 # made by hand\n2 1 4095\n" + np.array([1, 4095], ">u2").tobytes())
    assert load_bank(str(tmp_path / "k.pgm")).weight.ravel().tolist() == [1, 4095]


def _png16(samples: np.ndarray) -> bytes:
    import struct
    import zlib

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    header = struct.pack(">2I5B", samples.shape[1], samples.shape[0], 16, 2, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    chunks = [struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d)) for t, d in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def test_svg_convolves_as_its_formula(tmp_path: Path) -> None:
    """Filter Effects: the sum of samples at x - targetX + j times kernelMatrix[orderX - j - 1], row by row."""
    rng = np.random.default_rng(0)
    image, matrix, (x0, y0) = rng.random((9, 11)), rng.integers(1, 9, (3, 4)), (1, 2)
    given = f'order="4 3" targetX="{x0}" targetY="{y0}" kernelMatrix="{" ".join(map(str, matrix.ravel()))}"'
    (tmp_path / "k.svg").write_text(SVG.format(given))
    taps = load_bank(str(tmp_path / "k.svg")).weight[0, 0]
    got = scipy.signal.correlate2d(image, taps, mode="valid")
    top, left = (taps.shape[0] - 1) // 2, (taps.shape[1] - 1) // 2
    for row in range(got.shape[0]):
        for column in range(got.shape[1]):
            y, x = row + top, column + left
            want = sum(image[y - y0 + i, x - x0 + j] * matrix[3 - i - 1, 4 - j - 1] for i in range(3) for j in range(4))
            assert got[row, column] == pytest.approx(want / matrix.sum())


def test_lists_that_share_their_items_are_bounded(tmp_path: Path) -> None:
    shared: list[object] = [1.0] * 60
    for _ in range(5):
        shared = [shared] * 60
    torch.save(shared, tmp_path / "k.pt")
    assert (tmp_path / "k.pt").stat().st_size < 10_000
    with pytest.raises(KernelError, match="100,000 entries"):
        load_bank(str(tmp_path / "k.pt"))


def test_what_makes_readers_raise_is_a_kernel_error(tmp_path: Path) -> None:
    """Each of these made a library raise something of its own."""
    import io
    import json
    import zipfile

    import onnx

    def header(shape: str) -> bytes:
        text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({shape},), }}\n".encode()
        return b"\x93NUMPY\x02\x00" + len(text).to_bytes(4, "little") + text

    def safetensors(head: dict[str, object]) -> bytes:
        text = json.dumps(head).replace('"HUGE"', "9" * 4000).encode()
        return len(text).to_bytes(8, "little") + text + bytes(72)

    buffer = io.BytesIO()
    np.savez(buffer, weight=np.ones((1, 1, 3, 3)), kernel_names=np.array(["x"], object))
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_LZMA) as packed:
        packed.writestr("a.npy", header("9") + bytes(72))
    damaged = bytearray(archive.getvalue())
    damaged[60:70] = b"\xff" * 10
    node = onnx.helper.make_node("Conv", [], ["y"], name="n")
    empty = onnx.helper.make_graph([node], "g", [], [])
    data = {"dtype": ["F64"], "shape": [1, 1, 3, 3], "data_offsets": [0, 72]}
    files = {
        "shape.npy": header("9" * 4200) + bytes(64),
        "shape.safetensors": safetensors({"w": {"dtype": "F64", "shape": ["HUGE"] * 2, "data_offsets": [0, 72]}}),
        "dtype.safetensors": safetensors({"w": data}),
        "matrix.safetensors": safetensors({"w": {**data, "shape": [3, 3]}}),
        "names.npz": buffer.getvalue(),
        "lzma.npz": bytes(damaged),
        "node.onnx": onnx.helper.make_model(empty).SerializeToString(),
        "digits.toml": b"taps = [[" + b"9" * 5000 + b"]]",
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        for spec in (f"{tmp_path / name}", f"{tmp_path / name}#n"):
            with pytest.raises(KernelError, match=name):
                load_bank(spec)
        result = run_cli("kernels", "check", tmp_path / name)
        assert result.exit_code == 4, (name, result.stdout)
        assert len(result.stderr.strip().splitlines()) <= 2
