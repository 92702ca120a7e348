"""SPEC text: what every form means, how several stack, and what is said when it does not fit."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import run_cli

from convcli import KernelBank, list_kernels, load_bank
from convcli.banks.bank import pad_to, safe_name, to_anchor
from convcli.banks.numbers import format_number, parse_number
from convcli.banks.spec import Operation, parse_spec
from convcli.errors import KernelError

SOBEL_X = [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]


def assert_taps(bank: KernelBank, *kernels: list[list[float]]) -> None:
    np.testing.assert_allclose(bank.weight[:, 0], np.array(kernels, dtype=float), rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    "text",
    [
        "-1 0 1; -2 0 2; -1 0 1",
        "-1,0,1;-2,0,2;-1,0,1",
        "[-1 0 1; -2 0 2; -1 0 1]",
        "k = [-1 0 1; -2 0 2; -1 0 1];",
        "[[-1,0,1],[-2,0,2],[-1,0,1]]",
        "[[-1, 0, 2/2], [-sqrt(4), 0, 2], [-1, 0, 1]]",
        "3x3: -1,0,1 -2,0,2 -1,0,1",
        "3: -1 0 1 -2 0 2 -1 0 1",
        "3x3+1+1: -1,-,1 -2,nan,2 -1,0,1",
        "(-1,0,1;-2,0,2;-1,0,1)",
        "0m='-1 0 1 -2 0 2 -1 0 1'",
        'convolution="-1 0 1 -2 0 2 -1 0 1:-1 0 1 -2 0 2 -1 0 1"',
        "sobel#x",
        "sobel#0",
        "Sobel select=x",
        "[-2 0 2; -4 0 4; -2 0 2]/2",
        "1/2*[-2 0 2; -4 0 4; -2 0 2]",
    ],
)
def test_every_syntax_gives_the_same_taps(text: str) -> None:
    bank = load_bank(text)
    assert bank.shape == (1, 1, 3, 3)
    assert_taps(bank, SOBEL_X)


def test_sobel_is_as_declared() -> None:
    bank = load_bank("sobel")
    assert_taps(bank, SOBEL_X, np.transpose(SOBEL_X).tolist())
    assert bank.kernel_names == ("x", "y")
    assert (bank.combine, bank.orientation) == ("magnitude", "correlate")
    assert bank.source
    assert bank.weight.dtype == np.float64
    with pytest.raises(ValueError, match="read-only"):
        bank.weight[0, 0, 0, 0] = 1


@pytest.mark.parametrize(
    ("text", "taps"),
    [
        ("2*identity - box", [[[-1 / 9] * 3, [-1 / 9, 2 - 1 / 9, -1 / 9], [-1 / 9] * 3]]),
        ("identity-box", [[[-1 / 9] * 3, [-1 / 9, 1 - 1 / 9, -1 / 9], [-1 / 9] * 3]]),
        ("(identity + identity) scale=1/2", [[[0, 0, 0], [0, 1, 0], [0, 0, 0]]]),
        ("[1 1]*[1 -1]", [[[0, 1, 0, -1]]]),  # anchored on the 1
        ("[1 2 1]*[1 0 -1]", [[[1, 2, 0, -2, -1]]]),
        ("[1 2 1] * [1; 2; 1]", [[[1, 2, 1], [2, 4, 2], [1, 2, 1]]]),
        ("box:size=1 + 2", [[[3]]]),
        ("[1 0 0] - [1]", [[[1, -1, 0]]]),
    ],
)
def test_expressions(text: str, taps: list[list[list[float]]]) -> None:
    assert_taps(load_bank(text), *taps)


def test_a_chain_of_differences_binds_from_the_left() -> None:
    assert_taps(load_bank("[5] - [3] - [1]"), [[1]])
    tree = parse_spec("a - b * c", is_known=lambda name: name in "abc")
    assert isinstance(tree, Operation)
    assert tree.operator == "-"


def test_products_of_even_kernels_keep_the_anchor() -> None:
    # Shifting twice by the tap behind the anchor is a shift by two.
    bank = load_bank("[0 1] * [0 1]")
    taps = bank.weight[0, 0, 0]
    assert taps[(taps.size - 1) // 2 + 2] == 1
    assert taps.sum() == 1


def test_names_with_dashes_are_no_differences() -> None:
    assert load_bank("frei-chen").n_kernels == 9
    assert load_bank("laplacian:variant=oono-puri").weight[0, 0, 1, 1] == -3


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1/16", 0.0625),
        ("sqrt(2)/2", 2**0.5 / 2),
        ("-1/(2*sqrt(2))", -1 / (2 * 2**0.5)),
        ("2*pi", 2 * np.pi),
        ("1e-3", 1e-3),
        ("-.5", -0.5),
        ("1/3", 1 / 3),
        ("0.1/3", 0.1 / 3),
    ],
)
def test_rational_text_is_exact(text: str, value: float) -> None:
    assert parse_number(text) == pytest.approx(value, rel=2.3e-16)


@pytest.mark.parametrize(
    "text", ["", "1/0", "1e999", "nan", "inf", "1+", "a", "__import__('os')", "(" * 300, "1..2", "2**3"]
)
def test_numbers_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_number(text)


@pytest.mark.parametrize("value", [0.1, -2.0, 1e22, 1 / 3, 5e-324, -0.0, 2.0**53 + 2])
def test_format_number_reads_back(value: float) -> None:
    assert float(format_number(value)) == value


def test_several_specs_stack_with_the_anchor_kept() -> None:
    bank = load_bank("sobel", "box:size=5", "[1 2]")
    assert bank.shape == (4, 1, 5, 5)
    assert bank.kernel_names == ("sobel-x", "sobel-y", "box-size=5", "matrix")
    assert bank.combine == "none"
    np.testing.assert_array_equal(bank.weight[0, 0, 1:4, 1:4], SOBEL_X)
    assert bank.weight[3, 0, 2, 2:4].tolist() == [1, 2]
    assert any("padded" in note for note in bank.notes)


def test_same_names_are_numbered_and_said() -> None:
    bank = load_bank("sobel", "sobel")
    assert len(set(bank.file_names)) == 4
    assert sum("is named" in note for note in bank.notes) == 2


def test_padding_keeps_the_anchor_for_every_size() -> None:
    for size in range(1, 7):
        taps = np.arange(1.0, size + 1)[None]
        for anchor in range(size):
            moved = to_anchor(taps, (0, anchor))
            assert moved[0, (moved.shape[1] - 1) // 2] == anchor + 1
            assert moved.sum() == taps.sum()
        for larger in range(size, 9):
            padded = pad_to(taps, (1, larger))
            assert padded[0, (larger - 1) // 2] == (size - 1) // 2 + 1


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("sobbel", ["sobbel", "did you mean sobel", "kernels"]),
        ("1 2; 3", ["ragged", "row 1 has 2", "row 2 has 1"]),
        ("1 nan; 2 3", ["nan", "finite"]),
        ("[[1,2],[3]]", ["row 1 has 2", "row 2 has 1"]),
        ("3x3: 1,2", ["3x3", "9", "2"]),
        ("3x1+5+0: 1,2,3", ["origin", "+5+0"]),
        ("(1,2;3)", ["ragged"]),
        ("(1,2/3,4)", ["3-D"]),
        ("0m='1 2 3'", ["3 numbers", "square"]),
        ("gaussian:sigma=-1", ["sigma=-1", "below 0.1"]),
        ("gaussian:sigma=1,2", ["sigma=1,2"]),
        ("gaussian:sigm=1", ["sigm", "did you mean sigma"]),
        ("gaussian:sigma=1,sigma=2", ["twice"]),
        ("gaussian:size=4", ["size=4", "odd"]),
        ("sobel:sigma=2", ["sigma", "parameter"]),
        ("sobel normalize=sum", ["normalize=sum", "sum to 0"]),
        ("sobel normalize=l3", ["l3", "l1"]),
        ("sobel rotat=3", ["rotat", "did you mean rotate"]),
        ("sobel flip=x", ["flip=x"]),
        ("sobel crop=2", ["nothing would be left"]),
        ("sobel expand=50", ["50", "360"]),
        ("sobel#z", ["'z'", "x, y"]),
        ("sobel + kirsch", ["2", "8"]),
        ("a - ", ["'a -'"]),
        ("(sobel", ["not closed"]),
        ("", ["empty"]),
        ("./nothing.npy", ["nothing.npy"]),
        ("ring:inner=4,outer=2", ["inner=4", "outer=2"]),
        ("farid:taps=5,order=2", ["order=2"]),
        ("walsh-hadamard:size=6", ["power of 2"]),
        ("box:size=8000", ["64,000,000", "33,554,432"]),
    ],
)
def test_bad_specs_say_why(spec: str, words: list[str]) -> None:
    with pytest.raises(KernelError) as caught:
        load_bank(spec)
    said = f"{caught.value} {caught.value.hint}"
    for word in words:
        assert word in said
    assert caught.value.exit_code == 4


def test_a_row_of_nine_is_a_row_and_said() -> None:
    bank = load_bank("1 2 3 4 5 6 7 8 9")
    assert bank.shape == (1, 1, 1, 9)
    assert "3x3" in bank.notes[0]


def test_the_limit_can_be_raised() -> None:
    with pytest.raises(KernelError, match=r"more than the limit of 8"):
        load_bank("box", max_taps=8)
    assert load_bank("box", max_taps=9).n_kernels == 1


def test_magick_rotation_flags() -> None:
    assert load_bank("3x3@: 5,5,5 -3,0,-3 -3,-3,-3").n_kernels == 8
    quarter = load_bank("3x1>: 1,2,3")
    assert quarter.n_kernels == 4
    assert quarter.weight[1, 0, :, 1].tolist() == [1, 2, 3]  # clockwise, as there


@pytest.mark.parametrize(
    "name", ["../../x", "a/b", "con", "nul.txt", "", ".", "..", " ", "-rf", "a\0b", "x" * 500, "C:\\x", "лапша"]
)
def test_safe_names_are_one_harmless_path_part(name: str) -> None:
    safe = safe_name(name)
    assert safe
    assert safe not in (".", "..")
    assert not set(safe) & set('/\\:*?"<>|\0')
    assert len(safe) <= 81
    assert safe.split(".")[0].lower() not in ("con", "nul")
    assert not safe.startswith((".", "-"))


def test_kernel_names_of_a_file_never_collide_as_files(tmp_path) -> None:
    file = tmp_path / "k.toml"
    names = ["../../x", "x", "X", "a/b", "a:b", "con"]
    file.write_text("".join(f'[[kernel]]\nname = "{name}"\ntaps = [[1]]\n' for name in names))
    bank = load_bank(str(file))
    assert len({name.lower() for name in bank.file_names}) == 6
    assert len(bank.notes) == 3


def test_user_folder_comes_first_and_the_shadow_is_said(tmp_path, monkeypatch) -> None:
    (tmp_path / "sobel.toml").write_text("[[kernel]]\ntaps = [[7]]\n")
    (tmp_path / "mine.csv").write_text("1,2\n3,4\n")
    monkeypatch.setenv("CONVCLI_KERNELS", str(tmp_path))
    bank = load_bank("sobel")
    assert bank.weight.item() == 7
    assert any("shadows" in note for note in bank.notes)
    assert load_bank("mine").weight[0, 0].tolist() == [[1, 2], [3, 4]]
    assert {"mine", "sobel"} <= {entry.name for entry in list_kernels()}


def test_a_broken_user_file_is_listed_not_fatal(tmp_path, monkeypatch) -> None:
    (tmp_path / "bad.toml").write_text("[[kernel]]\ntaps = [[1, 2], [3]]\n")
    monkeypatch.setenv("CONVCLI_KERNELS", str(tmp_path))
    entry = next(entry for entry in list_kernels() if entry.name == "bad")
    assert entry.shape == "unreadable"
    assert "ragged" in entry.summary
    assert "did you mean" in run_cli("kernels", "show", "sobbel").stderr


def test_cli_exit_code_and_two_lines() -> None:
    result = run_cli("kernels", "show", "sobbel")
    assert result.exit_code == 4
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 2
    assert "sobel" in lines[1]
