"""Non-negative tensors that neither overflow nor repeat themselves: what path-norms and magnitudes are computed in.

`scaled` keeps exponents apart from mantissas, `field` keeps one value per class of positions, `semiring` says what
meets when paths meet; `linear`, `combine` and `moves` take fields through the primitives of the IR.
"""
