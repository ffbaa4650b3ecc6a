import type { JSONRPCMessage } from '../../../src/sdk.js';

/** An MCP server that something played runs: it answers each request with what came, and says what it is told to say. */
export abstract class PlayedServer {
  /** What it has got. */
  readonly received: JSONRPCMessage[] = [];
  /** What it has said. */
  readonly said: JSONRPCMessage[] = [];
  /** All of that went out, and the end of it was read, before anybody was told that the server has ended. */
  saidWholly = false;
  /** Some of it was said before anybody listened, and who asked for that later got no answer. */
  beganUnheard = false;
  /** Goes on when its input ends. */
  stubborn = false;
  /** Whatever runs it refuses to take it away. */
  stuck = false;
  #input = '';

  abstract get isRunning(): boolean;

  /** Writes to stdout, or stderr. */
  protected abstract write(text: string, isError: boolean): void;

  say(message: JSONRPCMessage): void {
    if (this.isRunning) {
      this.said.push(message);
      this.write(`${JSON.stringify(message)}\n`, false);
    }
  }

  /** Says what is no message. */
  mutter(text: string, isError: boolean): void {
    if (this.isRunning) this.write(text, isError);
  }

  /** Something came on stdin. */
  protected take(text: string): void {
    const lines = (this.#input + text).split('\n');
    this.#input = lines.pop() ?? '';
    if (!this.isRunning) return;
    for (const line of lines) {
      const message = JSON.parse(line);
      this.received.push(message);
      if (message.id !== undefined) this.say({ jsonrpc: '2.0', id: message.id, result: { got: message.params } });
    }
  }
}
