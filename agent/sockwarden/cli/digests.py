"""``sockwarden digests``: what the image list's entries stand for: lock it, show it, ask again, check a lock."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sockwarden.cli.imagewords import unresolved_words
from sockwarden.config import DEFAULT_FILE, Config
from sockwarden.dockerapi.reference import canonical_entry
from sockwarden.errors import DocumentError, EngineError, ExitCode, Fault, RegistryError, SockwardenError
from sockwarden.service.control import ask_agent, follow_agent
from sockwarden.service.sources import read_config, read_document, read_policy

if TYPE_CHECKING:
    import argparse
    from collections.abc import Awaitable, Callable, Iterable

    from sockwarden.cli.screen import Screen
    from sockwarden.images.lock import Lock
    from sockwarden.images.resolver import Parts, Resolver, Target

REFRESH_SECONDS: Final = 600.0
"""The longest wait for the next entry of a refresh: registries are asked several times in it."""


def lock(arguments: argparse.Namespace, screen: Screen) -> int:
    """Resolve every entry of a policy, and write the lock file; nothing is written if one cannot be resolved."""
    from sockwarden.images.lock import LAZY, Lock, render_lock, target_of  # noqa: PLC0415  # a faster start
    from sockwarden.images.registry import NotInRegistryError  # noqa: PLC0415
    from sockwarden.images.survey import parts_of  # noqa: PLC0415

    policy = read_policy(arguments.policy)
    found = {entry.text: target_of(entry.pattern) for entry in policy.images}
    targets = {text: target for text, target in found.items() if target is not None}
    lazy = tuple(text for text in found if text not in targets and text != "*")
    answers = _survey(arguments, screen, targets.values(), parts_of)
    errors = {text: answers[target] for text, target in targets.items() if isinstance(answers[target], RegistryError)}
    for name, error in errors.items():
        screen.error(f"{name}: {error}", error.remedy)
    if errors:
        gone = all(isinstance(error, NotInRegistryError) for error in errors.values())
        kind = SockwardenError if gone else RegistryError
        raise kind("no lock file is written: it would refuse what the policy allows")
    entries: dict[str, Parts] = {text: answers[target] for text, target in targets.items()}
    created = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    text = render_lock(Lock(policy.sha256, created, entries, lazy))
    for name in lazy:
        screen.note(f"{name}: {LAZY}")
    if arguments.output:
        _write(Path(arguments.output), text)
        screen.note(f"{arguments.output}: {len(entries)} entries, for the policy with sha256 {policy.sha256}")
    else:
        sys.stdout.write(text)
    return ExitCode.OK


def verify(arguments: argparse.Namespace, screen: Screen) -> int:
    """Ask whether tags still point where a lock file says; exit code 3 when one does not."""
    from sockwarden.dockerapi.reference import parse_entry  # noqa: PLC0415  # a faster start
    from sockwarden.images.lock import MAX_LOCK_BYTES, check_policy, parse_lock, target_of  # noqa: PLC0415
    from sockwarden.images.registry import NotInRegistryError  # noqa: PLC0415
    from sockwarden.images.survey import digest_of  # noqa: PLC0415

    text = read_document(arguments.lock, "--lock FILE names the lock file", MAX_LOCK_BYTES)
    locked = parse_lock(text, arguments.lock)
    if arguments.policy:
        check_policy(locked, arguments.lock, read_policy(arguments.policy).sha256, arguments.policy)
    found = {text: target_of(parse_entry(text)) for text in locked.entries}
    targets = {text: target for text, target in found.items() if target is not None}
    answers = _survey(arguments, screen, targets.values(), digest_of)
    moved: dict[str, str] = {}
    silent: dict[str, RegistryError] = {}
    for entry, target in targets.items():
        answer = answers[target]
        if isinstance(answer, NotInRegistryError):
            moved[entry] = ""
        elif isinstance(answer, RegistryError):
            silent[entry] = answer
        elif answer != locked.entries[entry].root:
            moved[entry] = answer
    if arguments.json:
        screen.json(
            {
                "lock": arguments.lock,
                "created": locked.created,
                "policy_sha256": locked.policy_sha256,
                "same": len(targets) - len(moved) - len(silent),
                "moved": [_move(locked, entry, now) for entry, now in moved.items()],
                "errors": [{"entry": entry, "error": str(error)} for entry, error in silent.items()],
            }
        )
    else:
        for entry, now in moved.items():
            where = f"is {now} now" if now else "is gone"
            screen.print(f"{screen.paint('moved:', 'yellow')} {entry} was {locked.entries[entry].root} and {where}")
        for entry, error in silent.items():
            screen.error(f"{entry}: {error}", error.remedy)
        screen.print(f"{len(targets) - len(moved) - len(silent)} of {len(targets)} locked entries are what they were")
    if moved:
        return ExitCode.DENIED
    return ExitCode.UNAVAILABLE if silent else ExitCode.OK


def show(arguments: argparse.Namespace, screen: Screen) -> int:
    """Show what is known: by the running agent, else by the files that it would start with."""
    config = read_config(arguments.config)
    try:
        known = asyncio.run(ask_agent(_control(config), "digests"))
        known["agent"] = True
    except EngineError as silence:
        known = _from_files(config, silence)
    rows = known["images"]
    if arguments.entries:
        wanted = set(map(canonical_entry, arguments.entries))
        known["images"] = [row for row in rows if canonical_entry(row["entry"]) in wanted]
        strange = wanted - {canonical_entry(row["entry"]) for row in known["images"]}
        if strange:
            raise SockwardenError(
                f"nothing is known of an entry {min(strange)!r}",
                remedy="name an entry of the policy; without a name all are shown",
            )
    if arguments.json:
        screen.json(known)
    else:
        _show(known, screen)
    return ExitCode.OK


def refresh(arguments: argparse.Namespace, screen: Screen) -> int:
    """Let the agent ask registries now; exit code 69 when one did not answer."""
    config = read_config(arguments.config)
    return asyncio.run(_refresh(_control(config), arguments, screen))


async def _refresh(path: str, arguments: argparse.Namespace, screen: Screen) -> int:
    rows: list[dict[str, Any]] = []
    request = {"ask": "refresh", "entries": arguments.entries}
    async with aclosing(follow_agent(path, request, REFRESH_SECONDS)) as answers:
        async for row in answers:
            screen.progress(f"{row['done']}/{row['of']} {row['entry']}")
            rows.append({key: value for key, value in row.items() if key not in ("done", "of")})
    screen.progress("")
    if arguments.json:
        screen.json(rows)
    else:
        for row in rows:
            screen.print(_line(row))
        if not rows:
            screen.print("there is nothing to ask: only entries without a * are resolved as a whole")
    return ExitCode.UNAVAILABLE if any(row["error"] for row in rows) else ExitCode.OK


def _survey(
    arguments: argparse.Namespace,
    screen: Screen,
    targets: Iterable[Target],
    ask: Callable[[Resolver, Target], Awaitable[Any]],
) -> dict[Target, Any]:
    """Ask registries, with the settings of the configuration if there is one, and show how far it is."""
    from sockwarden.images.resolver import Resolver  # noqa: PLC0415  # a faster start
    from sockwarden.images.survey import survey  # noqa: PLC0415
    from sockwarden.service.registries import registry_client  # noqa: PLC0415

    config = _config(arguments.config)

    async def run() -> dict[Target, Any]:
        resolver = Resolver(registry_client(config.registry))
        try:
            return await survey(
                targets,
                lambda target: ask(resolver, target),
                arguments.parallel,
                lambda done, of, target: screen.progress(f"{done}/{of} {target}"),
            )
        finally:
            screen.progress("")
            await resolver.close()

    return asyncio.run(run())


def _config(file: str) -> Config:
    """Read the configuration; where policies are written, away from any engine, there may be none."""
    return Config.default() if file == DEFAULT_FILE and not os.path.exists(file) else read_config(file)


def _move(locked: Lock, entry: str, now: str) -> dict[str, str | None]:
    return {"entry": entry, "was": locked.entries[entry].root, "is": now or None}


def _write(path: Path, text: str) -> None:
    """Replace a file as a whole: who reads it meanwhile sees the old one or the new one."""
    new = path.with_name(f".{path.name}.new")
    try:
        with open(new, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError as error:
        raise DocumentError(
            [Fault(str(path), 0, 0, f"it cannot be written: {(error.strerror or str(error)).lower()}", "see --output")]
        ) from error


def _control(config: Config) -> str:
    return os.path.join(config.daemon.run_dir, "control.sock")


def _from_files(config: Config, silence: EngineError) -> dict[str, Any]:
    """Return what an agent would begin with."""
    from sockwarden.images.store import AnswerStore  # noqa: PLC0415  # a faster start
    from sockwarden.service.registries import registry_settings  # noqa: PLC0415
    from sockwarden.service.sources import read_lock  # noqa: PLC0415

    policy = read_policy(config.policy.file)
    known: dict[str, Any] = {"policy": {"file": config.policy.file, "sha256": policy.sha256}, "agent": False}
    if config.policy.lock:
        locked = read_lock(config.policy.lock, policy, config.policy.file)
        rows = [
            _known(canonical_entry(text), "lock", parts.root, len(parts.members), None)
            for text, parts in locked.entries.items()
        ]
        return {**known, "lock": {"file": config.policy.lock, "created": locked.created}, "cache": None, "images": rows}
    if not config.daemon.state_dir:
        raise silence
    store = AnswerStore(Path(config.daemon.state_dir), registry_settings(config.registry))
    snapshot = store.load()
    if snapshot is None:
        raise silence
    now = time.time()
    rows = []
    for target, kept in snapshot.answers.items():
        row = _known(str(target), "cache", kept.digest, kept.count, round(now - kept.answered_at, 1))
        left = ((digest, since + config.registry.grace_seconds - now) for digest, since in kept.earlier_digests())
        row["grace"] = [
            {"digest": digest, "seconds_left": round(seconds, 1)} for digest, seconds in left if seconds > 0
        ]
        rows.append(row)
    cache = {"file": str(store.path), "written_at": store.path.stat().st_mtime, "error": ""}
    return {**known, "lock": None, "cache": cache, "images": rows}


def _known(entry: str, source: str, digest: str, digests: int, age: float | None) -> dict[str, Any]:
    return {
        "entry": entry,
        "digests": digests,
        "digest": digest,
        "source": source,
        "age_seconds": age,
        "grace": [],
        "error": "",
    }


def _show(known: dict[str, Any], screen: Screen) -> None:
    policy, locked, cache = known["policy"], known["lock"], known["cache"]
    screen.print(f"policy    {policy['file']}, sha256 {policy['sha256']}")
    if not known["agent"]:
        screen.print(f"agent     {screen.paint('not running', 'yellow')}: this is what it would begin with")
    if locked is not None:
        screen.print(f"lock      {locked['file']}, written {locked['created']}; no registry is asked")
    if cache is not None:
        written = cache["written_at"]
        when = "not written yet" if written is None else f"written {_age(time.time() - written)} ago"
        screen.print(f"kept in   {cache['file']}, {cache['error'] or when}")
    for row in known["images"]:
        screen.print(_line(row))


def _line(row: dict[str, Any]) -> str:
    if not row["digest"]:
        words = [unresolved_words(row)]
    else:
        age = "" if row["age_seconds"] is None or row["source"] == "lock" else f", {_age(row['age_seconds'])} old"
        words = [f"{row['digest']} by {row['source']}{age}, {row['digests']} digests"]
        words += [f"{one['digest']} for {_age(one['seconds_left'])} more" for one in row["grace"]]
        words += [row["error"]] if row["error"] else []
    return f"{row['entry']}: {'; '.join(words)}"


def _age(seconds: float) -> str:
    """Return a time of one unit, for people."""
    seconds = max(0.0, seconds)
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
