"""As much of a W&B server as an online run needs, on this machine; it can go away in the middle of a run."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class TrackingServer:
    """Answers the queries of `wandb.init`, and takes in the run's history.

    Attributes:
        url: for WANDB_BASE_URL.
        history: every line of the run's history that arrived.
        closed: from then on every request is cut off without an answer.
    """

    def __init__(self) -> None:
        self.history: list[dict[str, Any]] = []
        self.arrived = threading.Condition()
        self.closed = False
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.answer({})

            def do_PUT(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.answer({})

            def do_POST(self) -> None:
                content = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
                self.answer(answer_to(content) if self.path == "/graphql" else outer.take(content))

            def answer(self, content: dict[str, Any]) -> None:
                if outer.closed:
                    self.close_connection = True
                    return
                body = json.dumps(content).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """The tests' output is not a log."""

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                """A client that has gone away is no mistake of the server's."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def take(self, content: dict[str, Any]) -> dict[str, Any]:
        lines = content.get("files", {}).get("wandb-history.jsonl", {}).get("content", [])
        with self.arrived:
            if not self.closed:
                self.history += [json.loads(line) for line in lines]
            self.arrived.notify_all()
        return {"exitcode": None, "limits": {}}

    def wait_for(self, key: str, timeout: float) -> bool:
        """Until a line of the history has this key."""
        with self.arrived:
            return self.arrived.wait_for(lambda: any(key in line for line in self.history), timeout)

    def close(self) -> None:
        """No answer any more, and no connection."""
        self.closed = True
        self._server.shutdown()
        self._server.server_close()


def answer_to(request: dict[str, Any]) -> dict[str, Any]:
    query, variables = request.get("query", ""), request.get("variables") or {}
    if "createArtifact" in query:
        return {"data": None, "errors": [{"message": "no artifacts here"}]}
    name = variables.get("name") or "run"
    project = {"id": "p", "name": variables.get("project") or "lfiw", "entity": {"id": "e", "name": "somebody"}}
    bucket = {"id": "b", "name": name, "displayName": name, "description": None, "config": "{}", "sweepName": None,
              "project": project, "historyLineCount": 0}  # fmt: skip
    found = {
        "viewer": {"id": "v", "entity": "somebody", "username": "somebody", "email": "", "flags": "{}",
                   "teams": {"edges": []}},
        "serverInfo": {"features": [], "cliVersionInfo": {}, "latestLocalVersionInfo": None},
        "model": None,
        "upsertBucket": {"bucket": bucket, "inserted": True},
        "createRunFiles": {"runID": "b", "uploadHeaders": [], "files": []},
        "entity": None,
        "project": None,
        "__type": {"fields": []} if "__type" in query else None,
    }  # fmt: skip
    return {"data": found}
