from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

import pytest

from sockwarden.errors import KernelError
from sockwarden.kernel.compiled.headers import ARCHIVE, Headers, check_readable, find, parse, unpacked

if TYPE_CHECKING:
    from pathlib import Path

RELEASE = "5.10.0-32-cloud-amd64"
KCONFIG = "include/linux/kconfig.h"
GENERATED = "include/generated/utsrelease.h"


def lay(root: Path, *, release: str = RELEASE, source: str, build: str) -> None:
    """Put headers where a distribution puts them."""
    for name, text in ((f"{source}/{KCONFIG}", ""), (f"{build}/{GENERATED}", f'#define UTS_RELEASE "{release}"\n')):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "ascii")


def archive(root: Path) -> Path:
    path = root / ARCHIVE
    path.parent.mkdir(parents=True)
    with tarfile.open(path, "w:xz") as made:
        entry = tarfile.TarInfo(f"./{KCONFIG}")
        made.addfile(entry, io.BytesIO(b""))
    return path


def test_debians_two_packages_are_found_and_bcc_needs_not_be_told(tmp_path: Path) -> None:
    modules = f"lib/modules/{RELEASE}"
    lay(tmp_path, source=f"{modules}/source", build=f"{modules}/build")
    assert find(tmp_path, RELEASE) == Headers(RELEASE, (5, 10, 0))


@pytest.mark.parametrize(
    "place", [f"lib/modules/{RELEASE}/build", f"usr/src/kernels/{RELEASE}", f"usr/src/linux-headers-{RELEASE}"]
)
def test_headers_in_one_folder_are_what_bcc_is_told(tmp_path: Path, place: str) -> None:
    lay(tmp_path, source=place, build=place)
    assert find(tmp_path, RELEASE).source == tmp_path / place


def test_headers_of_another_kernel_are_refused_by_its_name(tmp_path: Path) -> None:
    place = f"lib/modules/{RELEASE}/build"
    lay(tmp_path, release="5.10.0-9-amd64", source=place, build=place)
    with pytest.raises(KernelError, match=r"are of 5.10.0-9-amd64, the running kernel is 5.10.0-32"):
        find(tmp_path, RELEASE)


def test_headers_that_do_not_say_whose_they_are_count_as_none(tmp_path: Path) -> None:
    place = f"lib/modules/{RELEASE}/build"
    lay(tmp_path, source=place, build=place)
    (tmp_path / place / GENERATED).write_text("", "ascii")
    with pytest.raises(KernelError, match="no kernel headers"):
        find(tmp_path, RELEASE)


def test_a_missing_package_is_named_in_the_remedy(tmp_path: Path) -> None:
    (tmp_path / f"lib/modules/{RELEASE}/build/include/linux").mkdir(parents=True)
    with pytest.raises(KernelError) as caught:
        find(tmp_path, RELEASE)
    assert f"apt install linux-headers-{RELEASE}" in caught.value.remedy


def test_without_generated_headers_there_are_none(tmp_path: Path) -> None:
    place = tmp_path / f"lib/modules/{RELEASE}/build" / KCONFIG
    place.parent.mkdir(parents=True)
    place.touch()
    with pytest.raises(KernelError, match="no kernel headers"):
        find(tmp_path, RELEASE)


def test_the_kernels_own_archive_is_unpacked_where_only_root_can_have_put_it(tmp_path: Path) -> None:
    archive(tmp_path)
    with unpacked(find(tmp_path, RELEASE)) as environment:
        folder = environment["BCC_KERNEL_SOURCE"]
        assert (tmp_path / folder / KCONFIG).is_file()
    assert not (tmp_path / folder).exists()


def test_a_broken_archive_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path)
    path.write_bytes(b"no archive")
    with pytest.raises(KernelError, match="cannot be unpacked"), unpacked(Headers(RELEASE, (5, 10), path)):
        pass


@pytest.mark.parametrize("told", [False, True])
def test_installed_headers_are_used_where_they_are(tmp_path: Path, told: bool) -> None:
    with unpacked(Headers(RELEASE, (5, 10), tmp_path if told else None)) as environment:
        assert environment == ({"BCC_KERNEL_SOURCE": str(tmp_path)} if told else {})


def test_a_kernel_without_ring_buffers_is_too_old(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match="no BPF ring buffers"):
        find(tmp_path, "5.4.0-150-generic")


@pytest.mark.parametrize(
    ("kernel", "bcc", "readable"),
    [
        ((5, 10, 223), "0.18.0", True),
        ((5, 15), "0.20.0", False),
        ((6, 1, 176), "0.26.0", True),
        ((6, 3), "0.26.0", False),
        ((6, 12, 107), "0.26.0", False),
        ((6, 12, 107), "0.31.0", True),
        ((6, 18), "0.36.0", False),
        ((6, 18), "0.36.1", True),
    ],
)
def test_what_a_bcc_cannot_read_is_said_before_it_is_tried(kernel: tuple[int, ...], bcc: str, readable: bool) -> None:
    refused = False
    try:
        check_readable(Headers("x", kernel), bcc)
    except KernelError as error:
        refused = "BCC 0" in str(error) and bool(error.remedy)
    assert refused is not readable


def test_what_is_no_version_is_refused() -> None:
    with pytest.raises(KernelError, match="is no version"):
        parse("unknown")


def test_an_archive_without_bound_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = archive(tmp_path)
    monkeypatch.setattr("sockwarden.kernel.compiled.headers.ARCHIVE_BYTES", -1)
    with pytest.raises(KernelError, match="too large"), unpacked(Headers(RELEASE, (5, 10), path)):
        pass
