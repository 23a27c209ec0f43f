"""The SAM family on CT slices: SAM, MedSAM, MobileSAM and LiteMedSAM, whose networks encode a whole slice.

A canonical scan and box prompts come in, probabilities go out. ``checkpoint`` recognises which network a file is for.
``model`` builds that network from segment-anything's classes (``_import``), with faster attention (``attention``) or
with the small encoder of MobileSAM and LiteMedSAM (``tiny_vit``), and offers two calls: ``encode`` a slice (costly),
``decode`` any number of boxes in it (cheap). ``preprocess`` prepares slices, boxes and mask prompts as the registry
entry of the weights says. ``segmenter`` is the ``Segmenter`` around it: it encodes each distinct slice once for all
structures. ``embedding_cache`` keeps embeddings in memory within a run, and in a folder across runs.
"""
