"""Where things are in this source tree."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
CREW = ROOT / ".venv-crewai"
AUDIT = ROOT / ".venv-audit"
STATE = VENV / "agent-hub.json"
DATA_DIR = Path(os.environ.get("HUB_DATA_DIR", ROOT / ".hub")).absolute()
CLIENTS = ROOT / "clients"
