from flyfs.fs.recent import Recent


def test_what_was_not_used_leaves_first() -> None:
    recent = Recent[str, int](2)
    recent.put("a", 1)
    recent.put("b", 2)
    assert recent.get("a") == 1
    recent.put("c", 3)

    assert (recent.get("a"), recent.get("b"), recent.get("c")) == (1, None, 3)
    assert len(recent) == 2


def test_the_newest_stays_however_heavy_it_is() -> None:
    recent = Recent[str, int](10)
    recent.put("a", 1, weight=5)
    recent.put("b", 2, weight=50)
    assert (recent.get("a"), recent.get("b")) == (None, 2)

    recent.put("c", 3)
    assert (recent.get("b"), recent.get("c")) == (None, 3)


def test_putting_again_replaces_the_weight() -> None:
    recent = Recent[str, int](10)
    for _ in range(5):
        recent.put("a", 1, weight=6)
    recent.put("b", 2, weight=4)
    assert len(recent) == 2

    recent.drop("a")
    recent.drop("a")
    assert len(recent) == 1
