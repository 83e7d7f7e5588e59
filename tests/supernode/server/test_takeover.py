from supernode.server.takeover import TAKEOVER_S, Takeovers
from tests.support.builders import a_blob, a_blob_id


def test_a_blob_that_came_over_is_waited_for_a_moment_from_when_it_came() -> None:
    takeovers = Takeovers()
    takeovers.blob_came(a_blob(1).id, 5.0)

    assert takeovers.until(a_blob(1).id) == 5.0 + TAKEOVER_S
    assert takeovers.until(a_blob_id()) is None


def test_it_may_come_again() -> None:
    takeovers = Takeovers()
    takeovers.blob_came(a_blob(1).id, 5.0)
    takeovers.blob_came(a_blob(1).id, 50.0)

    assert takeovers.until(a_blob(1).id) == 50.0 + TAKEOVER_S


def test_the_longest_known_are_forgotten_where_there_are_too_many() -> None:
    takeovers = Takeovers()
    ids = [a_blob(1, name=str(number)).id for number in range(10_001)]
    for blob_id in ids:
        takeovers.blob_came(blob_id, 5.0)

    assert takeovers.until(ids[0]) is None
    assert takeovers.until(ids[1]) is not None
