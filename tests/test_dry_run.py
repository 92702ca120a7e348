"""A dry run lists what exists and ends with 0: it is asked in order to know."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import run_cli, save_image


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        save_image(tmp_path / f"{name}.png", np.zeros((9, 9), np.uint8))
    run_cli("apply", "a.png", "-k", "sobel", "--out-dir", "out", "-q").ok()
    return tmp_path


def test_it_lists_outputs_that_exist(place: Path) -> None:
    words = ["apply", "a.png", "b.png", "-k", "sobel", "--out-dir", "out"]
    assert run_cli(*words).exit_code == 6
    names = [f"out/a_sobel/{name}" for name in ("x-l.png", "y-l.png", "report.json")]
    assert run_cli(*words, "--dry-run", "--json").ok().json["existing"] == names
    told = run_cli(*words, "--dry-run").ok().stdout
    assert [line.split()[-1] for line in told.splitlines() if line.startswith("exists")] == names
    assert "3 exist: the run would end with 6; --overwrite replaces" in told
    replaced = run_cli(*words, "--dry-run", "--overwrite").ok().stdout
    assert replaced.count("would replace") == 3
    assert "would end with 6" not in replaced
    assert run_cli(*words, "--dry-run", "--skip-existing", "--json").ok().json["existing"] == []
    assert not (place / "out" / "b_sobel").exists()


def test_each_file_is_listed_once(place: Path) -> None:
    (place / "out" / "a_sobel" / "y-l.png").unlink()
    lines = run_cli("apply", "a.png", "-k", "sobel", "--out-dir", "out", "--dry-run").ok().stdout.splitlines()
    told = [line.partition("out/a_sobel/") for line in lines if "out/a_sobel/" in line]
    assert {(what.strip(), name) for what, _, name in told} == {
        ("would write", "y-l.png"),
        ("exists", "x-l.png"),
        ("exists", "report.json"),
    }


def test_a_report_and_a_backup_that_exist(place: Path) -> None:
    (place / "r.json").touch()
    flags = ["apply", "b.png", "-k", "box", "--dry-run", "--json"]
    assert run_cli(*flags, "--report", "r.json", "-o", "o.png").ok().json["existing"] == ["r.json"]
    (place / "b.png.old").touch()
    assert run_cli(*flags, "--in-place", "--backup", ".old").ok().json["existing"] == ["b.png.old"]


def test_names_that_are_not_utf8_are_escaped_bytes(place: Path) -> None:
    """`printf %b` makes the name of them, and every parser of JSON reads them."""
    import os

    raw = b"caf\xe9\\.png"
    try:
        (place / os.fsdecode(raw)).write_bytes((place / "a.png").read_bytes())
    except OSError:
        pytest.skip("names are UTF-8 here")
    result = run_cli("apply", os.fsdecode(raw), "-k", "box", "--dry-run", "--json").ok()
    path = result.json["images"][0]["input"]["path"]
    assert path.encode("ascii").decode("unicode_escape").encode("latin-1") == raw
    assert "\\xe9" in run_cli("apply", os.fsdecode(raw), "-k", "box", "--dry-run").ok().stdout
