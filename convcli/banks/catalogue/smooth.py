"""Families that smooth: Gaussians, averages and the differences of them."""

from __future__ import annotations

from convcli.banks.catalogue.kinds import Family, Parameter, side, sigma

FAMILIES = (
    Family(
        "gaussian",
        "family",
        "smooth:gaussian",
        (sigma(), side()),
        "size x size",
        "blur with a bell of the given width; sums to 1",
        "sampled exp(-r²/2σ²), normalised",
        ("blur",),
    ),
    Family(
        "box",
        "family",
        "smooth:box",
        (Parameter("size", "size", (3, 3), "rows and columns, N or HxW", "px", 1, 8191),),
        "size",
        "average of a rectangle; sums to 1",
        "moving average",
        ("blur",),
        ("average", "mean"),
    ),
    Family(
        "log",
        "family",
        "laplace:log",
        (sigma(1.4), side()),
        "size x size",
        "Laplacian of Gaussian: blobs and edges of one scale; taps sum to 0",
        "Marr & Hildreth 1980; MATLAB fspecial('log')",
        ("edge", "blob"),
    ),
)
