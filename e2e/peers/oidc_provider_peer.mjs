// node-oidc-provider that is measured, as an authorization server for clients it has never seen: dynamic registration, PKCE, its own
// login and consent forms (where anybody may log in), refresh tokens that are changed at each use. All it knows is in its memory.
import Provider from 'oidc-provider';

const [port] = process.argv.slice(2);
const provider = new Provider(`http://localhost:${port}`, {
  clientDefaults: { token_endpoint_auth_method: 'none', application_type: 'native' },
  cookies: { keys: ['only for measurements'] },
  features: { registration: { enabled: true } },
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  issueRefreshToken: (_, client) => client.grantTypeAllowed('refresh_token'),
  pkce: { required: () => true },
  rotateRefreshToken: true,
  scopes: ['openid', 'fortune'],
});
provider.on('server_error', (_, error) => console.log(`server_error: ${error.message}`));
const server = provider.listen(Number(port), '127.0.0.1', () => console.log(`listening on http://localhost:${port}`));
// People come back later than 5 s after their last click.
server.keepAliveTimeout = 60_000;
