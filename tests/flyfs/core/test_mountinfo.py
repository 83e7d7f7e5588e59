from hypothesis import given
from hypothesis import strategies as st

from flyfs.core.mountinfo import Mount, innermost_mount, parse_mountinfo, top_mount

TABLE = rb"""22 1 254:0 / / rw,relatime shared:1 master:2 - ext4 /dev/vda rw
23 22 0:21 / /proc rw - proc proc rw
40 22 0:39 / /mnt/a\040b\134c\303\244 ro,nosuid master:1 - fuse.flyfs flyfs: ro,user_id=0
41 22 0:40 / /mnt/x rw - tmpfs tm\134pfs rw
42 41 0:41 / /mnt/x rw - fuse.flyfs flyfs: ro
43 22 0:42 / /mnt/y rw - fuse.sshfs  rw
this is no mount
44 22 0:x / /mnt/z rw - tmpfs tmpfs rw
45 22 0:44 / /mnt/z rw tmpfs tmpfs rw
46 22 0:45 / /mnt/z - tmpfs
"""
MOUNTS = parse_mountinfo(TABLE)


def test_the_lines_of_the_kernel_are_read() -> None:
    assert MOUNTS[0] == Mount(mount_id=22, major=254, minor=0, mountpoint="/", filesystem="ext4", source="/dev/vda")
    assert MOUNTS[2] == Mount(mount_id=40, major=0, minor=39, mountpoint="/mnt/a b\\cä", filesystem="fuse.flyfs", source="flyfs:")
    assert [mount.source for mount in MOUNTS] == ["/dev/vda", "proc", "flyfs:", "tm\\pfs", "flyfs:", ""]
    assert [mount.is_flyfs for mount in MOUNTS] == [False, False, True, False, True, False]


def test_the_uppermost_mount_at_a_place_is_found() -> None:
    over = top_mount(MOUNTS, "/mnt/x")

    assert over is not None
    assert over.minor == 41
    assert top_mount(MOUNTS, "/mnt") is None


def test_a_path_lies_in_the_innermost_mount() -> None:
    over = {path: innermost_mount(MOUNTS, path) for path in ("/proc/self/status", "/procession", "/mnt/x/y")}

    assert {path: mount.mount_id for path, mount in over.items() if mount} == {
        "/proc/self/status": 23,
        "/procession": 22,
        "/mnt/x/y": 42,
    }
    assert innermost_mount([], "/a") is None


@given(st.binary(min_size=1).filter(lambda name: b"\0" not in name))
def test_any_name_is_read_back(name: bytes) -> None:
    written = b"".join(b"\\%03o" % sign if sign in b" \t\n\\" else bytes([sign]) for sign in name)
    found = top_mount(
        parse_mountinfo(b"40 22 0:39 / /%s rw - fuse.flyfs %s ro\n" % (written, written)),
        f"/{name.decode('utf-8', 'surrogateescape')}",
    )

    assert found is not None
    assert found.source.encode("utf-8", "surrogateescape") == name


@given(st.binary())
def test_no_bytes_break_the_reading(table: bytes) -> None:
    assert all(mount.mountpoint for mount in parse_mountinfo(table))
