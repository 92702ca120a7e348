"""What people get wrong with kernels at first, and what they are told: every hint that is a command works."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import REPOSITORY, run_cli
from safetensors.numpy import save_file

from convcli import load_bank
from convcli.banks.formats import literal, programs, text
from convcli.errors import KernelError

SOBEL = REPOSITORY / "kernels" / "sobel.toml"
CANNY = REPOSITORY / "examples" / "stacks" / "canny-front.toml"
BOTH = ("binomial", "box", "emboss", "farid", "gaussian", "log")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    torch.save({"conv1.weight": torch.randn(12, 3, 3, 3), "bn1.weight": torch.randn(16)}, tmp_path / "net.pt")
    return tmp_path / "net.pt"


def test_one_kernel_of_an_entry(checkpoint: Path) -> None:
    whole = load_bank(f"{checkpoint}#conv1.weight")
    for index in (0, 7, 11):
        one = load_bank(f"{checkpoint}#conv1.weight#{index}")
        assert one.shape == (1, 3, 3, 3)
        np.testing.assert_array_equal(one.weight[0], whole.weight[index])
    assert load_bank(f"{checkpoint}#conv1#1,2").n_kernels == 2
    with pytest.raises(KernelError, match="kernels 0 to 11"):
        load_bank(f"{checkpoint}#conv1.weight#12")
    with pytest.raises(KernelError, match=r"no entry 'conv9'") as caught:
        load_bank(f"{checkpoint}#conv9#0")
    assert "conv1.weight" in str(caught.value.hint)


def test_an_entry_whose_name_has_the_sign_is_read(tmp_path: Path) -> None:
    save_file({"a#0": np.full((2, 1, 3, 3), 7.0), "a": np.ones((2, 1, 3, 3))}, tmp_path / "odd.safetensors")
    assert load_bank(f"{tmp_path / 'odd.safetensors'}#a#0").weight.max() == 7
    assert load_bank(f"{tmp_path / 'odd.safetensors'}#a#1").shape == (1, 1, 3, 3)


@pytest.mark.parametrize(
    "spec", ["net.pt#conv1.weight", "leung-malik", "(kirsch expand=90) - identity", "schmid scale=2"]
)
def test_the_hint_for_one_kernel_of_many_works(checkpoint: Path, spec: str) -> None:
    text = run_cli("kernels", "show", spec, cwd=checkpoint.parent).ok().stdout
    found = re.search(r"one of them: convcli (.*?); all:", text)
    assert found is not None
    words = shlex.split(found.group(1))
    shown = run_cli(*words, "--json", cwd=checkpoint.parent).ok().json
    whole = run_cli("kernels", "show", spec, "--json", cwd=checkpoint.parent).ok().json
    assert len(shown["kernels"]) == 1
    assert shown["weight"][0] == whole["weight"][0]


def test_numbers_without_rows_are_said_to_be_one_row(checkpoint: Path, tmp_path: Path) -> None:
    bank = load_bank(f"{checkpoint}#bn1.weight")
    assert bank.shape == (1, 1, 1, 16)
    assert any("16 numbers" in note and "1x16" in note for note in bank.notes)
    np.save(tmp_path / "row.npy", np.ones((1, 16)))
    assert load_bank(str(tmp_path / "row.npy")).notes == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1 x; 3 4", "row 1, column 2: 'x' is not a number"),
        ("1 2; 3 4 y", "row 2, column 3: 'y' is not a number"),
        ("1 0 O", "row 1, column 3: 'O' is not a number"),
        ("1,2;3,z scale=2", "row 2, column 2: 'z' is not a number"),
    ],
)
def test_a_matrix_with_a_word_in_it_is_a_matrix(text: str, said: str) -> None:
    result = run_cli("kernels", "show", text)
    assert (result.exit_code, result.stdout) == (4, "")
    assert said in result.stderr


def test_names_and_files_are_not_taken_for_matrices(tmp_path: Path) -> None:
    (tmp_path / "1 2 x.csv").write_text("5 6\n7 8\n")
    told = run_cli("kernels", "show", "1 2 x.csv", "--json", cwd=tmp_path).ok().json
    assert told["weight"] == [[[[5.0, 6.0], [7.0, 8.0]]]]
    assert "no kernel is called 'sobell'" in run_cli("kernels", "show", "sobell").stderr


def test_a_stack_is_no_kernel_and_a_kernel_no_stack() -> None:
    for command in (("kernels", "show", CANNY), ("kernels", "check", CANNY)):
        result = run_cli(*command)
        assert result.exit_code == 4
        assert "this is a stack of layers, not a kernel" in result.stderr
        assert "--stack" in result.stderr
    result = run_cli("shape", "3x20x20", SOBEL)
    assert result.exit_code == 2
    assert "this is a kernel, not a stack of layers" in result.stderr
    assert "--kernel" in result.stderr


@pytest.mark.parametrize("name", ["s.jpg", "s", "s.png.tif"])
def test_pictures_are_png_by_name_too(tmp_path: Path, name: str) -> None:
    result = run_cli("kernels", "show", "sobel", "--png", tmp_path / name)
    assert (result.exit_code, result.stdout) == (2, "")
    assert list(tmp_path.iterdir()) == []
    run_cli("kernels", "show", "sobel", "--png", tmp_path / "s.PNG").ok()


@pytest.mark.parametrize("name", BOTH)
def test_a_table_and_a_family_of_one_name_are_told_apart(name: str) -> None:
    rows = [line.split()[0] for line in run_cli("kernels", "list").ok().stdout.splitlines()]
    family = next(row for row in rows if row.startswith(f"{name}:"))
    assert rows.count(name) == 1
    assert re.fullmatch(rf"{name}:[a-z_]+=…", family)
    assert family in run_cli("kernels", "show", name).ok().stdout
    assert "family" not in run_cli("kernels", "show", "kirsch").ok().stdout
    parameter = family[len(name) + 1 : -2]
    assert _family(name)["parameters"][0]["name"] == parameter


def _family(name: str) -> dict[str, list[dict[str, object]]]:
    entries = run_cli("kernels", "list", "--json", "--grep", name).ok().json
    return next(entry for entry in entries if entry["name"] == name and entry["kind"] != "file")


def test_lists_fit_120_columns_unless_sources_are_asked() -> None:
    lines = run_cli("kernels", "list").ok().stdout.splitlines()
    assert max(map(len, lines)) <= 120
    wide = run_cli("kernels", "list", "--source").ok().stdout
    assert "Computers and Biomedical Research" in wide
    assert max(map(len, wide.splitlines())) > 120


def test_nothing_found_is_said() -> None:
    result = run_cli("kernels", "list", "--grep", "zzzz")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "nothing matches 'zzzz'\n")
    assert run_cli("kernels", "list", "--grep", "zzzz", "--json").ok().json == []


def test_help_cuts_no_summary() -> None:
    commands = run_cli("kernels", "--help").ok().stdout.partition("Commands:")[2]
    assert len(commands.strip().splitlines()) == 4
    assert "..." not in commands


@pytest.mark.parametrize(
    ("spec", "hint"),
    [
        ("sobel,scharr", "-k sobel -k scharr for both"),
        ("sobel box kirsch", "-k sobel -k box -k kirsch for all"),
        ("SOBEL_Y", "sobel#y"),
        ("gaussian(2)", "gaussian:sigma=2"),
        ("sobel:x", "sobel#x"),
        ("gaussian:sigma", "gaussian:sigma=V"),
        ("np.ones((3,3))/9", "-k k.py, with the line k = np.ones((3,3))/9"),
        ("Gaussian(sigma=2, size=5)", "gaussian:sigma=2,size=5"),
        ("sobel expand=7", "for example expand=45"),
        ("sobel flip=x", "for example flip=h"),
        ("% 1 2; 3 4", "for example '1 0 -1; 2 0 -2; 1 0 -1'"),
        ("(1,2^3,4) (1,2)", "give every kernel as many planes"),
        ("1 2 nan", "numbers such as 0.5, 1/9, sqrt(2)"),
        ("3x3: 1,2,3", "'3x3: 0,-1,0 -1,5,-1 0,-1,0'"),
        ("[[1,2],[3", "for example [[1, 0, -1], [2, 0, -2]]"),
        ("(sobel + box", "put single quotes"),
        ("gaussian:sigma=2,sigma=3", "keep one: gaussian:sigma=3"),
    ],
)
def test_what_was_meant_is_said(spec: str, hint: str) -> None:
    result = run_cli("kernels", "show", spec)
    assert (result.exit_code, result.stdout) == (4, "")
    assert hint in result.stderr.splitlines()[1]
    assert len(result.stderr.splitlines()) == 2


def test_every_example_of_a_syntax_is_read(tmp_path: Path) -> None:
    path = tmp_path / "k"
    files = [text.EXAMPLES[kind] for kind in ("toml", "json", "yaml", "code")]
    files += [example.partition(", with ")[0].strip("'") for _, _, example in literal.SYNTAXES]
    files += [f"<x>{programs.PROGRAMS[program].example}</x>" for program in ("SVG", "GDAL VRT")]
    for example in files:
        path.write_text(example)
        assert load_bank(str(path)).kernel_hw == (3, 3), example
    assert load_bank("[[1, 0, -1], [2, 0, -2]]").kernel_hw == (2, 3)
