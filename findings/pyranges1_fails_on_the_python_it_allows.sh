#!/usr/bin/env bash
# pyranges1 0.1.1 says Requires-Python >=3.11.0, and pip installs it there, but `import pyranges` is a SyntaxError on 3.11: its
# generics (`def f[T: ...]`) need Python 3.12. One would expect pip to refuse it or to take an older release. (The package's
# name on PyPI is pyranges1, its import name pyranges.)
#
# Seen: pyranges1 0.1.1, CPython 3.11.7, Linux x86-64. Needs a `python3.11`. Exit status 0 while that holds, 1 once it changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/env"
"$folder/env/bin/pip" install -q --only-binary :all: pyranges1==0.1.1
cd "$folder"
allowed=$(env/bin/python -c "import importlib.metadata as m; print(m.metadata('pyranges1')['Requires-Python'])")
if env/bin/python -c "import pyranges" 2> said; then said_so=nothing; else said_so=$(grep -o "SyntaxError" said | head -1); fi
echo "Requires-Python $allowed; import on Python 3.11: $said_so"
[ "$allowed" = ">=3.11.0" ] && [ "$said_so" = SyntaxError ]
