"""The loop of a Python client: a request a line in, what the SDK made of it a line out."""
import json
import pathlib
import sys
import time

WORLD = json.loads((pathlib.Path(__file__).resolve().parent.parent / "world.json").read_text())


def described(error):
    """An exception as the SDK's user sees it."""
    return {
        "class": type(error).__name__,
        "bases": [base.__name__ for base in type(error).__mro__],
        "status": getattr(error, "status_code", None) or getattr(error, "code", None),
        "message": str(error),
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
