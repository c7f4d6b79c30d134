// Where things are and which ports they use. Everything can be moved by an environment variable; nothing is read from elsewhere.
import { existsSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const env = process.env;
const port = (name, usual) => {
  const value = Number(env[name] ?? usual);
  if (!Number.isInteger(value) || value < 1 || value > 65535) throw new Error(`${name} must be a port, not "${env[name]}"`);
  return value;
};

export const ring = dirname(fileURLToPath(import.meta.url));
export const root = dirname(ring);
export const scratch = join(root, 'target', 'e2e');
export const screenshots = join(scratch, 'screenshots');

export const binary = resolve(root, env.SEKISHO_BIN ?? 'target/release/sekisho');
/** The program with what the conformance suite asks a server for, which no shipped build has. */
export const conformanceBinary = resolve(root, env.SEKISHO_CONFORMANCE_BIN ?? 'target/conformance/sekisho');
export const chromium = env.E2E_CHROMIUM ?? ['/usr/bin/chromium', '/usr/bin/chromium-browser'].find(existsSync) ?? '/usr/bin/chromium';
export const python = join(ring, '.venv', 'bin', 'python');
/** The Python SDK of the 2.x line has other versions of everything, so it lives by itself. */
export const python2 = join(ring, '.venv2', 'bin', 'python');
/** A server to stand behind us. */
export const pythonFastmcp = join(ring, '.venv-fastmcp', 'bin', 'python');
export const everything = join(ring, 'node_modules', '@modelcontextprotocol', 'server-everything', 'dist', 'index.js');
const suite = join(ring, 'node_modules', '@modelcontextprotocol', 'conformance');
export const conformance = join(suite, 'dist', 'index.js');
export const requirements = join(suite, 'requirements');
/** The suite as npm's tag `latest` has it. */
export const conformanceStable = join(ring, 'node_modules', 'conformance-stable', 'dist', 'index.js');
export const rmcpClient = join(root, 'target', 'debug', 'examples', 'rmcp_client');
export const inspector0 = (version) => join(ring, 'node_modules', `inspector-${version.split('.').slice(0, 2).join('.')}`, 'client', 'bin', 'start.js');
export const inspectorProgram = join(ring, 'node_modules', '@modelcontextprotocol', 'inspector', 'clients', 'launcher', 'build', 'index.js');

export const sekishoPort = port('E2E_PORT', 8000);
export const keycloakPort = port('E2E_KEYCLOAK_PORT', 8080);
/** Where the conformance suite, and clients that are programs, wait for the browser to come back. */
export const callbackPort = port('E2E_CALLBACK_PORT', 3040);
export const inspectorPort = port('E2E_INSPECTOR_PORT', 6274);

/** Where a local authority listens (and one above), and nginx in front of the program. */
export const pebblePort = port('E2E_PEBBLE_PORT', 14000);
export const nginxPort = port('E2E_NGINX_PORT', 8180);
/** Built by a Go from PyPI, since Debian's may be too old. */
export const h2spec = join(scratch, 'go', 'bin', 'h2spec');

/** How many instances of the program there are; more than one stand behind nginx, on the ports after `sekishoPort`. */
export const instances = port('E2E_INSTANCES', 1);

/** Where servers listen that we guard. */
export const upstreamPort = port('E2E_UPSTREAM_PORT', 9100);
/** Where metrics are shown; Prometheus takes the next one. */
export const metricsPort = port('E2E_METRICS_PORT', 9464);
/** Where each instance shows its own. */
export const metricsPorts = Array.from({ length: instances }, (_, index) => (index === 0 ? metricsPort : metricsPort + 1 + index));
/** How long what one instance took back may still be taken by another. */
export const elsewhereMsMax = instances > 1 ? 1000 : 0;

export const publicUrl = `http://localhost:${sekishoPort}`;
export const keycloakUrl = `http://localhost:${keycloakPort}`;

export const keycloakHome = (version) => join(scratch, 'keycloak', `keycloak-${version}`);
