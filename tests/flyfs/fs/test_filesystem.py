"""The filesystem without FUSE, over a local directory, by a clock that jumps (each test must ask for it by itself)."""

import json
import os
from collections.abc import Callable
from math import inf
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from flyfs.core.errors import Corrupt, Denied, NotFound, Stale, TooLarge, Unavailable
from flyfs.core.ids import Handle, Ino
from flyfs.fs.attributes import Attributes
from flyfs.fs.filesystem import FileSystem
from tests.support.fake_remotes import FakeDaemonFigures, FakeRemotes

ROOT = Ino(1)
DEADLINE_S = 30.0


class Mount:
    """A filesystem over ``root``, with a listener that remembers."""

    def __init__(self, root: Path, max_age_s: float = 10.0) -> None:
        self.root = root
        self.remotes = FakeRemotes(root)
        self.figures = FakeDaemonFigures()
        self.fs = FileSystem(
            remotes=self.remotes, figures=self.figures, max_age_s=max_age_s, deadline_s=DEADLINE_S, made_s=1_000_000
        )
        self.changed_entries: list[bytes] = []
        self.changed_attributes: list[Ino] = []
        self.stop = self.fs.listen(self)

    def entry_changed(self, parent: Ino, name: bytes) -> None:
        self.changed_entries.append(name)

    def attributes_changed(self, ino: Ino) -> None:
        self.changed_attributes.append(ino)

    async def walk(self, path: str) -> Attributes:
        """As the kernel does: one lookup per component."""
        found = Attributes(ROOT, True, 0, 0, 0.0, 0.0)
        for name in path.split("/"):
            found = await self.fs.lookup(found.ino, os.fsencode(name))
            if not found.ino:
                break
        return found

    async def names(self, path: str) -> dict[str, Attributes]:
        """The rows of a directory, read as the kernel does, three at a time."""
        directory = (await self.walk(path)).ino if path else ROOT
        rows: dict[str, Attributes] = {}
        position = 0
        while True:
            told = 0
            for row in await self.fs.rows(Handle(directory), position):
                if told == 3:
                    break
                if row.counted:
                    self.fs.told(row.attributes.ino)
                assert os.fsdecode(row.name) not in rows
                rows[os.fsdecode(row.name)] = row.attributes
                position = row.position
                told += 1
            if not told:
                return rows

    async def cat(self, path: str) -> bytes:
        """Opens, reads to the end, closes; looks up again where the version is over, as the kernel does once."""
        try:
            ino = await self._opened(path)
        except Stale:
            ino = await self._opened(path)
        try:
            size = (await self.fs.attributes(ino)).size
            return bytes(await self.fs.read(Handle(ino), 0, size))
        finally:
            self.fs.release(Handle(ino))

    async def _opened(self, path: str) -> Ino:
        ino = (await self.walk(path)).ino
        if not ino:
            raise FileNotFoundError(path)
        await self.fs.open(ino)
        return ino

    def asked(self, verb: str, name: str) -> int:
        return self.remotes.asked[verb, name]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "h.test" / "d").mkdir(parents=True)
    for name, text in {"a": "alpha", "b": "bravo!", "d/deep": "deep", "x y#ü": "odd"}.items():
        place = tmp_path / "h.test" / name
        place.write_text(text)
        os.utime(place, (1_700_000_123, 1_700_000_123))
    return tmp_path


MakeMount = Callable[..., Mount]


@pytest.fixture
async def mount(root: Path) -> Mount:
    return Mount(root)


# -- names -----------------------------------------------------------------------------------------------------------


async def test_the_root_lists_schemes_and_the_control_tree(autojump_clock: MockClock, mount: Mount) -> None:
    assert set(await mount.names("")) == {".", "..", "http", "https", ".fly"}
    assert (await mount.walk("ftp")).ino == 0


async def test_scheme_directories_list_only_hosts_that_answered(autojump_clock: MockClock, mount: Mount) -> None:
    assert set(await mount.names("http")) == {".", ".."}
    await mount.walk("http/unused.test")
    await mount.walk("http/h.test/a")

    assert set(await mount.names("http")) == {".", "..", "h.test"}
    assert set(await mount.names("https")) == {".", ".."}


@pytest.mark.parametrize("name", ["-bad", "h..test", "h.test:0", "h.test:99999", "a b", ".Trash", "u@h.test"])
async def test_what_is_no_authority_is_absent_without_a_question(autojump_clock: MockClock, mount: Mount, name: str) -> None:
    assert (await mount.walk(f"http/{name}")).ino == 0
    assert not mount.remotes.asked


async def test_any_valid_authority_is_a_directory_without_a_question(autojump_clock: MockClock, mount: Mount) -> None:
    found = await mount.walk("http/Never.Heard.Of:8080")

    assert found.directory
    assert found.entry_timeout_s == 3600.0
    assert not mount.remotes.asked


async def test_a_listed_name_costs_no_question_of_its_own(autojump_clock: MockClock, mount: Mount) -> None:
    rows = await mount.names("http/h.test")
    found = await mount.walk("http/h.test/a")

    assert found == rows["a"]
    assert (found.size, found.modified_s) == (5, 1_700_000_123)
    assert mount.asked("stat", "a") == 0


async def test_an_unlisted_name_costs_one_question_per_component(autojump_clock: MockClock, mount: Mount) -> None:
    assert (await mount.walk("http/h.test/d/deep")).size == 4

    assert (mount.asked("stat", "d"), mount.asked("stat", "deep"), mount.asked("list", "d")) == (1, 1, 0)


async def test_listings_hide_names_that_can_still_be_opened(autojump_clock: MockClock, mount: Mount) -> None:
    mount.remotes.hidden.add("b")

    assert "b" not in await mount.names("http/h.test")
    assert await mount.cat("http/h.test/b") == b"bravo!"


async def test_a_deep_path_is_one_component(autojump_clock: MockClock, mount: Mount) -> None:
    assert await mount.cat("http/h.test/d%2Fdeep") == b"deep"
    assert mount.asked("stat", "d") == 0


async def test_odd_names_and_queries(autojump_clock: MockClock, mount: Mount) -> None:
    (mount.root / "h.test" / "q?id=1").write_text("one")

    assert {"x y#ü", "q?id=1"} <= set(await mount.names("http/h.test"))
    assert await mount.cat("http/h.test/x y#ü") == b"odd"
    assert await mount.cat("http/h.test/q?id=1") == b"one"


@pytest.mark.parametrize("name", ["%2Fa", "a%2F", "d%2F..%2Fa", "d%2F%2Fdeep", "a%00", ".%2Fa"])
async def test_what_no_url_can_mean_is_absent_without_a_question(autojump_clock: MockClock, mount: Mount, name: str) -> None:
    assert (await mount.walk(f"http/h.test/{name}")).ino == 0
    assert not mount.remotes.asked


async def test_a_short_name_leads_to_the_long_one(autojump_clock: MockClock, mount: Mount) -> None:
    name, query = "n" * 100, "q" * 154  # on disk 255 bytes with the question mark; percent signs make it longer as shown
    long = f"{name[:-2]}%4{'1' * 2}?{query[:-2]}"[:255]
    (mount.root / "h.test" / long).write_text("long")
    (short,) = [shown for shown in await mount.names("http/h.test") if "~" in shown]

    assert len(short) <= 255
    for _ in range(2):
        assert await mount.cat(f"http/h.test/{short}") == b"long"
        await trio.sleep(11)  # the listing is old: the node itself knows
    told = await mount.fs.extended((await mount.walk(f"http/h.test/{short}")).ino, b"user.flyfs.url")
    assert told == f"http://h.test/{long.replace('%', '%25')}".encode()


async def test_an_absence_is_remembered_for_the_consistency_time(autojump_clock: MockClock, mount: Mount) -> None:
    first = await mount.walk("http/h.test/nope")
    await trio.sleep(4)
    second = await mount.walk("http/h.test/nope")

    assert (first.ino, first.entry_timeout_s) == (0, 10.0)
    assert (second.ino, second.entry_timeout_s) == (0, 6.0)
    assert mount.asked("stat", "nope") == 1
    (mount.root / "h.test" / "nope").write_text("now")
    await trio.sleep(7)
    assert await mount.cat("http/h.test/nope") == b"now"


async def test_concurrent_lookups_of_one_name_are_one_question(autojump_clock: MockClock, mount: Mount) -> None:
    mount.remotes.latency_s = 1.0
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(mount.walk, "http/h.test/a")

    assert mount.asked("stat", "a") == 1


# -- consistency -------------------------------------------------------------------------------------------------------


async def test_the_kernel_may_keep_a_name_for_what_is_left_of_the_ttl(autojump_clock: MockClock, mount: Mount) -> None:
    mount.remotes.age_s = 4.0
    first = await mount.walk("http/h.test/a")
    await trio.sleep(2)
    second = await mount.walk("http/h.test/a")

    assert (first.entry_timeout_s, second.entry_timeout_s) == (6.0, 4.0)
    assert first.ino == second.ino
    assert first.attribute_timeout_s == 3600.0
    await trio.sleep(5)
    await mount.walk("http/h.test/a")
    assert mount.asked("stat", "a") == 2


async def test_strict_asks_at_each_open_and_gives_the_kernel_no_time(root: Path, autojump_clock: MockClock) -> None:
    mount = Mount(root, max_age_s=0.0)
    found = await mount.walk("http/h.test/a")
    for _ in range(3):
        await trio.sleep(1)
        await mount.fs.open(found.ino)

    assert found.entry_timeout_s == 0.0
    assert mount.asked("stat", "a") == 4
    await mount.fs.open(found.ino)  # within 100 ms
    assert mount.asked("stat", "a") == 4


async def test_immutable_never_asks_again(root: Path, autojump_clock: MockClock) -> None:
    mount = Mount(root, max_age_s=inf)
    for _ in range(3):
        assert await mount.cat("http/h.test/a") == b"alpha"
        assert "a" in await mount.names("http/h.test")
        await trio.sleep(80_000)

    assert (mount.asked("stat", "a"), mount.asked("list", "h.test")) == (1, 1)


async def test_an_open_within_the_ttl_asks_nobody(autojump_clock: MockClock, mount: Mount) -> None:
    assert await mount.cat("http/h.test/a") == b"alpha"
    assert await mount.cat("http/h.test/a") == b"alpha"

    assert mount.asked("stat", "a") == 1


async def test_a_changed_file_costs_one_stale_and_the_old_handle_keeps_its_bytes(autojump_clock: MockClock, mount: Mount) -> None:
    old = (await mount.walk("http/h.test/a")).ino
    await mount.fs.open(old)
    replace(mount.root / "h.test" / "a", "ALPHA2")
    await trio.sleep(11)

    with pytest.raises(Stale):
        await mount.fs.open(old)
    assert mount.changed_entries == [b"a"]
    new = await mount.walk("http/h.test/a")
    assert new.ino != old
    await mount.fs.open(new.ino)
    assert bytes(await mount.fs.read(Handle(new.ino), 0, 100)) == b"ALPHA2"
    assert bytes(await mount.fs.read(Handle(old), 0, 100)) == b"alpha"
    assert (await mount.fs.attributes(old)).size == 5


async def test_a_replaced_version_cannot_be_opened_again_by_its_number(autojump_clock: MockClock, mount: Mount) -> None:
    old = (await mount.walk("http/h.test/a")).ino
    await mount.fs.open(old)
    replace(mount.root / "h.test" / "a", "ALPHA2")
    await trio.sleep(11)
    assert await mount.cat("http/h.test/a") == b"ALPHA2"

    with pytest.raises(Stale):
        await mount.fs.open(old)


async def test_a_listing_that_still_shows_a_vanished_file_does_not_bring_it_back(autojump_clock: MockClock, mount: Mount) -> None:
    ino = (await mount.names("http/h.test"))["a"].ino
    (mount.root / "h.test" / "a").unlink()

    with pytest.raises(NotFound):
        await mount.fs.open(ino)
    assert (await mount.walk("http/h.test/a")).ino == 0


async def test_an_open_while_nobody_can_be_asked_uses_what_was_known(autojump_clock: MockClock, mount: Mount) -> None:
    ino = (await mount.walk("http/h.test/a")).ino
    mount.remotes.everything = Unavailable("planted")
    await trio.sleep(100)

    await mount.fs.open(ino)
    assert bytes(await mount.fs.read(Handle(ino), 0, 5)) == b"alpha"
    await trio.sleep(501)
    with pytest.raises(Unavailable):
        await mount.fs.open(ino)


async def test_a_length_that_stays_unknown_is_unavailable(autojump_clock: MockClock, mount: Mount) -> None:
    real = mount.remotes.stat

    async def never_pinned(url: object, *, max_age_s: float, read: bool = False, pin: bool = False) -> object:
        return await real(url, max_age_s=max_age_s, read=read)  # type: ignore[arg-type]

    mount.remotes.stat = never_pinned  # type: ignore[method-assign,assignment]
    mount.remotes.without_length.add("a")
    ino = (await mount.walk("http/h.test/a")).ino

    with pytest.raises(Unavailable, match="length"):
        await mount.fs.open(ino)


async def test_a_directory_cannot_be_opened_as_a_file(autojump_clock: MockClock, mount: Mount) -> None:
    directory = (await mount.walk("http/h.test/d")).ino

    assert mount.fs.open_directory(directory) == directory
    with pytest.raises(Stale):
        await mount.fs.open(directory)


async def test_a_listing_that_is_behind_an_exact_answer_makes_no_loop_of_stales(autojump_clock: MockClock, mount: Mount) -> None:
    await mount.names("http/h.test")
    replace(mount.root / "h.test" / "a", "ALPHA2")
    await trio.sleep(5)  # the listing still counts

    assert await mount.cat("http/h.test/a") == b"ALPHA2"
    assert await mount.cat("http/h.test/a") == b"ALPHA2"


async def test_an_answer_older_than_the_listing_it_contradicts_is_asked_again(autojump_clock: MockClock, mount: Mount) -> None:
    ino = (await mount.names("http/h.test"))["a"].ino
    real = mount.remotes.stat
    questions: list[float] = []

    async def behind(url: object, *, max_age_s: float, **more: object) -> object:
        questions.append(max_age_s)
        answer = await real(url, max_age_s=max_age_s, **more)  # type: ignore[arg-type]
        if max_age_s:
            object.__setattr__(answer, "age_s", 5.0)
            object.__setattr__(answer.blob, "size", 4)  # type: ignore[union-attr]
            object.__setattr__(answer.blob, "id", "0" * 64)  # type: ignore[union-attr]
        return answer

    mount.remotes.stat = behind  # type: ignore[method-assign,assignment]
    await mount.fs.open(ino)

    assert questions == [10.0, 0.0]
    assert bytes(await mount.fs.read(Handle(ino), 0, 100)) == b"alpha"


async def test_the_exact_time_of_a_listed_file_is_told_once_it_is_known(autojump_clock: MockClock, mount: Mount) -> None:
    mount.remotes.exact_times = False
    listed = (await mount.names("http/h.test"))["a"]
    await mount.fs.open(listed.ino)
    exact = await mount.fs.attributes(listed.ino)

    assert (listed.modified_s, exact.modified_s) == (1_700_000_100, 1_700_000_123)
    assert listed.attribute_timeout_s == 10.0
    assert exact.attribute_timeout_s == 3600.0
    assert mount.changed_attributes == [listed.ino]
    await trio.sleep(11)
    assert (await mount.names("http/h.test"))["a"].ino == listed.ino


async def test_a_listing_that_shows_another_time_is_another_version(autojump_clock: MockClock, mount: Mount) -> None:
    mount.remotes.exact_times = False
    old = (await mount.names("http/h.test"))["a"].ino
    os.utime(mount.root / "h.test" / "a", (1_700_009_999, 1_700_009_999))
    await trio.sleep(11)

    assert (await mount.names("http/h.test"))["a"].ino != old
    assert mount.changed_entries == [b"a"]


async def test_a_file_that_vanished_is_absent_at_open_and_after(autojump_clock: MockClock, mount: Mount) -> None:
    ino = (await mount.walk("http/h.test/a")).ino
    (mount.root / "h.test" / "a").unlink()
    await trio.sleep(11)

    with pytest.raises(NotFound):
        await mount.fs.open(ino)
    assert mount.changed_entries == [b"a"]
    assert (await mount.walk("http/h.test/a")).ino == 0
    assert mount.asked("stat", "a") == 2


async def test_a_file_that_became_a_directory_is_looked_up_again(autojump_clock: MockClock, mount: Mount) -> None:
    ino = (await mount.walk("http/h.test/a")).ino
    (mount.root / "h.test" / "a").unlink()
    (mount.root / "h.test" / "a").mkdir()
    await trio.sleep(11)

    with pytest.raises(Stale):
        await mount.fs.open(ino)
    assert (await mount.walk("http/h.test/a")).directory


async def test_numbers_nobody_knows_are_stale_and_hints_about_them_harmless(autojump_clock: MockClock, mount: Mount) -> None:
    mount.fs.forget(Ino(77), 3)
    mount.fs.release(Handle(77))
    assert mount.fs.read_nowait(Ino(77), 0, 10) is None
    for answer in (mount.fs.attributes, mount.fs.open):
        with pytest.raises(Stale):
            await answer(Ino(77))


# -- while nobody can be asked -----------------------------------------------------------------------------------------


async def test_what_was_known_stays_valid_for_ten_minutes(autojump_clock: MockClock, mount: Mount) -> None:
    await mount.names("http/h.test")
    await mount.cat("http/h.test/a")
    await mount.walk("http/h.test/nope")
    mount.remotes.everything = Unavailable("planted")
    await trio.sleep(300)

    assert await mount.cat("http/h.test/a") == b"alpha"
    assert "b" in await mount.names("http/h.test")
    assert (await mount.walk("http/h.test/b")).size == 6
    assert (await mount.walk("http/h.test/b")).entry_timeout_s <= 1.0
    assert (await mount.walk("http/h.test/nope")).ino == 0
    assert mount.fs.statistics().told_offline >= 4
    with pytest.raises(Unavailable):  # never opened: nobody knows its blob
        await mount.cat("http/h.test/b")
    with pytest.raises(Unavailable):
        await mount.walk("http/h.test/never asked for")
    await trio.sleep(301)
    for question in (mount.cat, mount.walk):
        with pytest.raises(Unavailable):
            await question("http/h.test/a")
    with pytest.raises(Unavailable):
        await mount.names("http/h.test")
    with pytest.raises(Unavailable):
        await mount.walk("http/h.test/nope")


async def test_when_it_is_back_so_is_everything(autojump_clock: MockClock, mount: Mount) -> None:
    mount.remotes.everything = Unavailable("planted")
    with pytest.raises(Unavailable):
        await mount.walk("http/h.test/a")
    mount.remotes.everything = None
    await trio.sleep(1)

    assert await mount.cat("http/h.test/a") == b"alpha"


async def test_a_question_fails_at_the_deadline_then_at_once_then_within_a_second(
    autojump_clock: MockClock, mount: Mount
) -> None:
    mount.remotes.slow_stats.update({"a", "b"})

    assert await seconds_until_unavailable(mount.walk, "http/h.test/a") == DEADLINE_S
    assert await seconds_until_unavailable(mount.walk, "http/h.test/a") == 0.0
    await trio.sleep(1)
    assert 0 < await seconds_until_unavailable(mount.walk, "http/h.test/a") < 1.0
    assert 0 < await seconds_until_unavailable(mount.walk, "http/h.test/b") < 1.0
    mount.remotes.let_go()
    await trio.sleep(1)
    assert await mount.cat("http/h.test/a") == b"alpha"


# -- directories -------------------------------------------------------------------------------------------------------


async def test_sizes_that_a_listing_does_not_tell_are_asked_for_many_at_a_time(autojump_clock: MockClock, mount: Mount) -> None:
    for number in range(100):
        (mount.root / "h.test" / "d" / f"n{number}").write_text("x" * number)
    mount.remotes.lists_sizes = mount.remotes.lists_times = False
    mount.remotes.latency_s = 1.0
    rows = await mount.names("http/h.test/d")

    assert [rows[f"n{number}"].size for number in range(100)] == list(range(100))
    assert rows["n7"].entry_timeout_s > 0
    assert mount.remotes.most_stats_at_once == 32
    assert sum(count for (verb, _), count in mount.remotes.asked.items() if verb == "stat") == 102
    assert await mount.cat("http/h.test/d/n7") == b"x" * 7


async def test_one_size_that_fails_fails_nothing_else(autojump_clock: MockClock, mount: Mount) -> None:
    mount.remotes.lists_sizes = False
    mount.remotes.errors["a"] = Denied("planted")
    mount.remotes.slow_stats.add("b")
    rows = await mount.names("http/h.test")

    assert [(rows[name].size, rows[name].entry_timeout_s) for name in "ab"] == [(0, 0.0), (0, 0.0)]
    assert rows["x y#ü"].size == 3
    mount.remotes.let_go()
    mount.remotes.errors.clear()
    await trio.sleep(1)
    assert (await mount.walk("http/h.test/a")).size == 5
    assert (await mount.walk("http/h.test/b")).size == 6


async def test_on_a_host_that_timed_out_sizes_are_waited_for_once(autojump_clock: MockClock, mount: Mount) -> None:
    mount.remotes.lists_sizes = False
    for number in range(600):  # three batches
        (mount.root / "h.test" / "d" / f"n{number}").write_text("x")
    mount.remotes.slow_stats.update(f"n{number}" for number in range(600))
    directory = (await mount.walk("http/h.test/d")).ino
    began = trio.current_time()
    position = 0
    for _ in range(5):
        for row in list(await mount.fs.rows(Handle(directory), position))[:150]:
            assert row.attributes.size == 0
            position = row.position

    assert trio.current_time() - began == DEADLINE_S


async def test_a_directory_without_a_listing_can_still_be_walked_through(autojump_clock: MockClock, mount: Mount) -> None:
    mount.remotes.errors["h.test"] = Denied("planted")

    with pytest.raises(Denied):
        await mount.names("http/h.test")
    assert await mount.cat("http/h.test/d/deep") == b"deep"


async def test_a_long_listing_is_made_in_a_thread_and_complete(autojump_clock: MockClock, mount: Mount) -> None:
    many = mount.root / "h.test" / "many"
    many.mkdir()
    for number in range(600):
        (many / f"n{number}").touch()

    assert len(await mount.names("http/h.test/many")) == 602


async def test_reading_goes_on_where_it_was_though_the_listing_is_gone(autojump_clock: MockClock, mount: Mount) -> None:
    directory = (await mount.walk("http/h.test")).ino
    rows = list(await mount.fs.rows(Handle(directory), 0))
    await trio.sleep(100)  # a slow reader: rows it began with are fine however old
    rest = list(await mount.fs.rows(Handle(directory), rows[2].position))

    assert [row.name for row in rest] == [row.name for row in rows[3:]]
    assert mount.asked("list", "h.test") == 1


async def test_files_without_a_length_show_0_in_listings_and_their_size_by_name(autojump_clock: MockClock, mount: Mount) -> None:
    mount.remotes.without_length.add("a")
    rows = await mount.names("http/h.test")

    assert (rows["a"].size, rows["a"].entry_timeout_s, rows["a"].attribute_timeout_s) == (0, 0.0, 0.0)
    assert (await mount.fs.attributes(rows["a"].ino)).size == 5
    assert (await mount.walk("http/h.test/a")).size == 5
    assert await mount.cat("http/h.test/a") == b"alpha"


async def test_content_too_large_to_pin_is_too_large(autojump_clock: MockClock, mount: Mount) -> None:
    mount.remotes.without_length.add("a")
    mount.remotes.errors["a"] = TooLarge("planted")
    ino = (await mount.names("http/h.test"))["a"].ino

    for question in (mount.fs.attributes(ino), mount.fs.open(ino), mount.walk("http/h.test/a")):
        with pytest.raises(TooLarge):
            await question


# -- reading -----------------------------------------------------------------------------------------------------------


async def test_reads_are_never_short_inside_and_empty_behind_the_end(autojump_clock: MockClock, mount: Mount) -> None:
    ino = (await mount.walk("http/h.test/a")).ino
    await mount.fs.open(ino)

    assert bytes(mount.fs.read_nowait(ino, 1, 3) or b"") == b"lph"
    assert bytes(mount.fs.read_nowait(ino, 3, 4096) or b"") == b"ha"
    assert mount.fs.read_nowait(ino, 5, 10) == b""
    assert mount.fs.read_nowait(ino, 500, 10) == b""
    assert bytes(await mount.fs.read(Handle(ino), 3, 4096)) == b"ha"
    assert await mount.fs.read(Handle(ino), 500, 10) == b""


async def test_a_source_that_gives_less_is_corrupt_rather_than_short(autojump_clock: MockClock, mount: Mount) -> None:
    ino = (await mount.walk("http/h.test/a")).ino
    await mount.fs.open(ino)
    os.truncate(mount.root / "h.test" / "a", 2)

    assert mount.fs.read_nowait(ino, 0, 5) is None
    with pytest.raises(Corrupt):
        await mount.fs.read(Handle(ino), 0, 5)


async def test_a_read_fails_within_the_deadline_then_within_half_a_second_until_a_piece_arrives(
    autojump_clock: MockClock, mount: Mount
) -> None:
    ino = (await mount.walk("http/h.test/a")).ino
    await mount.fs.open(ino)
    mount.remotes.slow_reads.add("a")
    mount.remotes.have_pieces["a"] = 0

    async def read() -> object:
        return await mount.fs.read(Handle(ino), 0, 5)

    assert await seconds_until_unavailable(read) == pytest.approx(DEADLINE_S - 0.45)
    assert await seconds_until_unavailable(read) == pytest.approx(0.45)
    mount.fs.release(Handle(ino))
    await mount.fs.open(ino)
    assert await seconds_until_unavailable(read) == pytest.approx(0.45)
    mount.remotes.have_pieces["a"] = 1
    assert await seconds_until_unavailable(read) == pytest.approx(DEADLINE_S - 0.45)
    assert await seconds_until_unavailable(read) == pytest.approx(0.45)
    mount.remotes.came_pieces["a"] = 1  # which could not be kept
    assert await seconds_until_unavailable(read) == pytest.approx(DEADLINE_S - 0.45)


async def test_opens_share_one_blob_that_the_last_release_closes(autojump_clock: MockClock, mount: Mount) -> None:
    ino = (await mount.walk("http/h.test/a")).ino
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(mount.fs.open, ino)
    assert (mount.remotes.open_blobs, mount.fs.statistics().open_files) == (1, 5)

    for _ in range(4):
        mount.fs.release(Handle(ino))
    assert mount.remotes.open_blobs == 1
    mount.fs.release(Handle(ino))
    mount.fs.release(Handle(ino))
    assert (mount.remotes.open_blobs, mount.fs.statistics().open_files) == (0, 0)


async def test_a_handle_that_another_process_opened_is_opened_when_it_is_read(autojump_clock: MockClock, mount: Mount) -> None:
    ino = (await mount.walk("http/h.test/a")).ino
    assert mount.fs.read_nowait(ino, 0, 5) is None
    outcomes: list[bytes] = []

    async def read() -> None:
        outcomes.append(bytes(await mount.fs.read(Handle(ino), 0, 5)))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(read)

    assert outcomes == [b"alpha"] * 5
    assert mount.remotes.open_blobs == 1
    mount.fs.release(Handle(ino))
    assert mount.remotes.open_blobs == 0


async def test_a_slow_read_keeps_nobody_from_a_stat(autojump_clock: MockClock, mount: Mount) -> None:
    ino = (await mount.walk("http/h.test/a")).ino
    await mount.fs.open(ino)
    mount.remotes.slow_reads.add("a")
    async with trio.open_nursery() as nursery:
        for _ in range(150):
            nursery.start_soon(mount.fs.read, Handle(ino), 0, 5)
        await wait_all_tasks_blocked()
        began = trio.current_time()
        assert (await mount.walk("http/h.test/b")).size == 6
        assert trio.current_time() == began
        mount.remotes.let_go()


async def test_closing_the_filesystem_closes_every_blob(autojump_clock: MockClock, mount: Mount) -> None:
    await mount.fs.open((await mount.walk("http/h.test/a")).ino)
    await mount.fs.open((await mount.walk("http/h.test/b")).ino)
    mount.stop()
    mount.fs.close()

    assert mount.remotes.open_blobs == 0


# -- the control tree --------------------------------------------------------------------------------------------------


async def test_a_control_file_is_rendered_at_each_lookup_and_one_open_sees_one_text(
    autojump_clock: MockClock, mount: Mount
) -> None:
    first = await mount.walk(".fly/status.json")
    second = await mount.walk(".fly/status.json")
    assert (await mount.fs.open(first.ino)).direct
    text = bytes(await mount.fs.read(Handle(first.ino), 0, 4096))
    later = bytes(await mount.fs.read(Handle(second.ino), 0, 4096))

    assert first.ino != second.ino
    assert first.entry_timeout_s == 0.0
    assert first.size == len(text)
    assert json.loads(text)["renderings"] == 1
    assert json.loads(later)["renderings"] == 2
    assert bytes(await mount.fs.read(Handle(first.ino), 4, 5)) == text[4:9]
    mount.fs.release(Handle(first.ino))
    mount.fs.forget(first.ino, 1)
    with pytest.raises(Stale):
        await mount.fs.attributes(first.ino)


async def test_the_control_tree_lists_its_files(autojump_clock: MockClock, mount: Mount) -> None:
    assert set(await mount.names(".fly")) == {".", "..", "status.json", "supernodes", "peers", "layers"}
    assert set(await mount.names(".fly/layers")) == {".", ".."}
    assert (await mount.walk(".fly/layers/x")).ino == 0
    assert await mount.cat(".fly/supernodes") == b"127.0.0.1:7400 up\n"
    assert await mount.cat(".fly/peers") == b""
    assert mount.fs.space().free_bytes == 1 << 29


# -- extended attributes -----------------------------------------------------------------------------------------------


async def test_extended_attributes_of_a_file(autojump_clock: MockClock, mount: Mount) -> None:
    ino = (await mount.walk("http/h.test/a")).ino
    mount.remotes.have_pieces["a"] = 0
    told = {name.decode(): await mount.fs.extended(ino, name) for name in mount.fs.extended_names(ino)}

    assert told["user.flyfs.url"] == b"http://h.test/a"
    assert told["user.flyfs.kind"] == b"file"
    assert told["user.flyfs.size"] == b"5"
    assert told["user.flyfs.pieces"] == b"0/1"
    assert told["user.flyfs.piece_size"] == b"262144"
    assert (told["user.flyfs.validator"] or b"").startswith(b'etag:"')
    assert len(told["user.flyfs.blob"] or b"") == 64
    assert [told[f"user.flyfs.{who}_bytes"] for who in ("origin", "peer", "supernode")] == [b"5", b"0", b"0"]
    assert "user.flyfs.digest" not in told
    assert await mount.fs.extended(ino, b"user.flyfs.digest") is None
    assert await mount.fs.extended(ino, b"user.other") is None
    assert mount.remotes.open_blobs == 0


async def test_the_digest_is_listed_where_it_is_known(autojump_clock: MockClock, mount: Mount) -> None:
    mount.remotes.digests["a"] = "sha256:00"
    ino = (await mount.walk("http/h.test/a")).ino
    await mount.fs.open(ino)

    assert b"user.flyfs.digest" in mount.fs.extended_names(ino)
    assert await mount.fs.extended(ino, b"user.flyfs.digest") == b"sha256:00"


async def test_extended_attributes_of_directories_need_nobody(autojump_clock: MockClock, mount: Mount) -> None:
    host = (await mount.walk("http/h.test")).ino

    assert await mount.fs.extended(host, b"user.flyfs.url") == b"http://h.test/"
    assert await mount.fs.extended(host, b"user.flyfs.kind") == b"directory"
    assert await mount.fs.extended(host, b"user.flyfs.blob") is None
    assert mount.fs.extended_names(ROOT) == (b"user.flyfs.kind",)
    assert await mount.fs.extended(ROOT, b"user.flyfs.url") is None
    assert not mount.remotes.asked


def replace(path: Path, text: str) -> None:
    """Another file at the same place, as publishers do."""
    beside = path.with_name(".beside")
    beside.write_text(text)
    beside.rename(path)


async def seconds_until_unavailable(question: Callable[..., object], *args: object) -> float:
    began = trio.current_time()
    with pytest.raises(Unavailable):
        await question(*args)  # type: ignore[misc]
    return trio.current_time() - began
