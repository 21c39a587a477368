#!/usr/bin/env python3
"""Asks a model one question and prints the answer, with the official OpenAI SDK and nothing else.

It knows nothing of Bowsprit: no base URL, no key, no retry of its own. What the pod's environment says is what the SDK takes.

  app.py [PROMPT...]        asks once (default: $PROMPT) and prints the answer; exit code 1 and the error on stderr if there is none
  app.py --stream PROMPT    prints the answer as it arrives
  app.py --every SECONDS    asks again and again, one JSON line each: time, ok, seconds, model, text, error
"""

import argparse
import json
import os
import signal
import sys
import threading
import time
from datetime import datetime, timezone

import openai


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prompt", nargs="*", help="the question (default: $PROMPT)")
    parser.add_argument("--model", default=os.environ.get("MODEL", "gpt-5-mini"), help="default: $MODEL, else gpt-5-mini")
    parser.add_argument("--every", type=float, metavar="SECONDS", help="ask again and again")
    parser.add_argument("--count", type=int, metavar="N", help="with --every: end after N questions")
    parser.add_argument("--stream", action="store_true", help="ask for a streamed answer")
    parser.add_argument("--sdk-retries", type=int, metavar="N", help="the SDK's own retries (default: the SDK's default); 0 shows each answer as it is")
    given = parser.parse_args()
    given.prompt = " ".join(given.prompt) or os.environ.get("PROMPT", "What is a bowsprit?")
    return given


def answer(client, given, show=lambda text: None):
    """The model's name and the answer's text; `show` gets each piece of a streamed answer."""
    asked = client.chat.completions.create(
        model=given.model,
        messages=[{"role": "user", "content": given.prompt}],
        stream=given.stream,
    )
    if not given.stream:
        return asked.model, asked.choices[0].message.content or ""
    model, pieces = "", []
    for chunk in asked:
        model = chunk.model
        for choice in chunk.choices:
            if choice.delta.content:
                pieces.append(choice.delta.content)
                show(choice.delta.content)
    return model, "".join(pieces)


def once(client, given):
    def show(text):
        print(text, end="", flush=True)

    _, text = answer(client, given, show)
    print("" if given.stream else text)


def line(client, given):
    """One question as one record. An error is part of it: this mode is there to watch what goes wrong."""
    record = {"time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"), "ok": False, "model": "", "text": "", "error": None}
    begun = time.monotonic()
    try:
        record["model"], record["text"] = answer(client, given)
        record["ok"] = True
    except openai.OpenAIError as error:
        record["error"] = f"{type(error).__name__}: {error}"
    record["seconds"] = round(time.monotonic() - begun, 3)
    return record


def repeat(client, given, stopped):
    left = given.count
    while not stopped.is_set() and left != 0:
        print(json.dumps(line(client, given), ensure_ascii=False), flush=True)
        left = None if left is None else left - 1
        if left != 0:
            stopped.wait(given.every)


def main():
    given = arguments()
    # As the first process of a container, Python would otherwise ignore SIGTERM and cost the pod its whole grace period.
    stopped = threading.Event()

    def stop(*_):
        stopped.set()
        if given.every is None:
            sys.exit(143)

    signal.signal(signal.SIGTERM, stop)
    options = {} if given.sdk_retries is None else {"max_retries": given.sdk_retries}
    try:
        client = openai.OpenAI(**options)
        if given.every is None:
            once(client, given)
        else:
            repeat(client, given, stopped)
    except openai.OpenAIError as error:
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
