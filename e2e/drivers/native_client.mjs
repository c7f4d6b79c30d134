// A small OAuth client of its own, as a command line program would be one: a listener on loopback, registration, PKCE,
// the token request, and one tool call. Small enough to see every parameter that comes back.
import { createHash, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import { elsewhereMsMax, publicUrl } from '../settings.mjs';

const ANSWER_MS_MAX = 15_000;
const ARRIVAL_MS_MAX = 30_000;

const random = () => randomBytes(32).toString('base64url');
const within = () => AbortSignal.timeout(ANSWER_MS_MAX);

export class NativeClient {
  static async register(name) {
    const client = new NativeClient();
    client.arrivals = [];
    client.listener = createServer((request, response) => {
      const url = new URL(request.url, 'http://listener');
      response.setHeader('content-type', 'text/html; charset=utf-8');
      if (url.pathname === '/cb') {
        client.arrivals.push(url.searchParams);
        client.heard?.();
        response.end('<!doctype html><title>arrived</title><p>arrived');
      } else {
        response.statusCode = client.pages?.[url.pathname] ? 200 : 404;
        response.end(client.pages?.[url.pathname] ?? '');
      }
    });
    await new Promise((settle) => client.listener.listen(0, '127.0.0.1', settle));
    client.origin = `http://127.0.0.1:${client.listener.address().port}`;
    client.redirectUri = `${client.origin}/cb`;

    const answer = await fetch(`${publicUrl}/register`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({
        client_name: name,
        redirect_uris: [client.redirectUri],
        grant_types: ['authorization_code', 'refresh_token'],
        response_types: ['code'],
        token_endpoint_auth_method: 'none',
      }),
      signal: within(),
    });
    if (answer.status !== 201) throw new Error(`/register answered ${answer.status}: ${await answer.text()}`);
    client.id = (await answer.json()).client_id;
    return client;
  }

  async leave() {
    this.listener.closeAllConnections();
    await new Promise((settle) => this.listener.close(settle));
  }

  /** A new attempt: the address to open, and what is needed to finish it. */
  begin(scope = 'fortune') {
    const attempt = { state: random(), verifier: random() };
    attempt.url = `${publicUrl}/authorize?${new URLSearchParams({
      response_type: 'code',
      client_id: this.id,
      redirect_uri: this.redirectUri,
      scope,
      resource: `${publicUrl}/mcp`,
      state: attempt.state,
      code_challenge: createHash('sha256').update(attempt.verifier).digest('base64url'),
      code_challenge_method: 'S256',
    })}`;
    return attempt;
  }

  /** What the browser brought to the redirect URI next. */
  arrival(limitMs = ARRIVAL_MS_MAX) {
    return new Promise((settle, refuse) => {
      const look = () => {
        if (this.arrivals.length === 0) return;
        clearTimeout(timer);
        this.heard = undefined;
        settle(this.arrivals.shift());
      };
      const timer = setTimeout(() => {
        this.heard = undefined;
        refuse(new Error(`the browser did not arrive at ${this.redirectUri} within ${limitMs / 1000} s`));
      }, limitMs);
      this.heard = look;
      look();
    });
  }

  redeem(code, attempt) {
    return this.askForTokens({ grant_type: 'authorization_code', code, redirect_uri: this.redirectUri, code_verifier: attempt.verifier });
  }

  refresh(refreshToken) {
    return this.askForTokens({ grant_type: 'refresh_token', refresh_token: refreshToken });
  }

  /** Gives a token back; answers the status. */
  async revoke(token) {
    const body = new URLSearchParams({ client_id: this.id, token });
    return (await fetch(`${publicUrl}/revoke`, { method: 'POST', body, signal: within() })).status;
  }

  async askForTokens(parameters) {
    const answer = await fetch(`${publicUrl}/token`, {
      method: 'POST',
      body: new URLSearchParams({ client_id: this.id, resource: `${publicUrl}/mcp`, ...parameters }),
      signal: within(),
    });
    return { status: answer.status, ...(await answer.json()) };
  }
}

/** One login with the `local` provider, as every client does it. */
export async function accessToken(world, who, scope) {
  const client = world.until(await NativeClient.register('Outside ring'));
  const person = await world.person();
  const attempt = client.begin(scope);
  await person.page.goto(attempt.url);
  await person.approve();
  await person.logIn(who);
  const { status, access_token: token } = await client.redeem((await client.arrival()).get('code'), attempt);
  if (status !== 200) throw new Error(`/token answered ${status}`);
  return token;
}

/** Calls the tool over Streamable HTTP with a token and answers its text. */
export async function callFortune(accessToken) {
  let session;
  const ask = async (message) => {
    const answer = await fetch(`${publicUrl}/mcp`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${accessToken}`,
        'content-type': 'application/json',
        accept: 'application/json, text/event-stream',
        ...(session ? { 'mcp-session-id': session } : {}),
        ...(message.method === 'initialize' ? {} : { 'mcp-protocol-version': '2025-11-25' }),
      },
      body: JSON.stringify({ jsonrpc: '2.0', ...message }),
      signal: within(),
    });
    if (!answer.ok) throw new Error(`/mcp answered ${message.method} with ${answer.status}: ${await answer.text()}`);
    session ??= answer.headers.get('mcp-session-id');
    const text = await answer.text();
    if (message.id === undefined) return undefined;
    const isStream = answer.headers.get('content-type')?.startsWith('text/event-stream');
    const data = isStream ? text.split('\n').find((line) => line.startsWith('data: {'))?.slice('data: '.length) : text;
    const { result, error } = JSON.parse(data);
    if (error) throw new Error(`/mcp answered ${message.method} with ${JSON.stringify(error)}`);
    return result;
  };
  await ask({ id: 1, method: 'initialize', params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'outside-ring', version: '1' } } });
  await ask({ method: 'notifications/initialized' });
  const result = await ask({ id: 2, method: 'tools/call', params: { name: 'fortune', arguments: {} } });
  return result.content[0].text;
}

/** The status that a bare request with this token gets at an endpoint, without waiting for a stream's end. */
export async function statusOf(path, accessToken) {
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort(), ANSWER_MS_MAX);
  const answer = await fetch(`${publicUrl}${path}`, {
    headers: { authorization: `Bearer ${accessToken}`, accept: 'text/event-stream' },
    signal: stop.signal,
  });
  clearTimeout(timer);
  stop.abort();
  return answer.status;
}

/** The same, once every instance has had the time to hear that the token was taken back: at once, where there is one. */
export async function statusOnceOut(path, accessToken) {
  const until = Date.now() + elsewhereMsMax;
  let status = await statusOf(path, accessToken);
  while (status !== 401 && Date.now() < until) status = await statusOf(path, accessToken);
  return status;
}
