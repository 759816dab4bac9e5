"""Draws images that are nobody's: gradients, shapes, noise and text-like bars, always the same for a seed.

They span what thumbnails span (dark and washed out, flat and busy, soft and hard edges), which is what the
ranges of a convolution's activations depend on.
"""

import numpy as np
from numpy.typing import NDArray

from model.engine import Pixels

Canvas = NDArray[np.float32]  # (H, W, 3), 0..1


def draw_images(count: int, height: int, width: int, seed: int) -> Pixels:
    """(count, height, width, 3) uint8."""
    draw = np.random.default_rng(seed)
    images = np.empty((count, height, width, 3), dtype=np.uint8)
    for index in range(count):
        images[index] = np.rint(_image(draw, height, width).clip(0, 1) * 255).astype(np.uint8)
    return images


def _image(draw: np.random.Generator, height: int, width: int) -> Canvas:
    rows, columns = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j].astype(np.float32)  # (H, W) each
    image = _gradient(draw, rows, columns)
    for _ in range(draw.integers(0, 9)):
        image = _shape(draw, image, rows, columns)
    if draw.random() < 0.6:
        image = _lettering(draw, image)
    image = image + _texture(draw, height, width)
    contrast, brightness = draw.uniform(0.3, 1.4), draw.uniform(-0.25, 0.25)
    toned: Canvas = ((image - 0.5) * contrast + 0.5 + brightness).astype(np.float32)
    return toned


def _gradient(draw: np.random.Generator, rows: Canvas, columns: Canvas) -> Canvas:
    angle = draw.uniform(0, 2 * np.pi)
    along = (np.cos(angle) * rows + np.sin(angle) * columns + 1) / 2
    start, end = draw.random(3), draw.random(3)
    ramp: Canvas = (start + (end - start) * along[..., None]).astype(np.float32)
    return ramp


def _shape(draw: np.random.Generator, image: Canvas, rows: Canvas, columns: Canvas) -> Canvas:
    """An ellipse or a box of one colour, its edge anything from hard to soft."""
    down = (rows - draw.random()) / draw.uniform(0.05, 0.5)
    right = (columns - draw.random()) / draw.uniform(0.05, 0.5)
    distance = np.maximum(abs(down), abs(right)) if draw.random() < 0.4 else np.hypot(down, right)
    hardness = 10 ** draw.uniform(0.5, 2.5)
    cover = 1 / (1 + np.exp(np.clip((distance - 1) * hardness, -50, 50)))
    blended: Canvas = (image + (draw.random(3) - image) * cover[..., None]).astype(np.float32)
    return blended


def _lettering(draw: np.random.Generator, image: Canvas) -> Canvas:
    """Rows of upright strokes in one colour, as hard-edged as a caption."""
    height, width = image.shape[:2]
    colour = draw.random(3) if draw.random() < 0.5 else np.full(3, draw.integers(0, 2))
    size = max(2, int(height * draw.uniform(0.04, 0.15)))
    for line in range(draw.integers(1, 4)):
        top = int(draw.integers(0, max(1, height - size)))
        strokes = draw.random(width // 2 + 1).repeat(2)[:width] < 0.45
        strokes[: int(width * draw.random() * 0.5)] = False
        image[top : top + size, strokes] = colour
        if line == 0 and draw.random() < 0.5:
            image[top + size // 2 : top + size // 2 + 1, :] = colour
    return image


def _texture(draw: np.random.Generator, height: int, width: int) -> Canvas:
    """Grain of any strength, in cells from one pixel to an eighth of the image."""
    cell = 2 ** int(draw.integers(0, 6))
    grain = draw.standard_normal((-(-height // cell), -(-width // cell), 3)) * draw.uniform(0, 0.2) ** 1.5
    texture: Canvas = grain.repeat(cell, axis=0).repeat(cell, axis=1)[:height, :width].astype(np.float32)
    return texture
