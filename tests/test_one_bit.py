"""Pictures of one bit: what Pillow reads of them, in every format that has them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from conftest import run_cli
from PIL import Image as Pillow

from convcli.images.formats import FORMATS
from convcli.images.write import write_picture

ONE_BIT = [row.name for row in FORMATS if "1" in row.depths]


@pytest.mark.parametrize("kind", ONE_BIT)
@pytest.mark.parametrize("size", [(1, 1), (5, 7), (16, 8), (33, 70), (300, 17)])
@pytest.mark.parametrize("compress", ["fast", "default"])
def test_one_bit_is_what_pillow_reads(kind: str, size: tuple[int, int], compress: str) -> None:
    samples = np.random.default_rng(2).integers(0, 2, size, dtype=np.uint8)
    file = io.BytesIO()
    write_picture(file, samples, picture_format=kind, depth="1", compress=compress)
    with Pillow.open(file) as image:
        assert image.mode == "1"
        np.testing.assert_array_equal(np.asarray(image), samples.astype(bool))


@pytest.mark.parametrize(("name", "flags"), [("o.png", True), ("o.tif", True), ("o.pbm", True), ("o.pbm", False)])
def test_half_of_white_and_more_is_white(name: str, flags: bool, tmp_path: Path) -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(8, 32)
    Pillow.fromarray(levels).save(tmp_path / "in.png")
    depth = ["--depth", "1"] if flags else []
    report = run_cli("apply", tmp_path / "in.png", "-k", "identity", "-o", tmp_path / name, "--json", *depth).ok().json
    with Pillow.open(tmp_path / name) as image:
        assert image.mode == "1"
        np.testing.assert_array_equal(np.asarray(image), levels >= 128)
    assert any("uint8 samples are stored with 1 bit" in note for note in report["notes"])


@pytest.mark.parametrize("name", ["o.png", "o.tif", "o.pbm"])
def test_one_bit_of_colour_is_refused(name: str, tmp_path: Path) -> None:
    Pillow.new("RGB", (8, 8)).save(tmp_path / "in.png")
    result = run_cli("apply", tmp_path / "in.png", "-k", "box", "-o", tmp_path / name, "--depth", "1")
    assert result.exit_code == 6
    assert "1 bit in one plane, not 3" in result.stderr
    assert "--channels luma" in result.stderr


def test_one_bit_pages(tmp_path: Path) -> None:
    pages = [Pillow.fromarray(np.random.default_rng(i).random((9, 21)) > 0.5) for i in range(3)]
    pages[0].save(tmp_path / "in.tif", save_all=True, append_images=pages[1:])
    run_cli("apply", tmp_path / "in.tif", "-k", "identity", "-o", tmp_path / "o.tif", "--depth", "1", "-q").ok()
    with Pillow.open(tmp_path / "o.tif") as image:
        for index, page in enumerate(pages):
            image.seek(index)
            np.testing.assert_array_equal(np.asarray(image), np.asarray(page))
