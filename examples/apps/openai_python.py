"""An app with OpenAI's Python SDK. Nothing in it knows of Bowsprit: the injector sets OPENAI_BASE_URL and a placeholder key.

    pip install openai
    OPENAI_BASE_URL=http://localhost:4000/v1 OPENAI_API_KEY=any python examples/apps/openai_python.py
"""

import os

from openai import OpenAI

client = OpenAI()
model = os.environ.get("MODEL", "gpt-4.1-mini")

answer = client.chat.completions.create(model=model, messages=[{"role": "user", "content": "What is a bowsprit?"}])
print(answer.choices[0].message.content)

stream = client.chat.completions.create(model=model, messages=[{"role": "user", "content": "And a jib?"}], stream=True)
for chunk in stream:
    if chunk.choices and chunk.choices[0].delta.content:
        print(chunk.choices[0].delta.content, end="", flush=True)
print()
