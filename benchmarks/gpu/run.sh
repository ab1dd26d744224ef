#!/usr/bin/env bash
# Measure the generated kernels on this machine's card: benchmarks/gpu/run.sh [minutes] [options]
# Installs nothing. Needs Python 3.11+ with torch, triton, numpy, ml_dtypes and jinja2; PYTHON names another python3.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3}
export PYTHONPATH="$PWD/src:$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
missing=$("$python" - <<'PY'
import importlib.util as find
print(*(name for name in ("torch", "triton", "numpy", "ml_dtypes", "jinja2") if find.find_spec(name) is None))
PY
)
if [ -n "$missing" ]; then
    echo "missing from $python: $missing" >&2
    exit 2
fi
exec "$python" -m benchmarks.gpu "$@"
