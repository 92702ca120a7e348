"""README and examples: their commands run, and their output is what the program prints today."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY, load_image, run_cli
from generate_docs import README, console_blocks, fresh_readme, masked
from generate_man import PAGE, man_page

ENVIRONMENT = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}


@pytest.mark.subprocess
def test_readme_output_is_current() -> None:
    text = README.read_text(encoding="utf-8")
    assert len(console_blocks(text)) >= 8
    assert masked(fresh_readme(text)) == masked(text), "run `make docs`"


def test_the_man_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == man_page(), "run `make docs`"


def test_every_flag_of_apply_has_help() -> None:
    from typer.main import get_command

    from convcli.cli.app import build_app

    command = get_command(build_app(["apply"])).commands["apply"]
    assert len(command.params) > 40
    for parameter in command.params:
        assert parameter.help, parameter.name


NAMES = ["plain.png", "with space.png", "quo'te\".png", "new\nline.png", "-dash.png", "üñí.png"]


@pytest.mark.subprocess
@pytest.mark.parametrize("script", ["edges-of-a-folder.sh", "half-size.sh"])
def test_example_scripts_do_a_folder_of_difficult_names(script: str, tmp_path: Path, photo: Path) -> None:
    folder = tmp_path / "-in put"
    folder.mkdir()
    for name in NAMES:
        shutil.copy(photo, folder / name)
    result = subprocess.run(
        ["sh", REPOSITORY / "examples" / script, "-in put", "out put"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert len(list((tmp_path / "out put").glob("[!.]*"))) == len(NAMES)


@pytest.mark.subprocess
def test_half_size_keeps_the_tree_and_can_be_run_again(tmp_path: Path, photo: Path, grey_photo: Path) -> None:
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    shutil.copy(photo, folder / "a.png")
    shutil.copy(grey_photo, folder / "sub" / "a.png")
    run_cli("apply", photo, "-k", "identity", "-o", folder / "a.jpg", "-q").ok()
    for _ in range(2):
        script = ["sh", REPOSITORY / "examples" / "half-size.sh", "photos", "photos/o[u]t"]
        result = subprocess.run(script, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        out = folder / "o[u]t"
        made = {str(path.relative_to(out)): load_image(path).shape for path in out.rglob("*") if path.is_file()}
        assert made == {"a.png": (200, 300, 3), "a.jpg": (200, 300, 3), "sub/a.png": (256, 256)}


@pytest.mark.subprocess
def test_example_script_says_which_photo_is_broken(tmp_path: Path, photo: Path) -> None:
    shutil.copy(photo, tmp_path / "good.png")
    (tmp_path / "bad.png").write_text("not a picture")
    result = subprocess.run(
        ["sh", REPOSITORY / "examples" / "half-size.sh", str(tmp_path), str(tmp_path / "out")],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert "bad.png" in result.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good.png"]
