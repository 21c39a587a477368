"""Another injector, as small as one can be: it knows nothing of Bowsprit, and puts its container, its volume and its init container into
every pod that it is asked about, first in each list, and turns the order of the containers round. Idempotent, as it must be.

Usage: other_webhook.py IMAGE, with /tls/tls.crt and /tls/tls.key."""

import base64
import http.server
import json
import ssl
import sys

IMAGE = sys.argv[1]
SLEEP = ["/usr/bin/python3", "-c", "import signal; signal.sigwait({signal.SIGTERM})"]
MOUNT = [{"name": "other-data", "mountPath": "/other"}]


def patch(spec):
    if any(container["name"] == "other" for container in spec["containers"]):
        return []
    other = {"name": "other", "image": IMAGE, "command": SLEEP, "volumeMounts": MOUNT}
    first = {"name": "other-init", "image": IMAGE, "command": ["/usr/bin/python3", "-c", "print('ready')"], "volumeMounts": MOUNT}
    lists = {
        "containers": [other] + spec["containers"][::-1],
        "initContainers": [first] + spec.get("initContainers", []),
        "volumes": [{"name": "other-data", "emptyDir": {}}] + spec.get("volumes", []),
    }
    return [{"op": "add", "path": f"/spec/{name}", "value": value} for name, value in lists.items()]


class Webhook(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["request"]
        operations = patch(request["object"]["spec"])
        print("asked, and answers with", len(operations), "operations", flush=True)
        response = {"uid": request["uid"], "allowed": True}
        if operations:
            response |= {"patchType": "JSONPatch", "patch": base64.b64encode(json.dumps(operations).encode()).decode()}
        body = json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


server = http.server.ThreadingHTTPServer(("", 8443), Webhook)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/tls/tls.crt", "/tls/tls.key")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
