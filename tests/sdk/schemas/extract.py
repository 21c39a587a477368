#!/usr/bin/env python3
"""Writes openai.json from OpenAI's OpenAPI document: `schemas/extract.py openapi.yaml` (needs PyYAML).

The document is version 2.3.0 of the one that OpenAI publishes in its repository openai/openai-openapi, MIT licence. Takes
the components that answers, events, errors and lists are made of, and all that they refer to; leaves out descriptions and
OpenAI's own `x-` fields, which are no part of the schema.
"""
import json
import pathlib
import sys

import yaml

ROOTS = [
    "CreateChatCompletionResponse", "CreateChatCompletionStreamResponse", "CreateEmbeddingResponse", "ErrorResponse",
    "ListModelsResponse", "Response", "ResponseStreamEvent",
]
PREFIX = "#/components/schemas/"


def bare(node, in_properties=False):
    if isinstance(node, list):
        return [bare(item) for item in node]
    if not isinstance(node, dict):
        return node.replace(PREFIX, "#/$defs/") if isinstance(node, str) else node
    kept = {}
    for key, value in node.items():
        prose = key in ("description", "title", "example", "examples", "deprecated") or key.startswith("x-")
        if in_properties or not prose:
            kept[key] = bare(value, in_properties=key == "properties" and not in_properties)
    # How OpenAPI 3.0 said it; this document is 3.1 and has some of both.
    return or_null(kept) if not in_properties and kept.pop("nullable", False) is True else kept


def or_null(schema):
    return {"anyOf": [schema, {"type": "null"}]}


def references(node):
    if isinstance(node, dict):
        if str(node.get("$ref", "")).startswith(PREFIX):
            yield node["$ref"].removeprefix(PREFIX)
        node = list(node.values())
    if isinstance(node, list):
        for item in node:
            yield from references(item)


def lines(schema):
    """A line for each component, so that a diff tells which changed."""
    short = {"separators": (",", ":")}
    head = {name: value for name, value in schema.items() if name != "$defs"}
    parts = ",\n".join(f"{json.dumps(name)}:{json.dumps(value, **short)}" for name, value in schema["$defs"].items())
    return json.dumps(head, indent=0)[:-2] + ',\n"$defs":{\n' + parts + "\n}}"


def main():
    document = yaml.safe_load(pathlib.Path(sys.argv[1]).read_text())
    components, wanted, taken = document["components"]["schemas"], list(ROOTS), {}
    while wanted:
        name = wanted.pop()
        if name not in taken:
            taken[name] = bare(components[name])
            wanted += references(components[name])
    # The document is narrower than its own examples, its prose and the API: a chunk and a response in progress say null
    # until they have these, and a response repeats the user that was not given as null.
    chunk = taken["CreateChatCompletionStreamResponse"]["properties"]
    choice = chunk["choices"]["items"]["properties"]
    echoed = taken["ModelResponseProperties"]["properties"]
    own = next(part["properties"] for part in taken["Response"]["allOf"] if "usage" in part.get("properties", {}))
    narrow = [(choice, "logprobs"), (choice, "finish_reason"), (chunk, "usage"), (echoed, "user"), (own, "usage")]
    for where, field in narrow:
        where[field] = or_null(where[field])
    info = document["info"]
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$comment": f"Part of the {info['title']} {info['version']}, {info['license']['name']} licence, see LICENSE. Written by extract.py.",
        "$defs": dict(sorted(taken.items())),
    }
    target = pathlib.Path(__file__).resolve().parent / "openai.json"
    target.write_text(lines(schema) + "\n")


main()
