"""The exercises with which convolution is taught, each one command on a photograph; loops and torch solve them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import REPOSITORY, load_image, run_cli, save_image
from torch.nn import functional as F  # noqa: N812

import convcli

PHOTO = REPOSITORY / "examples" / "chelsea.png"
SOBEL = np.array([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return load_image(PHOTO).transpose(2, 0, 1).astype(np.float64)


def by_hand(plane: np.ndarray, taps: np.ndarray) -> np.ndarray:
    """The first exercise: the sum of one shifted picture a tap."""
    height, width = plane.shape[0] - taps.shape[0] + 1, plane.shape[1] - taps.shape[1] + 1
    total = np.zeros((height, width))
    for row in range(taps.shape[0]):
        for column in range(taps.shape[1]):
            total += taps[row, column] * plane[row : row + height, column : column + width]
    return total


def test_a_product_per_tap_by_hand_equals_every_engine(picture, tmp_path):
    found = run_cli("compare", PHOTO, "-k", "sobel#x", "--padding", "0", "--json").ok().json
    assert (found["planes"], found["output"], found["agree"]) == ([3, 300, 451], [3, 298, 449], True)
    assert {"reference", "im2col", "gemm", "fft", "torch"} <= {one["engine"] for one in found["engines"]}
    wanted = np.stack([by_hand(plane, SOBEL) for plane in picture])
    for engine in ("reference", "im2col", "torch"):
        flags = ["--padding", "0", "--engine", engine, "-o", tmp_path / f"{engine}.npy", "-q"]
        run_cli("apply", PHOTO, "-k", "sobel#x", *flags).ok()
        np.testing.assert_array_equal(np.load(tmp_path / f"{engine}.npy"), wanted)
    one = run_cli("explain", PHOTO, "-k", "sobel#x", "--padding", "0", "--at", "120,80", "--json").ok().json
    patch = picture[0, 120:123, 80:83]
    assert one["patch"] == [patch.tolist()]
    assert one["products"] == [(patch * SOBEL).tolist()]
    assert one["value"] == (patch * SOBEL).sum() == wanted[0, 120, 80]


@pytest.mark.parametrize(
    ("flags", "shape", "solution"),
    [
        (["--padding", "0"], (8, 298, 447), {}),
        (["--stride", "2", "--padding", "0"], (8, 149, 224), {"stride": 2}),
        (["--stride", "2x3", "--padding", "1x2"], (8, 150, 151), {"stride": (2, 3), "padding": (1, 2)}),
        (["--dilation", "3x2", "--padding", "same"], (8, 300, 451), {"dilation": (3, 2), "padding": "same"}),
        (["--padding", "2", "--bias", "0.5"], (8, 302, 451), {"padding": 2, "bias": 0.5}),
        (["--padding", "1", "--mode", "convolve"], (8, 300, 449), {"padding": 1, "turned": True}),
    ],
)
def test_every_parameter_of_a_layer_with_seeded_weights(flags, shape, solution, picture, tmp_path):
    kernel = "random:out_channels=8,in_channels=3,kernel_size=3x5,init=xavier-uniform,seed=0"
    run = run_cli(
        "apply", PHOTO, "-k", kernel, "--unit", "--padding-mode", "zeros", *flags, "-o", tmp_path / "o.npy", "--json"
    )
    assert run.ok().json["shape"]["output"] == list(shape)
    torch.manual_seed(0)
    layer = torch.nn.Conv2d(3, 8, (3, 5))
    torch.nn.init.xavier_uniform_(layer.weight)
    weight = layer.weight.detach().flip(2, 3) if solution.pop("turned", False) else layer.weight.detach()
    bias = solution.pop("bias", 0.0)
    wanted = F.conv2d(torch.from_numpy(picture / 255).float()[None], weight, **solution)[0] + bias
    np.testing.assert_allclose(np.load(tmp_path / "o.npy"), wanted.numpy(), atol=2e-6)
    row = run_cli("shape", PHOTO, f"conv:{kernel},{_as_text(flags)}", "--json")
    if "--mode" not in flags and "--bias" not in flags:
        assert row.ok().json["layers"][0]["output"] == list(shape)


def _as_text(flags: list[str]) -> str:
    names = {"--padding": "p", "--stride": "s", "--dilation": "d"}
    return ",".join(
        f"{names[flag]}={value}" for flag, value in zip(flags[::2], flags[1::2], strict=True) if flag in names
    )


@pytest.mark.parametrize(("groups", "maps"), [("1", 6), ("3", 6), ("auto", 18)])
def test_groups_of_a_layer(groups, maps, picture, tmp_path):
    kernel = f"random:out_channels=6,in_channels={3 if groups == '1' else 1},kernel_size=3,init=default,seed=1"
    flags = ["--groups", groups, "--unit", "--padding", "0", "-o", tmp_path / "o.npy", "--json"]
    assert run_cli("apply", PHOTO, "-k", kernel, *flags).ok().json["shape"]["output"] == [maps, 298, 449]
    torch.manual_seed(1)
    weight = torch.nn.Conv2d(3, 6, 3, groups=1 if groups == "1" else 3).weight.detach()
    weight = weight.repeat(3, 1, 1, 1) if groups == "auto" else weight
    wanted = F.conv2d(torch.from_numpy(picture / 255).float()[None], weight, groups=1 if groups == "1" else 3)[0]
    np.testing.assert_allclose(np.load(tmp_path / "o.npy"), wanted.numpy(), atol=2e-6)


def test_a_convolution_is_a_matrix_product_of_columns(picture, tmp_path):
    weight = np.random.default_rng(0).normal(size=(4, 3, 3, 3))
    np.save(tmp_path / "w.npy", weight)
    flags = [
        "--engine",
        "im2col",
        "--padding",
        "0",
        "--stride",
        "2",
        "--dtype",
        "float64",
        "-o",
        tmp_path / "o.npy",
        "--json",
    ]
    report = run_cli("apply", PHOTO, "-k", tmp_path / "w.npy", *flags).ok().json
    assert (report["shape"]["output"], report["conv"]["engine"]) == ([4, 149, 225], "im2col")
    columns = convcli.unfold(picture, 3, stride=2)
    assert columns.shape == (27, 149 * 225)
    np.testing.assert_array_equal(columns, F.unfold(torch.from_numpy(picture)[None], 3, stride=2)[0].numpy())
    product = (weight.reshape(4, 27) @ columns).reshape(4, 149, 225)
    np.testing.assert_allclose(np.load(tmp_path / "o.npy"), product, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("pool", ["maxpool", "avgpool"])
def test_a_convolution_a_rectifier_and_a_pooling(pool, picture, tmp_path):
    text = f"conv:sobel,p=1 relu {pool}:2"
    report = run_cli("apply", PHOTO, "--layers", text, "-o", tmp_path / "o.npy", "--json").ok().json
    shapes = [one["output"] for one in run_cli("shape", PHOTO, text, "--json").ok().json["layers"]]
    assert shapes == [[6, 300, 451], [6, 300, 451], [6, 150, 225]]
    assert report["shape"]["output"] == shapes[-1]
    weight = torch.from_numpy(np.stack([SOBEL, convcli.load_bank("sobel#y").weight[0, 0]])[:, None]).repeat(3, 1, 1, 1)
    maps = F.relu(F.conv2d(torch.from_numpy(picture)[None], weight, padding=1, groups=3))
    pooled = (F.max_pool2d if pool == "maxpool" else F.avg_pool2d)(maps, 2)[0]
    np.testing.assert_allclose(np.load(tmp_path / "o.npy"), pooled.numpy(), atol=1e-3)


def test_the_picture_of_a_learners_tutorial(tmp_path):
    """A 512x512 picture, three channels to one, Xavier's weights of one seed: 510x510, and torch's bias."""
    photo = REPOSITORY / "examples" / "camera.png"
    rgb = np.repeat(load_image(photo)[..., None], 3, axis=2)

    image = save_image(tmp_path / "rgb.png", rgb)
    torch.manual_seed(3)
    layer = torch.nn.Conv2d(3, 1, 3)
    torch.nn.init.xavier_normal_(layer.weight)
    wanted = layer(torch.from_numpy(rgb / np.float32(255)).permute(2, 0, 1)[None])[0].detach().numpy()
    drawn = "init=xavier-normal,seed=3"
    kernel = f"random:out_channels=1,in_channels=3,size=3,{drawn},bias=true"
    ways = (["-k", kernel, "--padding", "0"], ["--layers", f"conv:{kernel}"], ["--layers", f"conv:1,k=3,{drawn}"])
    for number, flags in enumerate(ways):
        run = run_cli("apply", image, *flags, "--unit", "-o", tmp_path / f"{number}.npy", "--json").ok().json
        assert run["shape"]["output"] == [1, 510, 510]
        np.testing.assert_allclose(np.load(tmp_path / f"{number}.npy"), wanted, atol=1e-6)
