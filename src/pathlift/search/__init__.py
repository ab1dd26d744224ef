"""Bayesian optimization of black boxes over numbers and choices, with kernels that know symmetries."""

from pathlift.search.gp import GaussianProcess
from pathlift.search.kernels import AverageKernel, Kernel, MaxKernel, base_kernel
from pathlift.search.optimize import Optimizer, minimize
from pathlift.search.space import Choice, Integer, Real, Space
from pathlift.search.symmetry import Exchangeable, Group, Reflected
from pathlift.search.trials import Limit, SearchResult, Trial

__all__ = [
    "AverageKernel", "Choice", "Exchangeable", "GaussianProcess", "Group", "Integer", "Kernel", "Limit", "MaxKernel",
    "Optimizer", "Real", "Reflected", "SearchResult", "Space", "Trial", "base_kernel", "minimize",
]  # fmt: skip
