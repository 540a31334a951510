"""Takes secrets out of what is shown of requests and command lines.

Pure: text in, text out. It never decides what is recorded, and where it is not sure, it hides: an audit trail that
shows too little is a nuisance, one that holds a password is an incident.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote, unquote_plus

if TYPE_CHECKING:
    from collections.abc import Iterable

HIDDEN: Final = "***"

MAX_TARGET: Final = 2048
"""Characters shown of a request target; the engine's own longest are some hundreds, but for filters and build options,
which are hidden anyway."""

MAX_ARGUMENTS: Final = 64
"""Arguments looked at; ``docker run`` lines of CI jobs have up to 50."""

MAX_ARGUMENT: Final = 256
"""Characters shown of one argument."""

_SEARCHED_ARGUMENT: Final = 8192  # characters looked at in one argument, so that its length cannot cost much time

SHOWN_PARAMETERS: Final = frozenset({
    "all", "condition", "copyUIDGID", "details", "digests", "follow", "force", "forcerm", "fromImage", "h",
    "jsonmessage", "limit", "link", "logs", "manifests", "name", "nocache", "noOverwriteDirNonDir", "noprune",
    "one-shot", "path", "platform", "pull", "repo", "rm", "scope", "shared-size", "signal", "since", "size",
    "stderr", "stdin", "stdout", "stream", "t", "tag", "tail", "timestamps", "type", "until", "v", "verbose",
    "version", "w",
})  # fmt: skip
"""Query parameters of the Engine API whose values hold no secret. What is not here is hidden: build arguments, labels
and filters, remote contexts, commit changes, and whatever a later API adds."""

_PARAMETER_NAME: Final = re.compile(r"[A-Za-z][A-Za-z-]{0,31}")
_BY_DIGEST: Final = re.compile(r"[^@]*@[a-z0-9+._-]+:[0-9a-fA-F]{32,}(/[^@]*)?")  # distribution/reference: name@digest

_SEPARATOR: Final = re.compile(r"[&;]")  # the engine knows "&" alone, but people and older servers know both

_SECRET_WORDS: Final = ("token", "secret", "password", "passwd", "key", "auth", "credential")

_SECRET_FLAG: Final = re.compile(r"-{1,2}([A-Za-z][\w.-]*)(=)?(.*)", re.DOTALL)
_ASSIGNMENT: Final = re.compile(r"([A-Za-z_][\w.-]*)=(.+)", re.DOTALL)
_NAME: Final = re.compile(r"[\w.-]*")
_ENV_FLAGS: Final = re.compile(r"-[A-Za-z]*e|--env|--build-arg")
_ENV_ATTACHED: Final = re.compile(r"(-e|--env=|--build-arg=)([\w.-]*)=.*", re.DOTALL)
_USER_FLAGS: Final = frozenset({"-u", "--user", "--proxy-user"})
_USER_ATTACHED: Final = re.compile(r"(-u|--user=|--proxy-user=)([\w.-]*):.*", re.DOTALL)
# A header or a JSON member: the value is hidden to the end of the argument.
_HEADER: Final = re.compile(
    rf"(?:{'|'.join(_SECRET_WORDS)}|x-registry-config|cookie)[A-Za-z_-]{{0,32}}[\"']?\s{{0,8}}:",
    re.IGNORECASE,
)
_SHELL: Final = re.compile(r"[\s\"'\\]+")
_MAX_DEPTH: Final = 4  # a shell in a shell in ssh in a shell
_EMBEDDED: Final = re.compile(r"([\w.-]{1,64})=([^&;,\s]+)")  # as in the query of a URL
# A word of a shell: plain characters, escapes, and quoted parts that may lack their end.
_WORD: Final = re.compile(r"""(?:[^\s"'\\]+|\\.?|"(?:[^"\\]|\\.)*"?|'[^']*'?)+""", re.DOTALL)


def redact_target(target: str) -> str:
    """Return a request target (path and query, RFC 9112 section 3.2) with every value hidden that may be secret."""
    path, mark, query = target.partition("?")
    shown = _redact_text(unquote(path))
    if mark:
        shown += "?" + "&".join(_redact_parameter(pair) for pair in _SEPARATOR.split(query))
    return _cut(shown, MAX_TARGET)


def redact_command_line(arguments: Iterable[str]) -> tuple[str, ...]:
    """Return a process's arguments with the values hidden that look like secrets.

    Hidden are: what follows -p, --password, --token and every option that is named like a secret; values of -e, --env,
    --build-arg and of KEY=VALUE where the key is named so; the password of -u USER:PASSWORD and of URLs; headers of
    authentication. An argument with spaces is read as a command line itself, as in ``sh -c``.
    """
    taken = list(arguments)
    state = _State()
    shown = [_cut(state.next(argument), MAX_ARGUMENT) for argument in taken[:MAX_ARGUMENTS]]
    if len(taken) > MAX_ARGUMENTS:
        shown.append(f"… {len(taken) - MAX_ARGUMENTS} more")
    return tuple(shown)


def redact_url(text: str) -> str:
    """Return ``text`` without the user information of any URL in it, which ends at the last ``@`` of its word."""
    return "".join(_redact_word(word) for word in re.split(r"(\s+)", text)) if "//" in text else text


def looks_secret(name: str) -> bool:
    """Whether a name is one that people give to secrets."""
    folded = name.lower()
    return any(word in folded for word in _SECRET_WORDS)


def _redact_word(word: str) -> str:
    start, end = word.find("//"), word.rfind("@")
    return word if start < 0 or end < start else f"{word[: start + 2]}{HIDDEN}{word[end:]}"


def _redact_text(text: str) -> str:
    """Redact a decoded path or value, and encode it again. What is encoded twice is hidden: it could be anything."""
    if "%" in text:
        return HIDDEN
    if "@" in text and not _BY_DIGEST.fullmatch(text):
        text = f"{HIDDEN}{text[text.rfind('@') :]}"
    return quote(text, safe="/:@,.*+=~!$'()[]{}", errors="backslashreplace")


def _redact_parameter(pair: str) -> str:
    name, mark, value = pair.partition("=")
    name = unquote_plus(name)
    if not _PARAMETER_NAME.fullmatch(name):
        return HIDDEN
    if not mark:
        return name
    return f"{name}={_redact_text(unquote_plus(value)) if name in SHOWN_PARAMETERS else HIDDEN}"


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


class _State:
    """Reads arguments in order, and knows what the one before announced."""

    def __init__(self, depth: int = 0) -> None:
        self._depth: Final = depth
        self._hide = False  # the next argument is a secret
        self._environment = False  # the next argument may be KEY=VALUE
        self._user = False  # the next argument may be USER:PASSWORD
        self._header = False  # arguments up to the next option belong to a header

    def next(self, argument: str) -> str:
        """Return what to show of the next argument."""
        text = argument[:_SEARCHED_ARGUMENT]
        if len(argument) > _SEARCHED_ARGUMENT and "//" in text:
            text = text[: text.index("//") + 2] + HIDDEN  # the "@" that would end a password may have been cut off
        hide, environment, user = self._hide, self._environment, self._user
        self._hide = self._environment = self._user = False
        option = text.startswith("-")
        self._header = self._header and not option
        if self._header:
            return HIDDEN
        announced = self._announce(text)  # even a hidden argument may announce the next: "-p --password SECRET"
        if hide:
            return HIDDEN
        if environment and not option and "=" in text:
            return _hide_after("=", text)
        if user and not option and ":" in text:
            return _hide_after(":", text)
        if len(text) > 2 and text.startswith("-p"):  # "-pSECRET", whatever else it could be
            return f"-p{HIDDEN}"
        return text if announced else self._show(text)

    def _announce(self, text: str) -> bool:
        """Note what ``text`` says of the argument after it, and return whether it is only that."""
        if text == "-p":
            self._hide = True
        elif _ENV_FLAGS.fullmatch(text):
            self._environment = True
        elif text in _USER_FLAGS:
            self._user = True
        else:
            flag = _SECRET_FLAG.fullmatch(text)
            if flag is None or flag[2] or flag[3] or not looks_secret(flag[1]) or flag[1].endswith("-stdin"):
                return False
            self._hide = True
        return True

    def _show(self, text: str) -> str:
        for pattern in (_ENV_ATTACHED, _USER_ATTACHED):
            found = pattern.fullmatch(text)
            if found:
                return (
                    f"{found[1]}{found[2]}={HIDDEN}" if pattern is _ENV_ATTACHED else f"{found[1]}{found[2]}:{HIDDEN}"
                )
        flag = _SECRET_FLAG.fullmatch(text)
        if flag and flag[2] and looks_secret(flag[1]):
            return f"{text[: flag.start(3)]}{HIDDEN}"
        assignment = _ASSIGNMENT.fullmatch(text)
        if assignment and looks_secret(assignment[1]):
            return f"{assignment[1]}={HIDDEN}"
        header = _HEADER.search(text)
        if header:
            self._header = not text[header.end() :].strip()
            return f"{_inner(text[: header.start()], self._depth)}{header.group()} {HIDDEN}"
        return _inner(text, self._depth)


def _inner(text: str, depth: int) -> str:
    """Redact an argument that may be a command line itself."""
    if not _SHELL.search(text):
        return _EMBEDDED.sub(_redact_embedded, redact_url(text))
    if depth == _MAX_DEPTH:
        return HIDDEN
    words = _WORD.findall(text)
    if words == [text]:
        words = [part for part in _SHELL.split(text) if part]
    state = _State(depth + 1)
    return " ".join(state.next(word[1:-1] if _quoted(word) else word) for word in words)


def _hide_after(mark: str, text: str) -> str:
    """Hide what follows ``mark``; hide all where what precedes it is no plain name, as in a URL."""
    name = text.partition(mark)[0]
    return f"{name}{mark}{HIDDEN}" if _NAME.fullmatch(name) else HIDDEN


def _redact_embedded(found: re.Match[str]) -> str:
    return f"{found[1]}={HIDDEN}" if looks_secret(found[1]) else found[0]


def _quoted(word: str) -> bool:
    return len(word) > 1 and word[0] == word[-1] and word[0] in "\"'"
