"""Convolution on NumPy arrays: plan, prepare, run; and torch's functions on top of that.

Loads NumPy; torch only when a plan runs on it.
"""

from convcli.engine.borders import Border, border_index, parse_border
from convcli.engine.costs import ENGINES
from convcli.engine.functional import (
    conv1d,
    conv2d,
    conv3d,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
)
from convcli.engine.plan import ConvPlan, plan_conv
from convcli.engine.pooling import avg_pool1d, avg_pool2d, avg_pool3d, max_pool1d, max_pool2d, max_pool3d
from convcli.engine.rearrange import channel_shuffle, unfold
from convcli.engine.runner import Runner, prepare

__all__ = [
    "ENGINES",
    "Border",
    "ConvPlan",
    "Runner",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "border_index",
    "channel_shuffle",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "parse_border",
    "plan_conv",
    "prepare",
    "unfold",
]
