from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from flyfs.core.ids import BlobId, Ino
from flyfs.fs.inodes import ROOT_INO, InodeTable, Node, NodeKind, first_number, number_key
from flyfs.fs.versions import Facts


def a_file(version: str | None = None, *, size: int = 5, as_of: float = 0.0) -> Facts:
    blob_id = BlobId(version) if version else None
    return Facts(directory=False, size=size, modified_s=60, modified_exact=bool(version), blob_id=blob_id, as_of=as_of)


def a_directory(table: InodeTable) -> Node:
    scheme = table.settle_static(table.root, "http", NodeKind.SCHEME, 0.0)
    return table.settle_static(scheme, "Host.Test:8080", NodeKind.DIRECTORY, 0.0)


def test_the_root_is_1_and_stays() -> None:
    table = InodeTable(now=0.0)
    table.forget(ROOT_INO, 5)

    assert table.find(ROOT_INO) is table.root
    assert (table.root.ino, table.root.path) == (1, "/")


def test_numbers_are_derived_so_two_tables_agree() -> None:
    first, second = InodeTable(now=0.0), InodeTable(now=9.0)
    one = first.settle(a_directory(first), "a", a_file("b1"), listed=False).node
    other = second.settle(a_directory(second), "a", a_file("b1"), listed=False).node

    assert one.ino == other.ino
    assert 1 < one.ino < 1 << 63


def test_other_bytes_get_another_number_and_the_old_one_stays_while_held() -> None:
    table = InodeTable(now=0.0)
    directory = a_directory(table)
    old = table.settle(directory, "a", a_file("b1"), listed=False).node
    table.looked_up(old)

    settled = table.settle(directory, "a", a_file("b2", as_of=1.0), listed=False)

    assert settled.replaced is old
    assert settled.node.ino != old.ino
    assert table.current(directory, "a") is settled.node
    assert table.find(old.ino) is old


def test_the_first_exact_answer_that_fits_keeps_the_number() -> None:
    table = InodeTable(now=0.0)
    directory = a_directory(table)
    node = table.settle(directory, "a", a_file(), listed=True).node

    settled = table.settle(directory, "a", a_file("b1", as_of=1.0), listed=False)

    assert settled.node is node
    assert settled.replaced is None
    assert node.facts.blob_id == "b1"


def test_older_knowledge_never_replaces_newer() -> None:
    table = InodeTable(now=0.0)
    directory = a_directory(table)
    node = table.settle(directory, "a", a_file("b2", as_of=5.0), listed=False).node

    assert table.settle(directory, "a", a_file(size=7, as_of=4.0), listed=True).node is node
    assert node.facts.size == 5


def test_the_same_version_that_comes_back_gets_its_number_back() -> None:
    table = InodeTable(now=0.0)
    directory = a_directory(table)
    first = table.settle(directory, "a", a_file("b1"), listed=False).node
    table.looked_up(first)
    table.settle(directory, "a", a_file("b2", as_of=1.0), listed=False)

    assert table.settle(directory, "a", a_file("b1", as_of=2.0), listed=False).node is first
    assert first.facts.as_of == 2.0


def test_two_names_whose_numbers_collide_get_two_numbers() -> None:
    table = InodeTable(now=0.0, number_of=lambda key: 1)
    directory = a_directory(table)

    numbers = {table.settle(directory, name, a_file("b1"), listed=False).node.ino for name in "abc"}

    assert len(numbers | {ROOT_INO, directory.ino}) == 5


def test_the_last_number_is_followed_by_the_first_free_one() -> None:
    table = InodeTable(now=0.0, number_of=lambda key: (1 << 63) - 1)
    directory = a_directory(table)
    node = table.settle(directory, "a", a_file("b1"), listed=False).node

    assert 1 < node.ino < 10


def test_forgetting_is_a_hint() -> None:
    table = InodeTable(now=0.0)
    node = table.settle(a_directory(table), "a", a_file("b1"), listed=False).node
    table.looked_up(node)
    table.forget(Ino(12345), 7)
    table.forget(node.ino, 99)
    table.told(Ino(12345))

    assert node.lookups == 0
    assert table.find(node.ino) is node


def test_the_least_recently_used_of_the_idle_leave() -> None:
    table = InodeTable(now=0.0, idle_limit=3)
    directory = a_directory(table)
    table.looked_up(directory)
    held = table.settle(directory, "held", a_file("b1"), listed=False).node
    table.opened(held)
    for number in range(50):
        table.settle(directory, f"n{number}", a_file(f"v{number}"), listed=False)

    assert table.statistics().idle == 3
    assert table.find(held.ino) is held
    assert table.current(directory, "n0") is None
    assert table.current(directory, "n49") is not None
    table.closed(held)
    assert table.statistics().idle == 3


def test_a_control_file_is_fresh_each_time_and_leaves_when_forgotten() -> None:
    table = InodeTable(now=0.0)
    directory = table.settle_static(table.root, ".fly", NodeKind.CONTROL_DIRECTORY, 0.0)
    one = table.add_control_file(directory, "peers", b"one", now=1.0, modified_s=1)
    other = table.add_control_file(directory, "peers", b"other", now=1.0, modified_s=1)
    table.looked_up(one)
    table.opened(one)

    assert one.ino != other.ino
    assert (one.text, one.facts.size) == (b"one", 3)
    table.forget(one.ino, 1)
    assert table.find(one.ino) is one
    table.closed(one)
    assert table.find(one.ino) is None


def test_a_name_that_is_gone_keeps_its_node_for_whoever_holds_it() -> None:
    table = InodeTable(now=0.0)
    directory = a_directory(table)
    node = table.settle(directory, "a", a_file("b1"), listed=False).node

    assert table.gone(directory, "a") is node
    assert table.gone(directory, "a") is None
    assert table.find(node.ino) is node


def test_the_url_of_a_node() -> None:
    table = InodeTable(now=0.0)
    host = a_directory(table)
    directory = table.settle(host, "a b", Facts(directory=True, as_of=0.0), listed=True).node
    file = table.settle(directory, "x?y=1", a_file("b1"), listed=True).node
    short = table.settle(directory, "s~1", a_file("b1"), listed=True, remote_name=("long", "q")).node

    assert str(host.url) == "http://host.test:8080/"
    assert str(directory.url) == "http://host.test:8080/a%20b/"
    assert str(file.url) == "http://host.test:8080/a%20b/x?y=1"
    assert str(short.url) == "http://host.test:8080/a%20b/long?q"
    assert (file.path, repr(file)) == ("/http/Host.Test:8080/a b/x?y=1", f"<Node {file.ino} {file.path} file>")
    with pytest.raises(ValueError, match="has no URL"):
        _ = table.root.url


def test_keys_commit_to_where_the_name_ends() -> None:
    assert number_key(Ino(1), "ab", "c") != number_key(Ino(1), "a", "bc")
    assert number_key(Ino(1), "a", "b") != number_key(Ino(2), "a", "b")
    assert 0 <= first_number(b"\xff" * 16) < 1 << 63


class TableAgainstAModel(RuleBasedStateMachine):
    """A number that the kernel holds names one version for ever, whatever comes."""

    @initialize()
    def start(self) -> None:
        self.table = InodeTable(now=0.0, idle_limit=4, number_of=lambda key: first_number(key) % 23)
        self.directory = a_directory(self.table)
        self.table.looked_up(self.directory)
        self.now = 0.0
        self.versions: dict[Ino, tuple[str, BlobId]] = {}
        self.told: dict[Ino, int] = {}

    @rule(name=st.sampled_from("abc"), version=st.sampled_from(["b1", "b2", "b3"]), exact=st.booleans())
    def lookup(self, name: str, version: str, exact: bool) -> None:
        self.now += 1
        facts = a_file(version, as_of=self.now) if exact else replace(a_file(as_of=self.now), size=5)
        node = self.table.settle(self.directory, name, facts, listed=not exact).node
        self.table.looked_up(node)
        self.told[node.ino] = self.told.get(node.ino, 0) + 1
        if node.facts.blob_id:
            assert self.versions.setdefault(node.ino, (name, node.facts.blob_id)) == (name, node.facts.blob_id)

    @rule(count=st.integers(1, 3))
    def forget_one(self, count: int) -> None:
        for ino in list(self.told)[:1]:
            self.table.forget(ino, count)
            self.told[ino] -= count
            if self.told[ino] <= 0:
                del self.told[ino]
                self.versions.pop(ino, None)

    @invariant()
    def what_the_kernel_holds_is_known(self) -> None:
        for ino in getattr(self, "told", {}):
            node = self.table.find(ino)
            assert node is not None
            assert node.ino == ino
        if hasattr(self, "table"):
            assert self.table.statistics().idle <= 4


TableAgainstAModel.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestTable = TableAgainstAModel.TestCase
