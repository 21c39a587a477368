"""An app with Anthropic's Python SDK. Nothing in it knows of Bowsprit: the injector sets ANTHROPIC_BASE_URL and a placeholder key.

    pip install anthropic
    ANTHROPIC_BASE_URL=http://localhost:4000 ANTHROPIC_API_KEY=any python examples/apps/anthropic_python.py
"""

import os

from anthropic import Anthropic

client = Anthropic()
model = os.environ.get("MODEL", "claude-sonnet-4-5")

answer = client.messages.create(model=model, max_tokens=300, messages=[{"role": "user", "content": "What is a bowsprit?"}])
print("".join(block.text for block in answer.content if block.type == "text"))

with client.messages.stream(model=model, max_tokens=300, messages=[{"role": "user", "content": "And a jib?"}]) as stream:
    for text in stream.text_stream:
        print(text, end="", flush=True)
print()
