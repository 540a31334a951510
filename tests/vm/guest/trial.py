"""``sockwarden doctor --try`` in a real kernel: what it says of each rung is so, and nothing of the trial stays."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.vm.guest.cases import same, settings
from tests.vm.guest.stage import Stage

from sockwarden.cli.main import main
from sockwarden.config import parse_config
from sockwarden.doctor import pinned
from sockwarden.doctor.diagnosis import diagnose
from sockwarden.doctor.examination import examine
from sockwarden.doctor.facts import Told
from sockwarden.kernel.ladder import State

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.vm.guest.report import Report

    from sockwarden.doctor.facts import PinFact

RUN_DIR: Final = Path("/run/trial")
PIN_DIR: Final = "/sys/fs/bpf/trial"


def a_doctor_tells_what_each_rung_is_worth(report: Report, rungs: Mapping[str, str]) -> None:
    """Compare with what the row expects; a watcher of the rung tracepoint is enough for it to be had."""
    wanted = {name: holds == "holds" for name, holds in rungs.items()}
    watched = [wanted.pop(name) for name in ("guard_listener", "guard_syscall")]
    wanted["tracepoint"] = any(watched)
    config = parse_config(f'[guard]\npin_dir = ""\n[daemon]\nrun_dir = "{RUN_DIR}"\n'.encode(), "trial.toml")
    before = _bpf_descriptors()
    with report.case("doctor: every rung is tried, and told as it is"):
        facts = asyncio.run(examine(config, try_rungs=True))
        found = {row.name: row.state is State.PROVED for row in facts.rows}
        same({name: found[name] for name in wanted}, wanted)
        same([row.name for row in facts.rows if not row.reason], [])
        same(diagnose(facts).is_open, True)  # no agent runs
    with report.case("doctor: nothing of a trial stays"):
        same(_bpf_descriptors(), before)


def pins_are_told_with_their_agent(report: Report, rung: str) -> None:
    """The maps of a pinned set say who published what they go by."""
    with report.case(f"doctor: the pins of {rung} are told with their agent, and unloaded"):
        with Stage(dataclasses.replace(settings(rung), pin_dir=PIN_DIR)):
            same([(one.rung, one.whole, one.current) for one in _pins()], [(rung, True, True)])
            same([one.keeper and (one.keeper.pid, one.keeper.runs) for one in _pins()], [(os.getpid(), True)])
        same(len(_pins()), 1)  # they outlive the guard
        config = RUN_DIR.with_suffix(".toml")
        config.write_text(f'[guard]\npin_dir = "{PIN_DIR}"\n[daemon]\nrun_dir = "{RUN_DIR}"\n', "utf-8")
        told = _command("guard", "status", "--config", str(config))
        same([word in told for word in (rung, "sw_config", f"the agent pid {os.getpid()}, which runs")], [True] * 3)
        told = _command("guard", "unload", "--config", str(config))
        same([word in told for word in (f"rung {rung}", "open: no connection")], [True] * 2)
        same(_pins(), ())


def _command(*arguments: str) -> str:
    """Return what a command of sockwarden prints; it must succeed."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        same(main(arguments), 0)
    return printed.getvalue()


def _pins() -> tuple[PinFact, ...]:
    found = pinned.find(PIN_DIR)
    assert isinstance(found, Told)
    return found.values


def _bpf_descriptors() -> int:
    """Return how many BPF objects this process holds; without a descriptor or a pin the kernel lets go of one."""
    links = []
    for name in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{name}"))
        except OSError:
            continue  # the listing's own
    return sum("bpf" in link for link in links)
