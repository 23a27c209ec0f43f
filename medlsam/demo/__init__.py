"""What medlsam does, on what ships and on phantoms whose truth is known.

``organs`` is the main job: templates, segmented scans, scores, pictures. ``lesions`` is a patient at two visits: each
lesion from one box to a mask, measured, followed, with the response beside the known truth. ``lesion_result`` is what
that found, ``lesion_report`` its tables and page. Both write to a ``folder`` that they own.
"""

from medlsam.demo.organs import DemoResult, demo_table, run_demo

__all__ = ["DemoResult", "demo_table", "run_demo"]
