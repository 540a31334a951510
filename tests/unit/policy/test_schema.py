import json
from importlib import resources
from pathlib import Path

import jsonschema
import pytest

from sockwarden.documents.fields import MAX_ITEMS
from sockwarden.errors import DocumentError
from sockwarden.policy.document import parse_policy

SCHEMA = json.loads(resources.files("sockwarden.policy").joinpath("schema.json").read_text(encoding="utf-8"))
SAMPLE = Path(__file__).parents[3] / "packaging" / "etc" / "admin-settings.json"

ECI = "enhancedContainerIsolation"


def mount(value: object) -> object:
    return {ECI: {"value": True, "dockerSocketMount": value}}


ACCEPTED = [
    {},
    {"configurationFileVersion": 2, "$schema": "urn:x", "sockwarden": {}},
    {"sockwarden": {"localImages": ["sha256:" + "0" * 64]}},
    {ECI: {}},
    {ECI: {"locked": True, "value": False, "dockerSocketMount": {}}},
    mount({"imageList": {}, "commandList": {}}),
    mount(
        {
            "imageList": {
                "images": ["*", "docker:cli", "a/b:*", "a/*:*", "r.example/*/b:1.*"],
                "allowDerivedImages": True,
            }
        }
    ),
    mount({"imageList": {"images": ["a"] * MAX_ITEMS}}),
    mount({"commandList": {"type": "allow", "commands": ["ps", "container*", "image rm", "compose"]}}),
    {"linuxVM": {"x": 1}, "anything": None},
]

REFUSED = [
    [],
    None,
    {"configurationFileVersion": 1},
    {"configurationFileVersion": "2"},
    {"configurationFileVersion": True},
    {"$schema": 1},
    {"sockwarden": []},
    {"sockwarden": {"x": 1}},
    {"sockwarden": {"localImages": "sha256:" + "0" * 64}},
    {"sockwarden": {"localImages": ["0" * 64]}},
    {"sockwarden": {"localImages": ["sha256:" + "0" * 63]}},
    {"sockwarden": {"localImages": ["sha256:" + "0" * 64 + "\n"]}},
    {"sockwarden": {"localImages": ["sha256:" + "0" * 64] * (MAX_ITEMS + 1)}},
    {"imageAccessManagement": {}},
    {"registryAccessManagement": None},
    {ECI: None},
    {ECI: {"value": "true"}},
    {ECI: {"locked": 1}},
    {ECI: {"x": 1}},
    mount([]),
    mount({"x": 1}),
    mount({"imageList": []}),
    mount({"imageList": {"images": "docker"}}),
    mount({"imageList": {"images": [1]}}),
    mount({"imageList": {"images": [""]}}),
    mount({"imageList": {"images": ["a"] * (MAX_ITEMS + 1)}}),
    mount({"imageList": {"allowedDerivedImages": True}}),
    mount({"imageList": {"allowDerivedImages": None}}),
    mount({"commandList": 1}),
    mount({"commandList": {"type": "block"}}),
    mount({"commandList": {"type": None}}),
    mount({"commandList": {"commands": ["push", None]}}),
    mount({"commandList": {"commands": {"push": 1}}}),
    mount({"commandList": {"commands": [""]}}),
    mount({"commandList": {"commands": ["ps"] * (MAX_ITEMS + 1)}}),
    mount({"commandList": {"names": []}}),
]


def test_the_schema_is_valid_itself():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("value", ACCEPTED)
def test_what_the_parser_accepts_the_schema_accepts(value):
    parse_policy(json.dumps(value).encode(), "f")
    jsonschema.Draft202012Validator(SCHEMA).validate(value)


@pytest.mark.parametrize("value", REFUSED)
def test_what_has_the_wrong_structure_both_refuse(value):
    with pytest.raises(DocumentError):
        parse_policy(json.dumps(value).encode(), "f")
    assert not jsonschema.Draft202012Validator(SCHEMA).is_valid(value)


def test_the_sample_file_fits_the_schema():
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(SAMPLE.read_bytes()))
