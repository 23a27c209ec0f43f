"""Fine-tuning on sarcomas."""

from __future__ import annotations

from benchmarks.segment import finetune_sarcoma


def test_sarcomas_are_trained_on_or_judged_by_never_both() -> None:
    assert (len(finetune_sarcoma.TRAIN), len(finetune_sarcoma.JUDGE)) == (8, 6)
    assert not set(finetune_sarcoma.TRAIN) & set(finetune_sarcoma.JUDGE)
    table = finetune_sarcoma.by_patient({"held_out": {"by_patient": {"sts_009": [0.5, 0.75]}}})
    assert [list(column.cells) for column in table.columns] == [["sts_009"], ["0.500"], ["0.750"], ["+0.250"]]
