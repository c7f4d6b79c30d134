// What the conformance suite's servers do not have: a token. A relay on loopback that adds `Authorization` to every request and passes on
// everything else as it is, Host and Origin too, in both directions and as it comes.
import { createServer, request } from 'node:http';
import { pipeline } from 'node:stream';
import { sekishoPort } from '../settings.mjs';

export class Injector {
  /** Before the program, or what else listens at `port`. */
  static async start(port = sekishoPort) {
    const injector = new Injector();
    injector.port = port;
    injector.server = createServer((incoming, answer) => injector.relay(incoming, answer));
    await new Promise((settle) => injector.server.listen(0, '127.0.0.1', settle));
    injector.host = `localhost:${injector.server.address().port}`;
    return injector;
  }

  relay(incoming, answer) {
    const headers = { ...incoming.headers, authorization: `Bearer ${this.token}` };
    const onward = request({ host: '127.0.0.1', port: this.port, method: incoming.method, path: incoming.url, headers });
    onward.on('response', (response) => {
      answer.writeHead(response.statusCode, response.rawHeaders);
      answer.flushHeaders();
      // Whoever hangs up, the other end hears of it.
      pipeline(response, answer, () => {});
    });
    onward.on('error', () => answer.destroy());
    answer.on('close', () => onward.destroy());
    incoming.pipe(onward);
  }

  async stop() {
    this.server.closeAllConnections();
    await new Promise((settle) => this.server.close(settle));
  }
}
