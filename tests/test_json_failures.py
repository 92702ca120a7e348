"""``--json`` speaks JSON on every failure: one object on standard output, whatever the command and the mistake."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import run_cli, save_image


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save_image(tmp_path / "a.png", np.zeros((9, 9), np.uint8))
    (tmp_path / "bad.csv").write_text("1,two\n")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "code", "kind"),
    [
        ("apply a.png -k sobbel", 4, "kernel"),
        ("apply a.png -k sobel --stride x", 2, "usage"),
        ("apply a.png -k sobel --sride 2", 2, "usage"),
        ("apply none.png -k sobel", 3, "image"),
        ("apply none.png -k sobel --dry-run", 3, "image"),
        ("apply a.png -k sobel --dilation 9 --padding 0", 5, "geometry"),
        ("apply a.png -k sobel -o a.png", 6, "output"),
        ("shape 3x8x8 conv:2,k=9", 5, "geometry"),
        ("shape 3x8x8 conv:2,k", 2, "usage"),
        ("shape 3x8x8 conv:2,k=3 --bound 99", 2, "usage"),
        ("kernels list --tag edgy", 4, "kernel"),
        ("kernels show sobbel", 4, "kernel"),
        ("compare a.png -k sobbel", 4, "kernel"),
        ("compare a.png -k sobel --threads many", 2, "usage"),
        ("explain a.png -k sobel", 2, "usage"),
        ("explain a.png -k sobel --at 99,1", 5, "geometry"),
        ("kernels export sobbel -o x.toml", 4, "kernel"),
        ("play none.png", 3, "image"),
        ("animate 5x5 conv:1,k=9", 5, "geometry"),
        ("job status none", 2, "usage"),
    ],
)
def test_one_object_with_error_exit_code_and_hint(place: Path, words: str, code: int, kind: str) -> None:
    result = run_cli(*words.split(), "--json")
    assert result.exit_code == code, result.stderr
    told = result.json
    assert told["status"] == "failed"
    error = told["error"]
    assert (error["kind"], error["exit_code"]) == (kind, code)
    assert error["message"] in result.stderr
    assert error["hint"] is None or error["hint"] in result.stderr
    assert len(result.stderr.splitlines()) <= 2


def test_the_checks_of_several_files_are_one_list(place: Path) -> None:
    (place / "good.csv").write_text("1,2,1\n")
    result = run_cli("kernels", "check", "good.csv", "bad.csv", "--json")
    assert result.exit_code == 4
    assert [one["error"] and one["error"]["exit_code"] for one in result.json] == [None, 4]


def test_a_bug_is_told_too(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convcli.pipeline.transforms.bank.plan_engine", lambda *_args, **_more: 1 / 0)
    result = run_cli("apply", "a.png", "-k", "sobel", "--json")
    assert (result.exit_code, result.json["error"]["exit_code"]) == (1, 1)
    assert "ZeroDivisionError" in result.json["error"]["message"]


def test_commands_that_write_say_where_as_json(place: Path) -> None:
    for words, name in (
        ("kernels export sobel -o s.toml", "s.toml"),
        ("play -o p.html", "p.html"),
        ("animate 5x5 conv:1,k=3 -o a.svg", "a.svg"),
    ):
        told = run_cli(*words.split(), "--json").ok().json
        assert (told["path"], told["bytes"]) == (name, (place / name).stat().st_size)
        assert run_cli(*words.split()[:-1], "-", "--json").exit_code == 2


def test_what_follows_two_dashes_is_a_name(place: Path) -> None:
    result = run_cli("apply", "-k", "sobel", "--", "--json")
    assert (result.exit_code, result.stdout) == (3, "")
