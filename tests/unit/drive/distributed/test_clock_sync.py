"""Clocks elsewhere and rows from elsewhere, without a network."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from proofload.drive.distributed.clock_sync import Offset, Shipment, Shipping
from proofload.drive.rows import END, END_AT, PLAN, PLANNED, Rows
from proofload.record.exchange import NEVER_NS, Ending, Fault
from proofload.record.history import History

ways = st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 10**7), st.integers(0, 10**7)), min_size=1, max_size=40)


@given(st.integers(-(10**15), 10**15), ways)
def test_the_true_offset_lies_within_the_uncertainty_whatever_the_way_took(
    offset: int, trips: list[tuple[int, int, int]]
) -> None:
    clock = Offset()
    for asked, there, back in trips:
        clock.add(asked, asked + there + offset, asked + there + back)
    assert abs(clock.offset_ns - offset) <= clock.uncertainty_ns + 1
    assert clock.uncertainty_ns <= min(there + back for _, there, back in trips) // 2 + 1
    assert clock.samples == len(trips)


def test_a_clock_that_drifts_away_widens_the_uncertainty() -> None:
    clock = Offset()
    clock.add(0, 1_000, 10)
    clock.add(100, 9_100, 110)
    assert clock.uncertainty_ns >= 4_000
    assert abs(clock.offset_ns - 1_000) <= clock.uncertainty_ns
    assert abs(clock.offset_ns - 9_000) <= clock.uncertainty_ns


def test_nothing_known_moves_nothing() -> None:
    assert (Offset().offset_ns, Offset().uncertainty_ns) == (0, 0)


def planned(rows: Rows, at_ns: int) -> int:
    row = rows.made
    chunk = rows.chunk if row & 0xFFFF else rows.new_chunk()
    PLAN.pack_into(chunk, (row & 0xFFFF) * 64, at_ns, at_ns, 0, 0, 10, 0, 0, 0, 0, PLANNED)
    rows.made = row + 1
    return row


def ended(rows: Rows, row: int, at_ns: int) -> None:
    END.pack_into(rows.chunk, row * 64 + END_AT, Ending.ANSWERED + 1, Fault.NONE, 200, 5, at_ns, at_ns)
    rows.finished.append(row)


def test_rows_arrive_as_they_were_made_and_those_that_end_later_once_more(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    rows = Rows(("x-n",), "id-", there, 0)
    rows.workloads.number("w")
    rows.operations.number("read")
    shipping, shipment = Shipping(rows, there), Shipment(here)

    def ship(*, notes: bool = False) -> int:
        parts = list(shipping.parts(notes=notes))
        for part in parts:
            shipment.take(*part)
        return len(parts)

    first, second = planned(rows, 100), planned(rows, 200)
    ended(rows, first, 150)
    assert ship() == 1
    assert ship() == 0
    ended(rows, second, 250)
    third = planned(rows, 300)
    rows.kept.append((first, ((0, "7"),)))
    side = rows.side()
    assert ship(notes=True) == 3
    assert third == 2
    adopted = Rows.adopt(("x-n",), "id-", here, side)
    history = adopted.history()
    assert history.numbers("done_ns").tolist() == [150, 250, NEVER_NS]
    assert history.frame["header:x-n"].to_list() == ["7", None, None]
    # Without a last word, the empty places of the file tell how many there were.
    lost = Rows.adopt(("x-n",), "id-", here, {**side, "made": -1})
    assert len(lost.history()) == 3
    rows.close()


def test_instants_come_to_our_clock_and_never_stays_never() -> None:
    clock = Offset()
    clock.add(0, 1_000, 0)
    frame = History.empty().frame
    row = dict.fromkeys(frame.columns, 0) | {"workload": "w", "operation": "o", "source": "", "request_id": "r"}
    row |= {"intended_ns": 1_005, "sent_ns": 1_006, "first_byte_ns": NEVER_NS, "done_ns": NEVER_NS}
    moved = clock.here(History(frame.clear().vstack(frame.__class__([row], schema=frame.schema))))
    assert moved.numbers("intended_ns").tolist() == [5]
    assert moved.numbers("sent_ns").tolist() == [6]
    assert moved.numbers("done_ns").tolist() == [NEVER_NS]
    assert moved.frame["clock_uncertainty_ns"].to_list() == [0]
