"""Few-shot localization: find the structures of a few labelled scans in any other scan.

In comes a scan in HU and a ``TemplateSet``; out comes, for each structure, a box in LPS mm with a status and a
confidence.

1. ``localizer.py`` loads the encoder and embeds the scan: ``network/`` (ours, one pass for the whole scan) or
   ``medlam/`` (the paper's, a cube at a time). What a search needs of either is the protocol ``ScanEmbedding`` in
   ``protocol.py``.
2. ``build_templates.py`` reads the embeddings of the labelled scans at landmarks and keeps them as ``templates/``.
3. ``search/votes.py``: every cell of the body votes for the place of every landmark (the paper's RDR).
4. ``search/consensus.py``: windows of feature similarity (the paper's MSS) refine the places; a fit of scale and
   shift per template holds them together; ``search/candidate.py`` is the result, one box per template.
5. ``search/boundary_probe.py`` and ``search/probe_trust.py``: a linear probe on the features moves the faces of the
   box.
6. ``confidence/evidence.py`` collects numbers for and against the candidate; ``confidence/status.py`` turns them
   into status, confidence and margin, compared with what ``confidence/leave_one_out.py`` found usual among the
   templates.

``locate.py`` runs steps 3 to 6. ``pretrain/`` trains the encoder without labels.
"""
