"""Files of weights that others publish: found beside the user's caches, downloaded when asked."""

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

_TIMEOUT = 30  # of a silent connection [s]


@dataclasses.dataclass(frozen=True)
class Published:
    """A file at an address.

    Attributes:
      folder: its address, up to the name and with the last slash.
      name: of the file.
      sha256: of its bytes, in hexadecimal; or the first digits, where no more are known.
    """

    folder: str
    name: str
    sha256: str

    @property
    def path(self) -> Path:
        """Where it is kept on this machine: $XDG_CACHE_HOME/gan_jax, by default below ~/.cache."""
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        return Path(cache) / "gan_jax" / self.name

    def find(self, what: str, *, download: bool = False) -> Path:
        """Return where the file is, its content verified.

        Args:
          what: the field that needs it, for the error.
          download: get it from its address where it is not there.

        Raises:
          UserError: it is not there, cannot be had, or is another file.
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
