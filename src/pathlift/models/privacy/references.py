"""References tested as attackers: what was trained on neither set cannot tell them apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import NormalDist

from pathlift.ir.errors import UsageError
from pathlift.ir.types import Array
from pathlift.models.privacy import attacks, roc
from pathlift.models.privacy.scores import Scores
from pathlift.report.audited import Reference

_LEVEL = 0.95


def tested(names: Sequence[str], said: Sequence[Mapping[str, Scores]], sets: tuple[str, str]) -> list[Reference]:
    """Test each reference by its own score, and relative to others, which finds smaller taints; and the mean of all.

    The intervals hold jointly at 95 % (Bonferroni), or clean references would be refused the more often the more there
    are.

    Parameters
    ----------
    names
        Of references.
    said
        What they say, by set.
    sets
        Names of the members and of the others.

    Raises
    ------
    UsageError
        If ½ is not in the interval of an AUC: members or others were trained on, or are not drawn alike.
    """
    members, others = sets
    tests = [(name, s[members].logit, s[others].logit) for name, s in zip(names, said, strict=True)]
    if len(said) > 1:
        mean = {key: attacks.mean_log([s[key].log_p for s in said]) for key in sets}
        tests.append(("the mean of all references", mean[members], mean[others]))
        for name, s in zip(names, said, strict=True):
            rest = {key: attacks.mean_log([other[key].log_p for other in said if other is not s]) for key in sets}
            relative = {key: attacks.relative(s[key].log_p, rest[key]) for key in sets}
            tests.append((name, relative[members], relative[others]))
    z = NormalDist().inv_cdf(1 - (1 - _LEVEL) / 2 / max(1, len(tests)))
    found = [_interval(*test, z) for test in tests]
    if out := [f for f in found if not f.interval[0] <= 0.5 <= f.interval[1]]:
        worst = max(out, key=lambda f: abs(f.auc - 0.5))
        low, high = worst.interval
        raise UsageError(
            "1567",
            f"{worst.path} tells members from non-members: AUC {worst.auc:.3f} [{low:.3f}, {high:.3f}]",
            hint="references are trained on neither set, and both sets are drawn alike",
        )
    return found[: len(said)]


def _interval(name: str, members: Array, others: Array, z: float) -> Reference:
    value, spread = roc.auc(members, others), z * roc.auc_deviation(members, others)
    return Reference(name, value, (max(0.0, value - spread), min(1.0, value + spread)))
