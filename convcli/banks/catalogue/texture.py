"""Families for texture: Gabor functions and the published filter banks."""

from __future__ import annotations

from convcli.banks.catalogue.kinds import Family, Parameter, angle, side, sigma

_PART = Parameter("part", "choice", "real", "which quadrature part", choices=("real", "imaginary", "pair"))
_BANDWIDTH = Parameter("bandwidth", "float", 1.0, "half-response bandwidth", "octaves", 0.1, 5.0)
_ASPECT = Parameter("aspect", "float", 0.5, "sigma along the wave / sigma across it", "", 0.05, 20.0)
_SUPPORT = Parameter("size", "odd", 49, "rows and columns", "px", 7, 499)
_DC_FREE = Parameter("dc_free", "flag", True, "take the mean out of the real part, under the envelope")
_SIGMA_ON_F = Parameter(
    "sigma_on_f", "float", 0.65, "radial width: .85 .75 .65 .55 are about .7 1 1.5 2 octaves", "", 0.05, 0.99
)
_D_THETA = Parameter("d_theta_on_sigma", "float", 1.5, "spacing of orientations / angular sigma", "", 0.1, 10.0)
_VGG = "Visual Geometry Group, Oxford: www.robots.ox.ac.uk/~vgg/research/texclass/filters.html"


def _auto(text: str) -> Parameter:
    return side(None, text)


def _count(name: str, default: int, about: str, low: int = 1, high: int = 64) -> Parameter:
    return Parameter(name, "int", default, about, "", low, high)


FAMILIES = (
    Family(
        "gabor",
        "family",
        "gabor:gabor",
        (
            Parameter("wavelength", "float", 8.0, "of the wave", "px", 2.0, 2000.0),
            angle(about="of the wave's direction, counter-clockwise on the screen, 0 is to the right"),
            Parameter(
                "sigma", "float", None, "of the envelope along the wave", "px", 0.1, 500.0, auto="from bandwidth"
            ),
            _BANDWIDTH._replace(about="half-response bandwidth, when sigma is not given"),
            _ASPECT,
            Parameter("phase", "float", 0.0, "of the wave at the centre", "degrees", -360000.0, 360000.0),
            _auto("3 sigmas to each side"),
            _PART,
            _DC_FREE,
        ),
        "size x size",
        "stripes of one wavelength and direction; part=pair gives the energy",
        "J. Daugman 1985, in Petkov's parameters",
        ("texture", "edge", "gabor"),
    ),
    Family(
        "gabor-opencv",
        "family",
        "gabor:gabor_opencv",
        (
            side(21, kind="odd"),
            sigma(4.0),
            Parameter(
                "theta", "float", 0.0, "clockwise on the screen, as OpenCV has it", "degrees", -360000.0, 360000.0
            ),
            Parameter("lambd", "float", 10.0, "wavelength", "px", 0.5, 4000.0),
            Parameter("gamma", "float", 0.5, "aspect", "", 0.01, 100.0),
            Parameter("psi", "float", 0.0, "phase", "degrees", -360000.0, 360000.0),
        ),
        "size x size",
        "cv2.getGaborKernel with angles in degrees; not DC-free",
        "OpenCV getGaborKernel",
        ("texture", "gabor"),
    ),
    Family(
        "gabor-skimage",
        "family",
        "gabor:gabor_skimage",
        (
            Parameter("frequency", "float", 0.1, "of the wave", "cycles/px", 0.0005, 2.0),
            Parameter(
                "theta", "float", 0.0, "clockwise on the screen, as scikit-image has it", "degrees", -360000.0, 360000.0
            ),
            _BANDWIDTH,
            Parameter("sigma_x", "float", None, "along the wave", "px", 0.1, 500.0, auto="from bandwidth"),
            Parameter("sigma_y", "float", None, "across the wave", "px", 0.1, 500.0, auto="from bandwidth"),
            Parameter("n_stds", "float", 3.0, "support in sigmas", "", 0.5, 10.0),
            Parameter("offset", "float", 0.0, "phase", "degrees", -360000.0, 360000.0),
            _PART,
        ),
        "changes with theta",
        "skimage.filters.gabor_kernel with angles in degrees; not DC-free",
        "scikit-image gabor_kernel",
        ("texture", "gabor"),
    ),
    Family(
        "gabor-bank",
        "bank",
        "gabor:gabor_bank",
        (
            Parameter("wavelengths", "floats", (4.0, 8.0, 16.0), "one or several", "px", 2.0, 1000.0),
            _count("orientations", 6, "evenly over 180 degrees"),
            _BANDWIDTH,
            _ASPECT,
            _auto("3 sigmas of the largest"),
        ),
        "2*wavelengths*orientations x size x size",
        "DC-free Gabor pairs; maps are magnitudes",
        "J. Daugman 1985, in Petkov's parameters",
        ("texture", "bank", "gabor"),
    ),
    Family(
        "gabor-wiskott",
        "bank",
        "gabor:wiskott",
        (
            _count("scales", 5, "half an octave apart", 1, 12),
            _count("orientations", 8, "evenly over 180 degrees"),
            _auto("3 sigmas of the largest"),
        ),
        "2*scales*orientations x size x size",
        "Gabor jets for faces, 5 scales x 8 directions; maps are magnitudes",
        "L. Wiskott et al., PAMI 19(7), 1997; M. Lades et al., IEEE Trans. Computers 42(3), 1993",
        ("texture", "bank", "gabor"),
    ),
    Family(
        "gabor-manjunath",
        "bank",
        "gabor:manjunath",
        (
            _count("scales", 4, "between low and high", 2, 12),
            _count("orientations", 6, "evenly over 180 degrees", 2),
            Parameter("low", "float", 0.05, "lowest centre frequency", "cycles/px", 0.001, 0.5),
            Parameter("high", "float", 0.4, "highest centre frequency", "cycles/px", 0.002, 0.5),
            _auto("3 sigmas of the largest"),
            _DC_FREE,
        ),
        "2*scales*orientations x size x size",
        "Gabor wavelets for texture retrieval, 4 scales x 6 directions",
        "B. S. Manjunath & W. Y. Ma, PAMI 18(8), 1996",
        ("texture", "bank", "gabor"),
    ),
    Family(
        "log-gabor",
        "family",
        "loggabor:log_gabor",
        (
            Parameter("wavelength", "float", 8.0, "of the centre frequency", "px", 2.0, 500.0),
            angle(about="of the wave's direction, counter-clockwise on the screen, 0 is to the right"),
            _SIGMA_ON_F,
            _count("orientations", 6, "that would share 180 degrees: sets the angular width"),
            _D_THETA,
            _auto("2*ceil(2.5*wavelength)+1"),
            _PART,
        ),
        "size x size",
        "Gabor-like without DC at any bandwidth",
        "D. Field, JOSA A 4(12), 1987; P. Kovesi, gaborconvolve",
        ("texture", "edge", "gabor"),
    ),
    Family(
        "log-gabor-bank",
        "bank",
        "loggabor:log_gabor_bank",
        (
            _count("scales", 4, "mult apart", 1, 12),
            _count("orientations", 6, "evenly over 180 degrees"),
            Parameter("min_wavelength", "float", 3.0, "of the finest scale", "px", 2.0, 100.0),
            Parameter("mult", "float", 2.0, "from scale to scale; goes with sigma_on_f", "", 1.01, 5.0),
            _SIGMA_ON_F,
            _D_THETA,
            _auto("2.5 of the longest wavelength to each side"),
        ),
        "2*scales*orientations x size x size",
        "log-Gabor pairs, 4 scales x 6 directions; maps are magnitudes",
        "D. Field, JOSA A 4(12), 1987; P. Kovesi, gaborconvolve",
        ("texture", "bank", "gabor"),
    ),
    Family(
        "leung-malik",
        "bank",
        "texture:leung_malik",
        (
            Parameter("variant", "choice", "large", "sigmas from sqrt(2) or from 1", choices=("large", "small")),
            _SUPPORT,
        ),
        "48 x size x size",
        "48 texture filters: edges, bars, Gaussians, LoGs",
        f"T. Leung & J. Malik, IJCV 43(1), 2001; {_VGG}",
        ("texture", "bank"),
        ("lm",),
    ),
    Family(
        "schmid",
        "bank",
        "texture:schmid",
        (_SUPPORT,),
        "13 x size x size",
        "13 rotation-invariant texture filters",
        f"C. Schmid, CVPR 2001; {_VGG}",
        ("texture", "bank"),
    ),
    Family(
        "rfs",
        "bank",
        "texture:rfs",
        (_SUPPORT,),
        "38 x size x size",
        "root filter set: 38 filters behind the maximum responses",
        f"M. Varma & A. Zisserman, IJCV 62, 2005; {_VGG}",
        ("texture", "bank"),
    ),
    *(
        Family(
            name,
            "bank",
            "texture:maximum_response",
            (
                _SUPPORT,
                Parameter(
                    "response",
                    "choice",
                    "max",
                    "max keeps the sign, absmax takes absolute values first",
                    choices=("max", "absmax"),
                ),
            ),
            f"{kernels} x size x size",
            f"{kernels} filters, {maps} maps: {what}",
            f"M. Varma & A. Zisserman, IJCV 62, 2005; {_VGG}",
            ("texture", "bank"),
            (),
            (("maps", name),),
        )
        for name, kernels, maps, what in (
            ("mr8", 38, 8, "the largest response over 6 orientations"),
            ("mr4", 14, 4, "the largest response over 6 orientations, one scale"),
            ("mrs4", 38, 4, "the largest response over orientations and scales"),
        )
    ),
    Family(
        "laws",
        "bank",
        "texture:laws",
        (Parameter("taps", "odd", 5, "3, 5 or 7", "px", 3, 7),),
        "9, 25 or 36 x taps x taps",
        "texture energy: level, edge, spot, wave, ripple",
        "K. I. Laws, Textured Image Segmentation, USC 1980",
        ("texture", "bank"),
    ),
)
