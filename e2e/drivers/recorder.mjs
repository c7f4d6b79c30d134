// Stands before a server and writes down every byte that it gets; what goes back goes back unseen.
import { connect, createServer } from 'node:net';

export class Recorder {
  /** Listens at `port`, for the server at `target`. */
  static async start(port, target) {
    const recorder = new Recorder();
    recorder.bytes = [];
    recorder.open = new Set();
    recorder.listener = createServer((client) => {
      const server = connect(target, '127.0.0.1');
      for (const [one, other] of [[client, server], [server, client]]) {
        recorder.open.add(one);
        one.on('close', () => (recorder.open.delete(one), other.destroy()));
        one.on('error', () => other.destroy());
      }
      client.on('data', (chunk) => recorder.bytes.push(chunk));
      client.pipe(server);
      server.pipe(client);
    });
    await new Promise((settle, refuse) => recorder.listener.once('error', refuse).listen(port, '127.0.0.1', settle));
    return recorder;
  }

  get text() {
    return Buffer.concat(this.bytes).toString('latin1');
  }

  /** The bearer tokens that came, each once, oldest first. */
  get bearers() {
    return [...new Set([...this.text.matchAll(/^authorization: Bearer (\S+)/gim)].map(([, token]) => token))];
  }

  async stop() {
    for (const socket of this.open) socket.destroy();
    await new Promise((settle) => this.listener.close(settle));
  }
}
