"""The paper's own localizer (MedLAM) and its inference, kept as the baseline that ours is compared with.

``network.py`` is the patch network with the names of the released checkpoint (``medlam.pth``, brought by the user).
It sees cubes of 64 voxels at 3 mm, so ``embedding.py`` cuts cubes around the places that a search requests instead
of embedding the scan at once; it follows the same protocol ``ScanEmbedding`` as our encoder. ``kernels.py`` cuts
blocks of features out of a cube and slides them over another one, as the paper's MSS does. ``search.py`` is the
inference of section 2.2: templates averaged before the search, ten random starts, one window.

Either network runs under either search.
"""
