"""``sam-tiny``: a small segmenter of this project, which looks at one crop per prompt, and its training.

A canonical scan and box prompts come in, probabilities go out. ``segmenter`` is the ``Segmenter``: ``crops`` cuts a
square around each box at a fixed resolution, ``network`` encodes the crop with its box drawn into it and decodes a
mask, ``crops`` puts the mask back into its slice. Boxes that do not fit their masks are moved and segmented again.

The training draws samples from labelled scans: ``train_arrays`` prepares the scans, ``train_samples`` draws crops and
masks from them, in turned planes (``train_plane``), with boxes as wrong as located ones (``train_boxes``).
``train`` is the command line:
``python -m medlsam.segment.sam_tiny.train fit`` trains, ``... export`` writes the weights file.
"""
