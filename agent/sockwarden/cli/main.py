"""The ``sockwarden`` command: its arguments, one module per subcommand.

Never: work of its own. What a subcommand cannot do ends here, as a sentence, a remedy and an exit code.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from sockwarden import __version__
from sockwarden.cli import check, demo, digests, doctor, explain, guard, reload, run, status
from sockwarden.cli.screen import Screen
from sockwarden.config import DEFAULT_FILE, GuardMode, RequiredRung
from sockwarden.errors import DocumentError, ExitCode, SockwardenError

if TYPE_CHECKING:
    from collections.abc import Sequence

_EXIT_CODES = """exit codes:
  0   done; check: no fault; explain: allowed; status: protected; doctor: nothing open was found
  1   failed; check, explain: see the message; doctor: something is open, or cannot be told
  2   wrong usage
  3   explain: denied; status: not protected; digests verify: a tag has moved or is gone
  69  the engine, the agent or a registry does not answer
  77  needs root, or a capability that is missing
  78  a policy or configuration file has faults
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all subcommands."""
    parser = argparse.ArgumentParser(
        prog="sockwarden",
        description="The warden of docker.sock: which images may use the mounted Docker socket, and for what.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"sockwarden {__version__}")
    parser.add_argument("--color", choices=("auto", "always", "never"), default="auto", help="when to use colour")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    command = commands.add_parser("run", help="guard the socket until stopped (the daemon)")
    _config_option(command)
    command.add_argument("--guard", choices=[mode.value for mode in GuardMode], help="in place of guard.mode")
    command.add_argument(
        "--guard-required", choices=[rung.value for rung in RequiredRung], help="in place of guard.required"
    )
    command.set_defaults(main=run.main)

    command = commands.add_parser("check", help="check a policy or configuration file, and show every fault")
    command.add_argument("file", metavar="FILE", help="admin-settings.json, or sockwarden.toml (by its ending)")
    _json_option(command)
    command.set_defaults(main=check.main)

    command = commands.add_parser(
        "explain",
        help="would this request be allowed, by which rule, and what to add",
        description="Answers from the policy file alone: an image counts as listed when its reference matches an "
        "entry. The daemon compares content digests instead, so a retagged image is refused by it.",
    )
    command.add_argument("--policy", required=True, metavar="FILE", help="the policy, admin-settings.json")
    command.add_argument(
        "--as",
        dest="client",
        required=True,
        metavar="CLIENT",
        help="host (exempt unless --enforce-host), or image:REF for a container of that image",
    )
    command.add_argument("--enforce-host", action="store_true", help='as with clients.host = "enforce"')
    command.add_argument("--body", metavar="FILE", help="the request's JSON body; - for standard input")
    command.add_argument("request", metavar="'METHOD TARGET'", help="for example 'POST /v1.43/images/x/push?tag=y'")
    _json_option(command)
    command.set_defaults(main=explain.main)

    command = commands.add_parser("status", help="what the running agent guards, and what is still open")
    _config_option(command)
    _json_option(command)
    command.set_defaults(main=status.main)

    command = commands.add_parser(
        "doctor",
        help="what guards this host, which other roads lead to an engine, and what to do",
        description="Asks the running agent, and looks for itself: at what the kernel offers, at what is pinned, at "
        "ports and options of the engines' processes, at running containers that have power over the host, and at who "
        "in a container holds a connection. It changes nothing. What cannot be told counts as open.",
    )
    _config_option(command)
    command.add_argument(
        "--try",
        dest="try_rungs",
        action="store_true",
        help="prove every rung that is not in force by its own canary, and take it down again",
    )
    _json_option(command)
    command.set_defaults(main=doctor.main)

    command = commands.add_parser(
        "guard",
        help="list what is pinned of the guard, or remove it",
        description="A blocking rung is pinned in bpffs: it goes on when the agent stops or is killed. status lists "
        "the pinned sets; unload removes them, and says what is open afterwards. It refuses while the agent runs.",
    )
    command.add_argument("action", choices=("status", "unload"), help="what to do")
    _config_option(command)
    command.add_argument("--force", action="store_true", help="unload: also while the agent runs")
    _json_option(command)
    command.set_defaults(main=guard.main)

    _digests(commands)

    command = commands.add_parser("reload", help="let the running agent read its policy file again (as SIGHUP does)")
    _config_option(command)
    command.set_defaults(main=reload.main)

    command = commands.add_parser("demo", help="see it work on a throw-away engine; needs no Docker, leaves no trace")
    command.add_argument("--keep", action="store_true", help="keep the throw-away files, for a look at the logs")
    command.set_defaults(main=demo.main)
    return parser


def _digests(commands: Any) -> None:
    command = commands.add_parser(
        "digests",
        help="what the image list's entries stand for: lock it for a fleet, show it, ask registries again",
        description="The daemon compares the content of images with digests that registries gave for the entries of "
        "the image list, or that a lock file gives (policy.lock in sockwarden.toml).",
    )
    actions = command.add_subparsers(dest="action", required=True, metavar="ACTION")

    action = actions.add_parser(
        "lock",
        help="resolve every entry of a policy once, and write a lock file",
        description="Hosts with that file never ask a registry. It counts only for the very bytes of this policy. "
        "Entries with a * cannot be locked and are named. If one entry cannot be resolved nothing is written.",
    )
    action.add_argument("--policy", required=True, metavar="FILE", help="the policy, admin-settings.json")
    action.add_argument("--output", metavar="FILE", help="where to write the lock file (standard output)")
    _asking_options(action)
    action.set_defaults(main=digests.lock)

    action = actions.add_parser(
        "verify",
        help="ask registries whether tags still point where a lock file says",
        description="Exit code 0 when all do, 3 when one has moved or is gone, 69 when a registry cannot be asked.",
    )
    action.add_argument("--lock", required=True, metavar="FILE", help="the lock file")
    action.add_argument("--policy", metavar="FILE", help="also check that the lock file is that of this policy")
    _asking_options(action)
    _json_option(action)
    action.set_defaults(main=digests.verify)

    action = actions.add_parser(
        "show",
        help="the digest of each entry, who said so, how old it is, and what is in its grace time",
        description="Asks the running agent; if none runs, shows what it would begin with: the lock file, or the "
        "answers that are kept in daemon.state_dir.",
    )
    action.add_argument("entries", nargs="*", metavar="ENTRY", help="only these entries")
    _config_option(action)
    _json_option(action)
    action.set_defaults(main=digests.show)

    action = actions.add_parser(
        "refresh",
        help="let the running agent ask registries now",
        description="Exit code 69 when an entry could not be refreshed; its last answer then stays in force.",
    )
    action.add_argument("entries", nargs="*", metavar="ENTRY", help="only these entries")
    _config_option(action)
    _json_option(action)
    action.set_defaults(main=digests.refresh)


def _asking_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--parallel", type=int, choices=range(1, 65), default=8, metavar="N", help="entries asked at once, 1 to 64 (8)"
    )
    _config_option(command)


def _config_option(command: argparse.ArgumentParser) -> None:
    command.add_argument("--config", default=DEFAULT_FILE, metavar="FILE", help=f"sockwarden.toml ({DEFAULT_FILE})")


def _json_option(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="print JSON for machines")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name, and return its exit code."""
    parsed = build_parser().parse_args(arguments)
    screen = Screen(parsed.color)
    try:
        return int(parsed.main(parsed, screen))
    except DocumentError as error:
        screen.faults(error)
        return error.exit_code
    except SockwardenError as error:
        screen.error(str(error), error.remedy)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        _quiet_exit()


def _quiet_exit() -> NoReturn:
    """Leave without a complaint when the reader of our output has gone (`sockwarden status | head`)."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(ExitCode.FAILURE)
