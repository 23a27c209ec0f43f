"""Distillation: ``sam-tiny`` learns from a whole-slice model's masks on scans without labels.

``run.distill`` goes through all of it. ``prompts`` chooses slices of each scan and boxes in them: regions without a
name, and boxes of located structures where somebody gives them. ``teacher`` is the large model, which segments the
boxes; ``labels`` keeps its masks on disk, a file a scan, and ``judge`` says which of them can be learned from.
``train`` trains the whole student on crops of them (``samples``) with the ``options``; ``score`` measures how far it
agrees with the teacher on scans of patients that were held out (``split``). ``record`` is the file beside the weights
that tells how they came about.

No label of a person is read here.
"""
