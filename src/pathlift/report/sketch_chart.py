"""A chart of a sketch: eigenvalues of what layers read, kurtosis of their channels, and sizes beside an int8 grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pathlift.passes.sketches.bit_counts import SHIFT, edges
from pathlift.passes.sketches.layer import LayerSketch
from pathlift.passes.sketches.sketch import Sketch
from pathlift.report.row_chart import shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pathlift.report.page import Page

# Okabe and Ito's colours, which most eyes tell apart.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_LAYERS, _WIDEST, _OUTLIER, _LEVELS = 6, 2048, 50.0, 127


def draw_sketch(sketch: Sketch) -> Page:
    """Draw three panels, for up to six layers, spread over the network.

    Eigenvalues are of E[x·xᵀ], relative to the largest, with a mark at the effective rank. The histogram is of |x|, per
    octave, relative to the layer's largest; between the dashed lines lie the 127 levels of int8 that are not zero.

    Parameters
    ----------
    sketch
        Layers of a width beyond 2,048 have no eigenvalues drawn.
    """
    from pathlift.report.page import Page, styled

    layers = _chosen([layer for layer in sketch.layers if layer.rows])
    with styled({"axes.spines.top": False}):
        figure = Page(figsize=(9.6, 3.1), layout="constrained")
        spectrum, kurtosis, sizes = figure.subplots(1, 3)
        for colour, layer in zip(_COLOURS, layers, strict=False):
            _eigenvalues(spectrum, layer, colour)
            _kurtosis(kurtosis, layer, colour)
            _sizes(sizes, layer, colour)
        spectrum.set(xscale="log", yscale="log", xlabel="eigenvalue of E[xxᵀ], by rank", ylabel="of the largest")
        spectrum.set_ylim(bottom=1e-8)
        kurtosis.axhline(3, color="black", linewidth=0.8, linestyle=":")
        kurtosis.axhline(_OUTLIER, color="black", linewidth=0.8, linestyle="--")
        kurtosis.set(yscale="log", xlabel="channels, by kurtosis [%]", ylabel="kurtosis (dotted: normal numbers)")
        sizes.axvspan(1 / (2 * _LEVELS), 1, color="#eeeeee", zorder=0)
        for level in (1, 2, 4, 8, 16, 32, 64, _LEVELS):
            sizes.axvline(level / _LEVELS, color="#999999", linewidth=0.6, linestyle="--", zorder=1)
        sizes.set(xscale="log", xlabel="|x| of the largest (grey: int8 does not round to 0)", ylabel="share per octave")
        sizes.set_xlim(2.0**-20, 1.2)
        spectrum.set_title(f"{sketch.samples} samples", loc="left")
        figure.legend(frameon=False, loc="outside lower center", ncols=3, columnspacing=1.2, handletextpad=0.4)
    return figure


def _chosen(layers: Sequence[LayerSketch]) -> list[LayerSketch]:
    count = min(len(layers), _LAYERS)
    return [layers[i * (len(layers) - 1) // max(count - 1, 1)] for i in range(count)]


def _eigenvalues(axes: Axes, layer: LayerSketch, colour: str) -> None:
    name = shown(layer.layer.node).replace("$", "＄")
    values = np.zeros(1)
    rank = layer.effective_rank()
    if rank is not None and layer.layer.width <= _WIDEST:
        values = np.linalg.eigvalsh(layer.moments()).reshape(-1)[::-1]
        values = np.sort(values)[::-1]
    if not values[0] > 0 or rank is None:
        axes.plot([], [], color=colour, label=name)
        return
    ratios = np.maximum(values / values[0], 1e-12)
    axes.plot(np.arange(1, len(ratios) + 1), ratios, color=colour, linewidth=1, label=name)
    axes.plot([rank], [np.interp(rank, np.arange(1, len(ratios) + 1), ratios)], color=colour, marker="o", markersize=4)


def _kurtosis(axes: Axes, layer: LayerSketch, colour: str) -> None:
    values = np.sort(layer.powers.kurtosis(layer.rows))[::-1]
    values = values[values > 0]
    if len(values):
        places = np.linspace(0, 100, len(values)) if len(values) > 1 else np.array([50.0])
        axes.plot(places, values, color=colour, linewidth=1, marker="" if len(values) > 8 else ".")


def _sizes(axes: Axes, layer: LayerSketch, colour: str) -> None:
    octave = 1 << (23 - SHIFT)
    counts = layer.counts.magnitudes.copy()
    counts[0] = 0
    shares = counts.reshape(-1, octave).sum(1) / max(layer.counts.total, 1)
    starts = edges()[:-1:octave] / (layer.counts.largest or 1.0)
    some = (shares > 0) & np.isfinite(starts)
    axes.plot(starts[some], shares[some], color=colour, linewidth=1, drawstyle="steps-post")
