"""An app with Google's Python SDK. Nothing in it knows of Bowsprit: the injector sets GOOGLE_GEMINI_BASE_URL and a placeholder key.

    pip install google-genai
    GOOGLE_GEMINI_BASE_URL=http://localhost:4000 GOOGLE_API_KEY=any python examples/apps/google_genai_python.py
"""

import os

from google import genai

client = genai.Client()
model = os.environ.get("MODEL", "gemini-2.5-flash")

print(client.models.generate_content(model=model, contents="What is a bowsprit?").text)

for chunk in client.models.generate_content_stream(model=model, contents="And a jib?"):
    print(chunk.text or "", end="", flush=True)
print()
