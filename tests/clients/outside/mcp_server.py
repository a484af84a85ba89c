"""A server of tools: Model Context Protocol, streamable HTTP (modelcontextprotocol.io, revision 2025-06-18), answers as events
for whoever accepts them. One tool reads, one deletes."""

import json

from web import Reply

NO_INPUT = {"type": "object", "properties": {}}
TOOLS = [
    {"name": name, "description": f"{name} something", "inputSchema": NO_INPUT}
    for name in ("search", "read_page", "delete_page")
]
SESSION = "session-1"


class Tools:
    def __init__(self, say):
        self.say = say

    def site(self, request):
        if request.path != "/mcp":
            return Reply(404)
        if request.method == "DELETE":
            return Reply(200)
        if request.method != "POST":
            # It sends nothing of its own accord.
            return Reply(405, headers={"Allow": "POST, DELETE"})
        message = json.loads(request.body)
        if "id" not in message:
            return Reply(202)
        answer = {"jsonrpc": "2.0", "id": message["id"], "result": self.result(message)}
        return Reply(
            200,
            iter([f"event: message\ndata: {json.dumps(answer)}\n\n".encode()]),
            "text/event-stream",
            {"Mcp-Session-Id": SESSION},
        )

    def result(self, message):
        method, parameters = message["method"], message.get("params", {})
        if method == "initialize":
            about = {"name": "tools", "version": "1"}
            return {
                "protocolVersion": parameters["protocolVersion"],
                "capabilities": {"tools": {}},
                "serverInfo": about,
            }
        if method == "tools/list":
            return {"tools": TOOLS}
        if method == "tools/call":
            self.say(f"tools: called {parameters['name']}")
            return {"content": [{"type": "text", "text": f"{parameters['name']}: done"}], "isError": False}
        return {}
