"""Path-norms of a PyTorch module, without a file: ``python examples/norm_of_a_module.py``.

Compares a wide and a deep network of about the same size, at two exponents, as they are initialized: nothing is
trained and nothing regularized; which of the two is smaller depends on the exponent. Then it moves scale from one
layer to the next, which changes the weights and not the function: their norm follows, the path-norm does not. Needs
``pip install 'pathlift[export]'``.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

import pathlift

QS = [1.0, 2.0]


def mlp(*widths: int) -> nn.Sequential:
    """Linear layers with ReLUs between them."""
    layers = [part for a, b in pairwise(widths) for part in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


def row(name: str, network: nn.Module) -> str:
    """One line: the number of parameters, the norm of their vector, and the path-norms."""
    parameters = nn.utils.parameters_to_vector(network.parameters())
    norms = pathlift.norm(network, q=QS, example=(1, 64)).norms
    figures = "".join(f"{norm.value:>12.4g}" for norm in norms)
    return f"{name:<16}{parameters.numel():>8}{parameters.norm().item():>10.2f}{figures}"


def main() -> None:
    torch.manual_seed(0)
    wide, deep = mlp(64, 192, 10), mlp(64, 60, 60, 60, 52, 10)
    print(f"{'network':<16}{'weights':>8}{'‖θ‖₂':>10}" + "".join(f"{f'q = {q:g}':>12}" for q in QS))
    print(row("wide", wide))
    print(row("deep", deep))
    with torch.no_grad():  # ReLU(8x) / 8 = ReLU(x)
        wide[0].weight *= 8
        wide[0].bias *= 8
        wide[2].weight /= 8
    print(row("wide, rescaled", wide))


if __name__ == "__main__":
    main()
