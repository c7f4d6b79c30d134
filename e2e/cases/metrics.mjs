// The metrics as an operator has them: Debian's Prometheus collects them while somebody signs in at Keycloak and calls a guarded command, and
// every query of the dashboard that is shipped finds a series; so do the rules, and none of them calls anybody.
import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { binary, metricsPort, metricsPorts, publicUrl, root } from '../settings.mjs';
import { Child, mustBeFree } from '../drivers/child.mjs';
import { accessToken, callFortune, statusOf } from '../drivers/native_client.mjs';
import { Sekisho } from '../drivers/sekisho.mjs';
import { must, mustBe, mustBeAFortune } from './must.mjs';

const START_MS_MAX = 15_000;
const FOUND_MS_MAX = 15_000;
const LOOK_EVERY_MS = 500;

const prometheusPort = metricsPort + 1;
const dashboard = join(root, 'operate', 'grafana.json');
const alerts = join(root, 'operate', 'alerts.yml');

async function startPrometheus(world, folder) {
  await mustBeFree(prometheusPort, 'Prometheus', 'E2E_METRICS_PORT');
  const settings = join(folder, 'prometheus.yml');
  writeFileSync(
    settings,
    `global: { scrape_interval: 1s, evaluation_interval: 1s }
rule_files: ["${alerts}"]
scrape_configs:
  - job_name: sekisho
    static_configs: [{ targets: ${JSON.stringify(metricsPorts.map((port) => `127.0.0.1:${port}`))} }]
`,
  );
  const words = [`--config.file=${settings}`, `--storage.tsdb.path=${join(folder, 'prometheus')}`, `--web.listen-address=127.0.0.1:${prometheusPort}`];
  const prometheus = world.until(new Child('prometheus', 'prometheus', words, { cwd: folder, env: process.env, log: join(folder, 'prometheus.log') }));
  await prometheus.printed(/Server is ready to receive web requests/, START_MS_MAX);
}

async function ask(path, parameters = {}) {
  const answer = await fetch(`http://127.0.0.1:${prometheusPort}/api/v1/${path}?${new URLSearchParams(parameters)}`, { signal: AbortSignal.timeout(5000) });
  const { status, data, error } = await answer.json();
  must(status === 'success', `Prometheus answered ${path} ${parameters.query ?? ''} with ${error}`);
  return data;
}

/** What promtool says of something it reads. */
const promtool = (args, input = '') =>
  new Promise((settle) => {
    const child = execFile('promtool', args, (error, stdout, stderr) => settle({ isGood: !error, said: `${stdout}${stderr}`.trim() }));
    child.stdin.end(input);
  });

/** All queries, in the windows of a case that takes seconds. */
const queries = () =>
  JSON.parse(readFileSync(dashboard, 'utf8'))
    .panels.flatMap(({ title, targets = [] }) => targets.map(({ expr }) => ({ title, expr })))
    .map(({ title, expr }) => ({ title, query: expr.replaceAll('$__rate_interval', '20s').replaceAll('$__range', '60s') }));

/** Those that find nothing yet. */
async function silent(wanted) {
  const found = await Promise.all(wanted.map(async (one) => ({ one, series: (await ask('query', { query: one.query })).result.length })));
  return found.filter(({ series }) => series === 0).map(({ one }) => one);
}

async function everyQueryFindsASeries(world) {
  for (const port of metricsPorts) await mustBeFree(port, 'the metrics', 'E2E_METRICS_PORT');
  const upstream = `{ command = ["${binary}", "stdio", "--config", "behind.toml"], per = "user" }`;
  const measured = { SEKISHO_METRICS_LISTEN: `127.0.0.1:${metricsPort}` };
  const sekisho = world.until(await Sekisho.startWithKeycloak(world.name, world.keycloak, {}, upstream, measured, { 'behind.toml': '' }));
  await startPrometheus(world, sekisho.folder);

  const token = await accessToken(world, sekisho.person);
  mustBeAFortune(await callFortune(token));
  mustBe('the status of /sse', await statusOf('/sse', token), 200);
  mustBe('the status of /mcp with a token that nobody issued', await statusOf('/mcp', `mcp_${'0'.repeat(64)}`), 401);
  mustBe('the status of nothing', (await fetch(`${publicUrl}/nothing`)).status, 404);

  let missing = queries();
  const all = missing.length;
  must(all > 20, `the dashboard has ${all} queries`);
  for (const until = Date.now() + FOUND_MS_MAX; missing.length > 0 && Date.now() < until; await pause(LOOK_EVERY_MS)) missing = await silent(missing);
  must(missing.length === 0, `nothing is found by ${missing.map(({ title, query }) => `${title}: ${query}`).join(' | ')}`);

  const text = await (await fetch(`http://127.0.0.1:${metricsPort}/metrics`)).text();
  const metrics = await promtool(['check', 'metrics'], text);
  must(metrics.isGood && metrics.said === '', `promtool says of the metrics: ${metrics.said}`);
  const rules = await promtool(['check', 'rules', alerts]);
  must(rules.isGood, `promtool says of the rules: ${rules.said}`);
  const evaluated = (await ask('rules')).groups.flatMap((group) => group.rules);
  for (const { name, health, state, lastError } of evaluated) mustBe(`the rule ${name}`, `${health} ${state} ${lastError ?? ''}`.trim(), 'ok inactive');
  const [{ value }] = (await ask('query', { query: 'sum(sekisho_sign_ins_total{outcome="logged_in"})' })).result;
  mustBe('the number of sign-ins', value[1], '1');
  return `${all} queries of the dashboard, ${evaluated.length} rules, ${text.split('\n').filter((line) => line && !line.startsWith('#')).length} series`;
}

export const cases = [{ name: 'metrics-in-prometheus', login: '26.1.0', run: everyQueryFindsASeries }];
