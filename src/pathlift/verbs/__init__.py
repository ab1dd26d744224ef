"""The verbs: one file each, which the command line and the Python API are read off.

A verb's file holds its public function, the `Result` that it returns, and ``text``, which shows that result's JSON.
Its line here makes it a command of ``pathlift`` and a name of the package; a word in front of it is its group.
"""

from __future__ import annotations

VERBS = {
    "inspect": "pathlift.verbs.inspect:inspect",
    "norm": "pathlift.verbs.norm:norm",
    "analyze": "pathlift.verbs.analyze:analyze",
    "export": "pathlift.verbs.export:export",
    "canonicalize": "pathlift.verbs.canonicalize:canonicalize",
    "compare": "pathlift.verbs.compare:compare",
    "verify-cert": "pathlift.verbs.verify_cert:verify_cert",
    "bound": "pathlift.verbs.bound:bound",
    "calibrate": "pathlift.verbs.calibrate:calibrate",
    "prune": "pathlift.verbs.prune:prune",
    "opt": "pathlift.verbs.opt:opt",
    "passes": "pathlift.verbs.passes:list_passes",
    "run": "pathlift.verbs.run:run",
    "bench": "pathlift.verbs.bench:bench",
    "codegen": "pathlift.verbs.codegen:generate_kernels",
    "ks detect": "pathlift.verbs.ks_detect:ks_detect",
    "ks fit": "pathlift.verbs.ks_fit:ks_fit",
    "audit language": "pathlift.verbs.audit_language:audit_language",
    "schema": "pathlift.verbs.schema:schema",
}
GROUPS = {
    "audit": "Ask what compression did to privacy, and to language.",
    "ks": "Find Kronecker-sparse layers, and make them.",
}
