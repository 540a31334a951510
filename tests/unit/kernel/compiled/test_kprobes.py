from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

import pytest

from sockwarden.errors import KernelError
from sockwarden.kernel.compiled import kprobes

if TYPE_CHECKING:
    from pathlib import Path


def test_the_kernel_says_its_number_for_probes(tmp_path: Path) -> None:
    (tmp_path / "type").write_text("8\n", "ascii")
    assert kprobes.kind(tmp_path / "type") == 8


@pytest.mark.parametrize("text", [None, "", "none\n"])
def test_a_kernel_without_probes_is_refused_with_a_remedy(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "type").write_text(text, "ascii")
    with pytest.raises(KernelError, match="no kprobes") as caught:
        kprobes.kind(tmp_path / "type")
    assert "CONFIG_KPROBE_EVENTS" in caught.value.remedy


def test_the_attributes_have_the_size_that_they_say() -> None:
    # PERF_ATTR_SIZE_VER1, include/uapi/linux/perf_event.h
    assert ctypes.sizeof(kprobes.Attributes) == 72
