"""From a mark on one slice to a 3D mask with its organ: the pipeline of 3DLAND.

``prompts`` reads what a person marked (our JSON, Slicer's markups, ``deeplesion`` its table). ``key_slice`` finds it in
the scan's pixels, ``prompt_policy`` makes the key slice's prompt of it and segments that slice. ``memory`` propagates
the mask both ways: ``side_views`` look at the lesion in coronal and sagittal slices, ``appearance`` knows how it looks,
``planes`` has the part of the scan around it. ``medsam2`` does the same with its publishers' package and weights.
``organ`` finds the organ that a lesion belongs to, in masks that ``organ_files`` reads. ``run`` does all this for the
lesions of a scan.
"""
