"""What every training shares.

A training is one ``LightningModule`` (the network, its losses, its optimizer) and one ``LightningDataModule`` (what
it sees). The rest is here: ``cli`` runs the two from a YAML file with the precision that the device is fast at,
``schedule`` is the learning rate (warm-up and cosine, or linear decay), ``losses`` has Dice, cross-entropy and means
over what is valid, ``distributed`` the sums over several processes, and ``slurm`` puts a job that runs out of time back
into the queue.

``localize.pretrain``, ``segment.sam_tiny.train`` and ``lesion.inception.train`` are trained this way, and
``segment.distill`` with the second one's module; ``segment.finetune`` uses the losses.
"""
