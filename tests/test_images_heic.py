"""HEIC through the extra ``heif``; without it one line that names it."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import run_cli
from PIL import Image

from convcli.errors import ImageError
from convcli.images.reading import probe, read

#: First bytes of a file that a telephone writes.
HEAD = b"\0\0\0\x1cftypheic\0\0\0\0mif1heicmiaf\0\0\x01}" + bytes(300)


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ImageError, match="is HEIC, which needs pillow_heif") as caught:
        probe(HEAD)
    assert caught.value.hint == "pip install 'convcli[heif]'"
    (tmp_path / "a.heic").write_bytes(HEAD)
    result = run_cli("apply", tmp_path, "-k", "sobel", "--out-dir", tmp_path / "o")
    assert result.exit_code == 3  # passed over, and said
    assert "convcli[heif]" in result.stderr


def test_with_the_extra_it_is_read() -> None:
    heif = pytest.importorskip("pillow_heif", reason="the extra heif is not installed")
    samples = np.random.default_rng(1).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    file = io.BytesIO()
    heif.from_pillow(Image.fromarray(samples)).save(file, quality=-1, chroma=444)
    image = read(file.getvalue())
    assert image.info.format == "heic"
    assert image.info.plane_names == ("r", "g", "b")
    assert np.abs(image.samples.astype(int) - samples).max() <= 4  # YCbCr of 8 bits
    with pytest.raises(ImageError):
        read(HEAD)
