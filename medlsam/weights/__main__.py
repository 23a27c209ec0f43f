"""``python -m medlsam.weights``: record the sha256 of the weights that ship, in SHA256SUMS."""

from medlsam.runtime.atomic_files import write_sums
from medlsam.weights.entries import SHIPPED_DIR

for _file, _digest in write_sums(SHIPPED_DIR).items():
    print(f"{_digest}  {_file}")
