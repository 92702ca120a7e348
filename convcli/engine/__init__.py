"""Convolution on NumPy arrays: plan, prepare, run; and torch's functions on top of that.

Everything is loaded when it is first used: NumPy with the first function, torch only when a plan runs on it. The names
of the algorithms need neither them nor the compiled loops, which the environment may forbid.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from convcli.engine.borders import Border, border_index, parse_border
    from convcli.engine.functional import conv1d, conv2d, conv3d, conv_transpose1d, conv_transpose2d, conv_transpose3d
    from convcli.engine.native import loops
    from convcli.engine.plan import ENGINES, ConvPlan, plan_conv
    from convcli.engine.pooling import avg_pool1d, avg_pool2d, avg_pool3d, max_pool1d, max_pool2d, max_pool3d
    from convcli.engine.rearrange import channel_shuffle, fold, unfold
    from convcli.engine.runner import Runner, prepare

__all__ = ["ENGINES", "Border", "ConvPlan", "Runner", "border_index", "loops", "parse_border", "plan_conv", "prepare"]
__all__ += ["conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"]
__all__ += ["avg_pool1d", "avg_pool2d", "avg_pool3d", "max_pool1d", "max_pool2d", "max_pool3d"]
__all__ += ["channel_shuffle", "fold", "unfold"]

_HOMES = {
    "borders": ("Border", "border_index", "parse_border"),
    "native": ("loops",),
    "plan": ("ENGINES", "ConvPlan", "plan_conv"),
    "rearrange": ("channel_shuffle", "fold", "unfold"),
    "runner": ("Runner", "prepare"),
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    homes = (home for home, names in _HOMES.items() if name in names)
    home = next(homes, "pooling" if "_pool" in name else "functional")
    return getattr(import_module(f"{__name__}.{home}"), name)
