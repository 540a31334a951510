"""``admin-settings.json``: Docker Desktop's file, read strictly where sockwarden enforces it.

Owns which keys are enforced, which are ignored by name, and what an image entry may look like. Decides
nothing about requests. The form of the file is that of Docker Desktop's page "Advanced configuration
options for ECI"; the names of its other settings are those of its page on Settings Management.
"""

from __future__ import annotations

import enum
import hashlib
from dataclasses import dataclass
from typing import Final, Literal

from sockwarden.dockerapi.commands import COMMAND_NAMES, UNSUPPORTED, is_unsupported, resolve_command
from sockwarden.dockerapi.reference import ImagePattern, InvalidReference, parse_entry
from sockwarden.documents.faults import FaultList, nearest, quoted
from sockwarden.documents.fields import Fields, Text
from sockwarden.documents.json import scan_json
from sockwarden.documents.node import Broken, Member, Object, Scalar
from sockwarden.documents.place import Place
from sockwarden.model import DIGEST

FILE_VERSION: Final = 2
"""The only ``configurationFileVersion`` that Docker Desktop has published."""

MAX_NOTICES: Final = 100
"""Notices listed for one file; the rest is counted. Docker Desktop's whole file has about 30 other settings."""

MAX_GLOBS: Final = 256
"""Entries of one list with a * within a name or tag: each name of an unknown image is compared with all of them."""

_LOCAL_IMAGES_REMEDY: Final = "write sha256: and 64 digits, as 'docker image inspect --format {{.Id}} NAME' shows them"

_ISOLATION: Final = "enhancedContainerIsolation"
_COMMANDS_PATH: Final = f"{_ISOLATION}.dockerSocketMount.commandList.commands"

_NOT_ENFORCED_YET: Final = ("imageAccessManagement", "registryAccessManagement")
"""Rules that somebody relies on. To ignore them would look like protection, so they are refused."""

_OWN_KEYS: Final = ("configurationFileVersion", _ISOLATION, "sockwarden", *_NOT_ENFORCED_YET)

DESKTOP_KEYS: Final = frozenset(
    {
        "allowBetaFeatures",
        "allowExperimentalFeatures",
        "analyticsEnabled",
        "blockDockerLoad",
        "containersProxy",
        "desktopTerminalEnabled",
        "disableUpdate",
        "displayedOnboarding",
        "enableDockerAI",
        "exposeDockerAPIOnTCP2375",
        "extensionsEnabled",
        "filesharingAllowedDirectories",
        "kubernetes",
        "linuxVM",
        "proxy",
        "scout",
        "useGrpcfuse",
        "useVirtualizationFrameworkRosetta",
        "useVirtualizationFrameworkVirtioFS",
        "windowsContainers",
    }
)
"""Docker Desktop's other settings, so that a notice can tell them from a slip. Any other key is accepted too."""

_HINTS: Final = {
    "blockDockerLoad": 'to block docker load from containers, put "load" into the command list',
    "exposeDockerAPIOnTCP2375": "sockwarden does not close TCP listeners of the engine",
}
"""What to know where a security setting of Docker Desktop has no effect on a host."""


@dataclass(frozen=True, slots=True)
class ImageEntry:
    """One entry of the image list: its text and place, and what it means."""

    text: str
    line: int
    column: int
    pattern: ImagePattern


@dataclass(frozen=True, slots=True)
class CommandList:
    """Which commands containers may use. Names are as ``resolve_command`` takes them, each once, in order."""

    kind: Literal["deny", "allow"] = "deny"
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that the reader should know and that is no fault."""

    file: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        """Return the one-line form that compilers use, which editors can jump to."""
        return f"{self.file}:{self.line}:{self.column}: {self.message}"


@dataclass(frozen=True, slots=True)
class PolicyDocument:
    """The rules of one file. ``locked`` is kept for show: on a host only root can change the file anyway.

    ``local_images`` are the ids of images that may use the socket though no registry has them. ``sha256`` is the
    hexadecimal digest of the bytes of the file.
    """

    enabled: bool
    locked: bool
    images: tuple[ImageEntry, ...]
    allow_derived: bool
    commands: CommandList
    notices: tuple[Notice, ...]
    sha256: str
    local_images: tuple[str, ...] = ()


class _ListType(enum.Enum):
    DENY = "deny"
    ALLOW = "allow"


def parse_policy(text: bytes, file: str) -> PolicyDocument:
    """Return the rules that the bytes of a file say.

    Raises:
        DocumentError: with every fault of the file, sorted by place.
    """
    faults = FaultList(file)
    document = _Reading(file, faults).document(text)
    faults.raise_if_any()
    return document


class _Reading:
    """Reads one file from the outside in. Values with a fault are replaced, and never reach a caller."""

    def __init__(self, file: str, faults: FaultList) -> None:
        self._file: Final = file
        self._faults: Final = faults
        self._notices: list[Notice] = []

    def document(self, text: bytes) -> PolicyDocument:
        root_node = scan_json(text, self._faults)
        root = Fields(root_node, "", self._faults)
        self._check_top_level(root)
        isolation = root.section(_ISOLATION)
        locked = isolation.flag("locked", default=False)
        enabled = isolation.flag("value", default=False)
        if not enabled:
            self._say_that_nothing_is_enforced(root, isolation, root_node.place)
        mount = isolation.section("dockerSocketMount")
        image_list = mount.section("imageList")
        images = self._images(image_list)
        allow_derived = image_list.flag("allowDerivedImages", default=False)
        commands = self._commands(mount.section("commandList"))
        local_images = self._local_images(root.section("sockwarden"))
        for fields in (isolation, mount, image_list):
            fields.finish()
        digest = hashlib.sha256(text).hexdigest()
        notices = self._listed_notices()
        return PolicyDocument(enabled, locked, images, allow_derived, commands, notices, digest, local_images)

    def _check_top_level(self, root: Fields) -> None:
        version = root.node("configurationFileVersion")
        if version is not None and not isinstance(version, Broken):
            # 2.0 is the same number in JSON; True is equal to 1 in Python, and never to 2.
            number = version.value if isinstance(version, Scalar) else None
            if number != FILE_VERSION:
                shown = f": {number}" if isinstance(number, (int, float)) and not isinstance(number, bool) else ""
                message = f"configurationFileVersion must be {FILE_VERSION}, not {version.kind}{shown}"
                self._faults.add(version.place, message, f"write {FILE_VERSION}")
        root.text("$schema")  # editors look here for the schema
        for key in _NOT_ENFORCED_YET:
            if root.has(key):
                message = f"{key} is not enforced by this version of sockwarden"
                self._faults.add(root.place(key), message, "remove it, and set the rule at the registry or a proxy")
        for member in root.members:
            if member.key not in (*_OWN_KEYS, "$schema"):
                self._check_foreign(member)

    def _check_foreign(self, member: Member) -> None:
        """Name a key of Docker Desktop as ignored, unless it is one of ours in other letters."""
        for own in _OWN_KEYS:
            if member.key.lower() == own.lower():
                # Readers written in Go take keys in any case (encoding/json), so on laptops this one may count.
                message = f"unknown key {quoted(member.key)}"
                self._faults.add(member.place, message, f"did you mean {quoted(own)}?")
                return
        if member.key in DESKTOP_KEYS:
            for path, place in _settings(member):
                hint = f"; {_HINTS[path]}" if path in _HINTS else ""
                self._notice(place, f"{path} is a setting of Docker Desktop, ignored on a host{hint}")
            return
        near = nearest(member.key, _OWN_KEYS) if len(self._notices) < MAX_NOTICES else None
        hint = f"; did you mean {quoted(near)}?" if near else ""
        for path, place in _settings(member):
            self._notice(place, f"{path} is not known to sockwarden, ignored on a host{hint}")

    def _say_that_nothing_is_enforced(self, root: Fields, isolation: Fields, place: Place) -> None:
        if not root.has(_ISOLATION):
            self._notice(place, f"there is no {_ISOLATION}: nothing is enforced")
        elif not isolation.has("value"):
            self._notice(root.place(_ISOLATION), f"{_ISOLATION} has no value: nothing is enforced")
        else:
            self._notice(isolation.place("value"), f"{_ISOLATION}.value is false: nothing is enforced")

    def _images(self, fields: Fields) -> tuple[ImageEntry, ...]:
        entries: dict[str, ImageEntry] = {}
        globs = 0
        for found in fields.texts("images"):
            entry = self._image(found)
            if entry is None:
                continue
            before = entries.setdefault(str(entry.pattern), entry)
            if before is not entry:
                alike = "" if before.text == entry.text else f", as {quoted(before.text)}"
                self._notice(found.place, f"{quoted(found.text)} is in the list already{alike}")
            elif _has_glob(entry.pattern):
                globs += 1
                self._check_glob(entry.pattern, found, globs)
        everything = entries.get("*")
        if everything is not None and len(entries) > 1:
            place = Place(everything.line, everything.column)
            self._notice(place, 'the other images have no effect beside "*", which allows every image')
        return tuple(entries.values())

    def _image(self, found: Text) -> ImageEntry | None:
        text, place = found.text, found.place
        try:
            pattern = parse_entry(text)
        except InvalidReference as error:
            message = f"{quoted(text)} is not an image: {error.reason}"
            self._faults.add(place, message, error.remedy or 'write name, name:tag, name:*, name@sha256:… or "*"')
            return None
        return ImageEntry(text, place.line, place.column, pattern)

    def _check_glob(self, pattern: ImagePattern, found: Text, number: int) -> None:
        if number == MAX_GLOBS + 1:
            message = f"more than {MAX_GLOBS} entries with a * within a name or tag"
            self._faults.add(found.place, message, "write fewer entries, with the * for more of the name")
        if "*" in pattern.path.partition("/")[0]:
            message = f"{quoted(found.text)} allows what anybody may push to {pattern.domain}, whoever chose the name"
            self._notice(found.place, message)

    def _local_images(self, fields: Fields) -> tuple[str, ...]:
        ids: dict[str, None] = {}
        for found in fields.texts("localImages"):
            if not DIGEST.fullmatch(found.text):
                message = f"{quoted(found.text)} in sockwarden.localImages is not the whole id of an image"
                self._faults.add(found.place, message, _LOCAL_IMAGES_REMEDY)
            elif found.text in ids:
                self._notice(found.place, f"{quoted(found.text)} is in the list already")
            ids[found.text] = None
        fields.finish()
        return tuple(ids)

    def _commands(self, fields: Fields) -> CommandList:
        kind = fields.choice("type", _ListType.DENY)
        names: dict[str, None] = {}
        for found in fields.texts("commands"):
            if self._is_enforceable(found, kind):
                names[found.text] = None
        if kind is _ListType.ALLOW and not names:
            self._notice(fields.value_place("type"), "the allow list is empty: every command is refused")
        fields.finish()
        return CommandList("allow" if kind is _ListType.ALLOW else "deny", tuple(names))

    def _is_enforceable(self, found: Text, kind: _ListType) -> bool:
        """Tell whether a name goes into the list; if not, say why."""
        name, place = found.text, found.place
        rows = resolve_command(name)
        if rows is not None:
            if not any(row.characteristic or (kind is _ListType.ALLOW and row.supporting) for row in rows):
                self._notice(place, f"{quoted(name)} makes no request of its own to the engine: this has no effect")
            return True
        if is_unsupported(name):
            message = f"{quoted(name)} is not enforceable by the socket; named by Docker Desktop as unsupported"
            self._notice(place, message)
        elif resolve_command(name.removeprefix("docker ")) is not None:
            remedy = f"write {quoted(name.removeprefix('docker '))}"
            self._faults.add(place, f"unknown command {quoted(name)} in {_COMMANDS_PATH}", remedy)
        else:
            self._faults.unknown(place, "command", name, COMMAND_NAMES | UNSUPPORTED, _COMMANDS_PATH)
        return False

    def _notice(self, place: Place, message: str) -> None:
        self._notices.append(Notice(self._file, place.line, place.column, message))

    def _listed_notices(self) -> tuple[Notice, ...]:
        listed = sorted(self._notices, key=lambda notice: (notice.line, notice.column, notice.message))
        if len(listed) > MAX_NOTICES:
            first = listed[MAX_NOTICES]
            message = f"{len(listed) - MAX_NOTICES} more notices are not listed"
            listed[MAX_NOTICES:] = [Notice(first.file, first.line, first.column, message)]
        return tuple(listed)


def _has_glob(pattern: ImagePattern) -> bool:
    """Does the entry hold a * besides that of ``name:*``?"""
    return not pattern.is_everything and ("*" in pattern.name or not (pattern.is_single or pattern.is_any_tag))


def _settings(member: Member, path: str = "") -> list[tuple[str, Place]]:
    """Return the settings under a key: objects that hold ``locked`` or ``value``, and all that is no object."""
    name = f"{path}.{member.key}" if path else member.key
    name = quoted(name)[1:-1]
    inner = member.value.members if isinstance(member.value, Object) else ()
    if not inner or any(each.key in ("locked", "value") for each in inner):
        return [(name, member.place)]
    return [setting for each in inner for setting in _settings(each, name)]
