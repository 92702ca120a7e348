"""Kernel files: every format out and in again, told by content, and hostile ones refused in one or two lines."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import run_cli

from convcli import KernelBank, load_bank
from convcli.banks.bank import pad_to
from convcli.banks.formats import ARCHIVES, FOLDER_SUFFIXES, FORMATS, SUFFIXES, WRITTEN, export_bank, module_of, sniff
from convcli.banks.formats.text import text_kind
from convcli.errors import KernelError

SUFFIX = {name: suffix for suffix, name in reversed(list(SUFFIXES.items()))}
READ_BACK = [name for name in WRITTEN if name not in ("numpy", "c", "glsl", "png", "ffmpeg")]
SIZES = [(3, 3), (4, 4), (2, 5), (1, 7), (7, 1), (1, 1)]


def random_bank(n_kernels: int, size: tuple[int, int], planes: int = 1) -> KernelBank:
    weight = np.random.default_rng(n_kernels).normal(size=(n_kernels, planes, *size))
    weight.flat[0] = 1 / 3
    return KernelBank(name="bank x", weight=weight, kernel_names=tuple(f"k {index}" for index in range(n_kernels)))


def written(bank: KernelBank, name: str, folder: Path, *, rounding: bool = False) -> KernelBank:
    path = folder / f"file{SUFFIX.get(name, '.txt')}"
    path.write_bytes(export_bank(bank, name, rounding=rounding).data)
    return load_bank(str(path))


@pytest.mark.parametrize("row", FORMATS, ids=lambda row: row.name)
def test_a_row_has_its_functions(row) -> None:
    module = module_of(row.name)
    assert callable(getattr(module, f"write_{row.name}", None)) == (row.name in WRITTEN)
    assert row.sniff is None or callable(getattr(module, "open_archive" if row.name in ARCHIVES else "read"))


def test_names_and_suffixes_mean_one_format() -> None:
    suffixes = [suffix for row in FORMATS for suffix in row.suffixes]
    assert len(set(suffixes)) == len(suffixes)
    assert len({row.name for row in FORMATS}) == len(FORMATS)


@pytest.mark.parametrize("suffix", FOLDER_SUFFIXES)
def test_a_file_of_a_kernel_folder_is_found_by_its_name(suffix: str, tmp_path: Path, monkeypatch) -> None:
    bank = random_bank(1, (3, 3))
    (tmp_path / f"mine{suffix}").write_bytes(export_bank(bank, SUFFIXES[suffix]).data)
    monkeypatch.setenv("CONVCLI_KERNELS", str(tmp_path))
    np.testing.assert_array_equal(load_bank("mine").weight, bank.weight)


@pytest.mark.parametrize("name", READ_BACK)
@pytest.mark.parametrize("n_kernels", [1, 8, 48])
def test_round_trip_is_exact(name: str, n_kernels: int, tmp_path: Path) -> None:
    for size in SIZES if n_kernels == 8 else SIZES[:2]:
        bank = random_bank(n_kernels, size)
        back = written(bank, name, tmp_path)
        wanted = bank.weight
        if name == "libvips":  # anchors at k/2: even sizes carry a zero row in front
            wanted = pad_to(wanted, [size + 1 - size % 2 for size in bank.kernel_hw])
        np.testing.assert_array_equal(back.weight, wanted)


@pytest.mark.parametrize("name", ["toml", "json", "yaml", "npy", "npz", "torch", "safetensors", "onnx", "gmic"])
def test_kernels_of_several_planes_round_trip(name: str, tmp_path: Path) -> None:
    bank = random_bank(8, (3, 2), planes=3)
    np.testing.assert_array_equal(written(bank, name, tmp_path).weight, bank.weight)


@pytest.mark.parametrize(
    "name", ["toml", "json", "yaml", "csv", "tsv", "text", "npz", "torch", "safetensors", "onnx", "libvips"]
)
def test_bias_round_trips_where_there_is_a_place(name: str, tmp_path: Path) -> None:
    bank = replace(random_bank(3, (3, 3)), bias=(1.5, -2.0, 1 / 3))
    assert written(bank, name, tmp_path).bias == bank.bias


@pytest.mark.parametrize("name", ["toml", "json", "yaml", "csv", "text", "npz", "safetensors"])
def test_kernel_names_round_trip(name: str, tmp_path: Path) -> None:
    bank = random_bank(3, (3, 3))
    assert written(bank, name, tmp_path).kernel_names == bank.kernel_names


@pytest.mark.parametrize("name", ["toml", "json", "yaml"])
def test_meaning_round_trips(name: str, tmp_path: Path) -> None:
    bank = load_bank("kirsch")
    back = written(bank, name, tmp_path)
    for field in ("name", "summary", "source", "tags", "combine", "orientation", "kernel_names"):
        assert getattr(back, field) == getattr(bank, field)


@pytest.mark.parametrize("name", ["npz", "npy", "torch", "safetensors", "onnx"])
def test_three_dimensional_kernels_round_trip(name: str, tmp_path: Path) -> None:
    weight = np.random.default_rng(0).normal(size=(2, 3, 4, 3, 2))
    bank = KernelBank(name="v", weight=weight, kernel_names=("a", "b"), dims=3)
    back = written(bank, name, tmp_path)
    assert back.dims == 3
    np.testing.assert_array_equal(back.weight, weight)


def test_export_refuses_what_a_format_cannot_hold() -> None:
    volume = KernelBank(name="v", weight=np.ones((1, 1, 2, 2, 2)), kernel_names=("v",), dims=3)
    for name in ("toml", "csv", "imagemagick", "gmic", "glsl", "png", "tiff", "ffmpeg"):
        with pytest.raises(KernelError):
            export_bank(volume, name)
    for name in ("csv", "libvips", "imagemagick", "matlab", "ffmpeg", "png"):
        with pytest.raises(KernelError):
            export_bank(random_bank(2, (3, 3), planes=3), name)
    with pytest.raises(KernelError, match="no place for the bias"):
        export_bank(load_bank("pillow-emboss"), "imagemagick")
    assert "bias 128 is left out" in str(export_bank(load_bank("pillow-emboss"), "imagemagick", rounding=True).notes)


def test_a_lost_reduction_is_said() -> None:
    assert "8 maps" in str(export_bank(load_bank("mr8:size=9"), "npy").notes)


# --- FFmpeg -----------------------------------------------------------------------------------------------------------


def test_ffmpeg_integers_are_exact_or_refused(tmp_path: Path) -> None:
    for spec in ("sobel#x", "gaussian", "[1 2 1;2 4 2;1 2 1]/16", "pillow-emboss", "box:size=7", "1 2 3 4 5 6 7 8 9"):
        bank = load_bank(spec)
        back = written(bank, "ffmpeg", tmp_path)
        np.testing.assert_allclose(back.weight, pad_to(bank.weight, back.kernel_hw), atol=1e-15)
        assert back.bias == bank.bias
    with pytest.raises(KernelError, match="integers") as caught:
        export_bank(load_bank("gaussian:sigma=0.5"), "ffmpeg")
    assert "--round" in str(caught.value.hint)
    rounded = export_bank(load_bank("gaussian:sigma=0.5"), "ffmpeg", rounding=True)
    assert "largest error of a tap" in str(rounded.notes)
    with pytest.raises(KernelError, match="9x9"):
        export_bank(load_bank("gaussian:sigma=1"), "ffmpeg", rounding=True)


def test_ffmpeg_half_taps_never_become_zero() -> None:
    text = export_bank(load_bank("[0.5 0.5 0.5; 0.5 0.5 0.5; 0.5 0.5 0.5]"), "ffmpeg").data.decode()
    assert "0m='1 1 1 1 1 1 1 1 1'" in text
    assert "0rdiv=0.5" in text


def test_ffmpeg_reads_divisor_bias_and_planes() -> None:
    assert load_bank("0m='1 1 1 1 1 1 1 1 1'").weight.sum() == pytest.approx(1)  # 1/sum is its default
    assert load_bank("0m='1 2 1':0mode=row:0rdiv=1/4:0bias=10").shape == (1, 1, 1, 3)
    several = load_bank("0m='0 0 0 0 1 0 0 0 0':1m='0 0 0 0 2 0 0 0 0':1rdiv=1")
    assert several.kernel_names == ("plane0", "plane1")
    assert "green" in several.notes[0]


# --- source text ------------------------------------------------------------------------------------------------------


def test_numpy_source_runs_and_gives_the_taps() -> None:
    bank = replace(random_bank(3, (2, 3), planes=2), bias=(1.0, 2.0, 3.0))
    space: dict[str, object] = {}
    exec(export_bank(bank, "numpy").data.decode(), space)
    np.testing.assert_array_equal(space["bank_x"], bank.weight)
    np.testing.assert_array_equal(space["bank_x_bias"], bank.bias)


def test_c_and_glsl_source_hold_the_taps() -> None:
    text = export_bank(load_bank("sobel"), "c").data.decode()
    assert "static const double sobel[2][1][3][3] = {" in text
    assert text.count("-1.0, 0.0, 1.0") == 2
    shader = export_bank(load_bank("sobel"), "glsl").data.decode()
    assert "const float sobel_x[9] = float[9](-1.0, 0.0, 1.0, -2.0, 0.0, 2.0, -1.0, 0.0, 1.0);" in shader
    with pytest.raises(KernelError, match="32-bit"):
        export_bank(load_bank("box"), "glsl")
    rounded = export_bank(load_bank("box"), "glsl", rounding=True)
    assert "largest error" in rounded.notes[0]
    assert "0.11111111" in rounded.data.decode()


def test_a_name_cannot_leave_its_comment() -> None:
    bank = replace(load_bank("[1]"), summary="*/ int x; /*", source="a\nimport os")
    assert "*/ int" not in export_bank(bank, "c").data.decode()
    assert "\nimport os" not in export_bank(bank, "numpy").data.decode().replace("\nimport numpy", "")


# --- told by content --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("1 0 -1\n2 0 -2\n", "table"),
        ("# a remark\n1,0,-1\n", "table"),
        ("1\t2\n3\t4", "table"),
        ("3 2 1 0\n1 2 3\n4 5 6\n", "vips"),
        ("[1 2; 3 4]", "literal"),
        ("k = [1 2; 3 4];\n", "literal"),
        ("% MATLAB\nk = [1 2\n3 4]\n", "literal"),
        ("3x3: 1,2,3 4,5,6 7,8,9", "literal"),
        ("(1,2;3,4)", "literal"),
        ("convolution=0m='1 2 1 2 4 2 1 2 1'", "literal"),
        ("[[1, 2], [3, 4]]", "json"),
        ("[1, 2, 3]\n", "json"),
        ('{"taps": [[1]]}', "json"),
        ("[[kernel]]\ntaps = [[1]]\n", "toml"),
        ('name = "x"\n', "toml"),
        ("taps = [[1, 2]]\n", "toml"),
        ("kernels:\n  - taps: [[1]]\n", "yaml"),
        ("- [1, 2]\n- [3, 4]\n", "yaml"),
    ],
)
def test_text_is_told_by_what_it_looks_like(text: str, kind: str) -> None:
    assert text_kind(text, Path("kernel.dat")) == kind


@pytest.mark.parametrize(
    "text",
    [
        "1 2\n3 4\n", "1,2\n3,4\n", "1\t2\n3\t4\n", '"1","2"\n"3","4"\n', "1, 2,\n3, 4,\n",
        "\ufeff1 2\r\n3 4\r\n", "1 2;\n3 4;\n",
        "2 2 2 0\n2 4\n6 8\n", "[1 2; 3 4]", "x = [2 4; 6 8]/2;", "2x2: 1,2 3,4", "(1,2;3,4)", "[[1,2],[3,4]]",
        '{"taps": [["2/2", 2], [3, 4]]}', '{"kernels": [{"taps": [[1,2],[3,4]]}]}', "taps = [[1, 2], [3, 4]]\n",
        "[[kernel]]\ntaps = [[1, 2], [3, 4]]\n", "- [1, 2]\n- [3, 4]\n", "taps:\n  - [1, 2]\n  - ['sqrt(9)', 4]\n",
        "# only a remark\n\n1 2\n3 4\n\n\n",
    ],
)  # fmt: skip
def test_every_text_reads_whatever_its_suffix(text: str, tmp_path: Path) -> None:
    for suffix in (".txt", ".dat", ".csv", ".json"):
        if suffix == ".csv" and ";" in text and text.startswith("1 2;"):
            continue
        path = tmp_path / f"k{suffix}"
        path.write_bytes(text.encode())
        assert load_bank(str(path)).weight[0, 0].tolist() == [[1, 2], [3, 4]]


def test_libvips_scale_and_offset(tmp_path: Path) -> None:
    path = tmp_path / "k.mat"
    path.write_text("3 1 4 10\n1 2 1\n")
    bank = load_bank(str(path))
    assert bank.weight.ravel().tolist() == [0.25, 0.5, 0.25]
    assert bank.bias == (10,)
    path.write_text("3 3\n1 2\n")
    with pytest.raises(KernelError, match="libvips"):
        load_bank(str(path))


def test_a_table_that_could_be_libvips_is_a_table_unless_called_mat(tmp_path: Path) -> None:
    text = "2 2\n1 2\n3 4\n"
    (tmp_path / "k.txt").write_text(text)
    (tmp_path / "k.mat").write_text(text)
    assert load_bank(str(tmp_path / "k.txt")).shape == (1, 1, 3, 2)
    assert load_bank(str(tmp_path / "k.mat")).shape == (1, 1, 2, 2)


def test_content_wins_over_a_wrong_suffix_and_is_said(tmp_path: Path) -> None:
    np.save(tmp_path / "k.npy", np.ones((3, 3)))
    path = (tmp_path / "k.npy").rename(tmp_path / "k.csv")
    bank = load_bank(str(path))
    assert bank.shape == (1, 1, 3, 3)
    assert "read as npy" in bank.notes[-1]
    (tmp_path / "t.toml").write_text("3 3\n1 2\n")
    bank = load_bank(str(tmp_path / "t.toml"))
    assert (bank.shape, bank.notes) == ((1, 1, 2, 2), ("t.toml is read as table, which is what it holds",))


def test_file_names_with_odd_characters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a b.txt", "a-b+c.txt", "k#1.txt", "x=1.txt", "it's.txt"):
        Path(name).write_text("1 2\n3 4\n")
        assert load_bank(name).weight.sum() == 10
    assert load_bank("'a-b+c.txt' rotate=90").weight[0, 0].tolist() == [[2, 4], [1, 3]]
    assert load_bank("a-b+c.txt", "sobel").n_kernels == 3


# --- arrays and checkpoints -------------------------------------------------------------------------------------------


def test_array_dimensions(tmp_path: Path) -> None:
    def shape(array: np.ndarray, modifier: str = "") -> tuple[int, ...]:
        np.save(tmp_path / "k.npy", array)
        return load_bank(f"{tmp_path / 'k.npy'}{modifier}").shape

    assert shape(np.ones(5)) == (1, 1, 1, 5)
    assert shape(np.ones((3, 4))) == (1, 1, 3, 4)
    assert shape(np.ones((7, 3, 4))) == (7, 1, 3, 4)
    assert shape(np.ones((7, 3, 4)), " layout=oik") == (7, 3, 1, 4)
    assert shape(np.ones((7, 2, 3, 4))) == (7, 2, 3, 4)
    assert shape(np.ones((3, 4, 2, 7)), ":layout=hwio") == (7, 2, 3, 4)
    assert shape(np.ones((7, 2, 5, 3, 4))) == (7, 2, 5, 3, 4)
    for bad in (np.ones(()), np.ones((0, 3)), np.ones((1,) * 6), np.array(["a"]), np.ones(3, complex)):
        with pytest.raises(KernelError):
            shape(bad)
    with pytest.raises(KernelError, match="layout=oo"):
        shape(np.ones((2, 2)), " layout=oo")


def test_layout_moves_the_axes_it_names(tmp_path: Path) -> None:
    array = np.arange(2.0 * 3 * 4 * 5).reshape(4, 5, 3, 2)
    np.save(tmp_path / "k.npy", array)
    np.testing.assert_array_equal(load_bank(f"{tmp_path}/k.npy layout=hwio").weight, array.transpose(3, 2, 0, 1))


def test_fortran_order_and_number_types(tmp_path: Path) -> None:
    for dtype in ("f2", "f4", ">f8", "i1", "u2", "i8", "?"):
        array = np.asfortranarray(np.arange(6).reshape(2, 3).astype(dtype))
        np.save(tmp_path / "k.npy", array)
        np.testing.assert_array_equal(load_bank(str(tmp_path / "k.npy")).weight[0, 0], array.astype(float))


def test_npz_entries(tmp_path: Path) -> None:
    path = tmp_path / "k.npz"
    np.savez(path, first=np.ones((3, 3)), second=np.zeros((2, 1, 3, 3)) + 2)
    assert load_bank(f"{path}#first").weight.sum() == 9
    assert load_bank(f"{path}#second").n_kernels == 2
    with pytest.raises(KernelError, match=r"no entry 'secnd'") as caught:
        load_bank(f"{path}#secnd")
    assert "second" in str(caught.value.hint)
    np.savez(path, a=np.ones((3, 3)), b=np.ones((3, 3)))
    with pytest.raises(KernelError, match="2 entries") as caught:
        load_bank(str(path))
    assert "a 3x3, b 3x3" in str(caught.value.hint)


@pytest.fixture(scope="module")
def layer() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    return {
        "conv1.weight": rng.normal(size=(64, 3, 7, 7)).astype(np.float32),
        "conv1.bias": rng.normal(size=64).astype(np.float32),
        "bn1.weight": rng.normal(size=64).astype(np.float32),
        "layer.conv.weight": rng.normal(size=(8, 64, 3, 3)).astype(np.float32),
        "temporal.weight": rng.normal(size=(4, 2, 9)).astype(np.float32),
        "fc.weight": rng.normal(size=(10, 64)).astype(np.float32),
    }


def checkpoint(kind: str, layer: dict[str, np.ndarray], folder: Path) -> Path:
    path = folder / f"net.{kind}"
    if kind == "safetensors":
        from safetensors.numpy import save_file

        save_file(layer, path)
    elif kind == "onnx":
        import onnx

        stored = [onnx.numpy_helper.from_array(value, name) for name, value in layer.items()]
        node = onnx.helper.make_node("Conv", ["in", "conv1.weight", "conv1.bias"], ["out"], name="/conv1/Conv")
        graph = onnx.helper.make_graph([node], "net", [], [], stored)
        path.write_bytes(onnx.helper.make_model(graph).SerializeToString())
    else:
        import torch

        torch.save({"state_dict": {name: torch.from_numpy(value) for name, value in layer.items()}, "epoch": 3}, path)
    return path


@pytest.mark.parametrize("kind", ["safetensors", "pt", "onnx"])
def test_checkpoints_by_entry(kind: str, layer: dict[str, np.ndarray], tmp_path: Path) -> None:
    path = checkpoint(kind, layer, tmp_path)
    prefix = "state_dict." if kind == "pt" else ""
    alone = load_bank(f"{path}#{prefix}conv1.weight")
    np.testing.assert_array_equal(alone.weight, layer["conv1.weight"])
    assert alone.bias is None
    both = load_bank(f"{path}#{prefix}conv1")
    assert both.bias == tuple(layer["conv1.bias"].astype(float))
    for short, long in (("conv1.weight", alone), ("conv1", both)):
        again = load_bank(f"{path}#{short}")
        assert (again.bias, again.shape) == (long.bias, long.shape)
    temporal = load_bank(f"{path}#{prefix}temporal.weight")
    assert (temporal.shape, temporal.dims) == ((4, 2, 1, 9), 1)
    with pytest.raises(KernelError, match="6 entries") as caught:
        load_bank(str(path))
    assert "conv1.weight 64x3x7x7" in str(caught.value.hint)
    with pytest.raises(KernelError, match="no entry") as caught:
        load_bank(f"{path}#{prefix}conv1.weigth")
    assert "conv1.weight" in str(caught.value.hint)
    if kind == "onnx":
        assert load_bank(f"{path}#/conv1/Conv").bias == both.bias
    else:
        assert "conv1.bias is in the file" in alone.notes[0]


@pytest.mark.parametrize("kind", ["safetensors", "pt"])
def test_a_first_layer_equals_torchs(kind: str, layer: dict[str, np.ndarray], tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    path = checkpoint(kind, layer, tmp_path)
    bank = load_bank(f"{path}#{'state_dict.' if kind == 'pt' else ''}conv1")
    image = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 3, 40, 50)))
    theirs = torch.nn.Conv2d(3, 64, 7, stride=2, padding=3).double()
    theirs.load_state_dict(
        {"weight": torch.from_numpy(layer["conv1.weight"]), "bias": torch.from_numpy(layer["conv1.bias"])}
    )
    ours = torch.nn.functional.conv2d(
        image, torch.tensor(bank.weight), torch.tensor(bank.bias).double(), stride=2, padding=3
    )
    assert torch.allclose(ours, theirs(image), atol=1e-12)


def test_bfloat16_from_safetensors(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    tensor = torch.randn(4, 1, 3, 3).to(torch.bfloat16)
    save_file({"w": tensor}, tmp_path / "k.safetensors")
    np.testing.assert_array_equal(load_bank(str(tmp_path / "k.safetensors")).weight, tensor.double().numpy())


def test_our_safetensors_read_in_the_library(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    bank = replace(random_bank(2, (3, 3)), bias=(1.0, 2.0))
    (tmp_path / "k.safetensors").write_bytes(export_bank(bank, "safetensors").data)
    arrays = load_file(tmp_path / "k.safetensors")
    np.testing.assert_array_equal(arrays["bank-x.weight"], bank.weight)
    np.testing.assert_array_equal(arrays["bank-x.bias"], bank.bias)


def test_our_onnx_is_a_valid_model(tmp_path: Path) -> None:
    import onnx

    model = onnx.load_from_string(export_bank(random_bank(2, (3, 3), planes=3), "onnx").data)
    onnx.checker.check_model(model)


# --- pictures ---------------------------------------------------------------------------------------------------------


def test_a_picture_is_a_kernel(tmp_path: Path) -> None:
    from PIL import Image

    samples = np.array([[0, 10], [20, 255]], dtype=np.uint8)
    Image.fromarray(samples).save(tmp_path / "k.png")
    bank = load_bank(str(tmp_path / "k.png"))
    assert bank.weight[0, 0].tolist() == samples.tolist()
    assert "sum to 285" in bank.notes[0]
    Image.fromarray(np.stack([samples] * 3, axis=-1)).save(tmp_path / "rgb.png")
    assert load_bank(str(tmp_path / "rgb.png")).weight[0, 0].tolist() == samples.tolist()
    Image.fromarray(np.stack([samples, samples, samples * 0], axis=-1)).save(tmp_path / "colour.png")
    with pytest.raises(KernelError, match="coloured"):
        load_bank(str(tmp_path / "colour.png"))


def test_png_round_trip_is_exact_or_says_its_error(tmp_path: Path) -> None:
    whole = load_bank("[0 1; 2 65535]")
    np.testing.assert_array_equal(written(whole, "png", tmp_path).weight, whole.weight)
    bank = load_bank("gaussian:sigma=2")
    with pytest.raises(KernelError, match="16-bit"):
        export_bank(bank, "png")
    exported = export_bank(bank, "png", rounding=True)
    assert "largest error" in exported.notes[0]
    back = written(bank, "png", tmp_path, rounding=True)
    assert np.abs(back.weight - bank.weight).max() <= bank.weight.max() / 65535


# --- hostile ----------------------------------------------------------------------------------------------------------


class Payload:
    """What a malicious pickle looks like: it would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return (open, (str(self.path), "w"))


def npy_header(shape: str, descr: str = "<f8") -> bytes:
    head = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    head += b" " * (63 - (10 + len(head)) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head


def hostile_files(folder: Path) -> dict[str, Path]:
    import torch

    made: dict[str, Path] = {}

    def put(name: str, data: bytes) -> None:
        (folder / name).write_bytes(data)
        made[name] = folder / name

    witness = folder / "witness"
    buffer = io.BytesIO()
    torch.save({"w": torch.ones(1, 1, 3, 3), "x": Payload(witness)}, buffer)
    put("payload.pt", buffer.getvalue())
    put("payload.pkl", pickle.dumps(Payload(witness)))
    np.save(folder / "objects.npy", np.array([Payload(witness)], dtype=object), allow_pickle=True)
    made["objects.npy"] = folder / "objects.npy"
    np.savez(folder / "objects.npz", a=np.array([Payload(witness)], dtype=object))
    made["objects.npz"] = folder / "objects.npz"
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [{','.join(['*' + chr(97 + n)] * 9)}]\n" for n in range(9)
    )
    put("bomb.yaml", bomb.encode())
    put("tag.yaml", b"kernels: !!python/object/apply:os.system ['true']\n")
    put("huge.npy", npy_header("(16384, 16384)") + b"\0" * 64)
    put("huger.npy", npy_header("(9223372036854775807, 9)") + b"\0" * 64)
    put("negative.npy", npy_header("(-3, 3)") + b"\0" * 72)
    put("header.npy", b"\x93NUMPY\x01\x00\xff\xffgarbage")
    put("code.npy", npy_header("__import__('os').system('true')") + b"\0" * 72)
    put("short.npy", npy_header("(3, 3)") + b"\0" * 71)
    put("huge.safetensors", (2**31).to_bytes(8, "little") + b'{"w":{}}')
    text = json.dumps({"w": {"dtype": "F32", "shape": [1 << 30], "data_offsets": [0, 1 << 32]}}).encode()
    put("claims.safetensors", len(text).to_bytes(8, "little") + text)
    text = json.dumps({"w": {"dtype": "F32", "shape": [3, 3], "data_offsets": [0, 8]}}).encode()
    put("shape.safetensors", len(text).to_bytes(8, "little") + text + b"\0" * 8)
    text = json.dumps({"w": {"dtype": "F32", "shape": [3, 3], "data_offsets": [0, 36]}}).encode()
    put("cut.safetensors", len(text).to_bytes(8, "little") + text + b"\0" * 35)
    text = b'{"w": 5}'
    put("table.safetensors", len(text).to_bytes(8, "little") + text)
    put("nan.toml", b"[[kernel]]\ntaps = [[1, nan]]\n")
    put("inf.json", b'{"taps": [[1, Infinity]]}')
    put("nan.csv", b"1,2\n3,nan\n")
    np.save(folder / "nan.npy", np.array([[1.0, np.nan]]))
    made["nan.npy"] = folder / "nan.npy"
    put("ragged.csv", b"1,2\n3\n")
    put("ragged.json", b"[[1,2],[3]]")
    put("ragged.yaml", b"- [1, 2]\n- [3]\n")
    put("empty.toml", b"")
    put("spaces.txt", b" \n\n")
    put("empty.npz", b"PK\x05\x06" + b"\0" * 18)
    put("deep.json", b"[" * 100_000 + b"]" * 100_000)
    put("deep.yaml", b"[" * 5_000 + b"]" * 5_000)
    put("deep.toml", b"taps = " + b"[" * 5_000 + b"]" * 5_000)
    put("binary.txt", bytes(range(256)) * 4)
    put("latin.csv", "1,2\n3,ä\n".encode("latin-1"))
    put("words.txt", b"hello world\n")
    put("matlab.mat", b"MATLAB 5.0 MAT-file, Platform: GLNXA64" + b"\0" * 200)
    put("truncated.png", (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + b"\0\0\0\3\0\0\0\3\x08\0\0\0\0"))
    put("garbage.onnx", b"\x08\x07\x12\xff\xff\xff\xff\x0fgarbage")
    put("cut.pt", buffer.getvalue()[:200])
    whole = io.BytesIO()
    torch.save({"w": torch.ones(1, 1, 3, 3)}, whole)
    # The last is the name in the archive's directory, which is read.
    before, after = whole.getvalue().rsplit(b"/data.pkl", 1)
    put("name.pt", before + b"/\xffata.pkl" + after)
    start = whole.getvalue().rindex(b"PK\x01\x02")
    put("version.pt", whole.getvalue()[: start + 6] + b"\xff\xff" + whole.getvalue()[start + 8 :])
    with zipfile.ZipFile(folder / "zipbomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", npy_header("(40000000,)") + b"\0" * 320_000_000)
    made["zipbomb.npz"] = folder / "zipbomb.npz"
    return made


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return hostile_files(tmp_path_factory.mktemp("hostile"))


HOSTILE = [
    "payload.pt", "payload.pkl", "objects.npy", "objects.npz", "bomb.yaml", "tag.yaml", "huge.npy",
    "huger.npy", "negative.npy", "header.npy", "code.npy", "short.npy", "huge.safetensors",
    "claims.safetensors", "shape.safetensors", "table.safetensors", "nan.toml", "inf.json",
    "nan.csv", "nan.npy", "ragged.csv", "ragged.json", "ragged.yaml", "empty.toml", "spaces.txt",
    "empty.npz", "deep.json", "deep.yaml", "deep.toml", "binary.txt", "latin.csv", "words.txt",
    "matlab.mat", "truncated.png", "garbage.onnx",
    "cut.safetensors", "cut.pt", "name.pt", "version.pt", "zipbomb.npz",
]  # fmt: skip


def test_every_hostile_file_is_tested(hostile: dict[str, Path]) -> None:
    assert sorted(hostile) == sorted(HOSTILE)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_end_with_four_and_two_lines(name: str, hostile: dict[str, Path]) -> None:
    result = run_cli("kernels", "show", str(hostile[name]))
    assert result.exit_code == 4, result.stderr
    assert 1 <= len(result.stderr.strip().splitlines()) <= 2
    assert hostile[name].name in result.stderr
    assert not result.stdout
    assert not (hostile[name].parent / "witness").exists()


def test_the_payload_would_have_run(hostile: dict[str, Path], tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Payload(tmp_path / "witness"))).close()
    assert (tmp_path / "witness").exists()


def test_a_large_claim_takes_no_memory(hostile: dict[str, Path]) -> None:
    import tracemalloc

    tracemalloc.start()
    for name in ("huge.npy", "huge.safetensors", "claims.safetensors", "zipbomb.npz"):
        with pytest.raises(KernelError):
            load_bank(str(hostile[name]))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30e6


def test_onnx_with_data_elsewhere_is_refused(tmp_path: Path) -> None:
    import onnx

    tensor = onnx.numpy_helper.from_array(np.ones((1, 1, 3, 3), np.float32), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    graph = onnx.helper.make_graph([], "g", [], [], [tensor])
    (tmp_path / "k.onnx").write_bytes(onnx.helper.make_model(graph).SerializeToString())
    with pytest.raises(KernelError, match="outside the model's folder"):
        load_bank(str(tmp_path / "k.onnx"))


def test_missing_and_folders(tmp_path: Path) -> None:
    for name in ("no.npy", "no.toml"):
        with pytest.raises(KernelError, match="no kernel file"):
            load_bank(str(tmp_path / name))
    with pytest.raises(KernelError, match="folder"):
        sniff(tmp_path)
