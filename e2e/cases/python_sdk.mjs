// The Python SDK's own OAuth client over both transports.
import { join } from 'node:path';
import { keycloakUrl, publicUrl, python, ring } from '../settings.mjs';
import { Child } from '../drivers/child.mjs';
import { must, mustBe, mustBeAFortune } from './must.mjs';

const endpoints = { sse: '/sse', http: '/mcp' };

const drive = (transport) => async (world) => {
  const sekisho = await world.sekisho();
  const { username, password } = sekisho.person;
  const client = new Child('the Python client', python, [join(ring, 'python_client.py'), '--url', `${publicUrl}${endpoints[transport]}`, '--transport', transport], {
    cwd: sekisho.folder,
    log: join(sekisho.folder, 'python.log'),
    env: { ...process.env, E2E_USERNAME: username, E2E_PASSWORD: password },
  });
  world.until(client);
  const [line] = await client.printed(/^\{"answer".*\}$/m, 90_000);
  const { answer, way, iss } = JSON.parse(line);
  mustBeAFortune(answer);
  mustBe('iss', iss, publicUrl);
  const firstAtKeycloak = way.findIndex((step) => step.includes(keycloakUrl));
  const approved = way.findIndex((step) => step.startsWith(`POST ${publicUrl}/consent 303`));
  must(approved >= 0 && firstAtKeycloak > approved, `Keycloak must come after the approval: ${way.join(', ')}`);
};

export const cases = [
  { name: 'python-sdk-http-keycloak-26.1.0', login: '26.1.0', run: drive('http') },
  { name: 'python-sdk-sse-keycloak-26.1.0', login: '26.1.0', run: drive('sse') },
];
