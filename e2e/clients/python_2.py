"""The Python SDK's own client and OAuth, of the 2.x line: signs in, runs the one tool, says which version it speaks.

The way of a program with a browser: prints `open URL`, waits at its redirect URI, and at last prints one JSON object.
"""

import argparse
import asyncio
import json
from urllib.parse import parse_qs, urlsplit

from mcp.client.auth import OAuthClientProvider, TokenStorage
from mcp.client.auth.oauth2 import AuthorizationCodeResult
from mcp.client.client import Client
from mcp.client.sse import sse_client
from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from pydantic import AnyUrl

TIMEOUT_S = 60


class Memory(TokenStorage):
    """Keeps what the SDK wants kept for as long as this program runs."""

    tokens: OAuthToken | None = None
    client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


class Arrival:
    """The first browser that comes to the redirect URI."""

    def __init__(self, redirect_uri: str) -> None:
        self.redirect_uri = urlsplit(redirect_uri)
        self.brought: asyncio.Future[dict[str, str]] = asyncio.get_running_loop().create_future()

    async def listen(self) -> asyncio.Server:
        return await asyncio.start_server(self.answer, self.redirect_uri.hostname, self.redirect_uri.port)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target = urlsplit((await reader.readline()).decode().split(" ")[1])
        is_ours = target.path == self.redirect_uri.path
        writer.write(b"HTTP/1.1 %d -\r\ncontent-length: 0\r\nconnection: close\r\n\r\n" % (200 if is_ours else 404))
        await writer.drain()
        writer.close()
        if is_ours and not self.brought.done():
            self.brought.set_result({name: values[0] for name, values in parse_qs(target.query).items()})

    async def result(self) -> AuthorizationCodeResult:
        brought = await self.brought
        return AuthorizationCodeResult(code=brought["code"], state=brought.get("state"), iss=brought.get("iss"))


async def open_in_browser(url: str) -> None:
    print(f"open {url}", flush=True)


async def call(given: argparse.Namespace) -> dict[str, str]:
    url, redirect_uri = given.url, given.redirect_uri
    arrival = Arrival(redirect_uri)
    auth = OAuthClientProvider(
        server_url=url,
        client_metadata=OAuthClientMetadata(
            client_name="Python SDK 2",
            redirect_uris=[AnyUrl(redirect_uri)],
            grant_types=["authorization_code", "refresh_token"],
            response_types=["code"],
        ),
        storage=Memory(),
        redirect_handler=open_in_browser,
        callback_handler=arrival.result,
    )
    async with await arrival.listen(), create_mcp_http_client(auth=auth) as http:
        opened = sse_client(url, auth=auth) if given.transport == "sse" else streamable_http_client(url, http_client=http)
        async with Client(opened, mode=given.mode) as client:
            tools = await client.list_tools()
            result = await client.call_tool(given.tool or tools.tools[0].name, json.loads(given.arguments))
            return {"answer": result.content[0].text, "version": client.protocol_version}


async def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    for name in ["--url", "--transport", "--mode", "--redirect-uri"]:
        arguments.add_argument(name, required=True)
    arguments.add_argument("--tool")
    arguments.add_argument("--arguments", default="{}")
    given = arguments.parse_args()
    said = await asyncio.wait_for(call(given), TIMEOUT_S)
    print(json.dumps(said, ensure_ascii=False))


if __name__ == "__main__":
    asyncio.run(main())
