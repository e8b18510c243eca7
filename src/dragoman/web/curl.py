"""The cURL line of an operation, made of its examples. Knows no page."""

import json
import re
import shlex
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

from dragoman.server.describe import JSON, MULTIPART

Json = Mapping[str, Any]


def curl(document: Json, path: str, method: str, said: Json) -> str:
    """The command that does what an operation's examples say; `$KEY` is the credential."""
    given = {
        (each["in"], each["name"]): str(each["example"]) for each in said.get("parameters", ()) if "example" in each
    }
    filled = re.sub(r"{(\w+)}", lambda found: quote(given.get(("path", found[1]), found[1]), safe=""), path)
    asked = urlencode([(name, value) for (place, name), value in given.items() if place == "query"])
    url = document["servers"][0]["url"] + filled + (f"?{asked}" if asked else "")
    lines = [f"curl -X {method.upper()} {shlex.quote(url)}" if method != "get" else f"curl {shlex.quote(url)}"]
    scheme = next(iter(document["components"]["securitySchemes"].values()), None)
    if scheme and {} not in said.get("security", ()):
        lines.append(f'-H "{credential(scheme)}"')
    for media, content in list(said.get("requestBody", {}).get("content", {}).items())[:1]:
        lines += _body(media, content["example"])
    return " \\\n  ".join(lines)


def credential(scheme: Json) -> str:
    """The header that a security scheme wants."""
    return "Authorization: Bearer $KEY" if scheme["type"] == "http" else f"{scheme['name']}: $KEY"


def _body(media: str, example: Json) -> list[str]:
    if media == JSON:
        return [f'-H "Content-Type: {media}"', f"-d {shlex.quote(json.dumps(example, ensure_ascii=False))}"]
    flag = "-F" if media == MULTIPART else "--data-urlencode"
    return [f"{flag} {shlex.quote(f'{name}={value}')}" for name, value in example.items()]
