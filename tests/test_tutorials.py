"""Tutorials: their commands run, print what the pages show, and make their pictures, which stay small."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import load_image
from generate_docs import README, TUTORIALS, console_blocks, fresh_tutorial, masked

PAGES = sorted(TUTORIALS.glob("[0-9]*.md"))
PICTURES = TUTORIALS / "pictures"
MOST_BYTES = 60_000


def shown(text: str) -> list[str]:
    """Return what a page says, rounding errors around 0 hidden too."""
    return re.sub(r"-?\d\.?\d*e-\d+", "0", masked(text)).splitlines()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all pages: a reader goes from one to the next."""
    return tmp_path_factory.mktemp("examples") / "try"


@pytest.mark.subprocess
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_is_current(page: Path, place: Path) -> None:
    text = page.read_text(encoding="utf-8")
    shutil.rmtree(place / "pictures", ignore_errors=True)
    assert shown(fresh_tutorial(page, place)) == shown(text), "run `make docs`"
    made = {path.name: path for path in place.glob("pictures/*")}
    assert set(made) == set(re.findall(r"\]\(pictures/([^)]+)\)", text))
    for name, path in made.items():
        if path.suffix == ".svg":
            assert path.read_text() == (PICTURES / name).read_text(), "run `make docs`"
            continue
        new, old = load_image(path).astype(float), load_image(PICTURES / name).astype(float)
        assert new.shape == old.shape, name
        # Encoders and fonts differ a little between versions.
        assert np.abs(new - old).mean() < 3, f"{name}: run `make docs`"


def test_there_are_five_pages_and_the_readme_leads_to_them() -> None:
    index = (TUTORIALS / "README.md").read_text(encoding="utf-8")
    assert [page.name for page in PAGES] == re.findall(r"\]\((\d[^)]+\.md)\)", index)
    assert len(PAGES) == 5
    readme = README.read_text(encoding="utf-8")
    assert "examples/tutorials/README.md" in readme
    assert len(re.findall(r"!\[[^]]+\]\(examples/tutorials/pictures/[^)]+\)", readme)) == 3
    for page in PAGES:
        assert len(console_blocks(page.read_text(encoding="utf-8"))) >= 3


def test_pictures_are_small_and_each_is_shown() -> None:
    words = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    for path in PICTURES.iterdir():
        assert path.stat().st_size < MOST_BYTES, path.name
        assert f"pictures/{path.name}" in words


def test_links_lead_somewhere() -> None:
    for page in [*PAGES, TUTORIALS / "README.md"]:
        for link in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
