"""The play: the transcripts of Docker Desktop's documentation, typed on a real engine behind sockwarden.

Owns the scenes and their checks. A step that does not give what the documentation says ends the play
with exit code 1. It must never skip a check.
"""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final

from sockwarden.demo import expected
from sockwarden.demo.screen import Screen
from sockwarden.demo.stage import PUBLIC_SOCKET, Stage
from sockwarden.demo.terminal import Terminal
from sockwarden.errors import SockwardenError

if TYPE_CHECKING:
    from collections.abc import Callable

PROMPT: Final = "/ # "
"""What busybox's shell shows to root in the container."""

SOCKET_MOUNT: Final = "/var/run/docker.sock:/var/run/docker.sock"
RUN_DOCUMENTED: Final = f"docker run -it --rm -v {SOCKET_MOUNT} docker:cli"

ALWAYS_SHOWN: Final = re.compile(r"sockwarden_(?:guard_lost_events_total|kills_total|policy_generation)")
COUNTERS_SHOWN: Final = re.compile(
    r"sockwarden_(?:(?:connections|requests|denials|guard_events)_total|(?:mode|build)_info)\b.*"
)
"""Of these the samples that are not zero."""

EXPECTED_DENIALS: Final = 4
"""The first run, the push by CLI and by raw HTTP, the run after the retag."""


def on_one_line(record: dict[str, Any]) -> str:
    """Return the part of an audit record that fits on a line; ``--keep`` leaves the whole file."""
    container, process = record.get("container") or {}, record.get("process") or {}
    shown = {
        **{key: record.get(key) for key in ("time", "decision", "rule", "method", "target")},
        "image": container.get("image"),
        "process": process.get("cmdline"),
        "user": process.get("user"),
    }
    return json.dumps({key: value for key, value in shown.items() if value is not None})


class MismatchError(SockwardenError):
    """A step gave something else than the documentation says."""

    def __init__(self, what: str, wanted: str, got: str) -> None:
        super().__init__(what)
        self.wanted: Final = wanted
        self.got: Final = got


def check(what: str, wanted: str, got: str) -> None:
    """Compare byte for byte. Raises ``MismatchError``."""
    if wanted != got:
        raise MismatchError(what, wanted, got)


def check_contains(what: str, wanted: str, text: str) -> None:
    """Look for a text in an output. Raises ``MismatchError``."""
    if wanted not in text:
        raise MismatchError(what, wanted, text)


def first_line(text: str) -> str:
    """Return the first line that says something."""
    return next((line for line in text.splitlines() if line.strip()), "")


class Play:
    """The scenes, in order, on one stage."""

    def __init__(self, stage: Stage, screen: Screen) -> None:
        self._stage: Final = stage
        self._screen: Final = screen

    def run(self) -> None:
        """Play everything. Raises ``MismatchError`` at the first wrong step."""
        self._put_up()
        self._denied_mount()
        self._allowed_image()
        self._retag()
        self._show_records()
        self._give_back()

    def _put_up(self) -> None:
        steps: tuple[tuple[str, Callable[[], None]], ...] = (
            ("a throw-away registry and engine (private /run, network and cgroups)", self._stage.build_engine),
            ("images from this machine's busybox, docker CLI and curl", self._stage.build_images),
            (
                "sockwarden in front of the engine, by a live swap of the socket",
                lambda: self._stage.build_warden(expected.policy(without="docker:cli")),
            ),
        )
        for number, (text, step) in enumerate(steps, 1):
            self._screen.progress(f"{number}/{len(steps)} {text}")
            step()
        version = self._stage.engine.docker(
            "version", "--format", "engine {{.Server.Version}}, CLI {{.Client.Version}}"
        )
        self._screen.progress(f"ready: {version.stdout.decode().strip()}, guarded socket {PUBLIC_SOCKET}")

    def _denied_mount(self) -> None:
        self._screen.title("An image that is not in the list may not mount the socket")
        self._on_host("docker pull -q docker:cli")
        got = self._on_terminal(RUN_DOCUMENTED)
        check("the refusal of the socket mount", expected.RUN_DENIED_LINE, first_line(got))
        self._screen.right("refused, with the documented text byte for byte")

    def _allowed_image(self) -> None:
        self._screen.title("The documented policy allows docker:cli, and denies push")
        self._screen.output(expected.ADMIN_SETTINGS)
        self._screen.command("kill -HUP $(pidof sockwarden)")
        self._stage.warden.reload(expected.ADMIN_SETTINGS)
        command = f"{RUN_DOCUMENTED} sh"
        self._screen.command(command)
        with Terminal(shlex.split(command), self._stage.engine.environment()) as terminal:
            self._screen.output(terminal.expect(PROMPT).removesuffix(PROMPT))
            listing = self._in_container(terminal, "docker ps")
            check_contains("docker ps in the container shows the container itself", "docker:cli", listing)
            self._screen.right("the allowed image uses the socket")
            self._push_by_cli(terminal)
            self._push_by_http(terminal)
            self._screen.output(f"{PROMPT}exit")
            terminal.type("exit")
            terminal.rest()

    def _push_by_cli(self, terminal: Terminal) -> None:
        got = self._in_container(terminal, "docker push myimage")
        lines = [line for line in got.splitlines() if line.startswith(expected.DAEMON)]
        line = expected.as_documented(lines[0]) if lines else got
        check("the refusal of docker push", expected.PUSH_BLOCKED_LINE, line)
        self._screen.right("blocked, with the documented text (the path has this CLI's API version)")

    def _push_by_http(self, terminal: Terminal) -> None:
        got = self._in_container(terminal, expected.CURL_COMMAND)
        body = next((line for line in got.splitlines() if line.startswith("{")), "")
        try:
            message = json.loads(body)["message"]
        except (ValueError, KeyError, TypeError):
            message = got
        check("the refusal of the raw request", expected.PUSH_BLOCKED, message)
        self._screen.right("blocked, the same text byte for byte (curl shows the JSON that the CLI unpacks)")

    def _retag(self) -> None:
        self._screen.title("Another image does not get in under an allowed name")
        for command in ("docker image rm docker:cli", "docker tag evil docker:cli"):
            self._on_host(command)
        got = self._on_host(f"docker run -v {SOCKET_MOUNT} docker:cli", fails=True)
        check("the refusal of the retagged image", expected.RUN_DENIED_LINE, first_line(got))
        self._screen.right("the tag succeeded, the run was refused: content counts, not the name")

    def _show_records(self) -> None:
        self._screen.title("What sockwarden counted")
        samples = self._stage.warden.metrics()
        for name, value in samples.items():
            if ALWAYS_SHOWN.fullmatch(name) or (value and COUNTERS_SHOWN.fullmatch(name)):
                self._screen.output(f"{name} {value:g}")
        denials = sum(value for name, value in samples.items() if name.startswith("sockwarden_denials_total"))
        check("the count of denials", str(EXPECTED_DENIALS), f"{denials:g}")
        self._screen.title("What it recorded of the refusals")
        denied = [record for record in self._stage.warden.audit() if record.get("decision") == "deny"]
        for record in denied:
            self._screen.output(on_one_line(record))
        check("the number of audit records of refusals", str(EXPECTED_DENIALS), str(len(denied)))
        self._screen.right("every refusal is counted and recorded")

    def _give_back(self) -> None:
        self._screen.title("Stopping sockwarden gives the socket back to the engine")
        check("the exit status of sockwarden", "0", str(self._stage.stop_warden()))
        self._on_host("docker ps")
        self._screen.right("the engine answers on its own socket again")

    def _on_host(self, command: str, *, fails: bool = False) -> str:
        """Run a command as a user of the host would; return its whole output."""
        self._screen.command(command)
        done = subprocess.run(
            shlex.split(command),
            env=self._stage.engine.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=60,
        )
        text = done.stdout.decode("utf-8", "replace")
        self._screen.output(text)
        if (done.returncode != 0) != fails:
            raise MismatchError(f"the exit status of {command!r}", "not 0" if fails else "0", str(done.returncode))
        return text

    def _on_terminal(self, command: str) -> str:
        """Run a command on a terminal of its own; it must fail."""
        self._screen.command(command)
        with Terminal(shlex.split(command), self._stage.engine.environment()) as terminal:
            text = terminal.rest()
            self._screen.output(text)
            if not terminal.status:
                raise MismatchError(f"the exit status of {command!r}", "not 0", "0")
        return text

    def _in_container(self, terminal: Terminal, command: str) -> str:
        """Type a command at the container's prompt; return what it printed."""
        self._screen.output(f"{PROMPT}{command}")
        shown = terminal.enter(command, PROMPT)
        self._screen.output(shown)
        return shown


def run(color: bool, keep: bool) -> int:
    """Play the demonstration on standard output; return 0 when every step gave what the documentation says.

    ``keep`` leaves the directory with the logs and the audit file. Nothing else is ever left.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupted)
    screen = Screen(color=color)
    stage = Stage()
    status = 1
    try:
        Play(stage, screen).run()
        status = 0
    except MismatchError as error:
        screen.wrong(str(error), error.wanted, error.got)
        _explain(stage, screen)
    except SockwardenError as error:
        screen.failure(f"the demonstration cannot go on: {error}")
        if error.remedy:
            screen.failure(f"what to do: {error.remedy}")
    except KeyboardInterrupt:
        screen.failure("interrupted")
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # a second ^C must not stop the cleaning up
        screen.title("Cleaning up")
        left = stage.clean(keep=keep)
    for trace in left:
        screen.failure(f"left behind: {trace}")
    if status or left:
        screen.failure("demo: FAILED")
        return 1
    screen.right("every step gave what the documentation says, and no trace is left")
    if keep:
        screen.note(f"besides the logs and records in {stage.root}")
    return 0


def _explain(stage: Stage, screen: Screen) -> None:
    """Show the end of sockwarden's log after a wrong step."""
    try:
        screen.output(stage.warden.tail())
    except AssertionError:
        screen.note("sockwarden was not started yet")


def _interrupted(_number: int, _frame: Any) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(run(color=sys.stdout.isatty(), keep="--keep" in sys.argv))
