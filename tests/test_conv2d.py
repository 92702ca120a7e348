"""conv2d against nested loops and against torch in float64, engine by engine."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import PURE, PURE_FFT, PURE_TORCH
from hypothesis import given, settings
from oracles import assert_close
from strategies import convolutions

from convcli.engine import ENGINES, batches, conv2d, native, parse_border, plan_conv, prepare
from convcli.errors import GeometryError, UsageError

NAMES = (*ENGINES, "auto")
COMPILED = ("direct",) if native.core else ()
TOLERANCE = {np.dtype(np.float64): 1e-12, np.dtype(np.float32): 2e-6}


def engines_for(weight: np.ndarray) -> tuple[str, ...]:
    """Every engine that should take these weights: separable ones are (O, 1, kH, kW) of low rank."""
    kernel_h, kernel_w = weight.shape[2:]
    ranks = np.linalg.matrix_rank(weight[:, 0])
    small = (
        min(kernel_h, kernel_w) > 1 and weight.shape[1] == 1 and ranks.max() * (kernel_h + kernel_w) <= weight[0].size
    )
    return tuple(name for name in NAMES if (small or name != "separable") and (native.core or name != "direct"))


@given(case=convolutions())
@settings(max_examples=60)
def test_every_engine_equals_the_loops(case):
    image, weight, bias = case.arrays()
    expected = case.expected(image, weight, bias)
    # Rounding is relative to the largest sum of products, not to a result that cancelled to nothing.
    unit = float(np.abs(image).max() * np.abs(weight).sum(axis=(1, 2, 3)).max()) + 5
    for engine in engines_for(weight):
        for dtype, tolerance in TOLERANCE.items():
            actual = conv2d(
                image.astype(dtype),
                weight,
                bias,
                case.stride,
                case.padding,
                case.dilation,
                case.groups,
                padding_mode=case.border,
                engine=engine,
            )
            assert actual.dtype == dtype
            assert_close(actual, expected, rtol=tolerance, scale=unit)


@given(case=convolutions(borders=("zeros",), symmetric=True, largest=40))
@settings(max_examples=60)
def test_every_engine_equals_torch(case):
    image, weight, bias = case.arrays()
    padding = tuple(before for before, _ in case.padding)
    expected = torch.nn.functional.conv2d(
        torch.from_numpy(image),
        torch.from_numpy(weight),
        None if bias is None else torch.from_numpy(bias),
        case.stride,
        padding,
        case.dilation,
        case.groups,
    ).numpy()
    for engine in engines_for(weight):
        actual = conv2d(image, weight, bias, case.stride, padding, case.dilation, case.groups, engine=engine)
        assert_close(actual, expected, rtol=1e-12, scale=float(np.abs(image).max() * np.abs(weight).sum()) + 5)


def test_an_impulse_turns_the_taps_round():
    image = np.zeros((1, 5, 5))
    image[0, 2, 2] = 1
    taps = np.arange(1.0, 10.0).reshape(1, 1, 3, 3)
    for engine in engines_for(taps):
        correlated = conv2d(image, taps, padding=1, engine=engine)[0, 1:4, 1:4].ravel()
        assert_close(correlated, np.arange(9.0, 0, -1), rtol=1e-14)
        convolved = conv2d(image, taps[..., ::-1, ::-1], padding=1, engine=engine)[0, 1:4, 1:4].ravel()
        assert_close(convolved, np.arange(1.0, 10.0), rtol=1e-14)


def test_same_keeps_the_size_and_even_kernels_hang_over_the_end():
    image = np.arange(12.0).reshape(1, 3, 4)
    taps = np.zeros((1, 1, 2, 2))
    taps[0, 0, 0, 0] = 1  # the anchor of an even kernel: (k - 1) // 2
    assert conv2d(image, taps, padding="same").tolist() == image.tolist()
    assert conv2d(image, np.ones((1, 1, 3, 3)), stride=2, padding="same").shape == (1, 2, 2)
    assert conv2d(image, np.ones((1, 1, 3, 3)), padding="full").shape == (1, 5, 6)
    assert conv2d(image, np.ones((1, 1, 3, 3)), padding=((0, 1), (2, 3))).shape == (1, 2, 7)


@pytest.mark.parametrize(
    ("dtype", "result"),
    [("uint8", "float64"), ("int64", "float64"), ("bool", "float64"), ("float16", "float32"), ("float32", "float32")],
)
def test_types_of_results(dtype, result):
    image = np.ones((1, 4, 4), dtype)
    maps = conv2d(image, np.full((1, 1, 3, 3), 2))
    assert maps.dtype == result
    assert (maps == 18).all()


@pytest.mark.parametrize(
    "arguments",
    [
        {"weight": np.ones((1, 1, 5, 3))},
        {"groups": 2},
        {"weight": np.ones((2, 3, 3, 3))},
        {"weight": np.ones((3, 3))},
        {"stride": 0},
        {"stride": (1, 2, 3)},
        {"dilation": 0},
        {"padding": -1},
        {"bias": np.ones(2)},
        {"input": np.ones((4, 4))},
        {"input": np.ones((1, 0, 4))},
    ],
)
def test_what_torch_refuses_is_refused(arguments):
    given_ = {"input": np.ones((1, 4, 4)), "weight": np.ones((1, 1, 3, 3)), **arguments}
    with pytest.raises(GeometryError):
        conv2d(**given_)
    as_torch = {k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in given_.items()}
    if arguments.get("stride") != (1, 2, 3) and "input" not in arguments:  # torch takes these
        with pytest.raises((RuntimeError, ValueError)):
            torch.nn.functional.conv2d(**as_torch)


def test_unknown_words_are_refused_with_a_near_name():
    with pytest.raises(UsageError) as caught:
        conv2d(np.ones((1, 4, 4)), np.ones((1, 1, 3, 3)), engine="bandet")
    assert "gemm" in caught.value.hint
    with pytest.raises(UsageError):
        conv2d(np.ones((1, 4, 4)), np.ones((1, 1, 3, 3)), padding="sane")
    with pytest.raises(UsageError):
        conv2d(np.ones((1, 4, 4), complex), np.ones((1, 1, 3, 3)))


class Rows:
    """An image that is only ever seen in windows."""

    def __init__(self, planes: np.ndarray) -> None:
        self._planes, self.shape, self.dtype = planes, planes.shape, planes.dtype
        self.largest = 0

    def rows(self, top: int, bottom: int) -> np.ndarray:
        self.largest = max(self.largest, bottom - top)
        return self._planes[:, top:bottom]


def test_bands_of_any_height_make_the_same_maps():
    random = np.random.default_rng(0)
    planes = random.integers(0, 256, (3, 50, 41), dtype=np.uint8)
    weight = random.standard_normal((6, 1, 5, 4))
    border = parse_border("circular")
    plan = plan_conv(planes.shape, weight, (2, 1), ((3, 4), (2, 9)), (1, 2), 3, border, input_dtype="uint8")
    runner = prepare(plan, weight, np.arange(6.0))
    whole = runner.run(planes)
    source = Rows(planes)
    height = plan.output_shape[1]
    for step in (1, 7, height):
        bands = [runner.rows(source, top, min(top + step, height)) for top in range(0, height, step)]
        assert_close(np.concatenate(bands, axis=1), whole.astype(np.float64), rtol=1e-6)
    expected = conv2d(
        planes, weight, np.arange(6), (2, 1), ((3, 4), (2, 9)), (1, 2), 3, padding_mode="circular", engine="reference"
    )
    assert_close(whole, expected, rtol=1e-6)


@pytest.mark.parametrize("kernels", [1, 2])
@pytest.mark.parametrize("stride", [(1, 1), (2, 1), (1, 2)])
@pytest.mark.parametrize("whole", [True, False])
def test_interleaved_pictures_are_exact_and_equal_planar_ones(kernels, stride, whole):
    random = np.random.default_rng(3)
    picture = random.integers(0, 256, (30, 37, 3), dtype=np.uint8)
    weight = random.integers(-5, 6, (kernels, 1, 3, 4)) if whole else random.standard_normal((kernels, 1, 3, 4))
    weight = np.tile(weight, (3, 1, 1, 1))
    border = parse_border("reflect")
    plan = plan_conv((3, 30, 37), weight, stride, ((1, 1), (1, 2)), (1, 2), 3, border, input_dtype="uint8")
    runner = prepare(plan, weight)
    expected = conv2d(
        picture.transpose(2, 0, 1),
        weight,
        None,
        stride,
        ((1, 1), (1, 2)),
        (1, 2),
        3,
        padding_mode="reflect",
        engine="reference",
    )
    _, height, width = plan.output_shape
    planar = runner.run(np.ascontiguousarray(picture.transpose(2, 0, 1)))
    side_by_side = np.empty((height, width, 3 * kernels), np.float32).transpose(2, 0, 1)
    for maps in (planar, runner.run(picture.transpose(2, 0, 1)), runner.run(picture.transpose(2, 0, 1), side_by_side)):
        if whole:
            assert plan.exact
            np.testing.assert_array_equal(maps, expected)
        else:
            assert not plan.exact
            assert_close(maps, expected, rtol=1e-6)


@pytest.mark.parametrize("name", [pytest.param("gemm", marks=pytest.mark.pure), *COMPILED])
@pytest.mark.parametrize(
    ("dtype", "scale", "exact"), [("uint8", 1, True), ("uint8", 9, True), ("uint16", 1, True), ("uint16", 999, False)]
)
def test_whole_numbers_are_exact_where_the_plan_says_so(dtype, scale, exact, name):
    random = np.random.default_rng(5)
    planes = random.integers(0, np.iinfo(dtype).max + 1, (2, 300, 333)).astype(dtype)
    weight = np.tile([[[[-1, 0, 1], [-2, 0, 2], [-9, 0, 9]]]], (2, 1, 1, 1)) * scale
    plan = plan_conv(planes.shape, weight, groups=2, input_dtype=dtype, engine=name)
    assert plan.exact is exact
    assert plan.sums == "float32"
    maps = prepare(plan, weight).run(planes)
    expected = conv2d(planes, weight, groups=2, engine="reference")
    if exact:
        np.testing.assert_array_equal(maps, expected)


def test_the_plan_is_integers_and_names():
    plan = plan_conv((3, 480, 640), np.ones((3, 1, 3, 3)), padding=((1, 1), (1, 1)), groups=3, input_dtype="uint8")
    facts = plan.as_dict()
    assert facts["engine"] == ("direct" if native.core else "gemm")
    assert facts["reason"]
    assert plan.memory_bytes < 2**24
    assert {*dict(plan.estimates), *dict(plan.excluded)} == set(ENGINES)


def test_cuda_is_refused_where_there_is_none():
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    weight = np.ones((1, 1, 3, 3))
    with pytest.raises(UsageError, match="cuda") as caught:
        plan_conv((1, 8, 8), weight, device="cuda")
    assert caught.value.hint == "--device cpu"
    with pytest.raises(UsageError, match="CPU only"):
        plan_conv((1, 8, 8), weight, device="cuda", engine="gemm")


def test_separable_says_what_it_does_not_take():
    random = np.random.default_rng(0)
    for weight, why in (
        (random.standard_normal((1, 1, 7, 7)), "rank"),
        (random.standard_normal((1, 2, 3, 3)), "planes"),
        (np.ones((1, 1, 1, 9)), "single row"),
    ):
        with pytest.raises(UsageError, match=why):
            conv2d(np.ones((weight.shape[1], 20, 20)), weight, engine="separable")
        excluded = dict(plan_conv((weight.shape[1], 20, 20), weight, engine="reference").excluded)  # which asks all
        assert why in excluded["separable"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sums_of_separable_kernels_are_exact_to_the_tolerance(dtype):
    random = np.random.default_rng(4)
    weight = sum(np.outer(random.standard_normal(21), random.standard_normal(17)) for _ in range(3))[None, None]
    image = random.standard_normal((1, 70, 90)).astype(dtype)
    expected = conv2d(image, weight, engine="reference")
    actual = conv2d(image, weight, engine="separable")
    assert_close(actual, expected.astype(np.float64), rtol={"float32": 2e-6, "float64": 1e-14}[dtype])


@pytest.mark.parametrize("width", [64, 96, 97, 200])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("strip", [False, True])
def test_rows_of_taps_are_one_product(width, stride, dilation, strip):
    """Maps that are whole numbers of blocks are written where they belong, others and strided ones copied there."""
    random = np.random.default_rng(width)
    image = random.standard_normal((1, 21, width * stride + (1 - stride)))
    weight = random.standard_normal((1, 1, 5, 1)) * random.standard_normal((1, 1, 1, 33))
    pad = ((2 * dilation,) * 2, (16 * dilation,) * 2)
    options = {"stride": (1, stride), "padding": pad, "dilation": (dilation, dilation), "dtype": "float64"}
    expected = conv2d(image, weight, None, (1, stride), pad, dilation, engine="reference")
    assert expected.shape == (1, 21, width)
    plan = plan_conv(image.shape, weight, engine="separable", **options)
    memory = np.full((1, 21, width + 9), np.nan)
    out = memory[..., 4 : 4 + width] if strip else memory[..., :width].copy()
    assert_close(prepare(plan, weight).run(image, out), expected, rtol=1e-13)
    untouched = memory[..., [*range(4), *range(4 + width, width + 9)]] if strip else memory
    assert np.isnan(untouched).all()


def test_what_is_kept_does_not_change_with_the_callers_arrays():
    image, weight, bias = np.zeros((1, 16, 40), np.float32), np.zeros((1, 1, 3, 3)), np.array([1.0])
    assert (conv2d(image, weight, bias) == 1).all()
    bias[0], weight[...] = 5, 7
    assert (conv2d(image, weight, bias) == 5).all()
    assert (conv2d(image + 1, np.zeros((1, 1, 3, 3)), np.array([1.0])) == 1).all()


def test_a_plan_is_kept_for_the_same_taps_only():
    image, taps = np.ones((1, 9, 9)), np.ones((1, 1, 3, 3))
    assert conv2d(image, taps).max() == 9
    taps *= 2
    assert conv2d(image, taps).max() == 18
    assert conv2d(image, taps, [1.0]).max() == 19
    assert conv2d(image, taps, [2.0]).max() == 20
    assert conv2d(image, taps, stride=2).shape == (1, 4, 4)
    large = np.ones((1, 1, 300, 300))
    assert conv2d(np.ones((1, 300, 300)), large).item() == 90_000
    for size in range(5, 5 + 2 * batches.N_CACHED):
        conv2d(np.ones((1, size, size)), taps)
    assert len(batches._cache) == batches.N_CACHED


@pytest.mark.parametrize("engine", [*PURE, *COMPILED, PURE_TORCH])
@pytest.mark.parametrize("groups", [1, 3])
def test_large_kernels_and_banks(engine, groups):
    """More samples than a tile or a band, windows larger than either, and many kernels."""
    random = np.random.default_rng(6)
    image = random.standard_normal((3, 90, 310)).astype(np.float32)
    weight = random.standard_normal((6, 3 // groups, 31, 41))
    arguments = {"padding": "same", "padding_mode": "circular", "groups": groups}
    expected = conv2d(image.astype(np.float64), weight, engine="fft", **arguments)  # float64, by another method
    actual = conv2d(image if engine != "reference" else image.astype(np.float64), weight, engine=engine, **arguments)
    assert_close(actual, expected, rtol=3e-6 if engine != "reference" else 1e-12)


@pytest.mark.parametrize("engine", [*PURE, *COMPILED, "separable", PURE_FFT])
@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
def test_what_is_not_finite_stays_where_its_windows_are(engine, bad):
    """Block products and transforms would smear it over their neighbours."""
    image = np.zeros((1, 40, 300), np.float32)
    image[0, 20, 150] = bad
    maps = conv2d(image, np.ones((1, 1, 5, 5)), padding=2, engine=engine)
    touched = np.zeros(maps.shape, bool)
    touched[0, 18:23, 148:153] = True
    assert (maps[~touched] == 0).all()
    np.testing.assert_array_equal(maps[touched], np.full(25, bad, np.float32))
