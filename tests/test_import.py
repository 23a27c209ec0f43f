"""`import medlsam` and `medlsam --help` are quick: in a fresh interpreter, without torch."""

import pkgutil
import re
import subprocess
import sys

import pytest

HEAVY = ("torch", "lightning", "SimpleITK", "matplotlib", "scipy", "torchio", "segment_anything")


def python(code: str) -> str:
    """What a fresh interpreter prints for ``code``."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_import_brings_nothing_heavy() -> None:
    loaded = python(f"import sys, medlsam; print([m for m in {HEAVY} if m in sys.modules])")
    assert loaded == "[]"


def test_import_takes_less_than_300_ms() -> None:
    # The least of three: a busy machine makes one slow, a slow import makes all slow.
    code = "import time; t = time.perf_counter(); import medlsam; print(time.perf_counter() - t)"
    assert min(float(python(code)) for _ in range(3)) < 0.3


def test_geometry_needs_no_torch() -> None:
    assert (
        python("import sys, medlsam; medlsam.Box((0,0,0),(1,1,1)); print('torch' in sys.modules)") == "False"
    )


@pytest.mark.parametrize("arguments", [["--help"], ["segment", "--help"], ["weights", "list", "--help"]])
def test_help_needs_no_torch(arguments: list[str]) -> None:
    code = (
        "import sys\n"
        f"sys.argv = ['medlsam', *{arguments!r}]\n"
        "from medlsam.cli import main\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as done:\n"
        "    assert not done.code, done.code\n"
        "print('torch' in sys.modules)\n"
    )
    help_text, _, loaded = python(code).rpartition("\n")
    assert "Usage" in re.sub(r"\x1b\[[0-9;]*m", "", help_text)
    assert loaded == "False"


def test_no_module_hides_a_public_name() -> None:
    import medlsam

    # A module of a public function's name would replace it in the package when it is first imported.
    modules = {module.name for module in pkgutil.iter_modules(medlsam.__path__)}
    assert modules.isdisjoint(medlsam.__all__)


def test_unknown_name() -> None:
    import medlsam

    with pytest.raises(AttributeError, match="module 'medlsam' has no attribute 'segmnt'"):
        medlsam.segmnt  # noqa: B018
