"""RECIST 1.1 from lesion masks: what may be measured, which lesions are targets, and how a tumour responds.

The lesions of ``medlsam.measure.lesions`` get a type and a site (``lesion``; from the tables of ``hcuch`` or the user's
own files, which ``files`` finds). ``measurable`` says by slice thickness which of them count, ``targets`` chooses up to
five. ``anatomy`` maps one scan into another by what the localizer knows of both, ``match`` pairs their lesions by it.
``response`` is the rule itself, on plain numbers; ``follow_up`` walks through the visits of a patient and puts it all
together as ``track``s, ``tables`` makes rows and JSON of it, ``cautions`` says what a person has to look at.
``correlation`` compares volume and diameter by organ.
"""
