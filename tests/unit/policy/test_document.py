import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from sockwarden.dockerapi.commands import UNSUPPORTED, WILDCARDS
from sockwarden.dockerapi.reference import parse_entry
from sockwarden.errors import DocumentError
from sockwarden.policy.document import (
    DESKTOP_KEYS,
    MAX_GLOBS,
    MAX_NOTICES,
    CommandList,
    ImageEntry,
    Notice,
    PolicyDocument,
    parse_policy,
)

SAMPLE = Path(__file__).parents[3] / "packaging" / "etc" / "admin-settings.json"
DIGEST = "sha256:" + "a" * 64

DESKTOP = b"""{
  "configurationFileVersion": 2,
  "enhancedContainerIsolation": {
    "locked": true,
    "value": true,
    "dockerSocketMount": {
      "imageList": {
        "images": [
          "docker.io/localstack/localstack:*",
          "docker.io/testcontainers/ryuk:*",
          "docker:cli"
        ],
        "allowDerivedImages": true
      },
      "commandList": {
        "type": "deny",
        "commands": ["push"]
      }
    }
  }
}
"""


def policy(value: object) -> PolicyDocument:
    return parse_policy(json.dumps(value).encode(), "f.json")


def isolation(**keys: object) -> PolicyDocument:
    return policy({"enhancedContainerIsolation": {"value": True, **keys}})


def images(*texts: str, **keys: object) -> PolicyDocument:
    return isolation(dockerSocketMount={"imageList": {"images": texts, **keys}})


def commands(*names: str, **keys: object) -> PolicyDocument:
    return isolation(dockerSocketMount={"commandList": {"commands": names, **keys}})


def faults_of(make: Callable[..., PolicyDocument], *args: object) -> list[tuple[str, str]]:
    with pytest.raises(DocumentError) as caught:
        make(*args)
    assert all(fault.file == "f.json" and fault.line and fault.column and fault.remedy for fault in caught.value.faults)
    return [(fault.message, fault.remedy) for fault in caught.value.faults]


def notices_of(document: PolicyDocument) -> list[str]:
    return [notice.message for notice in document.notices]


def test_docker_desktops_own_example_is_read():
    document = parse_policy(DESKTOP, "f.json")
    assert (document.enabled, document.locked, document.allow_derived) == (True, True, True)
    assert document.images == (
        ImageEntry("docker.io/localstack/localstack:*", 9, 11, parse_entry("docker.io/localstack/localstack:*")),
        ImageEntry("docker.io/testcontainers/ryuk:*", 10, 11, parse_entry("docker.io/testcontainers/ryuk:*")),
        ImageEntry("docker:cli", 11, 11, parse_entry("docker:cli")),
    )
    assert document.commands == CommandList("deny", ("push",))
    assert document.notices == ()


def test_the_digest_is_that_of_the_bytes():
    assert parse_policy(DESKTOP, "f.json").sha256 == hashlib.sha256(DESKTOP).hexdigest()


def test_the_sample_file_lets_nobody_in():
    document = parse_policy(SAMPLE.read_bytes(), "f.json")
    assert (document.enabled, document.images, document.allow_derived, document.notices) == (True, (), False, ())


def test_without_lists_no_image_is_allowed_and_no_command_denied():
    document = isolation()
    assert (document.images, document.allow_derived, document.commands) == ((), False, CommandList("deny", ()))


@pytest.mark.parametrize(
    ("value", "notice"),
    [
        ({}, "there is no enhancedContainerIsolation: nothing is enforced"),
        ({"enhancedContainerIsolation": {}}, "enhancedContainerIsolation has no value: nothing is enforced"),
        (
            {"enhancedContainerIsolation": {"value": False}},
            "enhancedContainerIsolation.value is false: nothing is enforced",
        ),
    ],
)
def test_what_enforces_nothing_says_so(value, notice):
    document = policy(value)
    assert (document.enabled, document.locked, notices_of(document)) == (False, False, [notice])


@pytest.mark.parametrize("text", ["docker", "docker:cli", "a/b:*", f"ghcr.io/a/b@{DIGEST}", "*"])
def test_every_form_of_an_image_entry_is_read(text):
    (entry,) = images(text).images
    assert (entry.text, entry.pattern) == (text, parse_entry(text))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it is empty"),
        ("docker:cli:*", "it has a tag before the :*"),
        ("Docker", "the repository name must be lower case"),
        ("a" * 64, "64 hexadecimal digits are an image id, not a name"),
    ],
)
def test_what_is_no_image_is_refused_with_the_reason(text, reason):
    assert faults_of(images, text) == [
        (f'"{text}" is not an image: {reason}', 'write name, name:tag, name:*, name@sha256:… or "*"')
    ]


def test_an_image_that_stands_twice_counts_once():
    document = images("docker:cli", "docker:cli")
    assert len(document.images) == 1
    assert notices_of(document) == ['"docker:cli" is in the list already']


def test_two_spellings_of_one_image_count_once():
    document = images("docker:cli", "docker.io/library/docker:cli")
    assert [entry.text for entry in document.images] == ["docker:cli"]
    assert notices_of(document) == ['"docker.io/library/docker:cli" is in the list already, as "docker:cli"']


@pytest.mark.parametrize(
    ("text", "reason", "remedy"),
    [
        (
            "*/*:*",
            "anybody can get a name on docker.io that the first * stands for",
            'write out the first part of the name, as testcontainers/*:*, or "*" for every image',
        ),
        (
            "a/**:*",
            "** has no meaning here: a * never crosses a slash",
            "write one * for each part of the name, as a/*/*:*",
        ),
        (
            "*:*",
            "it would mean only the official images of Docker Hub",
            'write "*" for every image, or "docker.io/library/*:*" for Docker\'s official images',
        ),
        (
            DIGEST,
            "a digest needs the name of its repository: name@digest",
            "write name@digest; an image that no registry has belongs into sockwarden.localImages",
        ),
    ],
)
def test_a_glob_that_is_useless_or_dangerous_is_refused_with_what_to_write(text, reason, remedy):
    assert faults_of(images, text) == [(f'"{text}" is not an image: {reason}', remedy)]


def test_a_glob_below_a_name_needs_no_notice():
    assert notices_of(images("testcontainers/*:*", "r.example/ci/*:1.*", "docker:2*")) == []


def test_a_glob_over_a_whole_registry_is_named():
    assert notices_of(images("r.example/*:*")) == [
        '"r.example/*:*" allows what anybody may push to r.example, whoever chose the name'
    ]


def test_more_globs_than_can_be_compared_are_a_fault():
    many = [f"r.example/a{number}/*:*" for number in range(MAX_GLOBS + 2)]
    assert faults_of(images, *many) == [
        (
            "more than 256 entries with a * within a name or tag",
            "write fewer entries, with the * for more of the name",
        )
    ]


def test_every_tag_of_a_repository_is_no_glob_that_counts():
    assert len(images(*(f"r.example/a{number}:*" for number in range(MAX_GLOBS + 1))).images) == MAX_GLOBS + 1


def test_ids_of_local_images_are_read():
    ids = ["sha256:" + digit * 64 for digit in "12"]
    assert policy({"sockwarden": {"localImages": ids}}).local_images == tuple(ids)


def test_an_id_that_stands_twice_counts_once():
    document = policy({"sockwarden": {"localImages": [DIGEST, DIGEST]}, "enhancedContainerIsolation": {"value": True}})
    assert (document.local_images, notices_of(document)) == ((DIGEST,), [f'"{DIGEST}" is in the list already'])


@pytest.mark.parametrize("text", ["", "docker", "a" * 64, "a" * 12, "sha256:" + "a" * 63, "sha256:" + "A" * 64])
def test_what_is_not_a_whole_id_is_refused_with_where_to_find_it(text):
    assert faults_of(policy, {"sockwarden": {"localImages": [text]}}) == [
        (
            f'"{text}" in sockwarden.localImages is not the whole id of an image',
            "write sha256: and 64 digits, as 'docker image inspect --format {{.Id}} NAME' shows them",
        )
    ]


def test_an_image_beside_everything_is_named_as_without_effect():
    document = images("docker:cli", "*")
    assert len(document.images) == 2
    assert notices_of(document) == ['the other images have no effect beside "*", which allows every image']


@pytest.mark.parametrize("name", ["push", "image rm", "container ls", "swarm", *WILDCARDS])
def test_a_command_that_docker_knows_is_taken(name):
    assert commands(name).commands == CommandList("deny", (name,))


def test_a_command_that_stands_twice_counts_once():
    assert commands("push", "pull", "push").commands.names == ("push", "pull")


def test_an_allow_list_is_read():
    assert commands("ps", type="allow").commands == CommandList("allow", ("ps",))


@pytest.mark.parametrize("name", sorted(UNSUPPORTED))
def test_a_command_that_docker_desktop_does_not_support_is_named_and_left_out(name):
    document = commands(name)
    assert document.commands.names == ()
    assert notices_of(document) == [
        f'"{name}" is not enforceable by the socket; named by Docker Desktop as unsupported'
    ]


def test_an_allow_list_without_commands_refuses_everything_and_says_so():
    document = commands("compose", type="allow")
    assert document.commands == CommandList("allow", ())
    assert "the allow list is empty: every command is refused" in notices_of(document)


@pytest.mark.parametrize("kind", ["deny", "allow"])
def test_a_command_without_requests_is_named_as_without_effect(kind):
    assert notices_of(commands("logout", type=kind)) == [
        '"logout" makes no request of its own to the engine: this has no effect'
    ]


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("psuh", 'did you mean "push"?'),
        ("Push", 'did you mean "push"?'),
        ("plugins", 'did you mean "plugin"?'),
        ("docker push", 'write "push"'),
        ("§§§", "remove it, or use a known command"),
    ],
)
def test_an_unknown_command_is_a_fault(name, remedy):
    where = "enhancedContainerIsolation.dockerSocketMount.commandList.commands"
    assert faults_of(commands, name) == [(f'unknown command "{name}" in {where}', remedy)]


ECI = "enhancedContainerIsolation"
MOUNT = f"{ECI}.dockerSocketMount"


@pytest.mark.parametrize(
    ("value", "message", "remedy"),
    [
        ({"configurationFileVersion": 3}, "configurationFileVersion must be 2, not a number: 3", "write 2"),
        ({"configurationFileVersion": "2"}, "configurationFileVersion must be 2, not a string", "write 2"),
        ({"configurationFileVersion": True}, "configurationFileVersion must be 2, not a boolean", "write 2"),
        ({"configurationFileVersion": [2]}, "configurationFileVersion must be 2, not an array", "write 2"),
        ({"$schema": 1}, "$schema must be a string, not a number", "put it into double quotes"),
        ({"sockwarden": 1}, "sockwarden must be an object, not a number", "write its keys and values"),
        ({"sockwarden": {"x": 1}}, 'unknown key "x" in sockwarden', "use one of: localImages"),
        ({"sockwarden": {"localImage": []}}, 'unknown key "localImage" in sockwarden', 'did you mean "localImages"?'),
        (
            {"enhancedcontainerisolation": {}},
            'unknown key "enhancedcontainerisolation"',
            'did you mean "enhancedContainerIsolation"?',
        ),
        (
            {"imageAccessManagement": {}},
            "imageAccessManagement is not enforced by this version of sockwarden",
            "remove it, and set the rule at the registry or a proxy",
        ),
        (
            {"registryAccessManagement": None},
            "registryAccessManagement is not enforced by this version of sockwarden",
            "remove it, and set the rule at the registry or a proxy",
        ),
        ({ECI: []}, f"{ECI} must be an object, not an array", "write its keys and values"),
        (
            {ECI: {"value": 1}},
            f"{ECI}.value must be true or false, not a number",
            "write true or false, without quotes",
        ),
        ({ECI: {"Value": True}}, f'unknown key "Value" in {ECI}', 'did you mean "value"?'),
        ({ECI: {"dockerSocketMount": {"images": []}}}, f'unknown key "images" in {MOUNT}', 'did you mean "imageList"?'),
        (
            {ECI: {"dockerSocketMount": {"imageList": {"allowedDerivedImages": True}}}},
            f'unknown key "allowedDerivedImages" in {MOUNT}.imageList',
            'did you mean "allowDerivedImages"?',
        ),
        (
            {ECI: {"dockerSocketMount": {"commandList": {"type": "block"}}}},
            f'unknown value of {MOUNT}.commandList.type: "block"',
            "use one of: allow, deny",
        ),
        (
            {ECI: {"dockerSocketMount": {"commandList": {"command": []}}}},
            f'unknown key "command" in {MOUNT}.commandList',
            'did you mean "commands"?',
        ),
    ],
)
def test_what_is_enforced_is_read_strictly(value, message, remedy):
    assert faults_of(policy, value) == [(message, remedy)]


@pytest.mark.parametrize("text", [b"", b"\xff", b"{", b"[]", b"null", b'"x"'])
def test_what_is_no_object_is_refused(text):
    assert len(faults_of(parse_policy, text, "f.json")) == 1


def test_the_version_may_be_any_spelling_of_two():
    assert parse_policy(b'{"configurationFileVersion": 2.0}', "f").enabled is False


def test_a_version_that_cannot_be_read_is_one_fault():
    assert faults_of(parse_policy, b'{"configurationFileVersion": two}', "f.json") == [
        ('"two" is not JSON', "put text into double quotes")
    ]


def test_the_place_for_editors_is_accepted_in_silence():
    assert len(notices_of(policy({"$schema": "x", "sockwarden": {}}))) == 1


def test_every_fault_is_found_in_one_run():
    text = DESKTOP.replace(b"true", b'"yes"').replace(b"push", b"psuh").replace(b":cli", b":*:*")
    text = text.replace(b'"type": "deny"', b'"type": "deny", "type": "deny"').replace(b"2,", b"1,")
    with pytest.raises(DocumentError) as caught:
        parse_policy(text, "f.json")
    assert [fault.line for fault in caught.value.faults] == [2, 4, 5, 11, 13, 16, 17]


LOAD_HINT = 'to block docker load from containers, put "load" into the command list'
NEAR_HINT = 'did you mean "enhancedContainerIsolation"?'


def others(value: dict[str, object]) -> list[str]:
    return notices_of(policy({"enhancedContainerIsolation": {"value": True}, **value}))


@pytest.mark.parametrize(
    ("value", "notices"),
    [
        (
            {"disableUpdate": {"locked": True, "value": True}},
            ["disableUpdate is a setting of Docker Desktop, ignored on a host"],
        ),
        (
            {"kubernetes": {"locked": True, "a": {"b": 1}}},
            ["kubernetes is a setting of Docker Desktop, ignored on a host"],
        ),
        (
            {"linuxVM": {"vpnkitCIDR": {"value": ""}, "dockerDaemonOptions": {"locked": True}}},
            [
                "linuxVM.vpnkitCIDR is a setting of Docker Desktop, ignored on a host",
                "linuxVM.dockerDaemonOptions is a setting of Docker Desktop, ignored on a host",
            ],
        ),
        ({"linuxVM": {}}, ["linuxVM is a setting of Docker Desktop, ignored on a host"]),
        (
            {"blockDockerLoad": {"value": True}},
            ["blockDockerLoad is a setting of Docker Desktop, ignored on a host; " + LOAD_HINT],
        ),
        ({"futureThing": [1]}, ["futureThing is not known to sockwarden, ignored on a host"]),
        (
            {"enhancedContainerIsolations": {"value": True}},
            ["enhancedContainerIsolations is not known to sockwarden, ignored on a host; " + NEAR_HINT],
        ),
        ({"a\x1b": 1}, ["a\\u001b is not known to sockwarden, ignored on a host"]),
    ],
)
def test_docker_desktops_other_keys_are_named_once_as_ignored(value, notices):
    assert others(value) == notices


def test_every_setting_of_docker_desktop_is_known():
    assert all("a setting of Docker Desktop" in notice for notice in others(dict.fromkeys(DESKTOP_KEYS, 1)))


def test_notices_beyond_the_limit_are_counted():
    found = others({f"key{number}": 1 for number in range(MAX_NOTICES + 5)})
    assert len(found) == MAX_NOTICES + 1
    assert found[-1] == "5 more notices are not listed"


def test_a_notice_is_one_line_with_its_place():
    assert str(Notice("f", 1, 2, "hint")) == "f:1:2: hint"
