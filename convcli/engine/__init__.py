"""Convolution on NumPy arrays: plan, prepare, run.

Loads NumPy; torch only when a plan runs on it.
"""

from convcli.engine.borders import Border, border_index, parse_border
from convcli.engine.functional import conv2d
from convcli.engine.plan import ConvPlan, plan_conv
from convcli.engine.runner import Runner, prepare

__all__ = ["Border", "ConvPlan", "Runner", "border_index", "conv2d", "parse_border", "plan_conv", "prepare"]
