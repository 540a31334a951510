"""Audit records: their form, and what they never hold."""

from __future__ import annotations

import dataclasses
import json
import os
from typing import Any

import pytest

from sockwarden.model import (
    Container,
    ContainerClient,
    HostClient,
    IdentitySource,
    ImageAnswer,
    Mode,
    Peer,
    Rule,
    UnknownClient,
)
from sockwarden.observe import audit as module
from sockwarden.observe.audit import MAX_RECORD, AuditLog, AuditRecord, encode
from sockwarden.observe.metrics import Decision
from sockwarden.observe.process import ProcessCache, ProcessRef, ProcessSnapshot
from sockwarden.observe.sink import AuditSink

PEER = Peer(4242, 0, 0, 9, IdentitySource.PIDFD)
CONTAINER = Container("a" * 64, f"sha256:{'1' * 64}", "img:1")
RECORD = AuditRecord(
    time=1_700_000_000.0,
    decision=Decision.DENY,
    rule=Rule.COMMAND_LIST,
    command="push",
    method="POST",
    target="/v1.41/images/u:s3cret@h/a/push?tag=1",
    client=ContainerClient(PEER, CONTAINER),
    generation=3,
    mode=Mode.ENFORCE,
    message="no",
)
PROCESS = ProcessSnapshot(4242, "/bin/docker", ("docker", "push"), "root", (ProcessRef(1, "/sbin/init"),))


def test_a_record_has_the_documented_form():
    assert json.loads(encode(RECORD, PROCESS, "/run/engine.sock")) == {
        "time": "2023-11-14T22:13:20.000Z",
        "decision": "deny",
        "rule": "command-list",
        "command": "push",
        "method": "POST",
        "target": "***@h/a/push?tag=1",
        "message": "no",
        "container": {"id": "a" * 64, "image": "docker.io/library/img:1", "digest": f"sha256:{'1' * 64}"},
        "process": {
            "pid": 4242,
            "exe": "/bin/docker",
            "cmdline": ["docker", "push"],
            "user": "root",
            "parents": [{"pid": 1, "exe": "/sbin/init"}],
        },
        "engine": "/run/engine.sock",
        "generation": 3,
        "mode": "enforce",
    }


@pytest.mark.parametrize("client", [HostClient(PEER), UnknownClient(PEER, Rule.UNKNOWN_CONTAINER, "x"), None])
def test_only_a_known_container_has_a_container(client):
    assert json.loads(encode(dataclasses.replace(RECORD, client=client), PROCESS, ""))["container"] is None


def image_of(answer: ImageAnswer | None) -> Any:
    return json.loads(encode(dataclasses.replace(RECORD, image=answer), PROCESS, "")).get("image")


def test_a_record_says_which_digest_matched_which_entry():
    assert image_of(ImageAnswer(allowed=True, entry="docker.io/library/a:1", digest="sha256:1")) == {
        "entry": "docker.io/library/a:1",
        "digest": "sha256:1",
    }


def test_a_record_names_the_parent_that_a_derived_image_is_allowed_by():
    answer = ImageAnswer(allowed=True, entry="docker.io/library/a:1", digest="sha256:1", parent="sha256:2")
    assert image_of(answer)["parent"] == "sha256:2"


def test_a_record_of_a_refused_image_names_no_entry():
    answer = ImageAnswer(allowed=False, entry="docker.io/library/a:1", reason="no", digest="sha256:1")
    assert image_of(answer) == {"entry": None, "digest": "sha256:1"}


def test_a_record_without_an_image_has_no_such_member():
    assert "image" not in json.loads(encode(RECORD, PROCESS, ""))


def test_a_record_says_what_would_help():
    record = dataclasses.replace(RECORD, remedy='add "a"')
    assert json.loads(encode(record, PROCESS, ""))["remedy"] == 'add "a"'


def test_a_long_record_keeps_the_image():
    answer = ImageAnswer(allowed=True, entry="a", digest="sha256:1")
    record = dataclasses.replace(RECORD, image=answer, message="x" * MAX_RECORD)
    line = json.loads(encode(record, PROCESS, ""))
    assert (line["truncated"], line["image"]) == (True, {"entry": "a", "digest": "sha256:1"})


def test_a_record_without_a_process_says_so():
    assert json.loads(encode(RECORD, None, ""))["process"] is None


def test_a_record_without_a_message_has_none():
    assert "message" not in json.loads(encode(dataclasses.replace(RECORD, message=""), None, ""))


def test_a_process_that_was_gone_has_null_fields():
    process = json.loads(encode(RECORD, ProcessSnapshot(7), ""))["process"]
    assert process == {"pid": 7, "exe": None, "cmdline": None, "user": None, "parents": []}


def test_a_clients_text_cannot_break_the_line():
    line = encode(dataclasses.replace(RECORD, message="a\nb\x7f\u2028\udcff", method="X\r"), None, "")
    assert line.count(b"\n") == 1
    assert line[:-1].decode("ascii").isprintable()


def test_a_record_is_never_longer_than_its_limit():
    long = "\U0001f600" * 9999
    process = ProcessSnapshot(1, long, (long,) * 64, long, (ProcessRef(1, long),) * 8)
    container = Container("a" * 64, f"sha256:{'1' * 64}", long)
    record = dataclasses.replace(
        RECORD,
        client=ContainerClient(PEER, container),
        command=long,
        method=long,
        target=long,
        message=long,
    )
    line = encode(record, process, long)
    assert (len(line) <= MAX_RECORD, json.loads(line)["truncated"]) == (True, True)


def test_a_long_record_without_a_process_is_shortened_too():
    line = encode(dataclasses.replace(RECORD, message="x" * MAX_RECORD), None, "")
    assert (len(line) <= MAX_RECORD, json.loads(line)["truncated"]) == (True, True)


@pytest.fixture
def log(tmp_path):
    sink = AuditSink(str(tmp_path / "audit.log"))
    yield AuditLog(sink, ProcessCache(lambda _: 9), "/run/engine.sock")
    sink.close()


def test_a_log_writes_one_line_per_record(log, tmp_path):
    log.write(RECORD)
    log.write(dataclasses.replace(RECORD, target="/other"))
    assert len((tmp_path / "audit.log").read_bytes().splitlines()) == 2


def test_a_log_describes_the_peer(log, tmp_path):
    log.write(dataclasses.replace(RECORD, client=HostClient(dataclasses.replace(PEER, pid=os.getpid()))))
    assert json.loads((tmp_path / "audit.log").read_bytes())["process"]["exe"]


@pytest.mark.parametrize("client", [None, UnknownClient(None, Rule.IDENTITY, "x")])
def test_a_log_without_a_peer_has_no_process(log, tmp_path, client):
    log.write(dataclasses.replace(RECORD, client=client))
    assert json.loads((tmp_path / "audit.log").read_bytes())["process"] is None


def test_a_repeated_record_is_the_same_line(log, tmp_path):
    client = HostClient(dataclasses.replace(PEER, pid=os.getpid()))
    own = dataclasses.replace(RECORD, decision=Decision.ALLOW, client=client)
    log.write(own)
    log.write(own)
    first, second = (tmp_path / "audit.log").read_bytes().splitlines()
    assert first == second


def test_a_process_that_speaks_for_another_client_is_described_anew(log, tmp_path):
    log.write(RECORD)
    log.write(dataclasses.replace(RECORD, client=HostClient(PEER)))
    containers = [json.loads(line)["container"] for line in (tmp_path / "audit.log").read_bytes().splitlines()]
    assert (containers[0] is None, containers[1] is None) == (False, True)


def test_a_log_cuts_long_records_too(log, tmp_path):
    log.write(dataclasses.replace(RECORD, message="x" * MAX_RECORD))
    assert json.loads((tmp_path / "audit.log").read_bytes())["truncated"]


def test_only_so_many_clients_are_remembered(log, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_REMEMBERED_CLIENTS", 1)
    log.write(RECORD)
    log.write(dataclasses.replace(RECORD, client=HostClient(dataclasses.replace(PEER, pid=os.getpid()))))
    assert len((tmp_path / "audit.log").read_bytes().splitlines()) == 2


def test_a_denial_that_is_repeated_at_once_becomes_a_count(log, tmp_path):
    told = [log.write(RECORD) for _ in range(3)]
    log.flush_due()
    log.flush()
    lines = (tmp_path / "audit.log").read_bytes().splitlines()
    assert (told, [json.loads(line).get("repeated") for line in lines]) == ([True, False, False], [None, 2])


def test_a_long_record_tells_its_count_too():
    long = dataclasses.replace(RECORD, message="x" * MAX_RECORD, others=4)
    assert json.loads(encode(long, PROCESS, ""))["others"] == 4


def test_what_is_said_of_the_agent_itself_is_a_line(log, tmp_path):
    log.event("canary-failed", {"rung": "lsm"})
    line = json.loads((tmp_path / "audit.log").read_bytes())
    assert (line["event"], line["rung"], set(line)) == ("canary-failed", "lsm", {"time", "event", "rung"})
