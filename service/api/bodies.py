"""Bodies of requests: read with limits, as JSON or YAML, into plain data that nothing behind can stumble over."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping
from email.message import Message
from typing import Any, TypeVar

import yaml
from fastapi import Request
from pydantic import BaseModel, ValidationError

from service.api.problems import ProblemError
from service.documents import SpecLoader

JSON = "application/json"
YAML_TYPES = ("application/yaml", "application/x-yaml", "text/yaml")
MAX_YAML_BYTES = 64 * 1024  # a spec has about one thousand; a second for each 100 kB is what parsing YAML costs
MAX_DEPTH = 32  # mappings and lists inside each other; a spec has five
MAX_KEY = 200  # characters
MAX_INT = 2**63 - 1  # what a database holds

ModelT = TypeVar("ModelT", bound=BaseModel)


def media_type(request: Request) -> str:
    """Name the body's media type, without parameters.

    Raises:
        ProblemError: The body is said to be in another character set than UTF-8.
    """
    header = Message()
    header["content-type"] = request.headers.get("content-type", "")
    charset = header.get_content_charset("utf-8")
    if charset not in ("utf-8", "utf8", "us-ascii"):
        raise ProblemError(
            "unsupported_media_type", f"a body is UTF-8, got charset {charset!r}: encode it so", field="body"
        )
    return header.get_content_type() if request.headers.get("content-type") else ""


def check_media_type(request: Request, *allowed: str) -> str:
    """Name the body's media type, if it is one of those allowed.

    Raises:
        ProblemError: It is not.
    """
    given = media_type(request)
    if given not in allowed:
        raise ProblemError(
            "unsupported_media_type",
            f"the body is one of {', '.join(allowed)}, got {given or 'no Content-Type'}: send it so",
            field="header.content-type",
        )
    return given


async def read_model(request: Request, model: type[ModelT]) -> ModelT:
    """Read a small JSON body as a model.

    Raises:
        ProblemError: It is no JSON, or breaks a rule of the model; names the field.
    """
    check_media_type(request, JSON)
    document = parse_json(await request.body())
    try:
        return model.model_validate_json(json.dumps(document), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        rule = str(first["msg"]).removeprefix("Value error, ")
        got = "" if first["type"] == "missing" else f", got {str(first['input'])[:80]!r}"
        field = ".".join(["body", *map(str, first["loc"])])
        raise ProblemError(
            "invalid_request", f"{rule[0].lower()}{rule[1:]}{got}: change it", field=field
        ) from None


def parse_json(body: bytes) -> Any:
    """Parse JSON as RFC 8259 means it, and check what it holds.

    Raises:
        ProblemError: It is not JSON, a key stands twice, or a value is none that a spec could hold.
    """
    return _parse(body, _load_json, kind="JSON")


def parse_yaml(body: bytes) -> Any:
    """Parse YAML without aliases, which can stand for far more than the body holds, and check what it holds.

    Raises:
        ProblemError: It is not YAML, or not of this kind.
    """
    if len(body) > MAX_YAML_BYTES:
        raise ProblemError(
            "too_large", f"YAML has at most {MAX_YAML_BYTES} bytes, got {len(body)}: send it as JSON", field="body"
        )
    return _parse(body, lambda text: yaml.load(text, Loader=_PlainLoader), kind="YAML")


def _parse(body: bytes, load: Callable[[str], Any], *, kind: str) -> Any:
    try:
        document = load(body.decode("utf-8"))
    except UnicodeDecodeError as error:
        reason = f"byte {error.start} is not UTF-8"
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        at = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        reason = f"{getattr(error, 'problem', None) or getattr(error, 'reason', None) or 'not YAML'}{at}"
    except json.JSONDecodeError as error:
        reason = f"{error.msg} at line {error.lineno}, column {error.colno}"
    except RecursionError:
        reason = f"more than {MAX_DEPTH} mappings and lists inside each other"
    except (ValueError, OverflowError) as error:  # a number with thousands of digits, a date with 13 months
        reason = str(error)
    else:
        check_plain(document)
        return document
    raise ProblemError("bad_request", f"the body must be {kind}, got: {reason}: correct it", field="body")


def _load_json(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_unique_keys)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        repeated = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {repeated[:MAX_KEY]!r} stands twice in one object")
    return found


class _PlainLoader(SpecLoader):
    """The loader of specs, for documents of strangers: no aliases, and nothing but plain data."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Refuse an alias."""
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "aliases (*name) are not taken: write it out", mark)
        node: yaml.Node | None = super().compose_node(parent, index)
        return node


def check_plain(document: Any) -> None:
    """Check that a document is a tree of what JSON, the database and 64 bits can hold.

    Raises:
        ProblemError: It is not; names the field.
    """
    waiting: list[tuple[Any, tuple[str, ...]]] = [(document, ())]
    while waiting:
        value, path = waiting.pop()
        if len(path) > MAX_DEPTH:
            raise _bad(path, f"mappings and lists stand at most {MAX_DEPTH} deep inside each other: make it flat")
        if isinstance(value, Mapping):
            for key in value:
                _check_key(key, path)
            waiting.extend((item, (*path, key)) for key, item in value.items())
        elif isinstance(value, list):
            waiting.extend((item, (*path, str(number))) for number, item in enumerate(value))
        else:
            _check_leaf(value, path)


def _check_key(key: Any, path: tuple[str, ...]) -> None:
    if not isinstance(key, str) or len(key) > MAX_KEY or not _is_text(key):
        shown = ascii(key)[:MAX_KEY]
        raise _bad(path, f"a key is a text of at most {MAX_KEY} characters without NUL, got {shown}: rename it")


def _check_leaf(value: Any, path: tuple[str, ...]) -> None:
    if isinstance(value, str):
        if not _is_text(value):
            raise _bad(path, "a text has no NUL and no half of a surrogate pair: leave it out")
    elif isinstance(value, bool) or value is None:
        pass
    elif isinstance(value, int):
        if abs(value) > MAX_INT:
            raise _bad(path, f"a whole number has 63 bits at most, got one of {value.bit_length()}: lower it")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise _bad(path, f"a number is finite, got {value}: change it")
    else:
        raise _bad(
            path,
            f"a value is text, number, true, false, null, list or mapping, got a "
            f"{type(value).__name__}: put it in quotes",
        )


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return "\x00" not in text


def _bad(path: tuple[str, ...], reason: str) -> ProblemError:
    return ProblemError("invalid_request", reason, field=".".join(path) or "body")
