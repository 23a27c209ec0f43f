"""Boxes to masks: prompts for each slice, the models that take them, and the label map of the results.

A located box comes in, a label map goes out. ``prompts`` turns a box into one box prompt per axial slice, ``planes``
does so for coronal and sagittal slices. ``request`` collects the prompts of a structure, runs the segmenter over all
structures at once, and combines the results: ``propagate`` passes masks from the most confident slice to its
neighbours, ``planes.vote`` averages the three planes. ``label_map`` assembles the probabilities into one label map.

``protocol`` defines a segmenter, ``registry`` lists the known ones with their preprocessing, ``load`` opens one by name
or file. ``sam`` holds the models that encode whole slices (SAM, MedSAM, MobileSAM, LiteMedSAM), ``sam_tiny`` this
project's own, which encodes crops around boxes, with its training. ``finetune`` adapts either to labelled scans,
``distill`` trains ``sam_tiny`` with the masks of a whole-slice model on scans without labels; ``regions`` has prompts
for these.

Nothing here knows how boxes are located, or reads a label, but for the trainings.
"""
