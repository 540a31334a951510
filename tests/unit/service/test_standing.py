"""How the guard stands, and that whatever it lacks is named with its remedy."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sockwarden import abi
from sockwarden.config import Config, GuardConfig, GuardMode
from sockwarden.errors import KernelError
from sockwarden.kernel.connections.dealing import GuardedSocket
from sockwarden.kernel.connections.sockets import SocketIdentity
from sockwarden.kernel.ladder import GuardReport, Rung, choose
from sockwarden.kernel.probes import survey
from sockwarden.model import IdentitySource
from sockwarden.service.hostservices import HostServices
from sockwarden.service.standing import gaps_of, last_words_of, standing_of

if TYPE_CHECKING:
    from collections.abc import Mapping

BUILD = "0123456789ab"
ENGINE = GuardedSocket(Path("/run/engine.sock"), abi.SocketClass.HOST_ONLY, SocketIdentity(25, 7))
CAPABLE = {
    "sys/kernel/btf/vmlinux": "x",
    "proc/self/status": "CapEff:\t000001ffffffffff\n",
    "proc/version": "Linux version 6.12 #1 SMP\n",
    "proc/sys/kernel/osrelease": "6.12.0\n",
    "sys/bus/event_source/devices/kprobe/type": "8\n",
}


def had(*names: str):
    def attempt(rung: Rung) -> str:
        if rung.name in names:
            return "proved"
        raise KernelError(f"no {rung.name} (log | log)", remedy=f"get {rung.name}")

    return attempt


def report(root: Path, files: Mapping[str, str], *names: str, mode: str = "auto") -> GuardReport:
    """What a guard reports on a machine with these files, whose kernel takes the rungs of ``names``."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return choose(mode, survey(root), had(*names))


@dataclass
class Guard:
    report: GuardReport
    guarded: tuple[GuardedSocket, ...] = (ENGINE,)

    def counters(self) -> dict[str, int]:
        return {"lost": 0}


@dataclass
class Watch:
    found: list[str] = field(default_factory=list)

    def status(self) -> dict[str, Any]:
        return {"missed": 0}

    def problems(self) -> list[str]:
        return self.found


@dataclass
class Metrics:
    identities: dict[IdentitySource, int] = field(default_factory=lambda: dict.fromkeys(IdentitySource, 0))


@dataclass
class Wards:
    waiting: tuple[str, ...] = ()
    found: list[str] = field(default_factory=list)

    def problems(self) -> list[str]:
        return self.found


@dataclass
class Agent:
    config: Config
    guard: Guard
    watch: Watch = field(default_factory=Watch)
    metrics: Metrics = field(default_factory=Metrics)
    wards: Wards = field(default_factory=Wards)
    services: HostServices = field(default_factory=lambda: HostServices(lambda _ids: None))


def agent(report: GuardReport, pin_dir: Path | str = "", mode: GuardMode = GuardMode.AUTO) -> Agent:
    config = replace(Config.default(), guard=GuardConfig(mode, pin_dir=str(pin_dir)))
    return Agent(config, Guard(report))


def pin(folder: Path, rung: str = "fmod_ret", version: int = abi.ABI_VERSION) -> str:
    name = f"{version}-{rung}-{BUILD}"
    for kind in ("links", "maps"):
        (folder / name / kind).mkdir(parents=True)
        (folder / name / kind / "x").touch()
    return name


def test_a_walled_and_pinned_host_has_no_gap(tmp_path: Path) -> None:
    pin(tmp_path / "pins")
    assert gaps_of(agent(report(tmp_path, CAPABLE, "fmod_ret"), tmp_path / "pins")) == []


def test_the_standing_has_the_object_of_every_socket(tmp_path: Path) -> None:
    found = standing_of(agent(report(tmp_path, CAPABLE, "fmod_ret")))
    assert found["sockets"] == [{"path": "/run/engine.sock", "class": "host-only", "device": 25, "inode": 7}]


def test_the_standing_has_the_state_of_every_rung(tmp_path: Path) -> None:
    found = standing_of(agent(report(tmp_path, CAPABLE, "kprobe")))
    assert {row["name"]: row["state"] for row in found["rungs"]} == {
        "fmod_ret": "refused",
        "lsm": "refused",
        "kprobe": "in force",
        "bcc": "not needed",
        "tracepoint": "not needed",
        "none": "not needed",
    }


def test_only_sources_of_identity_that_were_used_are_told(tmp_path: Path) -> None:
    asked = agent(report(tmp_path, CAPABLE, "lsm"))
    asked.metrics.identities[IdentitySource.CRED] = 2
    assert standing_of(asked)["identity"] == {"peercred": 2}


def test_a_guard_that_is_switched_off_is_told_in_the_same_words(tmp_path: Path) -> None:
    on, off = agent(report(tmp_path, CAPABLE, "lsm")), agent(report(tmp_path, {}), mode=GuardMode.NONE)
    assert set(standing_of(off)) <= set(standing_of(on))
    assert gaps_of(off) == ["no blocking kernel guard: the engine's own socket is not walled off"]
    assert last_words_of(off) == ""


BAD: dict[str, tuple[dict[str, str], str]] = {
    "no BTF": (
        {"sys/kernel/btf/vmlinux": ""},
        "the kernel has no BTF (remedy: use a kernel with CONFIG_DEBUG_INFO_BTF",
    ),
    "missing capabilities": (
        {"proc/self/status": "CapEff:\t0\n"},
        "CAP_BPF and CAP_PERFMON are not held (remedy: run as root, or with CAP_BPF",
    ),
    "lockdown": (
        {"sys/kernel/security/lockdown": "none integrity [confidentiality]\n"},
        "no BPF program may read kernel memory (remedy: boot with lockdown=integrity",
    ),
    "a verifier refusal": ({}, "fmod_ret is refused: no fmod_ret (remedy: get fmod_ret)"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_keeps_the_wall_away_is_named_with_its_remedy(name: str, tmp_path: Path) -> None:
    files, said = BAD[name]
    missing = {path for path, text in files.items() if not text}
    machine = {path: text for path, text in (CAPABLE | files).items() if path not in missing}
    (gap,) = gaps_of(agent(report(tmp_path, machine)))
    assert said in gap


@pytest.mark.parametrize("name", BAD)
def test_a_start_that_requires_the_wall_is_refused_with_the_same_reason(name: str, tmp_path: Path) -> None:
    files, said = BAD[name]
    missing = {path for path, text in files.items() if not text}
    for path, text in (CAPABLE | files).items():
        if path not in missing:
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text)
    with pytest.raises(KernelError, match=r"guard\.required is lsm") as caught:
        choose("auto", survey(tmp_path), had("kprobe"), "lsm")
    assert caught.value.remedy
    assert said.removeprefix("fmod_ret is refused: ").partition(" (")[0] in str(caught.value)


def test_no_bpffs_means_that_the_guard_is_not_pinned(tmp_path: Path) -> None:
    (gap,) = gaps_of(agent(report(tmp_path, CAPABLE, "lsm"), tmp_path / "missing"))
    assert gap == "the kernel guard is not pinned: it ends with the agent; the row of lsm says why"


def test_who_wants_no_pins_is_not_told_that_they_lack(tmp_path: Path) -> None:
    assert gaps_of(agent(report(tmp_path, CAPABLE, "lsm"), "")) == []


def test_a_full_map_is_told(tmp_path: Path) -> None:
    asked = agent(report(tmp_path, CAPABLE, "lsm"))
    asked.wards.found.append("the kernel guard does not know the sockets of now: a map of the guard is full")
    assert gaps_of(asked) == asked.wards.found


def test_services_of_the_host_are_counted(tmp_path: Path) -> None:
    asked = agent(report(tmp_path, CAPABLE, "lsm"))
    asked.services.begin([(1, "/system.slice/cron.service"), (2, "/system.slice")])
    assert standing_of(asked)["host_services"] == 1


def test_a_path_that_does_not_exist_yet_is_waited_for_and_no_gap(tmp_path: Path) -> None:
    asked = agent(report(tmp_path, CAPABLE, "lsm"))
    asked.wards.waiting = ("/run/podman/podman.sock",)
    assert standing_of(asked)["waiting"] == ["/run/podman/podman.sock"]
    assert gaps_of(asked) == []


def test_a_stale_pin_of_another_version_is_told_by_its_name(tmp_path: Path) -> None:
    pin(tmp_path / "pins")
    stale = pin(tmp_path / "pins", version=1)
    assert gaps_of(agent(report(tmp_path, CAPABLE, "fmod_ret"), tmp_path / "pins")) == [
        f"the pinned set {stale} of another agent is still in force"
    ]


def test_a_kernel_that_can_skip_the_guard_is_told(tmp_path: Path) -> None:
    machine = CAPABLE | {"proc/version": "Linux version 6.12 #1 SMP PREEMPT_RT\n"}
    (gap,) = gaps_of(agent(report(tmp_path, machine, "fmod_ret")))
    assert gap.startswith("the rung fmod_ret has a gap: preemption: rt (PREEMPT_RT)")


def test_what_the_watch_found_is_told(tmp_path: Path) -> None:
    asked = agent(report(tmp_path, CAPABLE, "lsm"))
    asked.watch.found.append("the kernel guard did not hold its canary")
    assert gaps_of(asked) == asked.watch.found


def test_whatever_is_said_to_be_open_is_a_heading_of_the_troubleshooting(tmp_path: Path) -> None:
    text = (Path(__file__).parents[3] / "docs/troubleshooting.md").read_text("utf-8")
    headings = re.findall(r"^### (?:In `doctor`: )?`([^`]+)`", text, re.MULTILINE)
    patterns = [".*".join(map(re.escape, heading.split("…"))) for heading in headings]
    pin(tmp_path / "pins", version=1)
    machine = CAPABLE | {"proc/version": "Linux version 6.12 #1 SMP PREEMPT_RT\n"}
    walled = agent(report(tmp_path / "a", machine, "fmod_ret"), tmp_path / "pins")
    walled.wards.found.append("the kernel guard does not know the sockets of now: a map of the guard is full")
    gaps = [*gaps_of(walled), *gaps_of(agent(report(tmp_path / "b", CAPABLE)))]
    assert len(gaps) == 5
    assert [gap for gap in gaps if not any(re.match(pattern, gap) for pattern in patterns)] == []


@pytest.mark.parametrize(
    ("rung", "pinned", "said"),
    [
        ("fmod_ret", True, "the kernel guard stays in force (sockwarden guard unload removes it)"),
        ("fmod_ret", False, "the kernel guard ends"),
        ("tracepoint", False, ""),
    ],
)
def test_the_last_words_say_whether_the_guard_stays(rung: str, pinned: bool, said: str, tmp_path: Path) -> None:
    if pinned:
        pin(tmp_path / "pins", rung)
    assert last_words_of(agent(report(tmp_path, CAPABLE, rung), tmp_path / "pins")) == said
