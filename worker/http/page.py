"""The status as a page for a person: one document, whole in itself, that asks for `/status` again and again."""

import base64
import hashlib
from importlib.resources import files
from typing import NamedTuple


class Page(NamedTuple):
    """The document, and the content security policy under which it runs: its own style and script, and no other."""

    body: bytes
    policy: str


def load() -> Page:
    style, script = _read("page.css"), _read("page.js")
    body = _read("page.html").replace("{style}", style, 1).replace("{script}", script, 1)
    policy = (
        "default-src 'none'",
        f"style-src '{_hash(style)}'",
        f"script-src '{_hash(script)}'",
        "connect-src 'self'",
        "img-src data:",  # its icon
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        # No text of a user's can become markup, not even by a mistake of the script's.
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
    return Page(body.encode(), "; ".join(policy))


def _read(name: str) -> str:
    return files(__package__).joinpath(name).read_text("utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
