"""The network of MSWAL ("Inception nnU-Net") and its training on labelled lesions.

``network`` is ``InceptionUNet``, ``config`` its sizes and the ablation's variants I to V. An nnU-Net dataset becomes
arrays on disk: ``plan`` says on which grid and in which range of HU, ``prepare`` writes them, ``folds`` splits them by
patient, ``patches`` and ``augment`` draw from them, ``data`` feeds that to ``train``, the command line. ``loss`` is
Dice and cross-entropy, ``transfer`` begins with the weights of another label set. ``sliding_window`` and ``segment``
bring one network or several (an ensemble) to whole scans.

``nnunet`` is the same network as a trainer of nnU-Net version 2, which finds it by name in ``nnunet_trainers``.
"""
