"""The manifest: what an operator wants to be there, as YAML. Reading it, bringing the store to it, writing it."""

from dragoman.services.manifest.apply import Applied, Manifests
from dragoman.services.manifest.format import Manifest, ManifestError, read

__all__ = ["Applied", "Manifest", "ManifestError", "Manifests", "read"]
