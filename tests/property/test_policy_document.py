"""Laws of the policy document: what it ignores, what it never does, and that the schema agrees."""

import json
from importlib import resources
from pathlib import Path

import jsonschema
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from sockwarden.dockerapi.commands import COMMAND_NAMES, UNSUPPORTED
from sockwarden.errors import DocumentError
from sockwarden.policy.document import DESKTOP_KEYS, PolicyDocument, parse_policy

pytestmark = pytest.mark.property

SCHEMA = jsonschema.Draft202012Validator(
    json.loads(resources.files("sockwarden.policy").joinpath("schema.json").read_text(encoding="utf-8"))
)
SAMPLE = (Path(__file__).parents[2] / "packaging" / "etc" / "admin-settings.json").read_bytes()

ECI = "enhancedContainerIsolation"
OWN_KEYS = {
    key.lower()
    for key in (
        "configurationFileVersion", ECI, "sockwarden", "imageAccessManagement", "registryAccessManagement", "$schema",
    )
}  # fmt: skip

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
numbers = st.integers(-(10**60), 10**60) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)
image_texts = st.sampled_from(
    ["docker", "docker:cli", "a/b:*", "a/*:*", "r.example/*:1.*", "*/*:*", "*", "ghcr.io/a/b@sha256:" + "0" * 64]
)
id_texts = st.sampled_from(["sha256:" + "0" * 64, "0" * 64, "sha256:0"])
documents = st.fixed_dictionaries(
    {},
    optional={
        "configurationFileVersion": st.just(2) | values,
        "$schema": texts | values,
        "sockwarden": st.fixed_dictionaries({}, optional={"localImages": st.lists(id_texts, max_size=3) | values})
        | values,
        "imageAccessManagement": values,
        ECI: values
        | st.fixed_dictionaries(
            {},
            optional={
                "locked": st.booleans() | values,
                "value": st.booleans() | values,
                "dockerSocketMount": st.fixed_dictionaries(
                    {},
                    optional={
                        "imageList": st.fixed_dictionaries(
                            {},
                            optional={
                                "images": st.lists(image_texts, max_size=3) | values,
                                "allowDerivedImages": st.booleans() | values,
                            },
                        ),
                        "commandList": st.fixed_dictionaries(
                            {},
                            optional={
                                "type": st.sampled_from(["allow", "deny"]) | values,
                                "commands": st.lists(st.sampled_from(sorted(COMMAND_NAMES | UNSUPPORTED)), max_size=3)
                                | values,
                                "x": values,
                            },
                        ),
                    },
                ),
            },
        ),
    },
)


def parse(text: bytes) -> PolicyDocument | None:
    """Return the document, or None if it was refused in the way that documents are refused."""
    try:
        return parse_policy(text, "f.json")
    except DocumentError as error:
        assert error.faults
        assert list(error.faults) == sorted(error.faults)
        assert all(fault.file == "f.json" and fault.line >= 1 and fault.column >= 1 for fault in error.faults)
        assert all(fault.message and fault.remedy for fault in error.faults)
        return None


@given(key=texts | st.sampled_from(sorted(DESKTOP_KEYS)), value=values)
def test_whatever_stands_in_a_key_of_docker_desktop_is_no_fault(key, value):
    assume(key.lower() not in OWN_KEYS)
    document = parse(json.dumps({ECI: {"value": True}, key: value}).encode())
    assert document is not None
    assert document.enabled
    assert document.notices


@given(position=st.integers(0, len(SAMPLE) - 1), byte=st.integers(0, 255))
def test_a_changed_byte_gives_a_document_or_faults(position, byte):
    parse(SAMPLE[:position] + bytes([byte]) + SAMPLE[position + 1 :])


@given(start=st.integers(0, len(SAMPLE)), length=st.integers(0, 40), inserted=st.binary(max_size=8))
def test_a_changed_part_gives_a_document_or_faults(start, length, inserted):
    parse(SAMPLE[:start] + inserted + SAMPLE[start + length :])


@given(st.binary(max_size=64) | st.text(alphabet='{}[]",:\\\n tn01-.eu/*', max_size=40).map(str.encode))
@example(b"[" * 100_000)
@example(b'{"a":' * 100_000)
@example(b"9" * 100_000)
@example(b'"\\' * 10_000)
@example(b"[,]" * 10_000)
def test_any_bytes_give_a_document_or_faults(text):
    parse(text)


@given(documents)
def test_whatever_the_parser_accepts_fits_the_schema(value):
    if parse(json.dumps(value).encode()) is not None:
        SCHEMA.validate(value)


@given(documents)
def test_whatever_does_not_fit_the_schema_the_parser_refuses(value):
    if not SCHEMA.is_valid(value):
        assert parse(json.dumps(value).encode()) is None


@given(documents)
def test_white_space_does_not_change_the_meaning(value):
    compact, spread = parse(json.dumps(value).encode()), parse(json.dumps(value, indent="\t").encode())
    assert (compact is None) == (spread is None)
    if compact is not None and spread is not None:
        assert (compact.enabled, compact.locked, compact.allow_derived, compact.commands) == (
            spread.enabled,
            spread.locked,
            spread.allow_derived,
            spread.commands,
        )
        assert compact.local_images == spread.local_images
        assert [entry.pattern for entry in compact.images] == [entry.pattern for entry in spread.images]
