// node-oidc-provider as somebody would run it who takes OpenID Connect to the letter: what scopes say of a person is at its userinfo
// endpoint, and offline_access needs its consent page. Anybody may log in under any name; `POST /test/gone?NAME` takes an account away.
import { createServer } from 'node:http';
import Provider from 'oidc-provider';

const [port, publicUrl, callback, logout] = process.argv.slice(2);
const issuer = `http://localhost:${port}`;
const gone = new Set();

const provider = new Provider(issuer, {
  clients: [
    {
      client_id: 'mcp',
      client_secret: 'a secret of node-oidc-provider, with 100% signs',
      redirect_uris: [`${publicUrl}${callback}`],
      post_logout_redirect_uris: [`${publicUrl}/logout`],
      backchannel_logout_uri: `${publicUrl}${logout}`,
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
    },
  ],
  cookies: { keys: ['only for tests'] },
  claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name', 'preferred_username'], groups: ['groups'] },
  scopes: ['openid', 'offline_access', 'email', 'profile', 'groups'],
  features: { backchannelLogout: { enabled: true } },
  pkce: { required: () => true },
  // It tells nobody on loopback of a logout unless it is made to.
  fetch: (url, { dispatcher, ...options }) => globalThis.fetch(url, options),
  findAccount: (_, id) =>
    gone.has(id)
      ? undefined
      : { accountId: id, claims: () => ({ sub: id, name: id, preferred_username: id, email: `${id}@corp.example`, email_verified: true, groups: id.startsWith('staff') ? ['staff'] : [] }) },
});

for (const event of ['backchannel.error', 'server_error']) provider.on(event, (_, error) => console.log(`${event}: ${error.message} ${error.cause ?? ""}`));

const answer = provider.callback();
createServer((request, response) => {
  const url = new URL(request.url, issuer);
  if (request.method === 'POST' && url.pathname === '/test/gone') {
    gone.add(url.search.slice(1));
    response.end();
  } else {
    answer(request, response);
  }
}).listen(Number(port), '127.0.0.1', () => console.log(`listening on ${issuer}`));
