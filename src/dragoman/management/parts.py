"""Forms of the management API: fields as a Struct and beside them one file, nothing else. Knows no noun."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import msgspec
from starlette.requests import Request

from dragoman.core.errors import FieldMissing, Invalid
from dragoman.management.wire import MOST
from dragoman.server.forms import File, read_form
from dragoman.server.requests import decode_json

T = TypeVar("T", bound=msgspec.Struct)

LONGEST_NAME = 200


async def parts_of(request: Request, decoder: msgspec.json.Decoder[T], *names: str) -> tuple[T, File, bytes]:
    """The fields of a form, its one file, which has any of these names, and what tells this form from others.

    What the client calls the file, and says that it is, comes without what no store or header can hold.

    Raises:
        Invalid: a field or a file is there twice or is not known, or there is no file.
        TooLarge, UnsupportedMedia: as `server.forms.read_form`.
    """
    form = await read_form(request, names)
    _check_names(
        [name for name, _ in form.fields], [field.encode_name for field in msgspec.structs.fields(decoder.type)]
    )
    if len(form.files) > 1 or any(file.name not in names for file in form.files):
        raise Invalid(f"The form takes one file, as {names[0]}", field=names[0])
    fields = decode_json(msgspec.json.encode(dict(form.fields)), decoder)
    if not form.files:
        raise FieldMissing(names[0])
    return fields, _plain(form.files[0]), form.canonical()


def _check_names(names: Sequence[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            raise Invalid(f"There is no field {name[:MOST]!r} here", field=name)
        if names.count(name) > 1:
            raise Invalid(f"{name} is there twice", field=name)


def _plain(file: File) -> File:
    # Some clients send whole paths, of either kind. How a name ends matters more than how it begins.
    name = "".join(filter(str.isprintable, file.filename.replace("\\", "/").rpartition("/")[2]))
    kind = "".join(filter(str.isprintable, file.media_type.partition(";")[0])).strip().lower()
    return replace(file, filename=name[-LONGEST_NAME:] or file.name, media_type=kind[:LONGEST_NAME])
