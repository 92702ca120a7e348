"""Families that are bases, scale spaces or random."""

from __future__ import annotations

from convcli.banks.catalogue.kinds import Family, Parameter, side, sigma

_STEER = Parameter(
    "steer",
    "float",
    None,
    "direction, counter-clockwise on the screen",
    "degrees",
    -360000.0,
    360000.0,
    auto="none: the basis",
)
_SPACING = Parameter("spacing", "float", 0.67, "of the samples, in units of the Gaussian", "", 0.05, 2.0)
_CONSTANTS = Parameter(
    "constants",
    "choice",
    "exact",
    "exact steer exactly, published are rounded to 4 digits",
    choices=("exact", "published"),
)
_FREEMAN = "W. T. Freeman & E. H. Adelson, PAMI 13(9), 1991"
_STEPS = Parameter("steps", "int", 5, "number of scales", "", 1, 32)
_FACTOR = Parameter("factor", "float", 1.5, "from scale to scale", "", 1.01, 8.0)

FAMILIES = (
    *(
        Family(
            f"steerable-{order}",
            "bank",
            "steerable:steerable",
            (_STEER, side(9, kind="odd"), _SPACING, _CONSTANTS),
            f"{kernels} (1 with steer) x size x size",
            what,
            _FREEMAN,
            ("edge", "texture", "steerable"),
            (),
            (("order", order),),
        )
        for order, kernels, what in (
            ("g1", 2, "first derivative of a Gaussian in any direction"),
            ("g2", 3, "second derivative of a Gaussian in any direction: lines"),
            ("h2", 4, "Hilbert partner of g2 in any direction: edges"),
        )
    ),
    Family(
        "steerable-energy",
        "bank",
        "steerable:quadrature",
        (_STEER._replace(default=0.0), side(9, kind="odd"), _SPACING, _CONSTANTS),
        "2 x size x size",
        "g2 and h2 in one direction; magnitude is the oriented energy",
        _FREEMAN,
        ("edge", "texture", "steerable"),
    ),
    Family(
        "gaussian-scale-space",
        "bank",
        "basis:gaussian_scale_space",
        (sigma(1.0), _FACTOR, _STEPS),
        "steps x size x size",
        "Gaussians of growing sigma",
        "A. P. Witkin 1983; J. J. Koenderink 1984",
        ("blur", "bank"),
    ),
    Family(
        "laplacian-scale-space",
        "bank",
        "basis:laplacian_scale_space",
        (sigma(1.0), _FACTOR, _STEPS),
        "steps x size x size",
        "scale-normalised LoGs: blobs answer at their own scale",
        "T. Lindeberg, IJCV 30(2), 1998",
        ("blob", "edge", "bank"),
    ),
    Family(
        "dct",
        "bank",
        "basis:dct",
        (Parameter("size", "int", 8, "rows and columns", "px", 1, 64),),
        "size² x size x size",
        "cosines of JPEG: with stride = size, the block coefficients",
        "N. Ahmed, T. Natarajan, K. Rao 1974, DCT-II",
        ("basis",),
    ),
    Family(
        "haar",
        "bank",
        "basis:haar",
        (),
        "4x2x2",
        "with stride 2, one level of the Haar wavelet",
        "A. Haar 1910",
        ("basis",),
    ),
    Family(
        "walsh-hadamard",
        "bank",
        "basis:walsh_hadamard",
        (
            Parameter("size", "int", 4, "rows and columns, a power of 2", "px", 1, 64),
            Parameter("order", "choice", "sequency", "of the rows", choices=("sequency", "hadamard")),
        ),
        "size² x size x size",
        "basis of plus and minus",
        "J. L. Walsh 1923; J. Hadamard 1893",
        ("basis",),
        ("hadamard", "walsh"),
    ),
    Family(
        "random",
        "bank",
        "basis:random",
        (
            Parameter("size", "size", (3, 3), "rows and columns, N or HxW", "px", 1, 512),
            Parameter("out_channels", "int", 8, "kernels", "", 1, 65536),
            Parameter("in_channels", "int", 1, "planes that each reads", "", 1, 65536),
            Parameter(
                "init",
                "choice",
                "kaiming-normal",
                "how the weights are drawn",
                choices=(
                    "kaiming-normal",
                    "kaiming-uniform",
                    "xavier-normal",
                    "xavier-uniform",
                    "normal",
                    "uniform",
                    "orthogonal",
                ),
            ),
            Parameter("std", "float", 0.1, "of normal, half-width of uniform", "", 0.0, 1e6),
            Parameter("seed", "int", 0, "of the generator", "", 0, 2**53),
        ),
        "out_channels x in_channels x size",
        "starting weights of a layer",
        "Glorot & Bengio 2010; He et al. 2015; Saxe et al. 2014",
        ("random", "bank"),
    ),
)
