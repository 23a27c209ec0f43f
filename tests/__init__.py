"""The tests. A package, so that no other one called tests, which some libraries install, is taken for it."""
