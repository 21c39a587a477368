#!/usr/bin/env python3
"""Writes openai-chat.json from OpenAI's OpenAPI document: `schemas/extract.py openapi.yaml` (needs PyYAML).

Takes the components that a chat answer, a stream's chunk, an error and a list of models are made of, and all that they
refer to; leaves out descriptions and OpenAI's own `x-` fields, which are no part of the schema.
"""
import json
import pathlib
import sys

import yaml

ROOTS = ["CreateChatCompletionResponse", "CreateChatCompletionStreamResponse", "ErrorResponse", "ListModelsResponse"]
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
    return kept


def references(node):
    if isinstance(node, dict):
        if str(node.get("$ref", "")).startswith(PREFIX):
            yield node["$ref"].removeprefix(PREFIX)
        node = list(node.values())
    if isinstance(node, list):
        for item in node:
            yield from references(item)


def main():
    document = yaml.safe_load(pathlib.Path(sys.argv[1]).read_text())
    components, wanted, taken = document["components"]["schemas"], list(ROOTS), {}
    while wanted:
        name = wanted.pop()
        if name not in taken:
            taken[name] = bare(components[name])
            wanted += references(components[name])
    # The document is narrower than its own examples, its prose and the API: a chunk says null until it has these.
    chunk = taken["CreateChatCompletionStreamResponse"]["properties"]
    choice = chunk["choices"]["items"]["properties"]
    for where, field in [(choice, "logprobs"), (choice, "finish_reason"), (chunk, "usage")]:
        where[field] = {"anyOf": [where[field], {"type": "null"}]}
    info = document["info"]
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$comment": f"Part of the {info['title']} {info['version']}, {info['license']['name']} licence, see LICENSE. Written by extract.py.",
        "$defs": dict(sorted(taken.items())),
    }
    target = pathlib.Path(__file__).resolve().parent / "openai-chat.json"
    target.write_text(json.dumps(schema, indent=1) + "\n")


main()
