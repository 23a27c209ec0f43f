"""Where things lie in the repository, for tests at any depth."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
DATA = Path(__file__).parent / "data"
