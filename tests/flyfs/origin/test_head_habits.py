from flyfs.origin import head_habits
from flyfs.origin.head_habits import HeadHabits


def test_a_useless_head_is_remembered_for_its_origin_only() -> None:
    habits = HeadHabits()

    habits.head_was_useless("http://a")

    assert habits.refuses("http://a")
    assert not habits.refuses("http://b")


def test_a_length_of_zero_is_believed_once_one_was_confirmed() -> None:
    habits = HeadHabits()
    assert habits.believes_length("http://a", 5)
    assert not habits.believes_length("http://a", None)
    assert not habits.believes_length("http://a", 0)

    habits.zero_was_confirmed("http://a")

    assert habits.believes_length("http://a", 0)
    assert not habits.believes_length("http://b", 0)


def test_only_the_latest_few_thousand_origins_are_remembered() -> None:
    habits = HeadHabits()
    for number in range(head_habits._ORIGINS_REMEMBERED + 1):
        habits.head_was_useless(f"http://{number}")

    assert not habits.refuses("http://0")
    assert habits.refuses("http://1")
