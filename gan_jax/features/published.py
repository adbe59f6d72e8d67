"""Published weights files: found in the user's cache, or downloaded on request."""

from __future__ import annotations

import dataclasses
import hashlib
import http.client
import os
import urllib.request
from pathlib import Path

from gan_jax.core.errors import UserError
from gan_jax.core.files import written_whole
from gan_jax.features.weights import verified

_TIMEOUT = 30  # of an unresponsive connection [s]


@dataclasses.dataclass(frozen=True)
class Published:
    """A published file.

    Attributes:
      folder: URL of its folder, with a trailing slash.
      name: file name.
      sha256: SHA-256 in hexadecimal, or its first digits if no more are known.
    """

    folder: str
    name: str
    sha256: str

    @property
    def path(self) -> Path:
        """Local path of the file, in $XDG_CACHE_HOME/gan_jax (default ~/.cache/gan_jax)."""
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        return Path(cache) / "gan_jax" / self.name

    def find(self, what: str, *, download: bool = False) -> Path:
        """Return the local path of the file after verifying its SHA-256.

        Args:
          what: the option that needs it, for error messages.
          download: download the file if it is missing.

        Raises:
          UserError: if the file is missing, cannot be downloaded, or has another SHA-256.
        """
        if not self.path.is_file():
            if not download:
                dots = "" if len(self.sha256) == 64 else "..."
                raise UserError(
                    f"{what} needs {self.path}, which is not there: put {self.folder}{self.name}"
                    f" (SHA-256 {self.sha256}{dots}) there, give a file of your own as"
                    " --weights=FILE, or --weights=download"
                )
            self._download(what)
        return verified(self.path, self.sha256)

    def _download(self, what: str) -> None:
        try:
            with (
                urllib.request.urlopen(self.folder + self.name, timeout=_TIMEOUT) as source,
                written_whole(self.path) as file,
            ):
                digest = hashlib.sha256()
                while chunk := source.read(1 << 20):
                    digest.update(chunk)
                    file.write(chunk)
                if not digest.hexdigest().startswith(self.sha256):
                    raise UserError(
                        f"{self.folder}{self.name} is another file now: SHA-256"
                        f" {digest.hexdigest()}, {self.sha256} expected; put the right one to"
                        f" {self.path}"
                    )
        except (OSError, http.client.HTTPException) as error:  # URLError is an OSError
            raise UserError(
                f"{what}: cannot get {self.folder}{self.name} ({error}): put it to {self.path}"
            ) from None
