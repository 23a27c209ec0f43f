"""Directions of grids: the 48 axis orders, and oblique ones."""

import itertools

import numpy as np

ORIENTATIONS = [
    (order, signs)
    for order in itertools.permutations(range(3))
    for signs in itertools.product((-1, 1), repeat=3)
]


def oblique(degrees):
    """Turned by ``degrees`` about z, then x."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    about_x = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    about_z = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    return tuple((about_x @ about_z).ravel())


def direction_of(order, signs):
    """The direction whose columns are the LPS axes in this order with these signs."""
    return tuple((np.eye(3)[:, list(order)] * signs).ravel())
