"""A package of its own: rt-utils installs one called ``tests``, which would be found before a folder of that name."""
