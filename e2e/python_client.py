"""The Python SDK's own OAuth client, end to end: discovery, registration, PKCE, the browser's part, the token, one tool call.

The browser's part is played with plain httpx: a cookie jar that follows redirects and fills in the forms it meets, until it is sent to
the client's redirect URI. Prints one JSON object. The person's name and password come in the environment (E2E_USERNAME, E2E_PASSWORD).
"""

import argparse
import asyncio
import json
import os
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx
from mcp import ClientSession
from mcp.client.auth import OAuthClientProvider, TokenStorage
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamablehttp_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from pydantic import AnyUrl

REDIRECT_URI = "http://localhost:3030/callback"
STEPS_MAX = 15
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


@dataclass
class Form:
    action: str
    fields: dict[str, str] = field(default_factory=dict)
    buttons: list[tuple[str, str]] = field(default_factory=list)


class Forms(HTMLParser):
    """The forms of a page: where they go, their fields, their named buttons."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[Form] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.found.append(Form(given.get("action", "")))
        elif self.found and given.get("name"):
            if tag == "button" or given.get("type") == "submit":
                self.found[-1].buttons.append((given["name"], given.get("value", "")))
            elif tag == "input" and given.get("type") not in ("checkbox", "radio"):
                self.found[-1].fields[given["name"]] = given.get("value", "")


class Person:
    """Goes from the authorization request to the redirect URI, writing down every host on the way."""

    def __init__(self, username: str, password: str) -> None:
        self.username = username
        self.password = password
        self.way: list[str] = []
        self.brought: dict[str, str] = {}

    async def go(self, url: str) -> None:
        async with httpx.AsyncClient(timeout=20) as browser:
            request = browser.build_request("GET", url)
            for _ in range(STEPS_MAX):
                answer = await browser.send(request)
                for cookie in browser.cookies.jar:
                    # To a browser loopback counts as secure; Keycloak marks its cookies Secure on plain http too.
                    cookie.secure = False
                self.way.append(f"{request.method} {request.url.copy_with(query=None)} {answer.status_code}")
                if answer.is_redirect:
                    target = urljoin(str(answer.url), answer.headers["location"])
                    if target.split("?")[0] == REDIRECT_URI:
                        self.brought = {name: values[0] for name, values in parse_qs(urlsplit(target).query).items()}
                        return
                    request = browser.build_request("GET", target)
                else:
                    request = self.fill_in(browser, answer)
        raise RuntimeError(f"no end after {STEPS_MAX} steps: {self.way}")

    def fill_in(self, browser: httpx.AsyncClient, answer: httpx.Response) -> httpx.Request:
        for form in Forms(answer.text).found:
            if ("decision", "approve") in form.buttons:
                form.fields["decision"] = "approve"
            elif "username" in form.fields:
                form.fields |= {"username": self.username, "password": self.password}
            else:
                continue
            here = answer.url
            origin = f"{here.scheme}://{here.netloc.decode()}"
            return browser.build_request(
                "POST", urljoin(str(here), form.action), data=form.fields, headers={"origin": origin, "referer": str(here)}
            )
        raise RuntimeError(f"a page with no form to fill in: {self.way}: {answer.text[:500]}")


async def fortune(url: str, transport: str, person: Person) -> tuple[str, str]:
    async def came_back() -> tuple[str, str | None]:
        return person.brought["code"], person.brought.get("state")

    auth = OAuthClientProvider(
        server_url=url,
        client_metadata=OAuthClientMetadata(
            client_name="Python SDK",
            redirect_uris=[AnyUrl(REDIRECT_URI)],
            grant_types=["authorization_code", "refresh_token"],
            response_types=["code"],
        ),
        storage=Memory(),
        redirect_handler=person.go,
        callback_handler=came_back,
    )
    opened = sse_client(url, auth=auth) if transport == "sse" else streamablehttp_client(url, auth=auth)
    async with opened as streams, ClientSession(streams[0], streams[1]) as session:
        begun = await session.initialize()
        tools = await session.list_tools()
        if [tool.name for tool in tools.tools] != ["fortune"]:
            raise RuntimeError(f"the tools are {tools.tools}")
        result = await session.call_tool("fortune", {})
        return result.content[0].text, begun.protocolVersion


async def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--url", required=True)
    arguments.add_argument("--transport", choices=["sse", "http"], required=True)
    given = arguments.parse_args()
    person = Person(os.environ["E2E_USERNAME"], os.environ["E2E_PASSWORD"])
    answer, version = await asyncio.wait_for(fortune(given.url, given.transport, person), TIMEOUT_S)
    print(json.dumps({"answer": answer, "version": version, "way": person.way, "iss": person.brought.get("iss")}, ensure_ascii=False))


if __name__ == "__main__":
    asyncio.run(main())
