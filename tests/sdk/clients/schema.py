"""No SDK: the bytes of each answer, event and error, held against OpenAI's published schema (../schemas)."""
import json
import pathlib
import urllib.error
import urllib.request

import jsonschema

SCHEMA = json.loads((pathlib.Path(__file__).resolve().parent.parent / "schemas/openai.json").read_text())


class APIError(Exception):
    """An error as the SDKs would raise it."""

    def __init__(self, error, status):
        super().__init__(error["message"])
        self.status_code = status
        self.body, self.type, self.code = error, error["type"], error["code"]


class BadRequestError(APIError):
    pass


class AuthenticationError(APIError):
    pass


class PermissionDeniedError(APIError):
    pass


class NotFoundError(APIError):
    pass


class RateLimitError(APIError):
    pass


class InternalServerError(APIError):
    pass


CLASSES = {
    400: BadRequestError, 401: AuthenticationError, 403: PermissionDeniedError, 404: NotFoundError, 413: APIError,
    429: RateLimitError,
}


def check(outcome, name, value):
    """Keeps the first thing that the schema does not allow."""
    validator = jsonschema.Draft202012Validator(SCHEMA | {"$ref": f"#/$defs/{name}"})
    for problem in validator.iter_errors(value):
        # Of alternatives the one that came nearest tells most.
        deepest = jsonschema.exceptions.best_match([problem])
        outcome.setdefault("schema", f"{name} at {deepest.json_path}: {deepest.message[:300]}")


def send(asked, outcome, path, body=None, method=None):
    data = None if body is None else json.dumps(body).encode()
    headers = {"authorization": f"Bearer {asked['key']}", "content-type": "application/json"}
    try:
        return urllib.request.urlopen(urllib.request.Request(asked["url"] + path, data, headers, method=method), timeout=20)
    except urllib.error.HTTPError as answer:
        value = json.load(answer)
        check(outcome, "ErrorResponse", value)
        raise CLASSES.get(answer.code, InternalServerError)(value["error"], answer.code) from None


def events(answer):
    """The data of each event of a stream, but for OpenAI's end mark."""
    for line in answer:
        if line.startswith(b"data:") and line.strip() != b"data: [DONE]":
            yield json.loads(line[5:])
