"""Results as people look at them, pictures, notebook cells and a page; and as other programs read them.

In come the values of ``medlsam.results`` or a folder that ``segment`` wrote, out come pictures, HTML, and files for
other programs; nothing is computed anew and no network runs.

1. ``views`` holds what all pictures have in common: planes, colours, window. ``planes`` knows one plane in one
   matplotlib axes: which axis runs where, the outline of a mask, the patient's sides and the scale bar, in LPS
   millimetres.
2. ``figures`` brings a scan and its label maps onto one axis-aligned grid (``Scene``) and draws: three planes through a
   structure, a row for each structure, or the located boxes on two projections.
3. ``notebook`` is how results and sessions show themselves in a notebook: a viewer, a slider, or pictures.
4. ``run_results`` reads what a run wrote, the most doubtful structure first. ``thumbnails`` draws small pictures while
   a scan and its masks are in memory. ``report`` makes of both ``report.html``, one page that opens offline: every
   structure of every scan, warnings, and everything that is needed to repeat the run.
5. ``formats`` is the table of what is written for each scan: the label map, ``slicer_segmentation``, one mask for each
   structure (``per_structure``), and DICOM objects (the folder ``dicom``). ``itksnap`` lists a run's labels.
   ``anatomy`` gives names their codes and colours.
6. ``slicer_markups`` writes points and boxes for 3D Slicer.
7. ``lesions`` draws lesions with their axes, at one visit or at all of a patient.
8. ``nnunet`` makes a dataset for nnU-Net of an output folder, and keeps what was corrected in it.
"""
