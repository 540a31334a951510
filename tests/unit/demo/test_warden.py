"""The configuration that the demonstration writes is what it means."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from sockwarden.config import Takeover, parse_config
from sockwarden.demo import expected
from sockwarden.demo.warden import ThrowAwayWarden, toml


def test_strings_lists_and_tables_survive_the_round_trip() -> None:
    tables: dict[str, dict[str, Any]] = {
        "a": {"s": 'quo"te', "l": ["x", "y"], "t": {"docker.io": "http://127.0.0.1:5000"}},
        "b": {"n": 1},
    }
    assert tomllib.loads(toml(tables)) == tables


def test_the_written_configuration_is_accepted(tmp_path: Path) -> None:
    socket = Path("/run/docker.sock")
    warden = ThrowAwayWarden(tmp_path, engine_socket=socket, listen=socket)
    warden.configure(expected.policy(), registry={"mirrors": {"docker.io": "http://127.0.0.1:5000"}})
    config = parse_config(warden.files.config.read_bytes(), "sockwarden.toml")
    assert config.gateway.takeover is Takeover.SWAP
    assert config.registry.mirrors == (("docker.io", "http://127.0.0.1:5000"),)


def test_a_table_given_to_configure_overrides_single_keys(tmp_path: Path) -> None:
    socket = Path("/run/docker.sock")
    warden = ThrowAwayWarden(tmp_path, engine_socket=socket, listen=socket)
    warden.configure({}, policy={"mode": "audit"}, guard={"mode": "none"})
    written = tomllib.loads(warden.files.config.read_text())
    assert written["policy"] == {"file": str(warden.files.policy), "mode": "audit"}
    assert written["guard"] == {"mode": "none", "pin_dir": ""}


def test_a_throw_away_warden_pins_nothing(tmp_path: Path) -> None:
    socket = Path("/run/docker.sock")
    warden = ThrowAwayWarden(tmp_path, engine_socket=socket, listen=socket)
    warden.configure({}, guard={"mode": "auto"})
    assert parse_config(warden.files.config.read_bytes(), "sockwarden.toml").guard.pin_dir == ""


def test_there_are_no_audit_records_before_the_first() -> None:
    socket = Path("/run/docker.sock")
    assert ThrowAwayWarden(Path("/"), engine_socket=socket, listen=socket).audit() == []
