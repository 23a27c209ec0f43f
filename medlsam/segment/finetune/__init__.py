"""Fine-tuning of a segmenter's mask decoder on a user's own labelled scans: ``medlsam finetune``.

``run.finetune`` goes through all of it. ``components`` finds the labelled scans and cuts their labels into 2D
components. ``embeddings`` has each component embedded once by the frozen image encoder and keeps that on disk;
``protocol`` says what it needs of a segmenter, ``crop_tuner`` (sam-tiny) and ``slice_tuner`` (SAM, MedSAM) provide it.
``train`` trains the decoder with the ``options`` and chooses the number of epochs by leave-one-patient-out.
``score`` compares the segmenter before and after on held-out patients. ``history`` is the file beside the weights
that records every cycle.

Labels are read here; nothing of this room is imported where a scan is segmented.
"""
