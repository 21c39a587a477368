"""The loop of a Python client: a request a line in, what the SDK made of it a line out."""
import json
import pathlib
import sys
import time

WORLD = json.loads((pathlib.Path(__file__).resolve().parent.parent / "world.json").read_text())


def words(error):
    """The API's own words for it: from the SDK's attributes where it has them, else from the body that it keeps."""
    body = getattr(error, "body", None) or getattr(error, "details", None)
    body = body if isinstance(body, dict) else {}
    said = body["error"] if isinstance(body.get("error"), dict) else body
    code = getattr(error, "code", None)
    return {
        "type": getattr(error, "type", None) or getattr(error, "status", None),
        "code": code if isinstance(code, str) else None,
        "bowsprit_code": said.get("bowsprit_code"),
    }


def described(error):
    """An exception as the SDK's user sees it."""
    return {
        "class": type(error).__name__,
        "bases": [base.__name__ for base in type(error).__mro__],
        "status": getattr(error, "status_code", None) or getattr(error, "code", None),
        "message": str(error),
        "words": words(error),
    }


def serve(scenarios):
    """`scenarios`: name to function of (base_url, key, model, retries); it returns the outcome or raises the SDK's error."""
    print("ready", flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        outcome, begun = {}, time.monotonic()
        try:
            scenarios[asked["scenario"]](asked, outcome)
        except Exception as error:  # whatever the SDK raises is the outcome
            outcome["error"] = described(error)
        outcome["seconds"] = time.monotonic() - begun
        print(json.dumps(outcome), flush=True)
