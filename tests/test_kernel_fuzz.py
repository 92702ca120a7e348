"""Whatever text or bytes come, a bank or a KernelError with a hint comes back: never another exception, never NaN."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import REPOSITORY
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from convcli import KernelBank, load_bank
from convcli.banks.bank import safe_name
from convcli.banks.formats import SUFFIXES, export_bank, read_bank
from convcli.banks.numbers import format_number, parse_number
from convcli.errors import KernelError


def fuzz(examples: int) -> settings:
    return settings(max_examples=examples, suppress_health_check=list(HealthCheck), phases=PHASES)


PHASES = (Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink)
PIECES = [
    *("sobel", "gaussian", "kirsch", "box", "frei-chen", "nothing", "random", "laws", "haar", "shift", "ring", "farid"),
    *(
        ":",
        " ",
        ",",
        ";",
        "=",
        "+",
        "-",
        "*",
        "/",
        "(",
        ")",
        "[",
        "]",
        "[[",
        "]]",
        "'",
        '"',
        "#",
        "@",
        ">",
        "\n",
        "\t",
        "%",
    ),
    *("1", "0", "-1", "2.5", "1e3", "1/3", "nan", "inf", "9" * 30, "3x3", "3x3:", "+1+1", "1 2; 3 4", "sqrt(2)", "pi"),
    *("sigma", "size", "rotate", "scale", "normalize", "expand", "select", "crop", "pad", "dilate", "bias", "layout"),
    *("sum", "l1", "true", "0m", "rdiv", "convolution", "k", "é", "\0", "..", "../x", "x" * 40),
]


def assert_sound(bank: KernelBank) -> None:
    assert bank.weight.ndim in (4, 5)
    assert np.isfinite(bank.weight).all()
    assert len(bank.kernel_names) == len(bank.weight)
    assert len({name.casefold() for name in bank.file_names}) == len(bank.weight)
    assert all(safe_name(name) == name for name in bank.file_names)


def assert_hinted(error: KernelError) -> None:
    assert error.hint, str(error)


@fuzz(400)
@given(st.lists(st.sampled_from(PIECES), max_size=9).map("".join))
@example("sobel rotate=1e308")
@example("gaussian:sigma=500,size=8191")
@example("[1]*[1e308]*[1e308]")
@example("sobel scale=1e308 scale=1e308")
@example("random:out_channels=65536,in_channels=65536,size=512")
@example("sobel expand=0.0001")
@example("sobel pad=8191 pad=8191 pad=8191")
@example("walsh-hadamard:size=64")
@example("dct:size=64")
@example("x" * 300)
def test_any_text_is_a_bank_or_a_kernel_error(text: str) -> None:
    try:
        bank = load_bank(text, max_taps=2_000_000)
    except KernelError as refused:
        said = str(refused)
        assert_hinted(refused)
    else:
        assert_sound(bank)
        said = bank.name
    assert said
    assert len(said) < 2000


@given(st.text(max_size=40))
def test_any_number_text_is_finite_or_a_value_error(text: str) -> None:
    try:
        value = parse_number(text)
    except ValueError:
        return
    assert np.isfinite(value)
    assert parse_number(format_number(value)) == value


@given(st.text(max_size=100))
def test_any_name_is_safe(text: str) -> None:
    name = safe_name(text)
    assert name
    assert safe_name(name) == name
    assert Path(name).name == name


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    bank = load_bank("[1.5 2; -3 0.25] name=k", "[0 1; 1e-5 7]")
    return {
        suffix: export_bank(bank, name).data
        for suffix, name in SUFFIXES.items()
        if suffix in (".toml", ".json", ".yaml", ".csv", ".npy", ".npz", ".safetensors", ".onnx", ".mat", ".m", ".tiff")
    }


@fuzz(250)
@given(data=st.data())
def test_damaged_files_are_a_bank_or_a_kernel_error(
    data: st.DataObject, samples: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    suffix = data.draw(st.sampled_from(sorted(samples)))
    damaged = bytearray(samples[suffix])
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(damaged) - 1)) if damaged else 0
        kind = data.draw(st.sampled_from(["change", "cut", "insert", "drop"]))
        if kind == "change" and damaged:
            damaged[place] = data.draw(st.integers(0, 255))
        elif kind == "cut":
            del damaged[place:]
        elif kind == "insert":
            damaged[place:place] = data.draw(st.binary(min_size=1, max_size=6))
        else:
            del damaged[place : place + 3]
    path = tmp_path_factory.getbasetemp() / f"damaged{suffix}"
    path.write_bytes(bytes(damaged))
    try:
        bank = read_bank(path)
    except KernelError as refused:
        said = str(refused)
        assert_hinted(refused)
    else:
        assert_sound(bank)
        said = str(path)
    assert str(path) in said


@fuzz(150)
@given(
    text=st.lists(st.sampled_from(PIECES), max_size=12).map("".join),
    suffix=st.sampled_from([".txt", ".toml", ".json", ".yaml", ".mat"]),
)
def test_any_text_file_is_a_bank_or_a_kernel_error(
    text: str, suffix: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / f"any{suffix}"
    path.write_text(text, encoding="utf-8")
    try:
        bank = read_bank(path)
    except KernelError as refused:
        assert_hinted(refused)
        return
    assert_sound(bank)


def test_mutated_files_of_every_format_are_read_or_refused() -> None:
    """A seeded part of what ``benchmarks/mutate_kernels.py`` reads."""
    spec = importlib.util.spec_from_file_location("mutate_kernels", REPOSITORY / "benchmarks" / "mutate_kernels.py")
    assert spec is not None
    assert spec.loader is not None
    mutate_kernels = importlib.util.module_from_spec(spec)
    sys.modules["mutate_kernels"] = mutate_kernels
    spec.loader.exec_module(mutate_kernels)
    files, folder = mutate_kernels.samples(), Path(tempfile.mkdtemp())
    said = []
    for seed in range(300):
        name, data = mutate_kernels.mutated(files, seed)
        (folder / name).write_bytes(data)
        said.append(mutate_kernels.verdict(folder / name))
    assert set(said) == {"read", "refused"}


#: A file of a MB or two that makes a careless pattern or parser quadratic, or recurse.
LONG = {
    "newlines": "\n" * 200_000 + "x", "digits": "1" * 400_000, "row": "1 " * 100_000, "words": "a" * 400_000,
    "comments": "k = {" + "/*" * 200_000, "brackets": "[" * 300_000, "braces": "k = {" * 100_000,
    "signs": "k = [" + "-" * 300_000,
    "xml": "<svg>" + "<!--" * 100_000, "kernels": "<VRTDataset><Coefs>" + "<Kernel>" * 100_000,
    "attributes": "<svg><feConvolveMatrix " + "a" * 300_000 + "/>", "blocks": "1 1\n5\n" * 5_000,
    "octave": "# name: k\n# type: a" + " " * 300_000 + "b\n", "display": "k =\n" + "\n" * 200_000 + "x",
    "dotted": "a." * 50_000 + "a = 1\n", "lists": "k = np.array([" + "1,\n" * 50_000 + "])", "hashes": "#\n" * 200_000,
}  # fmt: skip


@pytest.mark.parametrize("name", LONG)
def test_long_files_take_no_long_time(name: str, tmp_path: Path) -> None:
    for suffix in (".txt", ".toml"):
        path = tmp_path / f"k{suffix}"
        path.write_text(LONG[name])
        start = time.process_time()
        with contextlib.suppress(KernelError):
            assert_sound(read_bank(path))
        assert time.process_time() - start < 5
