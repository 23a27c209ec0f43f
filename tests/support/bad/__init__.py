"""The list of bad input: each kind makes one scan, or one call, that must be refused in words."""
