// MCP Inspector in Chromium: connect, consent, log in at Keycloak, run the tool, read the answer.
import { publicUrl } from '../settings.mjs';
import { Inspector } from '../drivers/inspector.mjs';
import { mustBeAFortune } from './must.mjs';

const endpoints = { sse: '/sse', http: '/mcp' };

const drive = (transport) => async (world) => {
  const sekisho = await world.sekisho();
  const inspector = world.until(await Inspector.start(transport, `${publicUrl}${endpoints[transport]}`, sekisho.folder));
  const person = await world.person();
  await inspector.connect(person);
  await person.approve();
  await person.logInAtKeycloak(sekisho.person);
  mustBeAFortune(await inspector.runFortune(person));
};

export const cases = [
  { name: 'inspector-sse-keycloak-26.1.0', login: '26.1.0', run: drive('sse') },
  { name: 'inspector-http-keycloak-26.1.0', login: '26.1.0', run: drive('http') },
  { name: 'inspector-http-keycloak-26.7.0', login: '26.7.0', run: drive('http') },
];
