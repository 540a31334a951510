from __future__ import annotations

import os
import struct

import pytest

from sockwarden.errors import KernelError
from sockwarden.kernel.compiled.bytecode import (
    FIRST_NUMBER,
    KPROBE,
    RAW_TRACEPOINT,
    MapShape,
    attach_raw,
    load,
    make,
    options,
    resolve,
    shapes,
)

LOAD_64, EXIT, MOVE = 0x18, 0x95, 0xB7
FROM_MAP = 0x10


def instruction(code: int, immediate: int = 0, registers: int = 0) -> bytes:
    return struct.pack("<BBhi", code, registers, 0, immediate)


def load_64(immediate: int, registers: int) -> bytes:
    return instruction(LOAD_64, immediate, registers) + instruction(0)


def test_a_maps_number_becomes_its_descriptor() -> None:
    code = load_64(FIRST_NUMBER, FROM_MAP | 1) + instruction(EXIT)
    assert resolve(code, {FIRST_NUMBER: 7}) == load_64(7, FROM_MAP | 1) + instruction(EXIT)


def test_a_constant_of_the_same_value_stays() -> None:
    code = load_64(FIRST_NUMBER, 1) + instruction(MOVE, FIRST_NUMBER) + instruction(EXIT)
    assert resolve(code, {FIRST_NUMBER: 7}) == code


def test_the_second_half_of_a_load_is_no_instruction() -> None:
    # Its upper 32 bits may look like anything.
    code = instruction(LOAD_64, 0, 1) + instruction(LOAD_64, FIRST_NUMBER, FROM_MAP) + instruction(EXIT)
    assert resolve(code, {}) == code


def test_a_number_that_nobody_gave_is_refused() -> None:
    with pytest.raises(KernelError, match="0x53570001"):
        resolve(load_64(FIRST_NUMBER + 1, FROM_MAP), {FIRST_NUMBER: 7})


@pytest.mark.parametrize("code", [b"", b"1234567"])
def test_what_is_no_code_is_refused(code: bytes) -> None:
    with pytest.raises(KernelError, match="no BPF instructions"):
        resolve(code, {})


def test_the_compiler_is_told_each_maps_number_and_sizes() -> None:
    told = options((MapShape("a", 1, 4, 8, 16), MapShape("ring", 27, 0, 0, 4096)))
    assert told[:3] == [f"-DSW_MAP_a={FIRST_NUMBER}", "-DSW_MAP_KEY_a=4", "-DSW_MAP_VALUE_a=8"]
    assert told[3] == f"-DSW_MAP_ring={FIRST_NUMBER + 1}"


def test_the_shapes_are_those_of_the_prebuilt_object() -> None:
    found = {shape.name: shape for shape in shapes("guard")}
    assert found["sw_guarded"] == MapShape("sw_guarded", 1, 16, 4, 1024)
    assert all(name.startswith("sw_") for name in found)


@pytest.mark.bpf
def test_a_program_is_loaded_with_a_map_of_its_own() -> None:
    descriptor = make(MapShape("some", 2, 4, 8, 1).sized(2))
    code = load_64(FIRST_NUMBER, FROM_MAP | 1) + instruction(MOVE, 0) + instruction(EXIT)
    os.close(load("fine", KPROBE, resolve(code, {FIRST_NUMBER: descriptor})))
    os.close(descriptor)


@pytest.mark.bpf
def test_a_refused_program_says_the_verifiers_last_words() -> None:
    with pytest.raises(KernelError, match="R0"):
        load("wrong", KPROBE, instruction(EXIT))


@pytest.mark.bpf
def test_a_program_is_attached_to_a_raw_tracepoint() -> None:
    program = load("fine", RAW_TRACEPOINT, instruction(MOVE, 0) + instruction(EXIT))
    os.close(attach_raw("sched_process_exit", program))
    os.close(program)


@pytest.mark.bpf
def test_a_tracepoint_that_the_kernel_does_not_have_is_named() -> None:
    program = load("fine", RAW_TRACEPOINT, instruction(MOVE, 0) + instruction(EXIT))
    with pytest.raises(KernelError, match="attach to tracepoint no_such"):
        attach_raw("no_such", program)
    os.close(program)
