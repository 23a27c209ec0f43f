"""The commands that serve a page: ``medlsam view`` and ``medlsam annotate``."""
