"""Moves of an ellipsoid: linear maps, boxes that are added, gates. All of them are sound as computed, in float64.

An ellipsoid is a symmetric matrix M over coordinates v, some of the values of two networks. It claims

    (uᵀv)² ≤ uᵀMu    for every u, and for every input of the domain,

so M is positive semidefinite and |M_ij| ≤ m_i·m_j for m_i = √M_ii. That bounds all rounding errors by matrices of rank
one: a sum of n products of entries is off by at most γₙ times the product of two vectors. An error matrix E with
|E_ij| ≤ ε·g_i·g_j is made good on the diagonal, since uᵀEu ≤ ε(Σ|u_i|g_i)² ≤ ε·n·Σ u_i²g_i² (Cauchy–Schwarz). What is
added grows and shrinks with each coordinate's scale, and M only ever grows.

Every function takes M as ``(R, n, n)``: R ellipsoids at once, each with multipliers of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from pathlift.passes.intervals.box import U, gamma

Tensor = torch.Tensor
TINY = 2.0**-500
"""Added to every diagonal: more than what underflow takes, whose errors are 2⁻¹⁰⁷⁴ times numbers up to 2⁴⁰⁰."""
LEAST, MOST = 2.0**-400, 2.0**400
"""Multipliers of gates outside these, and matrices beyond, are refused."""
_SLACK = 2.0**-36
"""What shares are short of 1 in sum, so that they are in exact arithmetic, too."""


@dataclass(frozen=True, eq=False)
class Linear:
    """v' = Gv, where G is within an error of a matrix.

    Parameters
    ----------
    matrix, error
        ``(n', n)``; the error of each entry.
    """

    matrix: Tensor
    error: Tensor

    def __call__(self, m: Tensor) -> Tensor:
        """Return G M Gᵀ.

        An entry of the product is off by at most (2γ + γ²)·g_i·g_j with g = |G|√diag M. The matrix's own error makes
        v' = Gv + e with |e| ≤ ρ: a small box is added (`Widened`), with the shares that suit it best.
        """
        g = self.matrix
        moved = _mirrored(g @ m @ g.T)
        with torch.no_grad():
            n = g.shape[1]
            size = _size(m)
            reach = size @ g.abs().T * (1 + gamma(n))
            grown = _up(2.1 * gamma(n) * len(g) * reach.square()) + TINY
            rho = size @ self.error.T * (1 + gamma(n))
        moved = moved + torch.diag_embed(grown)
        with torch.no_grad():
            count = max(1, len(g))
            ratio = count * rho.square() / moved.diagonal(dim1=-2, dim2=-1)
            share = ratio.amax(-1, keepdim=True).sqrt().clamp(2.0**-40, 0.5) if len(g) else ratio.sum(-1, keepdim=True)
            added = _up(rho.square() * (count / share) * (1 + _SLACK)) + TINY
        return _scaled(moved, (1 - share) * (1 - 4 * U)) + torch.diag_embed(added)


@dataclass(frozen=True, eq=False)
class Widened:
    """v' = v + e, where e is in a box.

    |uᵀv'| ≤ |uᵀv| + Σ|u_i|ρ_i, whose square is at most (Σ s)·((uᵀv)²/s_0 + Σ u_i²ρ_i²/s_i) (Cauchy–Schwarz), for any
    shares s > 0. So M' = M/s_0 + diag(ρ²/s) if the shares add up to 1. For a linear network this is exact at the best
    shares: (Σ|u_i|ρ_i)².

    Parameters
    ----------
    name
        Of its shares.
    index
        ``(k,)``, the coordinates that are widened.
    radius
        ``(k,)``, ρ.
    alone
        Whether v is 0, which leaves no share to it.
    """

    name: str
    index: Tensor
    radius: Tensor
    alone: bool = False

    def shares(self, logits: Tensor) -> Tensor:
        """``(R, 1 + k)``: s_0, which is 1 where it is not needed, and s; their sum is below 1."""
        dead = self.radius == 0
        blocked = torch.cat([torch.tensor([self.alone], device=dead.device), dead])
        finite = logits.clamp(-1e3, 1e3)
        s = torch.softmax(finite.masked_fill(blocked, -torch.inf), -1) if not bool(blocked.all()) else finite
        s = s.clamp(min=2.0**-100) * (1 - _SLACK)
        return torch.where(blocked, 1.0, s)

    def start(self, m: Tensor) -> Tensor:
        """Logits ``(1, 1 + k)`` to start from: each coordinate's share as its radius, and half for what is there."""
        inner = m[0].diagonal()[self.index].clamp(min=0).sum().sqrt()
        total = self.radius.sum()
        first = inner if bool(inner > 0) else total
        return torch.cat([first[None], self.radius]).clamp(min=1e-300).log()[None]

    def __call__(self, m: Tensor, logits: Tensor) -> Tensor:
        """Return M/s_0 + diag(ρ²/s)."""
        s = self.shares(logits)
        added = self.radius.square() / s[:, 1:]
        added = torch.where(self.radius > 0, added * (1 + 8 * U) + TINY, 0.0)
        wide = _scaled(m, s[:, :1]) if not self.alone else m.expand(len(s), -1, -1)
        diagonal = torch.zeros(len(wide), m.shape[-1], dtype=m.dtype, device=m.device)
        return wide + torch.diag_embed(diagonal.index_copy(1, self.index, added.expand(len(wide), -1)) * (1 + 4 * U))


@dataclass(frozen=True, eq=False)
class Gated:
    """v'_i = f_i(v_i), where f_i(v_i)/v_i is between α_i and α_i + κ_i; other coordinates stay (α = 1, κ = 0).

    v'_i = α_i·v_i + κ_i·w_i, where w_i(v_i − w_i) ≥ 0. Let U be where κ > 0.

    **Lemma.** T = diag(t) > 0 on U, N = 2T − T·M_UU·T ≻ 0. Then v' is in the ellipsoid αMα + B·N⁻¹·Bᵀ, where
    B = α·M_:U·T + E_U·κ.

    *Proof.* If M ≻ 0, vᵀM⁻¹v ≤ 1, and 2wᵀT(v_U − w) ≥ 0, so q = vᵀM⁻¹v − 2wᵀT(v_U − w) ≤ 1. Its matrix
    [[M⁻¹, −E_U·T], [·, 2T]] has the Schur complement N ≻ 0, so it is positive definite, and its inverse is
    [[M + M_:U·T·N⁻¹·T·M_U:, M_:U·T·N⁻¹], [·, N⁻¹]]: an ellipsoid of (v, w), which v' = αv + E_U·κ·w carries to the one
    claimed. For singular M, take M + ε·1 and let ε → 0. ∎

    **As computed.** M' is large enough if [[M' − αMα, B], [Bᵀ, N]] ⪰ 0. Let L·Lᵀ be a Cholesky factorization, as
    computed, of N less a shift ε·2T, and X the computed solution of L·X = Bᵀ. [[XᵀX, XᵀLᵀ], [LX, LLᵀ]] ⪰ 0 as it
    stands, and everything else is rounding, bounded by products of two vectors: within N and L·Lᵀ by those of √(2t)
    (for t·√M_ii ≤ √(2t) and Σ_j L_ij² ≤ 2t_i), in B by p_j = |α_j|√M_jj and √(2t), in L·X by x_j = ‖X_:j‖ and √(2t)
    (Higham, Accuracy and Stability of Numerical Algorithms, theorems 8.5 and 10.3). Each is at most half a diagonal
    matrix on either side. Those of 2t are what the shift is made of (Rump, Verification of positive definiteness,
    2006), those of p and x are added to M'.

    Parameters
    ----------
    name
        Of its multipliers.
    node
        Where it stands.
    index
        ``(k,)``, the coordinates that pass a gate.
    first
        How many of these are of the first network's values; the others are differences.
    alpha, kappa
        ``(n,)``.
    """

    name: str
    node: str
    index: Tensor
    first: int
    alpha: Tensor
    kappa: Tensor

    def start(self, m: Tensor) -> Tensor:
        """Logarithms ``(1, k)`` of multipliers for which N ≻ 0: a little less than 1/(2λ) for either kind of values."""
        result = torch.zeros(len(self.index), dtype=m.dtype, device=m.device)
        for part in (slice(0, self.first), slice(self.first, None)):
            places = self.index[part]
            places = places[self.kappa[places] > 0]
            block = m[0][places][:, places]
            v = torch.ones(len(places), dtype=m.dtype, device=m.device)
            largest = torch.zeros((), dtype=m.dtype, device=m.device)
            for _ in range(12):
                v = block @ v
                largest = v.norm()
                v = v / (largest + 1e-300)
            result[part] = -(1.3 * largest + 1e-100).log() - 0.7
        return result[None]

    def __call__(self, m: Tensor, logarithms: Tensor) -> Tensor | None:
        """Return M' for multipliers t, or ``None`` where N ≻ 0 is not proved."""
        active = self.kappa[self.index] > 0
        u = self.index[active]
        kappa, alpha = self.kappa[u], self.alpha
        t = logarithms[:, active].exp().clamp(LEAST, MOST)
        k, n = len(u), m.shape[-1]
        inner = m[:, u][:, :, u]
        shift = 1.1 * k * (2 * gamma(k + 1) + 8 * U) + 8 * U
        normal = torch.diag_embed(2 * t * (1 - shift)) - t[:, :, None] * inner * t[:, None]
        lower, bad = torch.linalg.cholesky_ex(normal)
        if bool(bad.any()) or not bool(lower.isfinite().all()):
            return None
        b = (alpha * m[:, u]) * t[:, :, None]
        places = torch.arange(k, device=u.device)
        b = b + torch.zeros_like(b[0]).index_put((places, u), kappa)
        x = torch.linalg.solve_triangular(lower, b, upper=False)
        result = _mirrored(alpha[:, None] * m * alpha + x.mT @ x)
        with torch.no_grad():
            p2 = (alpha.abs() * _size(m)).square()
            x2 = x.square().sum(-2)
            grown = n * (10 * U * p2 + (2.2 * gamma(k + 1) + 2 * U) * x2) * (1 + gamma(k + 8))
            own = 1.2 * U * kappa.square() / (2 * t)
            grown = _up(grown.index_add(1, u, own)) + TINY
        return result + torch.diag_embed(grown)


Move = Linear | Widened | Gated


def _scaled(m: Tensor, s: Tensor) -> Tensor:
    """M/s, at least; s is ``(R, 1)``."""
    grown = _up(m.detach().diagonal(dim1=-2, dim2=-1) / s.detach() * (U * (m.shape[-1] + 4)))
    return m / s[..., None] + torch.diag_embed(grown)


def _mirrored(m: Tensor) -> Tensor:
    """A symmetric matrix, of the half below the diagonal."""
    return m.tril() + m.tril(-1).mT


def _size(m: Tensor) -> Tensor:
    """√M_ii, at least."""
    return m.diagonal(dim1=-2, dim2=-1).clamp(min=0).sqrt() * (1 + 4 * U)


def _up(x: Tensor) -> Tensor:
    """What bounds non-negative numbers computed by a few operations, and their sum with a diagonal."""
    return x * (1 + 32 * U)
