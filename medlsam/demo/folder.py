"""The folder that a demo writes to."""

from __future__ import annotations

from pathlib import Path

from medlsam.errors import UsageError
from medlsam.runtime.atomic_files import atomic_path


def claim(output: Path, readme: str) -> None:
    """Make the folder with its README; one that holds something else than the same demo is refused.

    Args:
        output: the folder.
        readme: text of ``README.txt``, whose first sentence says which demo it is.

    Raises:
        UsageError: the folder cannot be used, or holds something else.
    """
    if output.exists() and not output.is_dir():
        raise UsageError(f"{output}: this is a file; give a folder for the demo")
    # Folders of an earlier demo are replaced, so it has to be one.
    file = output / "README.txt"
    whose = readme.split(".")[0]
    ours = file.is_file() and file.read_text(encoding="utf-8", errors="replace").startswith(whose)
    if output.is_dir() and any(output.iterdir()) and not ours:
        raise UsageError(f"{output}: this folder holds other things; give a new one, or remove it")
    try:
        output.mkdir(parents=True, exist_ok=True)
        with atomic_path(file) as temporary:
            temporary.write_text(readme, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{output}: cannot be written to ({error.strerror or error})") from error
