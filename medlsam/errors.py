"""Errors that a person meets: what was found, where, and what to do about it."""


class MedlsamError(Exception):
    """Base of every error that medlsam raises on purpose."""


class VolumeError(MedlsamError):
    """A scan or label map cannot be read, or does not hold what it should."""


class HounsfieldError(VolumeError):
    """The values of a scan are not CT in HU: a picture, another modality, or shifted or scaled HU."""


class GeometryError(MedlsamError):
    """Positions, spacings or grids do not fit together."""


class TemplateError(MedlsamError):
    """A template folder or template file cannot be used."""


class WeightsError(MedlsamError):
    """A weights file is absent, damaged, or of another kind."""


class DownloadError(MedlsamError):
    """A file cannot be fetched, or what came is not what it should be."""


class DatasetError(MedlsamError):
    """A public data set, or a local copy of one, does not have the files that it should have."""


class UsageError(MedlsamError):
    """The call itself is wrong: an unknown option, name or combination."""


class WorkerError(MedlsamError):
    """A process that works on scans died, or cannot do the work that it is given."""
