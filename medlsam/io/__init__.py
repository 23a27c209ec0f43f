"""What a person points at: scans, templates, hand-drawn points, lists of cases."""

from medlsam.inputs.cases import Case, case_name, find_cases
from medlsam.inputs.markups import read_markups
from medlsam.inputs.shards import take_shard
from medlsam.inputs.tables import read_case_list, read_label_names
from medlsam.inputs.templates import TemplateCase, find_templates, read_template_labels

__all__ = [
    "Case",
    "TemplateCase",
    "case_name",
    "find_cases",
    "find_templates",
    "read_case_list",
    "read_label_names",
    "read_markups",
    "read_template_labels",
    "take_shard",
]
