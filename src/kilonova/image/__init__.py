"""Image v2: the embedded service. See ``docs/decisions/0031-image.md``."""

from kilonova.image.routes import application, routes
from kilonova.image.service import EmbeddedImages, ImageSettings, open_images

__all__ = ["EmbeddedImages", "ImageSettings", "application", "open_images", "routes"]
