"""Lets the tests here import their helpers by name, however pytest imports test files."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
