"""Boxes to masks: per-slice prompts, the models that take them, and the label map that comes out.

``segmenters.load_segmenter`` opens a model, ``prompts`` turns a located box into one box a slice, and
``volume_segmenter.assemble`` makes one label map of every structure's probabilities.
"""
