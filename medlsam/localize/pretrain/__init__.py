"""Self-supervised pretraining of the localizer's encoder: unlabelled CT in, a weights file out.

``datamodule`` finds the scans (of every ``pool_source``, and phantoms), splits off some for validation and loads the
rest; ``sampling_weights`` keeps the largest collection from deciding what is learnt. For each training pair ``dataset``
draws a scan; ``view_pairs`` plans two overlapping views of it, or of it and another contrast phase, with places that
both show, and ``view_transform`` says where a view's voxels lie in the scan. The values may go through a user's own
transforms (``torchio``) in the loader process. The device that trains then draws the views and changes their
``intensity``.

``module`` is the training itself: ``losses`` has relative distances (RDR), multi-scale similarity (MSS) and what
comes with them, ``validation`` measures landmark errors between phantoms, and ``cli`` is ``medlsam pretrain``.
"""
