/** The server's end of a job link on loopback, with knobs. Records everything it is told. */

import http from "node:http";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import {
  LINK_PROTOCOL,
  LineReader,
  ackFrame,
  drainedFrame,
  jobFrame,
  readWorkerFrame,
  stopFrame,
  type PostFrame,
  type WorkerFrame,
} from "../../src/contract/job-link.ts";
import type { Owner } from "../support/temp.ts";
import { until } from "../support/until.ts";

export class LinkServer {
  /** Frames of all links, in order. */
  readonly frames: WorkerFrame[] = [];
  readonly keys = new Set<string | undefined>();
  /** Slots given and not used, over the current link. */
  slots = 0;
  /** Links that have been opened. */
  links = 0;
  /** Decides whether a post is acknowledged. */
  acknowledges: (post: PostFrame) => boolean = () => true;
  port = 0;
  #server: http.Server | undefined;
  #socket: Duplex | undefined;

  static async start(owner: Owner): Promise<LinkServer> {
    const server = new LinkServer();
    await server.listen();
    owner.after(() => server.close());
    return server;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}/link`;
  }

  async listen(): Promise<void> {
    const server = http.createServer((_, response) => response.end());
    server.on("upgrade", (request, socket, head) => {
      this.keys.add(request.headers.authorization);
      socket.write(
        `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ${LINK_PROTOCOL}\r\n\r\n`,
      );
      this.#serve(socket);
      if (head.length > 0) socket.unshift(head);
    });
    await new Promise<void>((resolve) => server.listen(this.port, "127.0.0.1", resolve));
    this.port = (server.address() as AddressInfo).port;
    this.#server = server;
  }

  /** Goes away as a killed process does. */
  async close(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    if (server === undefined) return;
    const closed = new Promise((resolve) => server.close(resolve));
    this.cut();
    server.closeAllConnections();
    await closed;
  }

  /** Breaks the link. */
  cut(): void {
    this.#socket?.destroy();
    this.#socket = undefined;
  }

  get isLinked(): boolean {
    return this.#socket !== undefined;
  }

  async linked(count = 1): Promise<void> {
    await until(() => this.links >= count && this.isLinked, { what: `link ${count}` });
    await until(() => this.hellos.length >= count, { what: "its greeting" });
  }

  write(text: string): void {
    this.#socket?.write(text);
  }

  give(id: string, input: unknown, more: Record<string, unknown> = {}): void {
    this.slots--;
    this.write(jobFrame(JSON.stringify({ id, attempt: 1, ...more, input })));
  }

  stop(...ids: string[]): void {
    this.write(stopFrame(ids));
  }

  get hellos(): (WorkerFrame & { kind: "hello" })[] {
    return this.frames.filter((frame) => frame.kind === "hello");
  }

  posts(jobId: string): PostFrame[] {
    return this.frames.filter(
      (frame) => frame.kind === "post" && frame.jobId === jobId,
    ) as PostFrame[];
  }

  async posted(jobId: string, count = 1): Promise<PostFrame> {
    return await until(() => this.posts(jobId)[count - 1], { what: `post ${count} of ${jobId}` });
  }

  #serve(socket: Duplex): void {
    this.links++;
    this.slots = 0;
    this.#socket = socket;
    const reader = new LineReader();
    socket.on("error", () => undefined);
    socket.once("end", () => socket.destroy());
    socket.once("close", () => {
      if (this.#socket === socket) this.#socket = undefined;
    });
    socket.on("data", (bytes: Buffer) => {
      for (const line of reader.read(bytes.toString())) this.#understand(line);
    });
  }

  #understand(line: string): void {
    const frame = readWorkerFrame(line);
    if (frame === undefined) throw new Error(`no frame: ${line}`);
    this.frames.push(frame);
    if (frame.kind === "hello" || frame.kind === "slots") this.slots += frame.slots;
    else if (frame.kind === "drain") this.write(drainedFrame());
    else if (this.acknowledges(frame)) this.write(ackFrame(frame.jobId));
  }
}
