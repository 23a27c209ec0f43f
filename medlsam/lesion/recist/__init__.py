"""RECIST 1.1 from lesion masks: what may be measured, which lesions are targets, and how a tumour responds.

One visit after the other: the masks of ``medlsam.measure.lesions`` become ``lesion.Lesion`` with a type and a site (from
the tables of ``hcuch``, or the user's own); ``measurable`` says by slice thickness which of them count, ``targets``
chooses up to five; ``anatomy`` maps one scan into another by what the localizer knows of both, ``match`` pairs their
lesions by it; ``response`` is the rule itself, on plain numbers, and ``follow_up`` walks through the visits of a patient
and puts it all together. ``correlation`` compares volume and diameter by type.
"""
