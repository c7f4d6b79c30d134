// A child process in a group of its own: its output goes to a log file, it is waited for by what it prints,
// and it is ended by its own process id. Whatever is still alive when the ring ends goes with it.
import { spawn } from 'node:child_process';
import { createWriteStream, mkdirSync } from 'node:fs';
import { connect } from 'node:net';
import { dirname } from 'node:path';

const OUTPUT_CHARS_MAX = 1_000_000;
const alive = new Set();

process.on('exit', () => alive.forEach((child) => child.signal('SIGKILL')));

export class Child {
  /** Starts `command`; `log` is the file that keeps what it says on both of its outputs. */
  constructor(name, command, args, { cwd, env, log }) {
    this.name = name;
    this.log = log;
    this.output = '';
    this.ended = false;
    mkdirSync(dirname(log), { recursive: true });
    const file = createWriteStream(log, { flags: 'a' });
    this.process = spawn(command, args, { cwd, env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
    alive.add(this);
    for (const stream of [this.process.stdout, this.process.stderr]) {
      stream.setEncoding('utf8');
      stream.on('data', (text) => {
        file.write(text);
        this.output = (this.output + text).slice(-OUTPUT_CHARS_MAX);
        this.heard?.();
      });
    }
    this.gone = new Promise((settle) => {
      const end = (how) => {
        this.ended = how;
        alive.delete(this);
        file.end();
        this.heard?.();
        settle(how);
      };
      this.process.on('error', (error) => end(error.message));
      this.process.on('close', (code, signal) => end(signal ?? `exit code ${code}`));
    });
  }

  /** Waits until the output matches `pattern`. */
  printed(pattern, limitMs) {
    return new Promise((settle, refuse) => {
      const stop = (act, value) => {
        clearTimeout(timer);
        this.heard = undefined;
        act(value);
      };
      const look = () => {
        const found = this.output.match(pattern);
        if (found) stop(settle, found);
        else if (this.ended) stop(refuse, new Error(`${this.name} ended (${this.ended}) before it printed ${pattern}: ${this.lastWords()}`));
      };
      const timer = setTimeout(
        () => stop(refuse, new Error(`${this.name} did not print ${pattern} within ${limitMs / 1000} s (log: ${this.log})`)),
        limitMs,
      );
      this.heard = look;
      look();
    });
  }

  lastWords() {
    return this.output.trim().split('\n').slice(-5).join(' | ') || '(it said nothing)';
  }

  signal(name) {
    if (!this.ended && this.process.pid) {
      try {
        process.kill(-this.process.pid, name);
      } catch (error) {
        if (error.code !== 'ESRCH') throw error;
      }
    }
  }

  /** Asks it to end; makes it end where it does not. Answers whether asking was enough. */
  async stop(limitMs = 10_000) {
    this.signal('SIGTERM');
    const timer = setTimeout(() => this.signal('SIGKILL'), limitMs);
    const how = await this.gone;
    clearTimeout(timer);
    return how !== 'SIGKILL';
  }

  /** What a crash or the kernel does: no goodbye. */
  async kill9() {
    this.signal('SIGKILL');
    await this.gone;
  }
}

/** Refuses with a plain word when somebody already listens there, since a stranger's answers would be taken for ours. */
export async function mustBeFree(port, who, variable) {
  for (const host of ['127.0.0.1', '::1']) {
    if (await somebodyListens(host, port)) {
      throw new Error(`port ${port} is taken, ${who} needs it: end what listens there, or set ${variable}`);
    }
  }
}

function somebodyListens(host, port) {
  return new Promise((settle) => {
    const socket = connect({ host, port });
    const answer = (value) => {
      socket.destroy();
      settle(value);
    };
    socket.setTimeout(1000, () => answer(false));
    socket.on('connect', () => answer(true));
    socket.on('error', () => answer(false));
  });
}
