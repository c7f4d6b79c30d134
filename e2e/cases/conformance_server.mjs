// The official conformance suite's mode `server`, through the guard with a token, against the server that it asks for: a build with the
// cargo feature `conformance`. A scenario passes if none of its checks failed and no warning is new.
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { conformance, conformanceBinary, conformanceStable, requirements } from '../settings.mjs';
import { Child } from '../drivers/child.mjs';
import { Injector } from '../drivers/injector.mjs';
import { accessToken } from '../drivers/native_client.mjs';
import { must, mustBe } from './must.mjs';

const SUITE_MS_MAX = 150_000;

const SETTINGS = (injector) => `
allowed_hosts = ["${injector.host}"]

[limits]
sessions_per_person_max = 1000

[[server]]
name     = "conformance"
path     = "/"
upstream = { builtin = "conformance" }
`;

/** Scenarios of extensions that are not served: they are reported and never scored. */
const NOT_OURS = /^tasks-/;

/** Warnings that are let pass, each with its reason: `scenario:check`. */
const WARNINGS_KNOWN = new Map();

/** What the suite wrote down: scenario → checks. */
function checksIn(folder) {
  const scenarios = new Map();
  for (const path of readdirSync(folder, { recursive: true }).filter((path) => path.endsWith('checks.json'))) {
    const scenario = path.match(/server-(.+)-\d{4}-\d\d-\d\dT[^/]*\/checks\.json$/)?.[1];
    must(scenario, `the suite wrote its checks to ${path}, which names no scenario`);
    scenarios.set(scenario, JSON.parse(readFileSync(join(folder, path), 'utf8')));
  }
  return scenarios;
}

/** The scenarios that count, out of the suite's own list. */
function scored(version) {
  const [, list] = readFileSync(join(requirements, `${version}.yaml`), 'utf8').match(/^server:\n((?:  - .*\n| *#.*\n|\n)+)/m);
  return [...list.matchAll(/^  - (\S+)/gm)].map(([, scenario]) => scenario);
}

/** Has the suite judge the server at `url`: what it wrote down, and how it ended. */
export async function runSuite(world, { program = conformance, url, folder, args }) {
  const results = join(folder, 'results');
  const run = world.until(
    new Child('the conformance suite', process.execPath, [program, 'server', '--url', url, '--output-dir', results, ...args], {
      cwd: folder,
      env: { ...process.env, NO_COLOR: '1' },
      log: join(folder, 'suite.log'),
    }),
  );
  await Promise.race([run.gone, new Promise((_, refuse) => setTimeout(() => refuse(new Error('the suite does not end')), SUITE_MS_MAX).unref())]);
  return { scenarios: checksIn(results), ended: run.ended };
}

const suite = ({ program, args, mustPass, count }) => async (world) => {
  const injector = world.until(await Injector.start());
  const sekisho = await world.sekisho(SETTINGS(injector), {}, conformanceBinary);
  injector.token = await accessToken(world, sekisho.person, 'conformance');
  const { scenarios, ended } = await runSuite(world, { program, url: `http://${injector.host}/mcp`, folder: sekisho.folder, args });
  const wrong = [];
  for (const [scenario, checks] of scenarios) {
    if (NOT_OURS.test(scenario)) continue;
    for (const { id, status, errorMessage } of checks) {
      if (status === 'FAILURE' || (status === 'WARNING' && !WARNINGS_KNOWN.has(`${scenario}:${id}`))) {
        wrong.push(`${scenario}: ${id}: ${status}: ${errorMessage}`);
      }
    }
  }
  must(wrong.length === 0, `${wrong.length} checks: ${wrong.join(' | ')}`);
  const wanted = mustPass ?? [...scenarios.keys()];
  const missing = wanted.filter((scenario) => !scenarios.get(scenario)?.some(({ status }) => status === 'SUCCESS'));
  must(missing.length === 0, `nothing was checked in ${missing.join(', ')}`);
  mustBe('how many scenarios count', wanted.length, count);
  mustBe('the end of the suite', ended, 'exit code 0');
  const passed = [...scenarios.values()].flat().filter(({ status }) => status === 'SUCCESS').length;
  return `${wanted.length} of ${count} scenarios, ${passed} checks`;
};

const legacy = ['server-session-lifecycle', 'server-sse-polling', 'json-schema-2020-12'];
const stateless = ['http-header-validation', 'http-custom-header-server-validation', 'json-schema-2020-12'];

export const cases = [
  // 30 and 37 are scored; the others run with them and must pass as well.
  { name: 'conformance-server-2025-11-25', login: 'local', run: suite({ args: ['--requirements', '2025-11-25'], mustPass: [...scored('2025-11-25'), ...legacy], count: 30 + 3 }) },
  { name: 'conformance-server-2026-07-28', login: 'local', run: suite({ args: ['--requirements', '2026-07-28'], mustPass: [...scored('2026-07-28'), ...stateless], count: 37 + 3 }) },
  { name: 'conformance-server-2025-06-18', login: 'local', run: suite({ args: ['--spec-version', '2025-06-18'], count: 27 }) },
  { name: 'conformance-server-2025-03-26', login: 'local', run: suite({ args: ['--spec-version', '2025-03-26'], count: 1 }) },
  { name: 'conformance-server-of-0.1.16', login: 'local', run: suite({ program: conformanceStable, args: ['--suite', 'all'], count: 32 }) },
];
