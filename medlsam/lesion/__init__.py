"""Lesions: what three papers do with them, as tools.

``recist``: diameters, targets and follow-up by RECIST 1.1 (the HCUCH dataset). ``propagate``: from one slice to a 3D
mask and its organ (3DLAND). ``inception``: the network of MSWAL, and its training. Measures of masks alone are in
``medlsam.measure`` (``recist``, ``detection``), layouts of the datasets in ``medlsam.data``.
"""
