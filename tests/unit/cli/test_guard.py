"""``sockwarden guard``, ``doctor`` and the guard's part of ``status``, as a person or a script meets them."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from sockwarden import abi
from sockwarden.cli.main import main
from sockwarden.cli.status import guard_lines
from sockwarden.errors import ExitCode
from sockwarden.service.control import ControlServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SET = f"{abi.ABI_VERSION}-fmod_ret-0123456789ab"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root sees pins, and who holds a connection")


@pytest.fixture
def config(tmp_path: Path) -> str:
    text = (
        f'[engine]\nsocket = "{tmp_path}/docker.sock"\n[guard]\npin_dir = "{tmp_path}/pins"\n'
        f'[daemon]\nrun_dir = "{tmp_path}/run"\n'
    )
    (tmp_path / "c.toml").write_text(text)
    (tmp_path / "run").mkdir()
    return str(tmp_path / "c.toml")


def pin(folder: Path, name: str = SET) -> None:
    """Lay out a set as bpffs would show it."""
    for kind, objects in (("links", ("guard_fmod_ret",)), ("maps", ("sw_config", "sw_guarded"))):
        (folder / name / kind).mkdir(parents=True)
        for one in objects:
            (folder / name / kind / one).touch()


@contextmanager
def an_agent(folder: Path) -> Iterator[None]:
    """An agent that answers at the control socket of ``folder``, and says no more than its number."""
    ready, over = threading.Event(), threading.Event()

    async def status() -> dict[str, Any]:
        return {"pid": 4242}

    async def serve() -> None:
        server = ControlServer(str(folder / "run/control.sock"), {"status": status})
        await server.start()
        ready.set()
        await asyncio.to_thread(over.wait)
        await server.close()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    ready.wait()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_pinned_sets_are_listed_with_what_they_hold(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pin(tmp_path / "pins")
    assert main(["guard", "status", "--config", config]) == ExitCode.OK
    assert capsys.readouterr().out == (
        f"{tmp_path}/pins: 1 pinned set (no agent runs)\n"
        f"  {SET}: rung fmod_ret, build 0123456789ab\n"
        "    programs: guard_fmod_ret\n"
        "    maps: sw_config, sw_guarded\n"
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (SET.replace(str(abi.ABI_VERSION), "1", 1), "of another version"),
        (f"{SET}-old0", "replaced and still in force"),
    ],
)
def test_a_set_that_is_not_of_now_is_told_so(
    name: str, said: str, config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pin(tmp_path / "pins", name)
    assert main(["guard", "status", "--config", config]) == ExitCode.OK
    assert said in capsys.readouterr().out


def test_pinned_sets_for_machines(config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pin(tmp_path / "pins")
    with an_agent(tmp_path):
        assert main(["guard", "status", "--json", "--config", config]) == ExitCode.OK
    assert json.loads(capsys.readouterr().out) == {
        "pin_dir": f"{tmp_path}/pins",
        "agent": 4242,
        "sets": [
            {
                "name": SET,
                "rung": "fmod_ret",
                "build": "0123456789ab",
                "abi": abi.ABI_VERSION,
                "aside": False,
                "programs": ["guard_fmod_ret"],
                "maps": ["sw_config", "sw_guarded"],
                "policy": None,
            }
        ],
    }


def test_nothing_is_unloaded_while_the_agent_runs(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pin(tmp_path / "pins")
    with an_agent(tmp_path):
        assert main(["guard", "unload", "--config", config]) == ExitCode.FAILURE
    text = capsys.readouterr().err
    assert "the agent (pid 4242) runs" in text
    assert "--force" in text
    assert (tmp_path / "pins" / SET).is_dir()


@pytest.mark.parametrize("action", ["status", "unload"])
def test_where_nothing_is_pinned_it_says_so(action: str, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["guard", action, "--config", config]) == ExitCode.OK
    assert capsys.readouterr().out.startswith(("nothing was pinned in", f"{os.path.dirname(config)}/pins: 0 pinned"))


@pytest.mark.parametrize("action", ["status", "unload"])
def test_where_nothing_may_be_pinned_it_says_so(
    action: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.toml").write_text(f'[guard]\npin_dir = ""\n[daemon]\nrun_dir = "{tmp_path}"\n')
    assert main(["guard", action, "--config", str(tmp_path / "c.toml")]) == ExitCode.OK
    assert "pin_dir" in capsys.readouterr().out


def test_an_unload_for_machines(config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["guard", "unload", "--json", "--config", config]) == ExitCode.OK
    assert json.loads(capsys.readouterr().out) == {"pin_dir": f"{tmp_path}/pins", "agent": 0, "removed": []}


def test_a_doctor_without_an_agent_finds_something_open(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--config", config]) == ExitCode.FAILURE
    text = capsys.readouterr().out
    assert "no agent answers" in text
    assert "What to do" in text
    assert "protected" not in text


def test_a_doctor_for_machines_prints_json_only(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json", "--config", config]) == ExitCode.FAILURE
    assert json.loads(capsys.readouterr().out)["open"] is True


@pytest.mark.parametrize(
    "arguments", [["guard", "load"], ["guard", "unload", "--now"], ["doctor", "x"], ["run", "--guard", "ebpf"]]
)
def test_wrong_usage_is_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == ExitCode.USAGE
    assert "usage: sockwarden" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--guard", "kprobe", "--guard-required", "lsm"], 'guard.mode = "kprobe" is weaker'),
        (["--guard", "none", "--guard-required", "tracepoint"], 'guard.mode = "none" is weaker'),
    ],
)
def test_a_rung_below_what_is_required_is_refused_before_anything_is_touched(
    options: list[str], said: str, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--config", config, *options]) == ExitCode.FAILURE
    assert said in capsys.readouterr().err


GUARD = {
    "rung": "fmod_ret",
    "blocking": True,
    "pinned": SET,
    "identity": {"peerpidfd": 3, "peercred": 1},
    "sockets": [{"path": "/run/engine.sock", "class": "engine", "device": 25, "inode": 7}],
    "waiting": ["/run/podman/podman.sock"],
    "rungs": [
        {"name": "fmod_ret", "state": "in force", "in_force": True, "reason": "EPERM", "remedy": ""},
        {"name": "lsm", "state": "refused", "in_force": False, "reason": "no bpf in lsm=", "remedy": "add it"},
    ],
    "canary": {"held": True, "age_seconds": 12.3},
}


def test_a_status_says_how_the_guard_stands() -> None:
    assert list(guard_lines(GUARD)) == [
        f"guard     fmod_ret: blocking, pinned as {SET}, canary held 12 s ago",
        "identity  peerpidfd 3 times, peercred 1 times",
        "guarded   /run/engine.sock (engine), inode 7",
        "waiting   no socket yet: /run/podman/podman.sock",
        "rung      fmod_ret: in force: EPERM",
        "rung      lsm: refused: no bpf in lsm=; remedy: add it",
    ]


def test_a_status_says_what_the_guard_is_not() -> None:
    bare = {"rung": "none", "blocking": False, "pinned": "", "identity": {}, "sockets": [], "waiting": [], "rungs": []}
    assert list(guard_lines(bare)) == ["guard     none: not a wall, not pinned", "identity  nobody has connected yet"]


def test_many_paths_without_a_socket_are_counted() -> None:
    waiting = [line for line in guard_lines({**GUARD, "waiting": list("abcdef")}) if line.startswith("waiting")]
    assert waiting == ["waiting   no socket yet: a, b, c and 3 more (--json)"]


def test_a_canary_that_got_through_is_shouted() -> None:
    assert "canary NOT held" in next(guard_lines({**GUARD, "canary": {"held": False, "age_seconds": 1}}))
