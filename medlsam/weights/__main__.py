"""``python -m medlsam.weights``: record the sha256 of the weights that ship, in SHA256SUMS."""

from medlsam.weights.sums import write_sums

for _file, _digest in write_sums().items():
    print(f"{_digest}  {_file}")
