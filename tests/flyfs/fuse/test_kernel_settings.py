from pathlib import Path

from flyfs.fuse.kernel_settings import Tuned, tune


def test_what_is_there_is_set(tmp_path: Path) -> None:
    bdi, connections = tmp_path / "bdi", tmp_path / "connections"
    (bdi / "0:39").mkdir(parents=True)
    (connections / "39").mkdir(parents=True)

    assert tune(0, 39, bdi=bdi, connections=connections) == Tuned(read_ahead=True, background=True)
    assert (bdi / "0:39" / "read_ahead_kb").read_text() == "1024\n"
    assert (connections / "39" / "max_background").read_text() == "128\n"
    assert (connections / "39" / "congestion_threshold").read_text() == "96\n"


def test_what_is_absent_stays_at_the_default(tmp_path: Path) -> None:
    assert tune(0, 39, bdi=tmp_path, connections=tmp_path) == Tuned(read_ahead=False, background=False)
