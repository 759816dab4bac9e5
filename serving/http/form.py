"""A video as multipart/form-data: its fields as text parts, its picture as a file."""

import base64
import logging
from http import HTTPStatus
from typing import Any

from python_multipart import FormParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File, parse_options_header
from starlette.exceptions import HTTPException

MULTIPART = "multipart/form-data"
MAX_PARTS = 100
MAX_FIELD = 256 * 1024  # bytes
LISTS = {"require"}
ENCODED_AT_ONCE = 3 * 64 * 1024  # bytes; other threads wait for each portion
logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # the answer says what it warns of
# OpenAPI: the form beside the JSON body.
FORM: dict[str, Any] = {
    "requestBody": {
        "content": {
            MULTIPART: {
                "schema": {
                    "allOf": [
                        {"$ref": "#/components/schemas/PredictRequest"},
                        {
                            "type": "object",
                            "properties": {
                                "thumbnail": {
                                    "type": "string",
                                    "format": "binary",
                                    "description": "The picture as a file, instead of thumbnail_url.",
                                }
                            },
                        },
                    ]
                }
            }
        }
    }
}


def parse_form(content_type: str, body: bytes) -> dict[str, Any]:
    """The fields of a form, as in a JSON body; its file, under any name, becomes `thumbnail_url`.

    Empty fields, which browsers send, are left out. Raises `HTTPException` for a form that is damaged, has
    more than `MAX_PARTS` parts, a field of more than `MAX_FIELD` bytes, or several pictures.
    """
    form = _Form()
    _, parameters = parse_options_header(content_type)
    # The body is in memory already, so its file is not written to disk.
    config = {"MAX_MEMORY_FILE_SIZE": len(body) + 1}
    try:
        parser = FormParser(
            MULTIPART, form.add_field, form.add_file, form.end, parameters.get(b"boundary"), config=config
        )
        parser.write(body)
        parser.finalize()
    except FormParserError as exc:
        raise _bad(f"The body is not valid multipart/form-data: {exc}") from exc
    if not form.is_whole:
        raise _bad("The body is not valid multipart/form-data: its last boundary is missing.")
    return form.values


class _Form:
    """The parts of a form so far."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.is_whole = False
        self._parts = 0
        self._pictures: list[str] = []

    def add_field(self, field: Field) -> None:
        """A text part."""
        self._count()
        name, value = _text(field.field_name), field.value or b""
        if len(value) > MAX_FIELD:
            raise HTTPException(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"The field {name[:100]} has {len(value)} bytes, the limit is {MAX_FIELD}; "
                "send a picture as a file.",
            )
        if not value.strip():
            return
        if name in LISTS:
            self.values.setdefault(name, []).append(_text(value))
            return
        self.values[name] = _text(value)
        if name == "thumbnail_url":
            self._add_picture(name)

    def add_file(self, file: File) -> None:
        """The picture; browsers send a file without a name and content if the user chose none."""
        self._count()
        name = _text(file.field_name)
        file.file_object.seek(0)
        content = file.file_object.read()
        if not content and not file.file_name:
            return
        if not content:
            raise _invalid(f"The file {name[:100]} is empty; send a picture or leave it out.")
        self._add_picture(name)
        parts = range(0, len(content), ENCODED_AT_ONCE)
        encoded = b"".join(base64.b64encode(content[at : at + ENCODED_AT_ONCE]) for at in parts).decode(
            "ascii"
        )
        self.values["thumbnail_url"] = f"data:application/octet-stream;base64,{encoded}"

    def end(self) -> None:
        """The last boundary."""
        self.is_whole = True

    def _add_picture(self, name: str) -> None:
        self._pictures.append(name[:100])
        if len(self._pictures) > 1:
            raise _invalid(f"The form has several pictures ({', '.join(self._pictures)}); send one.")

    def _count(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise HTTPException(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"The form has more than {MAX_PARTS} parts; send the fields of one video.",
            )


def _text(value: bytes | None) -> str:
    try:
        return (value or b"").decode("utf-8")
    except UnicodeDecodeError as exc:
        raise _bad(f"The form is not UTF-8: {exc.reason}.") from exc


def _bad(detail: str) -> HTTPException:
    return HTTPException(HTTPStatus.BAD_REQUEST, detail)


def _invalid(detail: str) -> HTTPException:
    return HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, detail)
