"""Every error code in every API's words, byte for byte as the sidecar says it: what each SDK raises, and who tries again.

`errors.json` is written by `make docs` out of the sidecar's own table, with the answers of docs/errors.md; here it is held
against the SDKs. That the sidecar says these bytes is what failures.py sees in the errors that a provider can cause.
"""
import http.server
import json
import pathlib
import threading

from .scenario import API, Scenario, equal

ROWS = json.loads((pathlib.Path(__file__).resolve().parent.parent / "errors.json").read_text())
BY_CODE = {row["code"]: row for row in ROWS}


def words(row, dialect):
    """What a client of this dialect is to read of an error: type, code or status, and our code."""
    said = row[API[dialect]]["body"]["error"]
    kind = said["status"] if dialect == "gemini" else said["type"]
    code = None if API[dialect] != "openai" else said["code"]
    return {"type": kind, "code": code, "bowsprit_code": row["code"]}


def says(result, code):
    """The error that the client read is this one of ours, in its API's words."""
    row = BY_CODE[code]
    problem = result.outcome["error"]
    equal("status", problem["status"], row[result.api]["status"])
    equal("words", problem["words"], words(row, result.dialect))


class Replay:
    """In the sidecar's place: answers every request with the error of one row, in the dialect of the path."""

    def __init__(self, _tools):
        self.row, self.asked = None, 0
        replay = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                self.rfile.read(int(self.headers["content-length"]))
                replay.answer(self)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, request):
        self.asked += 1
        path = request.path
        api = "anthropic" if "/messages" in path else "gemini" if "generateContent" in path else "openai"
        said = self.row[api]
        body = json.dumps(said["body"]).encode()
        request.send_response(said["status"])
        request.send_header("content-type", "application/json")
        request.send_header("content-length", str(len(body)))
        request.send_header("x-should-retry", str(self.row["retryable"]).lower())
        # The SDKs that read it need not wait as long as they would by themselves.
        request.send_header("retry-after-ms", "1")
        request.end_headers()
        request.wfile.write(body)

    def play(self, row):
        self.row, self.asked = row, 0

    def requests(self):
        """How often it was asked; the requests themselves tell nothing here."""
        return [None] * self.asked

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def row(row):
    def judge(result):
        problem = result.outcome.get("error")
        assert problem, f"the SDK raised nothing: {result.outcome}"
        equal("exception", problem["class"], row["raises"][result.client])
        says(result, row["code"])
        equal("requests", len(result.requests), 2 if row["again"][result.client] else 1)

    return Scenario(row["code"], judge, row, request="chat", retries=1)


SCENARIOS = [row(each) for each in ROWS]
