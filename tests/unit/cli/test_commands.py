"""The commands as a person or a script meets them: output, exit codes, bad input."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sockwarden.cli.main import main
from sockwarden.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable

GOLDEN = Path(__file__).parent / "golden"
POLICY = """{
  "configurationFileVersion": 2,
  "enhancedContainerIsolation": {
    "locked": true,
    "value": true,
    "dockerSocketMount": {
      "imageList": {"images": ["docker.io/localstack/localstack:*", "docker.io/testcontainers/ryuk:*"]},
      "commandList": {"type": "deny", "commands": ["push"]}
    }
  }
}
"""
CREATE = "POST /v1.43/containers/create"
EXPLAINED = {
    "push": ["--as", "image:docker.io/localstack/localstack:3", "POST /v1.43/images/myimage/push?tag=latest"],
    "ps": ["--as", "image:localstack/localstack:3", "GET /v1.43/containers/json"],
    "not_listed": ["--as", "image:docker", "GET /v1.43/containers/json"],
    "host": ["--as", "host", "POST /v1.43/images/alpine/push"],
    "enforced_host": ["--as", "host", "--enforce-host", "POST /v1.43/images/alpine/push"],
    "unknown_route": ["--as", "image:localstack/localstack:3", "GET /v1.43/nothing"],
    "dot_segment": ["--as", "host", "GET /v1.43/../info"],
    "asterisk": ["--as", "host", "--enforce-host", "OPTIONS *"],
    "socket_mount": ["--as", "host", "--body", "BODY", CREATE],
}


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], str]:
    def to_file(name: str, text: str) -> str:
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return to_file


@pytest.fixture
def policy(write: Callable[[str, str], str]) -> str:
    return write("admin-settings.json", POLICY)


@pytest.mark.parametrize("name", sorted(EXPLAINED))
def test_an_explanation_reads_as_documented(
    name: str, policy: str, write: Callable[[str, str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    body = write("body.json", '{"Image": "docker", "HostConfig": {"Binds": ["/var/run/docker.sock:/s"]}}')
    arguments = [body if word == "BODY" else word for word in EXPLAINED[name]]
    code = main(["explain", "--policy", policy, *arguments])
    text = f"{capsys.readouterr().out}exit code {code}\n"
    if os.environ.get("SOCKWARDEN_UPDATE_GOLDEN") == "1":
        (GOLDEN / f"explain_{name}.txt").write_text(text)
    assert text == (GOLDEN / f"explain_{name}.txt").read_text()


def test_an_explanation_for_machines_has_every_key(policy: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "--json", "--policy", policy, *EXPLAINED["push"]]) == ExitCode.DENIED
    answer = json.loads(capsys.readouterr().out)
    assert {"decision", "rule", "command", "status", "message", "remedy", "entry"} == set(answer)
    assert answer["entry"] == "docker.io/localstack/localstack:*"
    assert (answer["decision"], answer["rule"], answer["status"]) == ("deny", "command-list", 403)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--as", "nobody", CREATE], "not a client"),
        (["--as", "image:", CREATE], "not a client"),
        (["--as", "image:UPPER", CREATE], "not an image reference"),
        (["--as", "host", "create"], "not a request"),
        (["--as", "host", "post /x"], "not a request"),
        (["--as", "host", "--body", "/nonexistent/body", CREATE], "cannot be read"),
    ],
)
def test_a_question_that_makes_no_sense_fails_with_a_sentence(
    arguments: list[str], said: str, policy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", "--policy", policy, *arguments]) == ExitCode.FAILURE
    assert said in capsys.readouterr().err


def test_bytes_that_are_no_text_are_a_malformed_target(policy: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "--policy", policy, "--as", "host", "GET /\udcff"]) == ExitCode.DENIED
    assert "rule malformed" in capsys.readouterr().out


def test_a_good_policy_is_valid(policy: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", policy]) == ExitCode.OK
    assert capsys.readouterr().out == (
        f"{policy}: valid; 2 image entries (2 by pattern), derived images refused, command list: deny push\n"
    )


LISTED = ["docker", "r.example/ci/*:*", "r.example/a:1.*", "r.example/b@sha256:" + "b" * 64]
LOCAL = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("image", "entry"),
    [
        ("docker", "docker.io/library/docker:latest"),
        ("docker:cli", ""),
        ("r.example/ci/x:7", "r.example/ci/*:*"),
        ("r.example/ci/x@sha256:" + "c" * 64, "r.example/ci/*:*"),
        ("r.example/ci/x/y:7", ""),
        ("r.example/a:1.2", "r.example/a:1.*"),
        ("r.example/a:2", ""),
        ("r.example/b:1@sha256:" + "b" * 64, "r.example/b@sha256:" + "b" * 64),
        ("r.example/b:1", ""),
        (LOCAL, LOCAL),
        ("a" * 64, LOCAL),
        ("sha256:" + "b" * 64, ""),
    ],
)
def test_an_explanation_names_the_entry_that_covers_a_name(
    image: str, entry: str, write: Callable[[str, str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    listed = json.loads(POLICY)
    listed["enhancedContainerIsolation"]["dockerSocketMount"]["imageList"] = {"images": LISTED}
    file = write("listed.json", json.dumps(listed | {"sockwarden": {"localImages": [LOCAL]}}))
    code = main(["explain", "--json", "--policy", file, "--as", f"image:{image}", "GET /containers/json"])
    assert (code, json.loads(capsys.readouterr().out)["entry"]) == (
        ExitCode.OK if entry else ExitCode.DENIED,
        entry,
    )


def test_everything_explains_itself(write: Callable[[str, str], str], capsys: pytest.CaptureFixture[str]) -> None:
    listed = json.loads(POLICY)
    listed["enhancedContainerIsolation"]["dockerSocketMount"]["imageList"] = {"images": ["*"]}
    file = write("listed.json", json.dumps(listed))
    assert main(["explain", "--policy", file, "--as", f"image:{LOCAL}", "GET /containers/json"]) == ExitCode.OK
    assert "the entry '*'" in capsys.readouterr().out


def test_a_policy_is_summed_up_with_its_patterns_and_local_images(
    write: Callable[[str, str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    listed = json.loads(POLICY)
    listed["enhancedContainerIsolation"]["dockerSocketMount"]["imageList"] = {"images": LISTED}
    file = write("listed.json", json.dumps(listed | {"sockwarden": {"localImages": [LOCAL]}}))
    assert main(["check", file]) == ExitCode.OK
    assert "valid; 4 image entries (2 by pattern), 1 local images by id, derived" in capsys.readouterr().out


def test_a_good_policy_for_machines(policy: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--json", policy]) == ExitCode.OK
    answer = json.loads(capsys.readouterr().out)
    assert (answer["file"], answer["valid"], answer["faults"], answer["notices"]) == (policy, True, [], [])


def test_every_fault_is_shown_with_its_line_and_a_caret(
    write: Callable[[str, str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    broken = write("broken.json", POLICY.replace('"push"', '"pusch"').replace('"value": true', '"value": "yes"'))
    assert main(["check", broken]) == ExitCode.CONFIG
    text = capsys.readouterr().err
    assert f"{broken}:5:14: " in text
    assert '    "value": "yes",' in text
    assert "^" in text
    assert "pusch" in text
    assert text.endswith("2 faults\n")


def test_faults_for_machines_have_their_place(
    write: Callable[[str, str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    broken = write("broken.json", POLICY.replace('"value": true', '"value": "yes"'))
    assert main(["check", "--json", broken]) == ExitCode.CONFIG
    answer = json.loads(capsys.readouterr().out)
    assert not answer["valid"]
    assert [(fault["line"], fault["column"]) for fault in answer["faults"]] == [(5, 14)]


@pytest.mark.parametrize("content", ["", "[", "\x00", "{}x"])
def test_what_is_no_json_document_is_a_fault(
    content: str, write: Callable[[str, str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", write("bad.json", content)]) == ExitCode.CONFIG
    assert "fault" in capsys.readouterr().err


@pytest.mark.parametrize(("place", "said"), [("missing.json", "cannot be read"), (".", "not a regular file")])
def test_a_file_that_cannot_be_read_is_a_fault(
    place: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(tmp_path / place)]) == ExitCode.CONFIG
    assert said in capsys.readouterr().err


def test_a_configuration_is_checked_by_its_ending(
    write: Callable[[str, str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", write("sockwarden.toml", '[policy]\nmode = "audit"\n')]) == ExitCode.OK
    assert "(audit)" in capsys.readouterr().out
    assert main(["check", write("bad.toml", '[policy]\nmode = "maybe"\n')]) == ExitCode.CONFIG
    assert "bad.toml:2:8: " in capsys.readouterr().err


def test_colour_comes_when_it_is_asked_for(policy: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--color", "always", "check", policy])
    assert "\x1b[32mvalid\x1b[0m" in capsys.readouterr().out
    main(["--color", "auto", "check", policy])
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize(("variables", "colour"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_colour_comes_by_itself_on_a_terminal_only(policy: str, variables: dict[str, str], colour: bool) -> None:
    ours, theirs = pty.openpty()
    environment = {"PATH": os.environ["PATH"], "TERM": "xterm", **variables}
    program = Path(sys.executable).parent / "sockwarden"
    subprocess.run([program, "check", policy], env=environment, stdout=theirs, check=True)
    os.close(theirs)
    text = os.read(ours, 4096)
    os.close(ours)
    assert (b"\x1b[" in text) is colour


@pytest.mark.parametrize("arguments", [[], ["guard"], ["check"], ["explain", "GET /"], ["--color", "pink", "status"]])
def test_wrong_usage_is_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == ExitCode.USAGE
    assert "usage: sockwarden" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["status", "reload"])
def test_an_agent_that_does_not_run_is_unavailable(
    command: str, policy: str, write: Callable[[str, str], str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    config = write("c.toml", f'[policy]\nfile = "{policy}"\n[daemon]\nrun_dir = "{tmp_path}/run"\n')
    assert main([command, "--config", config]) == ExitCode.UNAVAILABLE
    assert "no sockwarden answers" in capsys.readouterr().err


def test_a_reload_shows_the_faults_before_it_asks_the_agent(
    write: Callable[[str, str], str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    broken = write("broken.json", "{")
    config = write("c.toml", f'[policy]\nfile = "{broken}"\n[daemon]\nrun_dir = "{tmp_path}/run"\n')
    assert main(["reload", "--config", config]) == ExitCode.CONFIG
    assert "broken.json" in capsys.readouterr().err


def test_a_run_needs_its_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["run", "--config", str(tmp_path / "missing.toml")])
    assert code == (ExitCode.CONFIG if os.geteuid() == 0 else ExitCode.NO_PERMISSION)
    assert capsys.readouterr().err


def test_the_version_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("sockwarden ")
