"""``medlsam lesion``: one file a command."""
