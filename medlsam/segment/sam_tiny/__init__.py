"""``sam-tiny``, the small segmenter that ships: one crop around one box in, one mask out.

In use, ``segmenter`` takes the prompts of a scan, ``crops`` cuts the scan around each box and draws the box into the
crop, and ``network`` encodes the crops and decodes the masks.

In training, ``train_arrays`` stores labelled and unlabelled CT as mapped arrays. ``train_samples`` draws crops from
them, with boxes that ``train_boxes`` makes as wrong as located ones are, and with values and nameless regions of
``train_augment``. ``train`` has the module, the data module and the command that trains and exports the weights file.
"""
