from flyfs.telemetry.counters import Counters, CounterStatistics


def test_the_statistics_are_the_counts_of_one_moment() -> None:
    counters = Counters()
    counters.origin_bytes += 1
    counters.supernode_bytes += 2
    counters.peer_bytes += 3
    counters.store_bytes += 4
    counters.served_bytes += 5
    counters.pieces_verified += 6
    counters.pieces_rejected += 7
    counters.passed_bytes += 8
    before = counters.statistics()
    counters.origin_bytes += 100

    assert before == CounterStatistics(
        origin_bytes=1,
        supernode_bytes=2,
        peer_bytes=3,
        store_bytes=4,
        passed_bytes=8,
        served_bytes=5,
        pieces_verified=6,
        pieces_rejected=7,
    )
