"""``sam-tiny``: a small segmenter of this project, which looks at one crop per prompt, and its training.

A canonical scan and box prompts come in, probabilities go out. ``segmenter`` is the ``Segmenter``: ``crops`` cuts a
square around each box at a fixed resolution, ``network`` encodes the crop with its box drawn into it and decodes a
mask, ``crops`` puts the mask back into its slice. Boxes that do not fit their masks are moved and segmented again.

The training draws samples from scans with and without labels. ``train_sources`` says which may train, ``train_arrays``
prepares them, and ``train_samples`` draws: structures and regions without a name (``train_regions``), in turned planes
(``train_plane``), with boxes as wrong as located ones (``train_boxes``) and mask prompts as rough as another network's
(``train_masks``); ``train_crop`` cuts the crop and ``train_augment`` changes its HU. ``train_data`` feeds all that to
``train``, the command line:
``python -m medlsam.segment.sam_tiny.train fit`` trains, ``... export`` writes the weights file of a checkpoint.
"""
