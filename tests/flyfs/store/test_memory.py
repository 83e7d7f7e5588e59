"""How much memory counts: the machine's, or what a control group allows."""

import os
from pathlib import Path

from flyfs.core.grid import GIB, MIB
from flyfs.store.memory import memory_bytes

MACHINE = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_a_real_machine_has_memory() -> None:
    assert 16 * MIB < memory_bytes() <= MACHINE


def test_without_control_groups_it_is_the_machine_s(tmp_path: Path) -> None:
    assert memory_bytes(tmp_path / "none", tmp_path) == MACHINE


def test_the_narrowest_group_around_the_process_counts(tmp_path: Path) -> None:
    membership = tmp_path / "cgroup"
    membership.write_text("0::/outer/inner\n")
    inner = tmp_path / "outer" / "inner"
    inner.mkdir(parents=True)
    (inner / "memory.max").write_text("max\n")
    assert memory_bytes(membership, tmp_path) == MACHINE

    (tmp_path / "outer" / "memory.max").write_text(f"{64 * MIB}\n")
    (tmp_path / "memory.max").write_text(f"{128 * MIB}\n")
    assert memory_bytes(membership, tmp_path) == 64 * MIB


def test_in_a_namespace_of_its_own_the_mount_s_root_counts(tmp_path: Path) -> None:
    membership = tmp_path / "cgroup"
    membership.write_text("0::/\n")
    (tmp_path / "memory.max").write_text(f"{32 * MIB}\n")

    assert memory_bytes(membership, tmp_path) == 32 * MIB


def test_version_1_has_a_file_of_its_own_and_a_number_for_no_limit(tmp_path: Path) -> None:
    membership = tmp_path / "cgroup"
    membership.write_text("5:devices:/box\n4:cpu,memory:/box\n")
    group = tmp_path / "memory" / "box"
    group.mkdir(parents=True)
    (group / "memory.limit_in_bytes").write_text(f"{8 * 1024 * 1024 * GIB - 4096}\n")
    assert memory_bytes(membership, tmp_path) == MACHINE

    (group / "memory.limit_in_bytes").write_text(f"{48 * MIB}\n")
    assert memory_bytes(membership, tmp_path) == 48 * MIB
