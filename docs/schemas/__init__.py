"""Types of the JSON that verbs print: the JSON Schemas of the package are generated from them."""

from __future__ import annotations

from schemas.bounds import Bound
from schemas.calibration import Calibrate
from schemas.comparison import Comparison, Verification
from schemas.envelope import Error, Record, envelope_schema, error_schema
from schemas.files import Bench, Codegen, Export, Inspect, Run
from schemas.kronecker import KsDetect, KsFit
from schemas.language import AuditLanguage
from schemas.norms import Norm
from schemas.passes import Analyze, Passes, Schemas
from schemas.pruning import Prune
from schemas.rewriting import Canonicalize, Opt

RESULTS = {
    "inspect": Inspect,
    "norm": Norm,
    "analyze": Analyze,
    "export": Export,
    "canonicalize": Canonicalize,
    "compare": Comparison,
    "verify-cert": Verification,
    "bound": Bound,
    "calibrate": Calibrate,
    "prune": Prune,
    "opt": Opt,
    "passes": Passes,
    "run": Run,
    "bench": Bench,
    "codegen": Codegen,
    "ks detect": KsDetect,
    "ks fit": KsFit,
    "audit language": AuditLanguage,
    "schema": Schemas,
}
"""By verb, the type of its result."""

__all__ = ["RESULTS", "Error", "Record", "schemas"]


def schemas() -> dict[str, dict[str, object]]:
    """Return all schemas, by the name that ``pathlift schema`` gives them."""
    return {**{verb: envelope_schema(verb, result) for verb, result in RESULTS.items()}, "error": error_schema()}
