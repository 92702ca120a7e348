"""Families and banks against published values and the identities that define them."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate, gaussian_filter

from convcli import conv2d, load_bank
from convcli.banks.catalogue import families
from convcli.banks.families.gabor import manjunath_spreads, radial
from convcli.banks.families.steerable import steering_weights
from convcli.banks.families.texture import laws_rows
from convcli.errors import KernelError


def taps(spec: str) -> np.ndarray:
    return load_bank(spec).weight[:, 0]


def l2(kernel: np.ndarray) -> float:
    return float(np.sqrt((kernel**2).sum()))


def y_up(size: int) -> tuple[np.ndarray, np.ndarray]:
    down, right = np.mgrid[:size, :size] - size // 2
    return right.astype(float), -down.astype(float)


@pytest.mark.parametrize("name", sorted(families()))
def test_every_family_builds_with_its_defaults_and_names_its_source(name: str) -> None:
    family = families()[name]
    parameter = next(iter(family.parameters), None)
    default = parameter.default_text if parameter and parameter.default is not None else None
    bank = load_bank(f"{name}:{parameter.name}={default}" if parameter and default else name)
    assert bank.source
    assert bank.summary
    assert family.summary
    assert family.tags
    assert len(bank.file_names) == len({name.lower() for name in bank.file_names}) == bank.n_kernels
    for parameter in family.parameters:
        assert parameter.about


# --- smoothing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spec",
    [
        "gaussian:sigma=2.3", "gaussian:sigma=1,ratio=3,angle=20", "box:size=3x5", "disk:radius=4.2",
        "pillbox:radius=2.7",
        "ring:inner=2,outer=5.5", "triangle:radius=4", "binomial:order=7", "motion:length=12.5,angle=33",
        "comet:angle=70",
        "unsharp:sigma=2", "sharpen:amount=3", "emboss:angle=10", "high-boost:boost=2", "shift:right=1.5,down=-2",
    ],
)  # fmt: skip
def test_sum_one(spec: str) -> None:
    assert taps(spec).sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(
    "spec",
    [
        "log:sigma=2", "dog:sigma=1.5", "mexican-hat:sigma=2", "laplacian:alpha=0.3", "gaussian:order=1,angle=25",
        "gaussian:order=2,angle=25", "gaussian:order=3", "gabor:wavelength=5,angle=20", "gabor:part=imaginary",
        "gabor-bank", "gabor-wiskott", "gabor-manjunath", "log-gabor:angle=33", "log-gabor-bank", "schmid",
        "leung-malik", "leung-malik:variant=small", "rfs", "mr8", "mr4", "mrs4", "laplacian-scale-space",
        "steerable-g1",
        "sobel:size=9", "farid:taps=7", "savitzky-golay:dx=1",
    ],
)  # fmt: skip
def test_sum_zero(spec: str) -> None:
    bank = taps(spec)
    assert (np.abs(bank.sum(axis=(1, 2))) <= 1e-9 * np.abs(bank).sum(axis=(1, 2))).all()


@pytest.mark.parametrize("order", [0, 1, 2, 3])
@pytest.mark.parametrize("axis", [0, 1])
def test_gaussian_derivatives_are_scipys(order: int, axis: int) -> None:
    image = np.random.default_rng(3).normal(size=(40, 41))
    orders = [0, 0]
    orders[axis] = order
    theirs = gaussian_filter(image, 1.5, order=orders, mode="mirror", truncate=6)
    angle = 0 if axis == 1 else -90  # SciPy's rows go down
    ours = correlate(image, taps(f"gaussian:sigma=1.5,size=19,order={order},angle={angle}")[0], mode="mirror")
    np.testing.assert_allclose(ours, theirs, atol=1e-7)


@pytest.mark.parametrize("angle", [0, 30, 90, 135, 200])
def test_derivatives_measure_slope_and_curvature_in_their_direction(angle: float) -> None:
    x, y = y_up(33)
    along = x * np.cos(np.deg2rad(angle)) + y * np.sin(np.deg2rad(angle))
    for order, polynomial in ((1, along), (2, along**2 / 2), (3, along**3 / 6)):
        kernel = taps(f"gaussian:sigma=2,size=33,order={order},angle={angle}")[0]
        assert (kernel * polynomial).sum() == pytest.approx(1, abs=1e-3)


def test_truncation_of_an_even_derivative_is_said() -> None:
    assert "taken out" in load_bank("gaussian:sigma=1,order=2").notes[0]


def test_matlab_fspecial_values() -> None:
    np.testing.assert_allclose(
        taps("fspecial-disk:radius=1")[0],
        [[0.0251, 0.1453, 0.0251], [0.1453, 0.3183, 0.1453], [0.0251, 0.1453, 0.0251]],
        atol=5e-5,
    )  # fmt: skip
    np.testing.assert_allclose(
        taps("fspecial-gaussian:sigma=0.5")[0],
        [[0.0113, 0.0838, 0.0113], [0.0838, 0.6193, 0.0838], [0.0113, 0.0838, 0.0113]],
        atol=5e-5,
    )
    assert taps("fspecial-log:sigma=0.5")[0, 2].round(4).tolist() == [0.0564, 0.7146, -4.9048, 0.7146, 0.0564]
    np.testing.assert_allclose(taps("fspecial-motion")[0], np.full((1, 9), 1 / 9), atol=1e-15)
    assert taps("motion:length=5,angle=45")[0].round(4)[:2].tolist() == [
        [0, 0, 0, 0.0501, 0.0304],
        [0, 0, 0.0519, 0.1771, 0.0501],
    ]
    assert taps("fspecial-laplacian:alpha=0.2")[0].round(4).tolist()[1] == [0.6667, -3.3333, 0.6667]
    assert taps("fspecial-unsharp:alpha=0.2")[0].round(4).tolist()[1] == [-0.6667, 4.3333, -0.6667]
    assert taps("fspecial-sobel")[0].tolist() == [[1, 2, 1], [0, 0, 0], [-1, -2, -1]]
    assert taps("fspecial-average:size=2x3").shape == (1, 2, 3)


def test_pillbox_has_the_area_of_its_circle() -> None:
    from convcli.banks.families.smooth import _coverage

    for radius in (0.5, 1.0, 2.3, 7.7):
        area = _coverage(radius)
        assert area.sum() == pytest.approx(np.pi * radius**2)
        assert area.min() >= 0
        assert area.max() <= 1 + 1e-12
    fine = np.mgrid[0:400, 0:400] / 100 - 2  # the pixel at (1, 1) of a circle of radius 1.6, by counting
    inside = (fine**2).sum(axis=0) <= 1.6**2
    box = (fine > 0.5).all(axis=0) & (fine < 1.5).all(axis=0)
    assert _coverage(1.6)[3, 3] == pytest.approx((inside & box).sum() / box.sum(), abs=0.01)


def test_disk_and_triangle_and_binomial() -> None:
    assert (taps("disk:radius=1")[0] > 0).tolist() == [[False, True, False], [True] * 3, [False, True, False]]
    assert (taps("triangle:radius=2")[0, 2] * 27).round(9).tolist() == [1, 2, 3, 2, 1]
    np.testing.assert_array_equal(taps("binomial:order=4"), taps("binomial"))


@pytest.mark.parametrize(("angle", "place"), [(0, (0, 1)), (90, (-1, 0)), (180, (0, -1)), (270, (1, 0))])
def test_comet_tails_point_to_the_angle(angle: int, place: tuple[int, int]) -> None:
    dot = np.zeros((41, 41))
    dot[20, 20] = 1
    blurred = correlate(dot, taps(f"comet:sigma=3,angle={angle}")[0])
    down, right = np.mgrid[:41, :41] - 20
    middle = (blurred * down).sum(), (blurred * right).sum()
    assert np.sign(np.round(middle, 9)).tolist() == list(place)


def test_motion_at_any_angle_lies_along_it() -> None:
    for angle in (0, 20, 45, 90, 110):
        kernel = taps(f"motion:length=21,angle={angle}")[0]
        down, right = np.mgrid[: kernel.shape[0], : kernel.shape[1]] - (np.array(kernel.shape) // 2)[:, None, None]
        across = -right * np.sin(np.deg2rad(angle)) - down * np.cos(np.deg2rad(angle))
        assert (kernel * across**2).sum() < 0.3
        np.testing.assert_allclose(kernel, kernel[::-1, ::-1])


def test_shift_moves_the_picture() -> None:
    image = np.random.default_rng(1).normal(size=(20, 20))
    moved = correlate(image, taps("shift:right=2,down=-1")[0])
    np.testing.assert_allclose(moved[4:-4, 4:-4], np.roll(image, (-1, 2), axis=(0, 1))[4:-4, 4:-4])
    assert "bilinear" in load_bank("shift:right=0.5").notes[0]


def test_emboss_is_the_familiar_one() -> None:
    np.testing.assert_array_equal(taps("emboss:angle=-45"), taps("emboss"))
    assert taps("emboss:angle=0")[0].tolist() == [[-1, 0, 1], [-1, 1, 1], [-1, 0, 1]]


def test_sharpeners() -> None:
    np.testing.assert_array_equal(taps("sharpen:amount=1"), taps("sharpen"))
    assert (taps("high-boost:boost=2")[0] * 9).round(12).tolist() == [[-1, -1, -1], [-1, 17, -1], [-1, -1, -1]]
    np.testing.assert_allclose(
        taps("unsharp:sigma=1,amount=0.7"), taps("1.7*identity - 0.7*gaussian:sigma=1"), atol=1e-15
    )


# --- derivatives ------------------------------------------------------------------------------------------------------


def test_sobel_of_every_size() -> None:
    assert taps("sobel:size=7")[0, 3].tolist() == [20 * d for d in (-1, -4, -5, 0, 5, 4, 1)]
    np.testing.assert_array_equal(taps("sobel:size=3"), taps("sobel"))
    np.testing.assert_array_equal(taps("sobel:size=5"), taps("sobel5"))
    x, _ = y_up(11)
    assert (taps("sobel:size=11,gain=unit")[0] * x).sum() == pytest.approx(1)


def test_opencv_derivative_kernels() -> None:
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
    for size in (3, 5, 7, 31):
        derivative, smoothing = cv2.getDerivKernels(1, 0, size)
        np.testing.assert_allclose(taps(f"sobel:size={size}")[0], smoothing @ derivative.T, rtol=1e-6)


def test_scharr_variants() -> None:
    np.testing.assert_array_equal(taps("scharr:variant=3-10-3"), taps("scharr"))
    assert taps("scharr:variant=47-162-47")[0, :, 2].tolist() == [47, 162, 47]


@pytest.mark.parametrize(("size", "slope"), [(3, 0.850574), (5, 0.991798), (7, 0.999934), (9, 0.998406)])
def test_farid_slopes(size: int, slope: float) -> None:
    x, y = y_up(size)
    bank = load_bank(f"farid:taps={size}")
    p_sum = {3: 1.0000002, 5: 0.999999, 7: 1.000001, 9: 1.0}[size]
    assert (bank.weight[0, 0] * x).sum() / p_sum == pytest.approx(slope, abs=6e-7)
    assert (bank.weight[1, 0] * -y).sum() / p_sum == pytest.approx(slope, abs=6e-7)
    assert str(slope) in bank.notes[0]


def test_farid_published_rows_and_higher_orders() -> None:
    p = np.array([0.004711, 0.069321, 0.245410, 0.361117, 0.245410, 0.069321, 0.004711])
    d1 = np.array([-0.018708, -0.125376, -0.193091, 0, 0.193091, 0.125376, 0.018708])
    d2 = np.array([0.055336, 0.137778, -0.056554, -0.273118, -0.056554, 0.137778, 0.055336])
    second = load_bank("farid:taps=7,order=2")
    assert second.kernel_names == ("xx", "xy", "yy")
    for kernel, (down, across) in zip(second.weight[:, 0], ((p, d2), (d1, d1), (d2, p)), strict=True):
        np.testing.assert_allclose(kernel, np.outer(down, across), atol=1e-15)
    third = load_bank("farid:taps=9,order=3")
    assert third.kernel_names == ("xxx", "xxy", "xyy", "yyy")
    x, y = y_up(9)
    assert (third.weight[0, 0] * x**3 / 6).sum() == pytest.approx(1, abs=0.05)
    assert (third.weight[3, 0] * (-y) ** 3 / 6).sum() == pytest.approx(1, abs=0.05)
    file = taps("farid")
    np.testing.assert_allclose(file, taps("farid:taps=5"), atol=2e-6)


def test_savitzky_golay_published_tables() -> None:
    smooth = [[-13, 2, 7, 2, -13], [2, 17, 22, 17, 2], [7, 22, 27, 22, 7], [2, 17, 22, 17, 2], [-13, 2, 7, 2, -13]]
    for degree in (2, 3):
        np.testing.assert_allclose(taps(f"savitzky-golay:size=5,degree={degree}")[0] * 175, smooth, atol=1e-10)
    np.testing.assert_allclose(taps("savgol:dx=1")[0] * 50, [[-2, -1, 0, 1, 2]] * 5, atol=1e-12)
    cubic = [
        [31, -44, 0, 44, -31],
        [-5, -62, 0, 62, 5],
        [-17, -68, 0, 68, 17],
        [-5, -62, 0, 62, 5],
        [31, -44, 0, 44, -31],
    ]
    np.testing.assert_allclose(taps("savitzky-golay:degree=3,dx=1")[0] * 420, cubic, atol=1e-10)
    separable = taps("savitzky-golay:basis=separable")[0]
    assert separable[0, 0] == pytest.approx(9 / 1225)  # not -13/175: a different filter
    _, y = y_up(5)
    assert (taps("savitzky-golay:dy=1")[0] * -y).sum() == pytest.approx(1)


def test_laplacian_tables() -> None:
    np.testing.assert_allclose(taps("laplacian:alpha=0"), taps("laplacian4"))
    np.testing.assert_allclose(taps("laplacian:alpha=0.2"), taps("laplacian:variant=patra-karttunen"), atol=1e-15)
    np.testing.assert_allclose(taps(f"laplacian:alpha={1 / 3!r}"), taps("laplacian:variant=oono-puri"), atol=1e-15)
    np.testing.assert_array_equal(taps("laplacian:variant=full"), taps("laplacian8"))
    x, y = y_up(3)
    for variant in ("cross", "diagonal", "oono-puri", "patra-karttunen"):
        assert (taps(f"laplacian:variant={variant}")[0] * (x**2 + y**2)).sum() == pytest.approx(4)


# --- texture banks ----------------------------------------------------------------------------------------------------


def test_leung_malik_fingerprints() -> None:
    bank = taps("leung-malik")
    assert bank.shape == (48, 49, 49)
    for index, norm, largest, probe in ((0, 0.106623, 0.019126, -0.014072), (1, 0.102110, 0.020075, -0.005199)):
        assert l2(bank[index]) == pytest.approx(norm, abs=6e-7)
        assert bank[index].max() == pytest.approx(largest, abs=6e-7)
        assert bank[index].min() == pytest.approx(-largest, abs=6e-7)
        assert bank[index, 24, 24] == pytest.approx(0, abs=1e-12)
        assert bank[index, 22, 27] == pytest.approx(probe, abs=6e-7)


def test_leung_malik_gaussians_are_normalised_too() -> None:
    for spec in ("leung-malik", "leung-malik:variant=small", "rfs", "schmid"):
        bank = taps(spec)
        assert np.abs(bank.sum(axis=(1, 2))).max() < 1e-12
        np.testing.assert_allclose(np.abs(bank).sum(axis=(1, 2)), 1)


def test_leung_malik_scales_are_powers_of_root_two() -> None:
    names = load_bank("leung-malik").kernel_names
    assert [names[0], names[6], names[12]] == ["edge-1.41-000", "edge-2-000", "edge-2.83-000"]
    assert names[36:39] == ("gaussian-1.41", "log-1.41", "log-4.24")
    small = load_bank("leung-malik:variant=small").kernel_names
    assert [small[0], small[6], small[12], small[36]] == ["edge-1-000", "edge-1.41-000", "edge-2-000", "gaussian-1"]
    edge = taps("leung-malik")[12]  # across a 0-degree edge the extremes lie one sigma, 2.83, from the middle
    assert abs(int(np.argmax(edge[:, 24])) - 24) == 3


def test_orientation_turns_with_y_up() -> None:
    x, y = y_up(49)
    for order in range(6):
        angle = np.deg2rad(30 * order)
        bar = np.abs(taps("leung-malik")[18 + order])
        along, across = x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)
        assert (bar * along**2).sum() > 3 * (bar * across**2).sum()


def test_bars_are_second_derivatives_dark_in_the_middle() -> None:
    bank = taps("leung-malik")
    x, y = y_up(49)
    variance = 2.0  # of the first scale, sigma = sqrt(2)
    bar = np.exp(-(x**2) / (18 * variance) - y**2 / (2 * variance)) * (y**2 - variance)
    bar -= bar.mean()
    np.testing.assert_allclose(bank[18], bar / np.abs(bar).sum(), atol=1e-12)
    edge = -np.exp(-(x**2) / (18 * variance) - y**2 / (2 * variance)) * y
    np.testing.assert_allclose(bank[0], edge / np.abs(edge).sum(), atol=1e-12)
    for index in (36, 39, 42, 45):
        assert bank[index, 24, 24] == bank[index].max()  # Gaussians are bright in the middle,
        assert bank[index + 1, 24, 24] == bank[index + 1].min()  # Laplacians of them dark


def test_rfs_and_schmid_fingerprints() -> None:
    bank = taps("rfs")
    assert bank.shape == (38, 49, 49)
    assert (l2(bank[0]), bank[0].max(), bank[0, 22, 27]) == pytest.approx((0.158131, 0.044225, -0.011970), abs=6e-7)
    np.testing.assert_allclose(bank[6], taps("leung-malik")[6], atol=1e-15)
    schmid = taps("schmid")
    assert len(schmid) == 13
    assert (schmid[0, 24, 24], l2(schmid[0])) == pytest.approx((0.054924, 0.133062), abs=6e-7)
    for kernel in schmid:
        np.testing.assert_allclose(kernel, np.rot90(kernel), atol=1e-15)


def test_maximum_responses() -> None:
    mr8 = load_bank("mr8")
    assert mr8.n_kernels == 38
    assert mr8.reduction is not None
    assert [name for name, _ in mr8.reduction] == [
        "edge-1",
        "edge-2",
        "edge-4",
        "bar-1",
        "bar-2",
        "bar-4",
        "gaussian",
        "log",
    ]
    assert [len(members) for _, members in mr8.reduction] == [6] * 6 + [1, 1]
    for name, members in mr8.reduction[:6]:
        assert all(mr8.kernel_names[member].startswith(f"{name}-") for member in members)
    assert (mr8.reduction_op, load_bank("mr8:response=absmax").reduction_op) == ("max", "absmax")
    assert "with its sign" in mr8.notes[0]
    mr4 = load_bank("mr4")
    assert (mr4.n_kernels, len(mr4.reduction)) == (14, 4)
    assert all(name.startswith(("edge-4", "bar-4", "gaussian", "log")) for name in mr4.kernel_names)
    assert [len(members) for _, members in load_bank("mrs4").reduction] == [18, 18, 1, 1]


def test_laws() -> None:
    rows = laws_rows(5)
    published = {
        "L": [1, 4, 6, 4, 1],
        "E": [-1, -2, 0, 2, 1],
        "S": [-1, 0, 2, 0, -1],
        "W": [-1, 2, 0, -2, 1],
        "R": [1, -4, 6, -4, 1],
    }
    assert {name: row.tolist() for name, row in rows.items()} == published
    assert [float(row @ row) for row in rows.values()] == [70, 10, 6, 10, 70]
    bank = load_bank("laws")
    assert bank.kernel_names[:3] == ("L5L5", "L5E5", "L5S5")
    assert bank.kernel_names[-1] == "R5R5"
    np.testing.assert_array_equal(bank.weight[1, 0], np.outer(rows["L"], rows["E"]))  # L5 down, E5 across
    assert bank.weight.sum(axis=(1, 2, 3)).tolist() == [256] + [0] * 24
    assert load_bank("laws:taps=3").n_kernels == 9
    assert laws_rows(7)["L"].tolist() == [1, 6, 15, 20, 15, 6, 1]
    assert laws_rows(7)["R"].tolist() == [1, -2, -1, 4, -1, -2, 1]


# --- gabor ------------------------------------------------------------------------------------------------------------


def test_gabor_of_opencv() -> None:
    bank = taps("gabor-opencv")
    assert (bank.sum(), np.abs(bank).sum()) == pytest.approx((6.364561, 104.667680), rel=1e-7)
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
    for theta, psi in ((0, 0), (30, 60), (-75, 200)):
        theirs = cv2.getGaborKernel((21, 21), 4, np.deg2rad(theta), 10, 0.5, np.deg2rad(psi))
        np.testing.assert_allclose(taps(f"gabor-opencv:theta={theta},psi={psi}")[0], theirs, atol=1e-14)


def test_gabor_of_skimage() -> None:
    pair = taps("gabor-skimage:part=pair")
    assert pair.shape == (2, 35, 35)
    assert pair[0].sum() == pytest.approx(9.623e-4, abs=1e-7)
    assert np.hypot(*pair).sum() == pytest.approx(0.996350, abs=1e-6)
    filters = pytest.importorskip("skimage.filters", reason="scikit-image is not installed")
    for theta in (0, 30, 77):
        theirs = filters.gabor_kernel(0.1, np.deg2rad(theta), sigma_x=3, sigma_y=5, offset=0.5)
        spec = f"gabor-skimage:theta={theta},sigma_x=3,sigma_y=5,offset={np.rad2deg(0.5)},part=pair"
        np.testing.assert_allclose(taps(spec), [theirs.real, theirs.imag], atol=1e-15)


def test_gabor_never_changes_an_even_size_silently() -> None:
    with pytest.raises(KernelError, match="not an odd number"):
        load_bank("gabor-opencv:size=10")


@pytest.mark.parametrize("angle", [0, 45, 70, 160])
def test_gabor_prefers_its_own_wave(angle: int) -> None:
    pair = taps(f"gabor:wavelength=8,angle={angle},part=pair")
    x, y = y_up(pair.shape[-1])

    def energy(direction: float, wavelength: float) -> float:
        phase = 2 * np.pi / wavelength * (x * np.cos(np.deg2rad(direction)) + y * np.sin(np.deg2rad(direction)))
        return float(sum((kernel * np.cos(phase)).sum() ** 2 for kernel in pair))

    own = energy(angle, 8)
    assert all(own > 1.5 * energy(angle + turn, 8) for turn in (20, 45, 90))
    assert all(own > 1.5 * energy(angle, wavelength) for wavelength in (4, 16))


def test_gabor_banks_are_pairs_with_magnitudes() -> None:
    for spec, pairs in (("gabor-bank", 18), ("gabor-wiskott", 40), ("gabor-manjunath", 24), ("log-gabor-bank", 24)):
        bank = load_bank(spec)
        assert bank.n_kernels == 2 * pairs
        assert bank.reduction is not None
        assert [members for _, members in bank.reduction] == [(2 * n, 2 * n + 1) for n in range(pairs)]
        assert bank.reduction_op == "magnitude"


def test_wiskott_is_the_published_formula() -> None:
    bank = taps("gabor-wiskott")
    x, y = y_up(bank.shape[-1])
    k, sigma = np.pi / 2 / 2, 2 * np.pi  # second octave step (v = 2), direction 3 of 8
    u = np.pi * 3 / 8
    envelope = k**2 / sigma**2 * np.exp(-(k**2) * (x**2 + y**2) / (2 * sigma**2))
    phase = k * (x * np.cos(u) + y * np.sin(u))
    index = 2 * (2 * 8 + 3)
    np.testing.assert_allclose(bank[index], envelope * (np.cos(phase) - np.exp(-(sigma**2) / 2)), atol=1e-6)
    np.testing.assert_allclose(bank[index + 1], envelope * np.sin(phase), atol=1e-15)


def test_manjunath_half_peaks_touch() -> None:
    factor, sigma_u, sigma_v = manjunath_spreads(6, 4, 0.05, 0.4)
    assert factor == pytest.approx(2)
    half = np.sqrt(2 * np.log(2))
    assert 0.4 - half * sigma_u == pytest.approx(0.4 / factor + half * sigma_u / factor)  # neighbours in scale
    # the half-peak ellipse around (0.4, 0) touches the ray at half the angle between orientations
    t = np.linspace(0, 2 * np.pi, 200_001)
    ray = np.arctan2(half * sigma_v * np.sin(t), 0.4 + half * sigma_u * np.cos(t)).max()
    assert ray == pytest.approx(np.pi / 12, abs=1e-6)


def test_log_gabor_radial_values_and_zero_dc() -> None:
    assert float(radial(np.array([0.2]), 0.1, 0.65)[0]) == pytest.approx(0.274033, abs=6e-7)
    assert float(radial(np.array([0.2]), 0.1, 0.55)[0]) == pytest.approx(0.510618, abs=6e-7)
    assert radial(np.array([0.0, 0.1]), 0.1, 0.65).tolist() == [0, 1]
    bank = load_bank("log-gabor:wavelength=8,angle=60,part=pair")
    assert "energy" in bank.notes[0]
    gains = np.abs(np.fft.fftshift(np.fft.fft2(bank.weight[0, 0], (128, 128))))
    row, column = np.unravel_index(np.argmax(gains), gains.shape)
    up, right = 64 - row, column - 64
    assert np.rad2deg(np.arctan2(up, right)) % 180 == pytest.approx(60, abs=6)
    assert np.hypot(up, right) / 128 == pytest.approx(1 / 8, rel=0.1)


# --- bases ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spec", ["dct:size=8", "dct:size=5", "haar", "walsh-hadamard:size=8", "walsh-hadamard:order=hadamard"]
)
def test_gram_is_the_identity(spec: str) -> None:
    flat = load_bank(spec).weight.reshape(load_bank(spec).n_kernels, -1)
    np.testing.assert_allclose(flat @ flat.T, np.eye(len(flat)), atol=1e-13)


def test_dct_haar_and_walsh_are_the_published_ones() -> None:
    from scipy.fft import dctn

    block = np.random.default_rng(0).normal(size=(8, 8))
    ours = (taps("dct:size=8") * block).sum(axis=(1, 2)).reshape(8, 8)
    np.testing.assert_allclose(ours, dctn(block, norm="ortho"), atol=1e-12)
    assert (taps("haar") * 2).tolist() == [[[1, 1], [1, 1]], [[1, -1], [1, -1]], [[1, 1], [-1, -1]], [[1, -1], [-1, 1]]]
    changes = (np.diff(taps("walsh-hadamard:size=8")[:8, 0], axis=1) != 0).sum(axis=1)
    assert changes.tolist() == list(range(8))


@pytest.mark.parametrize("order", ["g1", "g2", "h2"])
def test_steering_identity(order: str) -> None:
    basis = taps(f"steerable-{order}")
    for degrees in (0, 17, 90, 123, 250):
        steered = taps(f"steerable-{order}:steer={degrees}")[0]
        np.testing.assert_allclose(steered, np.tensordot(steering_weights(order, degrees), basis, axes=1), atol=1e-15)
    # steering by 90 degrees turns the first kernel by a quarter, counter-clockwise
    np.testing.assert_allclose(taps(f"steerable-{order}:steer=90")[0], np.rot90(basis[0]), atol=1e-14)
    published = taps(f"steerable-{order}:steer=90,constants=published")[0]
    assert np.abs(published - np.rot90(taps(f"steerable-{order}:constants=published")[0])).max() < 1e-4


def test_steering_at_any_angle_is_the_turned_function() -> None:
    """G2 at an angle, sampled straight from the turned formula."""
    x, y = y_up(9)
    for degrees in (10, 45, 77):
        along = 0.67 * (x * np.cos(np.deg2rad(degrees)) + y * np.sin(np.deg2rad(degrees)))
        bell = np.exp(-(0.67**2) * (x**2 + y**2))
        np.testing.assert_allclose(
            taps(f"steerable-g2:steer={degrees}")[0], np.sqrt(8 / (3 * np.pi)) * (2 * along**2 - 1) * bell, atol=1e-14
        )
        np.testing.assert_allclose(
            taps(f"steerable-h2:steer={degrees}")[0], 0.978 * (-2.254 * along + along**3) * bell, atol=1e-14
        )


def test_steerable_published_row() -> None:
    row = taps("steerable-g2:constants=published")[0, 4]
    assert row.round(4).tolist() == [0.0094, 0.1148, 0.3964, -0.0601, -0.9213, -0.0601, 0.3964, 0.1148, 0.0094]
    pair = load_bank("steerable-energy:steer=30")
    assert (pair.kernel_names, pair.combine) == (("g2", "h2"), "magnitude")


def test_scale_spaces() -> None:
    bank = load_bank("gaussian-scale-space:sigma=1,factor=2,steps=3")
    assert bank.kernel_names == ("sigma-1", "sigma-2", "sigma-4")
    np.testing.assert_allclose(bank.weight.sum(axis=(1, 2, 3)), 1)
    blob = np.exp(-(y_up(43)[0] ** 2 + y_up(43)[1] ** 2) / (2 * 2.25**2))
    answers = np.abs((taps("laplacian-scale-space:sigma=1,factor=1.5,steps=5") * blob).sum(axis=(1, 2)))
    assert int(np.argmax(answers)) == 2  # sigma 2.25 answers most to a blob of sigma 2.25


# --- random -----------------------------------------------------------------------------------------------------------


TORCH_INITS = {
    "default": lambda weight: weight,
    "xavier-uniform": torch.nn.init.xavier_uniform_,
    "xavier-normal": torch.nn.init.xavier_normal_,
    "kaiming-uniform": lambda weight: torch.nn.init.kaiming_uniform_(weight, nonlinearity="relu"),
    "kaiming-normal": lambda weight: torch.nn.init.kaiming_normal_(weight, nonlinearity="relu"),
    "normal": lambda weight: torch.nn.init.normal_(weight, 0, 0.1),
    "uniform": lambda weight: torch.nn.init.uniform_(weight, -0.1, 0.1),
    "orthogonal": torch.nn.init.orthogonal_,
}


def test_random_is_what_torch_draws_for_the_seed() -> None:
    draw = random.Random(5)
    for case in range(200):
        init = list(TORCH_INITS)[case % len(TORCH_INITS)]
        n_out, n_in, size = draw.randint(1, 40), draw.randint(1, 9), (draw.randint(1, 7), draw.randint(1, 7))
        seed, bias = draw.choice([draw.randint(0, 99), draw.randint(0, 2**53)]), draw.choice(["true", "false", "drawn"])
        spec = f"random:out_channels={n_out},in_channels={n_in},size={size[0]}x{size[1]},init={init},seed={seed}"
        bank = load_bank(f"{spec},bias={bias}")
        torch.manual_seed(seed)
        layer = torch.nn.Conv2d(n_in, n_out, size, bias=bias != "false")
        TORCH_INITS[init](layer.weight)
        expected = layer.weight.detach().numpy()
        if init == "orthogonal":  # LAPACK rounds the factors of torch
            np.testing.assert_allclose(bank.weight, expected, atol=4e-6)
        else:
            np.testing.assert_array_max_ulp(bank.weight.astype(np.float32), expected, 1)
        assert (bank.bias is not None) == (bias == "true")
        if bank.bias:
            np.testing.assert_array_max_ulp(np.float32(bank.bias), layer.bias.detach().numpy(), 1)


def test_the_picture_of_a_layer_with_random_weights_is_torchs() -> None:
    bank = load_bank("random:out_channels=1,in_channels=3,size=3,init=xavier-normal,seed=3,bias=true")
    picture = np.random.default_rng(0).random((3, 512, 512), np.float32)
    torch.manual_seed(3)
    layer = torch.nn.Conv2d(3, 1, 3)
    torch.nn.init.xavier_normal_(layer.weight)
    expected = layer(torch.from_numpy(picture)).detach().numpy()
    maps = conv2d(picture, np.float32(bank.weight), bank.bias)
    assert maps.shape == (1, 510, 510)
    np.testing.assert_allclose(maps, expected, atol=1e-6)


def test_random_numbers_of_numpy_are_kept() -> None:
    spec = "random:size=5,out_channels=64,in_channels=16,seed=3,rng=numpy,init="
    expected = np.random.default_rng(3).normal(0, np.sqrt(2 / 400), (64, 16, 5, 5))
    np.testing.assert_allclose(load_bank(f"{spec}kaiming-normal").weight, expected, atol=1e-15)
    limit = np.sqrt(6 / 2000)
    expected = np.random.default_rng(3).uniform(-limit, limit, (64, 16, 5, 5))
    np.testing.assert_allclose(load_bank(f"{spec}xavier-uniform").weight, expected, atol=1e-15)
    rows = load_bank("random:out_channels=9,size=5,init=orthogonal,rng=numpy").weight.reshape(9, 25)
    np.testing.assert_allclose(rows @ rows.T, np.eye(9), atol=1e-12)
