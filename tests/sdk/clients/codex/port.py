"""A server of one tool for an agent: the Model Context Protocol over standard input and output."""
import json
import pathlib
import sys

WORLD = json.loads((pathlib.Path(__file__).resolve().parent.parent.parent / "world.json").read_text())
TOOL = next(tool for tool in WORLD["tools"] if tool["name"] == "get_tide")


def answer(method, params):
    if method == "initialize":
        server = {"name": "port", "version": "1"}
        return {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}}, "serverInfo": server}
    if method == "tools/list":
        return {"tools": [{"name": TOOL["name"], "description": TOOL["description"], "inputSchema": TOOL["schema"]}]}
    if method == "tools/call":
        return {"content": [{"type": "text", "text": WORLD["results"][params["name"]]}]}
    return {}


for line in sys.stdin:
    asked = json.loads(line)
    if "id" in asked:
        result = answer(asked["method"], asked.get("params") or {})
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}), flush=True)
