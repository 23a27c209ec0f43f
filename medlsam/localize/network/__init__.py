"""Our encoder: a fully convolutional network that embeds a whole scan in one pass.

``encoder.py`` is the network: latent positions (RDR) at stride 8 and unit features at three scales (MSS).
``tiling.py`` runs it over a scan of any size in bounded memory. ``embedding.py`` resamples a scan to the encoder's
grid, runs the pass and holds the result as ``Embedding``, which follows the protocol ``ScanEmbedding``.
``sampling.py`` interpolates its maps at continuous places; ``similarity.py`` searches them for a feature in a
window around a place.

All places that enter or leave are LPS mm; voxel indices of the encoder's grid stay inside these files.
"""
