from supernode.credence import HALVED_S, MOST_REPORTERS, Credence
from tests.support.builders import a_peer_id

ANNE = a_peer_id("anne")


def test_a_reporter_counts_less_the_more_often_others_disagree_and_in_full_again_later() -> None:
    credence = Credence()
    weights = [credence.weight(ANNE, 0.0)]
    for _ in range(4):
        credence.contradicted(ANNE, 0.0)
        weights.append(credence.weight(ANNE, 0.0))

    assert weights == [1.0, 1.0, 0.5, 0.5, 0.0]
    assert [credence.weight(ANNE, after * HALVED_S) for after in (1, 2)] == [0.5, 1.0]


def test_being_right_takes_a_doubt_away_and_makes_no_credit() -> None:
    credence = Credence()
    credence.confirmed(ANNE, 0.0)
    for _ in range(2):
        credence.contradicted(ANNE, 0.0)
    credence.confirmed(ANNE, 0.0)

    assert credence.weight(ANNE, 0.0) == 1.0
    credence.contradicted(ANNE, 0.0)
    assert credence.weight(ANNE, 0.0) == 0.5


def test_doubts_about_many_reporters_are_bounded() -> None:
    credence = Credence()
    for number in range(MOST_REPORTERS + 5):
        for _ in range(2):
            credence.contradicted(a_peer_id(str(number)), 0.0)

    assert len(credence._doubts) == MOST_REPORTERS
    assert credence.weight(a_peer_id("0"), 0.0) == 1.0
    assert credence.weight(a_peer_id(str(MOST_REPORTERS)), 0.0) == 0.5
