"""What a pretraining run comes to."""

from __future__ import annotations

from benchmarks.pretrain.pretrain_tables import Assumed, Rates, projected


def test_a_pretraining_run_is_worked_out_from_its_rates() -> None:
    second = (1.0, 1.0, 1.0)
    rates = Rates((0.005, 0.004, 0.006), 4.0, second, second, 1e12, (5.0, 1.0), 60, second, 100.0)
    assumed = Assumed(draws=100, peak=1e15, fractions=[0.1, 0.2], price=3.0, gpus=8)
    table = projected(rates, assumed, batch=50)
    columns = [list(column.cells) for column in table.columns]
    rows = dict(zip(columns[0], columns[2], strict=True))  # of 100,000 scans
    assert rows["stored pool, GB"] == "500"
    assert rows["steps of 50 draws"] == "200,000"
    assert rows["operations, EFLOP"] == "10.0"
    assert rows["GPU hours"] == "28 / 14"  # 1e19 operations at 1e14 or 2e14 a second
    assert rows["hours on 8 GPUs"] == "3.5 / 1.7"
    assert rows["cost of the GPUs, USD"] == "83 / 42"
    assert rows["draws a second that a GPU eats"] == "100 / 200"
    assert rows["loader processes that keep it busy"] == "0.5 / 1.0"
    assert rows["read from the pool and copied to each GPU, MB/s"] == "400 / 800"
