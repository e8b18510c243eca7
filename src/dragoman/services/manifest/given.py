"""What a manifest gives agents to know, with what its files say. Knows no store."""

from pathlib import Path

from dragoman.core.errors import DragomanError, TooLarge
from dragoman.core.ids import derived_id
from dragoman.services.knowledge import FILE_CAP, Given
from dragoman.services.manifest.format import Knowledge, Manifest, ManifestError

# What each agent of each tenant is given, in the manifest's order.
Gifts = list[list[list[Given]]]


def read_gifts(manifest: Manifest, folder: Path) -> Gifts:
    """Everything that the manifest gives to know; paths that are not absolute are taken from `folder`.

    Raises:
        ManifestError: something is missing or cannot be read; the message names the path.
    """
    return [
        [
            [
                _given(entry, folder, f"tenants[{at}].agents[{index}].knowledge[{place}]")
                for place, entry in enumerate(agent.knowledge)
            ]
            for index, agent in enumerate(tenant.agents)
        ]
        for at, tenant in enumerate(manifest.tenants)
    ]


def document_id(agent_id: str, given: Given) -> str:
    """The id of what a manifest gives: the same for the same agent, type and title."""
    return derived_id(agent_id, "knowledge", given.type, given.title)


def _given(entry: Knowledge, folder: Path, path: str) -> Given:
    name, data = None, None
    if entry.path is not None:
        file = folder / entry.path
        try:
            if file.stat().st_size > FILE_CAP:
                raise TooLarge(f"the file has over {FILE_CAP} bytes")
            name, data = file.name, file.read_bytes()
        except OSError as error:
            raise ManifestError(f"{path}.path: {file} cannot be read: {error.strerror}") from error
        except TooLarge as error:
            raise ManifestError(f"{path}.path: {error.message}") from error
    given = Given(
        type=entry.type,
        title=entry.title,
        question=entry.question,
        answer=entry.answer,
        verbatim=entry.verbatim,
        text=entry.text,
        url=entry.url,
        name=name,
        data=data,
    )
    try:
        given.check()
    except DragomanError as error:
        raise ManifestError(f"{path}: {error.message}") from error
    return given
