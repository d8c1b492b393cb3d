#!/usr/bin/env bash
# lightning 2.6.6 with mlflow 3.17.2: `MLFlowLogger()`, with no argument or with `save_dir=...`, writes to a folder of files
# (`file:./mlruns`), which MLflow now refuses unless MLFLOW_ALLOW_FILE_STORE is set. The first metric ends the training with an
# MlflowException. One would expect the defaults of the logger to work with the MLflow that its own requirement (mlflow>=1.0)
# allows; `tracking_uri="sqlite:///mlflow.db"` does.
#
# Seen: lightning 2.6.6, mlflow-skinny 3.17.2, Linux x86-64. Exit status 0 while that holds, 1 once it changes. torch is large: in an
# environment that has lightning 2.6.6, `PYTHON=/path/to/python` leaves out the installation of torch.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${PYTHON:-}
python3 -m venv "$folder/env"
if [ -n "$python" ]; then
  "$python" -c 'import lightning, site; print(*site.getsitepackages(), sep="\n")' > "$folder/env/lib/$(ls "$folder/env/lib")/site-packages/also.pth"
  "$folder/env/bin/pip" install -q mlflow-skinny==3.17.2 sqlalchemy==2.1.9 alembic==1.20.1
else
  "$folder/env/bin/pip" install -q lightning==2.6.6 mlflow-skinny==3.17.2 sqlalchemy==2.1.9 alembic==1.20.1
fi
cd "$folder"
env/bin/python - <<'PY'
import sys

import lightning
import mlflow
from lightning.pytorch.loggers import MLFlowLogger

print(f"lightning {lightning.__version__}, mlflow {mlflow.__version__}")


def tried(**options):
    try:
        MLFlowLogger(**options).log_metrics({"loss": 1.0}, step=0)
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:120]}"
    return "works"


default, folder, database = tried(), tried(save_dir="here"), tried(tracking_uri="sqlite:///mlflow.db")
print(f"MLFlowLogger(): {default}\nsave_dir: {folder}\ntracking_uri: {database}")
refused = [each.startswith("MlflowException") for each in (default, folder)]
sys.exit(0 if refused == [True, True] and database == "works" else 1)
PY
