"""A transform of a run, applied to images of any size."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gan_jax.core.config import check_seed
from gan_jax.core.errors import UserError
from gan_jax.core.images import resize_image, to_channels
from gan_jax.core.task import Transform
from gan_jax.library.given_images import as_arrays, fixed_size, to_model
from gan_jax.library.tiles import Plan, apply_in_windows, make_plan, pad_image

if TYPE_CHECKING:
    from gan_jax.library.run import Labels, Run

APPROXIMATE = "approximate"  # tiles whose results are blended, where exact ones are impossible
TILE = 256  # default side of a tile [px]
APPROXIMATE_TILE, APPROXIMATE_CONTEXT = 512, 16  # neighbours overlap by 32 px
STEP = 32  # images that need no tiles are padded to a multiple of this, for few compilations [px]
PIXELS = 2**18  # of the images in a batch, if they are not of the training size: bounds memory


@dataclasses.dataclass(frozen=True)
class Changer:
    """A transform with all that is chosen for a call; made by `make_changer`.

    Attributes:
      run: the run.
      name: of the transform, as in error messages.
      transform: the transform.
      compiled: its function, compiled.
      shape: (height, width, channels) of the training images, without the mask.
      size: (height, width) that images are resized to first; None keeps theirs.
      tile: side of a tile [px]; 0: the whole image in one piece.
      context: tiles overlap by at least twice this [px].
      blend: whether overlaps are blended.
      labels: the class of each result, repeated; None if the transform takes none.
      seed: seed for random draws of the task.
    """

    run: Run
    name: str
    transform: Transform
    compiled: Callable[..., Any]
    shape: tuple[int, int, int]
    size: tuple[int, int] | None
    tile: int
    context: int
    blend: bool
    labels: np.ndarray | None
    seed: int

    def images(self, images: Any, masks: Any, batch_size: int) -> Any:
        """Transform images given in Python, see `Run.transform`."""
        given, kind = as_arrays(images)
        self.check_mask(masks is not None)
        every: Sequence[Any] = [None] * len(given)
        if masks is not None:
            every = [masks] if kind == "one" else list(masks)
            if len(every) != len(given):
                raise UserError(f"{len(every)} masks of {len(given)} images: one for each")
        ready = [
            self.prepare(image, None if mask is None else _mask(mask, i))
            for i, (image, mask) in enumerate(zip(given, every, strict=True))
        ]
        shapes = {image.shape[:2] for image in ready}
        if len(shapes) == 1 and len(ready) > 1 and len((plan := self.plan(*shapes)).windows) == 1:
            made = self._together(np.stack(ready), plan, batch_size)
        else:
            made = [self.one(image, i) for i, image in enumerate(ready)]
        if kind == "array":
            return np.stack(list(made)) if isinstance(made, list) else made
        return made[0] if kind == "one" else list(made)

    def prepare(self, image: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
        """Return an image in the size and channels in which the network gets it.

        Args:
          image: uint8, uint16 or float [H, W, C].
          mask: bool [H, W], true where pixels are to be filled in.

        Returns:
          [H', W', C] of the same type; with a mask, that is the last channel, at full range.

        Raises:
          UserError: floats of other channels or, if images are resized, of another size; a mask
            of another size.
        """
        if mask is not None and mask.shape != image.shape[:2]:
            tall, wide = mask.shape
            height, width = image.shape[:2]
            raise UserError(
                f"a mask of {tall}x{wide} px for an image of {height}x{width}: of the same size"
            )
        size, channels = self.size, self.shape[2]
        if size is not None:
            image = fixed_size(image, (*size, channels), self.run.spec.preprocess)
        elif image.dtype == np.uint8:
            image = to_channels(image, channels)
        elif image.shape[2] != channels:
            raise UserError(
                f"float images with {image.shape[2]} channels: transform {self.name!r} takes"
                f" {channels}; give uint8 images to have them converted"
            )
        if mask is None:
            return image
        full = (mask * np.uint8(255))[..., None]
        if size is not None:
            full = resize_image(full, size, resize="nearest", fit=self.run.spec.preprocess["fit"])
        low, high = (-1, 1) if image.dtype.kind == "f" else (0, np.iinfo(image.dtype).max)
        plane = np.where(full > 0, high, low).astype(image.dtype)
        return np.concatenate([image, plane], -1)

    def plan(self, size: tuple[int, int]) -> Plan:
        """Return the windows of an image of (height, width) [px]."""
        multiple = self.transform.multiple or 1
        if size == self.shape[:2] or self.transform.multiple is None:
            return make_plan(size)
        least = (
            STEP if self.tile and not self.blend else 1
        )  # no padding into norms, but for multiple
        given = dict(multiple=multiple, least=least, tile=self.tile, context=self.context)
        return make_plan(size, blend=self.blend, **given)

    def one(
        self,
        image: np.ndarray,
        index: int,
        *,
        finish: Callable[[np.ndarray], np.ndarray] = np.asarray,
        advance: Callable[[float], None] | None = None,
    ) -> np.ndarray:
        """Return the result for one prepared image [H, W, C], in tiles if it is large.

        Args:
          image: as from `prepare`.
          index: of the image in the call; its random draws depend on it.
          finish, advance: as in `apply_in_windows`.
        """
        plan = self.plan(image.shape[:2])
        batch = self.run.parallel.round_up(max(1, PIXELS // (plan.window[0] * plan.window[1])))

        def function(windows: np.ndarray) -> np.ndarray:
            return self._call(windows, np.full(len(windows), index), len(windows))

        scale = self.transform.scale
        given = dict(scale=scale, batch=batch, finish=finish, advance=advance)
        return apply_in_windows(function, image, plan, **given)

    def _together(self, images: np.ndarray, plan: Plan, batch_size: int) -> np.ndarray:
        """Return the results for prepared images [N, H, W, C] that need no tiles."""
        if plan.size != self.shape[:2]:
            batch_size = min(batch_size, max(1, PIXELS // (plan.window[0] * plan.window[1])))
        if plan.padded != plan.size:
            images = np.stack([pad_image(image, plan.padded) for image in images])
        height, width = (round(side * self.transform.scale) for side in plan.size)
        return self._call(images, np.arange(len(images)), batch_size)[:, :height, :width]

    def _call(self, images: np.ndarray, numbers: np.ndarray, batch_size: int) -> np.ndarray:
        images = to_model(images)
        if self.transform.takes_mask:  # the colours to fill in are not seen
            unseen = images[..., -1:] > 0
            colours = np.where(unseen, np.float32(0), images[..., :-1])
            images = np.concatenate([colours, images[..., -1:]], -1)
        given = [images]
        if self.labels is not None:
            given.append(self.labels[numbers % len(self.labels)])
        return self.run._map(self.compiled, given, self.seed, batch_size, numbers)

    def check_mask(self, given: bool) -> None:
        """Raise UserError unless a mask is given if, and only if, the transform takes one."""
        if self.transform.takes_mask != given:
            raise UserError(
                f"transform {self.name!r} "
                + (
                    "takes no mask: leave --mask (mask) out"
                    if given
                    else "needs a mask of the pixels to fill in: --mask=FILE or DIR (mask), white"
                    " where they are"
                )
            )


def make_changer(
    run: Run,
    name: str,
    *,
    labels: Labels | None = None,
    size: tuple[int, int] | None = None,
    tile: int | str | None = None,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
) -> Changer:
    """Return a transform of a run, ready for images; arguments as in `Run.transform`.

    Raises:
      UserError: an unknown transform or option, or what this transform does not take.
    """
    transform, options = run.task.transform(name), run.task.check_options(options or {})
    shown = name or run.task.first_transform
    check_seed("seed", seed)
    if transform.takes_labels == (labels is None):
        raise UserError(
            f"labels={labels}: transform {shown!r}"
            f" {'takes the class of each result' if labels is None else 'takes none'}"
        )
    *sides, channels = run.spec.streams[transform.source].shape
    channels = transform.channels or channels
    if transform.degrade:  # the stream is of clean images
        sides = [round(side / transform.scale) for side in sides]
    if transform.multiple is None:
        if size is not None and tuple(size) != tuple(sides):
            raise UserError(
                f"--size={size[0]},{size[1]}: transform {shown!r} works at the training size only,"
                f" {sides[0]}x{sides[1]} px: leave --size out"
            )
        size = tuple(sides)
    given = dict(zip(("tile", "context", "blend"), _tiles(transform, shown, tile), strict=True))
    function = functools.partial(transform.function, **options)
    return Changer(
        run=run,
        name=shown,
        transform=transform,
        compiled=run._compiled(f"transform {shown}", function, options),
        shape=(*sides, channels),
        size=None if size is None else tuple(size),
        labels=None if labels is None else run._check_labels(labels),
        seed=seed,
        **given,
    )


def _tiles(transform: Transform, name: str, tile: int | str | None) -> tuple[int, int, bool]:
    """Return (tile, context, blend) as in `Changer`."""
    if isinstance(tile, str) and tile != APPROXIMATE:
        if not tile.isdigit():
            raise UserError(f"--tile={tile}: a number of pixels, or {APPROXIMATE}")
        tile = int(tile)
    if tile is not None and tile != APPROXIMATE and tile < 1:
        raise UserError(f"--tile={tile}: at least 1")
    multiple, context = transform.multiple, transform.context
    if multiple is None:
        if tile is not None:
            raise UserError(
                f"--tile={tile}: transform {name!r} works at the training size only, leave it out"
            )
        return 0, 0, False
    if tile == APPROXIMATE:
        return max(APPROXIMATE_TILE, 2 * multiple), APPROXIMATE_CONTEXT, True
    if context is None:
        if tile is None:
            return 0, 0, False
        raise UserError(
            f"--tile={tile}: an output pixel of transform {name!r} depends on the whole image (by"
            f" norms, attention or depth), so that tiles would have seams: leave --tile out, or"
            f" have them blended by --tile={APPROXIMATE}"
        )
    if tile is None:
        tile = max(TILE, 4 * context)
        return -(-tile // multiple) * multiple, context, False
    make_plan((tile + 1, tile + 1), multiple=multiple, tile=tile, context=context)  # is it enough?
    return tile, context, False


def _mask(mask: Any, i: int) -> np.ndarray:
    """Return a mask given in Python as bool [H, W]."""
    array = np.asarray(mask)
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    ones = array.dtype == np.uint8 and array.max(initial=0) == 1
    if array.ndim != 2 or array.dtype not in (np.bool_, np.uint8) or ones:
        raise UserError(
            f"mask {i} is {array.dtype} of shape {array.shape}{', up to 1' if ones else ''}:"
            " [height, width], bool, or uint8 with 255 where pixels are to be filled in"
        )
    return array if array.dtype == np.bool_ else array >= 128
