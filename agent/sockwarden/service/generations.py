"""Makes policy generations and puts them in force, one after the other, never half.

A file that cannot be used leaves the generation in force as it is: a guard that ran on defaults because of a
typo would be worth less than one that runs on yesterday's policy.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from typing import TYPE_CHECKING

from sockwarden.config import HostClients
from sockwarden.errors import DocumentError
from sockwarden.images.imagelist import ImageList
from sockwarden.policy.commandlist import CommandRules
from sockwarden.policy.decide import Generation
from sockwarden.service.sources import read_lock, read_policy

if TYPE_CHECKING:
    from collections.abc import Callable

    from sockwarden.config import Config
    from sockwarden.engine.client import EngineClient
    from sockwarden.images.holdings import Holdings
    from sockwarden.images.resolver import Resolver
    from sockwarden.policy.document import PolicyDocument

_log = logging.getLogger(__name__)


class Generations:
    """Knows the generation in force and its image list."""

    def __init__(
        self,
        config: Config,
        engine: EngineClient,
        resolver: Resolver,
        holdings: Holdings,
        publish: Callable[[Generation, ImageList], None],
    ) -> None:
        """Call ``publish`` with each new generation and its image list."""
        self._config = config
        self._engine = engine
        self._resolver = resolver
        self._holdings = holdings
        self._publish = publish
        self._images: ImageList | None = None
        self.current: Generation | None = None
        self.loaded_at = 0.0
        self.failures = 0
        self.last_failure = ""
        self.locked_at = ""
        self.walled = False

    @property
    def images(self) -> ImageList:
        """The image list in force."""
        if self._images is None:
            raise AssertionError("no policy was loaded")
        return self._images

    async def load(self) -> Generation:
        """Read the policy file and put it in force.

        Raises:
            DocumentError: the file, or the lock file, cannot be used; what was in force stays so.
        """
        policy = self._config.policy
        document = read_policy(policy.file)
        lock = read_lock(policy.lock, document, policy.file) if policy.lock else None
        generation = self._generation(document)
        images = self._image_list(document)
        notices, document = document.notices, generation.document  # its entries give their memory to the answers
        if lock is not None:
            self._resolver.lock(lock.answers(), policy.lock)
        self.locked_at = "" if lock is None else lock.created
        images.start()
        before, self._images = self._images, images
        self.current = generation
        self.loaded_at = time.time()
        self.last_failure = ""
        self._publish(generation, images)
        if before is not None:
            await before.close()
        for notice in notices:
            _log.warning("%s", notice)
        for note in generation.commands.notes:
            _log.warning("%s: %s", self._config.policy.file, note)
        return generation

    async def reload(self) -> bool:
        """Load the file again; on a fault say so, and go on with what is in force."""
        try:
            generation = await self.load()
        except DocumentError as error:
            self.failures += 1
            self.last_failure = str(error)
            for fault in error.faults:
                _log.error("%s", fault)
            number = self.current.number if self.current else 0
            _log.error("the policy was not reloaded; generation %d stays in force", number)
            return False
        _log.warning("policy generation %d is in force (%s)", generation.number, self._config.policy.file)
        return True

    def _generation(self, document: PolicyDocument) -> Generation:
        return Generation(
            number=(self.current.number if self.current else 0) + 1,
            # The list has what it needs of its entries; thousands of them with their places would only lie around.
            document=dataclasses.replace(document, images=()),
            commands=CommandRules.compile(document.commands.kind, document.commands.names),
            mode=self._config.policy.mode,
            enforce_host=self._config.clients.host is HostClients.ENFORCE,
            walled=self.walled,
        )

    def _image_list(self, document: PolicyDocument) -> ImageList:
        return ImageList(
            [entry.pattern for entry in document.images],
            self._resolver,
            self._holdings,
            refresh_seconds=self._config.registry.refresh_seconds,
            local_ids=document.local_images,
            store=self._engine if document.allow_derived else None,
        )
