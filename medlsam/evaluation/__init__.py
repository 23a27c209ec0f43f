"""Honest evaluation: scans are segmented as if they had no labels, then the labels are opened and compared.

In come a model, templates, scans and a folder of label maps; out come ``metrics.json`` and ``cases.csv``.

1. ``run`` takes the cases one by one: read, embed, locate and segment, write the results.
2. ``searches`` locates the case again by the paper's search, where that is wanted. Only then
3. ``references`` reads the case's labels, and decides which structures are complete enough to be scored.
4. ``oracles`` makes the rows beside the located one: the same prompts in the label's box, the label's box on every
   slice, and the templates' mean shape without a segmenter. The differences between rows say where errors come from.
5. ``scores`` holds the figures of one structure in one case, and their means over cases and over structures.
6. ``reliability`` compares margin, confidence and status of the answers with the truth.
7. ``tables`` shows ``metrics.json`` to people.

A structure that is missed counts 0, and never drops out of a mean (the policy is in ``medlsam.measure.metrics``).
"""
