"""How a model was loaded, so that another process can load the same one itself instead of being sent it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from medlsam.weights import names as weight_names

if TYPE_CHECKING:
    from medlsam.pipeline.model import MedLSAM


@dataclass(frozen=True)
class ModelSource:
    """The arguments of ``medlsam.load``; paths are absolute, since another process works in another folder."""

    localizer: str | Path
    segmenter: str | Path
    device: str
    weights: str | Path | None
    cache: str | Path | None
    cache_gb: float
    precision: str

    def __post_init__(self) -> None:
        for kind in ("localizer", "segmenter"):
            if str(getattr(self, kind)) not in weight_names(kind):
                object.__setattr__(self, kind, _absolute(getattr(self, kind)))
        for name in ("weights", "cache"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, _absolute(getattr(self, name)))

    def load(self) -> MedLSAM:
        """Load the model.

        Raises:
            MedlsamError: as ``medlsam.load``.
        """
        from medlsam.pipeline.model import load

        return load(**{field.name: getattr(self, field.name) for field in fields(self)})


def _absolute(path: str | Path) -> Path:
    return Path(path).expanduser().absolute()
