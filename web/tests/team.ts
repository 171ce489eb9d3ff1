// A team's server with agents, from an empty directory, as plain processes on ports of their own. Ends with the test, however that ends.

import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync, openSync } from 'node:fs';
import { createServer as listen, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export const PASSWORD = 'a long pass phrase';

function squall(): string {
  const root = new URL('../..', import.meta.url).pathname;
  const target = process.env['CARGO_TARGET_DIR'] ?? join(root, 'target');
  const program = process.env['SQUALL'] ?? join(target, 'debug/squall');
  if (!existsSync(program)) throw new Error(`${program} is not there: \`cargo build --bins\`, or set SQUALL`);
  return program;
}

async function freePort(): Promise<number> {
  const server = listen();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Asks until something is so. Nothing here waits for a length of time. */
export async function eventually<T>(
  what: string,
  ask: () => Promise<T | undefined | false> | T | undefined | false,
  patience = 30_000,
): Promise<T> {
  const deadline = Date.now() + patience;
  for (;;) {
    const found = await ask();
    if (found) return found;
    if (Date.now() > deadline) throw new Error(`not in ${patience} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

export class Team {
  readonly dir = mkdtempSync(join(tmpdir(), 'squall-web-'));
  readonly children = new Map<string, ChildProcess>();
  url = '';
  #ports = { api: 0, agents: 0, service: 0 };
  #cookie = '';
  #csrf = '';
  #service: ChildProcess | undefined;

  /** A server that nobody has signed in to yet, with a configuration of its own. */
  static async fresh(config = ''): Promise<Team> {
    const team = new Team();
    writeFileSync(join(team.dir, 'server.yaml'), config);
    process.once('exit', () => team.#end());
    team.#ports = { api: await freePort(), agents: await freePort(), service: await freePort() };
    team.url = `http://127.0.0.1:${team.#ports.api}`;
    team.serve();
    await team.up();
    return team;
  }

  /** A server with an admin who is signed in. */
  static async start(config = '{}'): Promise<Team> {
    const team = await Team.fresh(config);
    const file = join(team.dir, 'server/first-admin-password');
    await eventually('the first password is there', () => existsSync(file) && readFileSync(file, 'utf8').trim().length > 0);
    const first = readFileSync(file, 'utf8').trim();
    await team.signIn('admin', first);
    await team.api('PUT', '/session/password', { current: first, new: PASSWORD });
    await team.signIn('admin', PASSWORD);
    return team;
  }

  /** Starts the server, or starts it again. */
  serve(): void {
    const { api, agents } = this.#ports;
    const config = join(this.dir, 'server.yaml');
    const addresses = ['--listen', `127.0.0.1:${api}`, '--agents', `127.0.0.1:${agents}`];
    this.run('server', ['server', '--config', config, ...addresses, '--name', 'office']);
  }

  async up(): Promise<void> {
    await eventually('the server answers', async () => (await fetch(`${this.url}/api/v1/health`).catch(() => undefined))?.ok);
  }

  run(name: string, args: string[]): void {
    const log = openSync(join(this.dir, `${name}.log`), 'a');
    const env = { ...process.env, NO_COLOR: '1' };
    const child = spawn(squall(), ['--state-dir', join(this.dir, name), ...args], { stdio: ['ignore', log, log], env });
    this.children.set(name, child);
  }

  log(name: string): string {
    return readFileSync(join(this.dir, `${name}.log`), 'utf8');
  }

  async kill(name: string, signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const child = this.children.get(name);
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill(signal);
    await gone;
  }

  /** Has hosts join, each with an agent of its own. */
  async join(...hosts: { name: string; labels: Record<string, string> }[]): Promise<void> {
    const { token } = await this.api<{ token: string }>('POST', '/hosts/tokens', { uses: hosts.length });
    for (const { name, labels } of hosts) {
      const args = Object.entries(labels).flatMap(([label, value]) => ['--label', `${label}=${value}`]);
      this.run(name, ['agent', '--server', `https://127.0.0.1:${this.#ports.agents}`, '--join', token, '--name', name, ...args]);
    }
    await eventually('the hosts are linked', async () => {
      const { items } = await this.api<{ items: { connected: boolean }[] }>('GET', '/hosts');
      return items.filter((host) => host.connected).length >= hosts.length;
    }).catch((error: unknown) => {
      throw new Error(`${String(error)}\n${hosts.map(({ name }) => this.log(name)).join('\n')}`);
    });
  }

  async signIn(user: string, password: string): Promise<void> {
    const response = await fetch(`${this.url}/api/v1/session`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ user, password }),
    });
    if (!response.ok) throw new Error(`not signed in: ${await response.text()}`);
    this.#cookie = (response.headers.get('set-cookie') ?? '').split(';')[0] ?? '';
    this.#csrf = ((await response.json()) as { csrf: string }).csrf;
  }

  /** The session's cookie, for a browser that is signed in already. */
  get cookie(): { name: string; value: string; url: string } {
    const [name = '', value = ''] = this.#cookie.split('=');
    return { name, value, url: this.url };
  }

  async api<T = unknown>(method: string, path: string, body?: unknown): Promise<T> {
    const headers: Record<string, string> = { cookie: this.#cookie, 'x-squall-csrf': this.#csrf };
    if (body !== undefined) headers['content-type'] = 'application/json';
    const response = await fetch(`${this.url}/api/v1${path}`, { method, headers, body: body === undefined ? null : JSON.stringify(body) });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    return (text && response.headers.get('content-type')?.includes('json') ? JSON.parse(text) : text) as T;
  }

  /** A service that can be broken: its own process, which answers `ok`. Gives its port. */
  async service(): Promise<number> {
    const { service } = this.#ports;
    const code = `require('http').createServer((_, answer) => answer.end('ok')).listen(${service}, '127.0.0.1')`;
    this.#service = spawn(process.execPath, ['-e', code], { stdio: 'ignore' });
    const ask = (): Promise<Response | undefined> => fetch(`http://127.0.0.1:${service}/`).catch(() => undefined);
    await eventually('the service answers', async () => (await ask())?.ok);
    return service;
  }

  /** Four services of the demo shop that an experiment can tell from all others. */
  async carts(): Promise<void> {
    for (const cart of [1, 2, 3, 4]) this.run(`cart-${cart}`, ['shop', 'cache', '--listen', '127.0.0.1:0']);
    const plan = { manifest: compared('ready', this.dir, '1s') };
    await eventually('the carts listen', async () => {
      const { steps } = await this.api<{ steps: { matched: number; refusals: string[] }[] }>('POST', '/runs/plan', plan);
      return steps[0]?.matched === 4 && steps[0].refusals.length === 0;
    });
  }

  /** Runs it, and gives its id. */
  async begin(manifest: string, from?: string): Promise<string> {
    const { run } = await this.api<{ run: string }>('POST', '/runs', { manifest, ...(from ? { from } : {}) });
    return run;
  }

  async ended(run: string): Promise<{ verdict: string; reason: string }> {
    return eventually(`${run} has ended`, async () => {
      const seen = await this.api<{ verdict?: string; reason: string }>('GET', `/runs/${run}`);
      return seen.verdict ? { verdict: seen.verdict, reason: seen.reason } : undefined;
    });
  }

  /** Puts journals into the database of the server, which is stopped for that, as they would be after months of runs. See journals.py. */
  async journals(spec: unknown): Promise<string[]> {
    await this.kill('server', 'SIGTERM');
    const file = join(this.dir, 'journals.json');
    writeFileSync(file, JSON.stringify(spec));
    const script = new URL('./journals.py', import.meta.url).pathname;
    const done = spawnSync('python3', [script, join(this.dir, 'server'), file], { encoding: 'utf8' });
    if (done.status !== 0) throw new Error(`journals.py: ${done.stderr}`);
    this.serve();
    await this.up();
    return JSON.parse(done.stdout) as string[];
  }

  async stop(): Promise<void> {
    // Agents first: each puts back what it has in force.
    for (const name of [...this.children.keys()].reverse()) await this.kill(name, 'SIGTERM');
    this.#end();
  }

  #end(): void {
    for (const child of this.children.values()) child.kill('SIGKILL');
    this.#service?.kill('SIGKILL');
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** A service that is paused: half a second before, `lasts` under the fault, and after it. */
export function pause(name: string, port: number, lasts: string, limit = '200ms', extra = ''): string {
  return `apiVersion: squall.dev/v1
kind: Experiment
metadata:
  name: ${name}
  labels: { service: shop }
spec:
  hypothesis:
    statement: The shop answers quickly while one of its processes hangs.
    probes:
      - name: answer
        http: { url: "http://127.0.0.1:${port}/", measure: latency }
        expect: { lt: ${limit} }
        every: 100ms
        timeout: 5s
      # A question that is on its way when the fault begins says nothing of it, and hangs for as long: somebody else has to look.
      - name: second look
        http: { url: "http://127.0.0.1:${port}/", measure: latency }
        expect: { lt: ${limit} }
        every: 170ms
        timeout: 5s
  steady: { for: 800ms }
${extra}  method:
    - name: it hangs
      fault: process.pause
      target: { process: { name: node, port: ${port} }, hosts: { names: [web-1] } }
      for: ${lasts}
  recovery: { within: 10s, stable: 500ms }
`;
}

/** An experiment that has half of the carts hang, and compares them with the others. */
export function compared(name: string, dir: string, lasts: string, extra = ''): string {
  return `apiVersion: squall.dev/v1
kind: Experiment
metadata:
  name: ${name}
  labels: { service: shop }
spec:
  hypothesis:
    statement: Carts answer while half of them hang.
    probes:
      - name: host
        icmp: { host: 127.0.0.1 }
        expect: { lt: 1s }
        every: 200ms
  steady: { for: 600ms }
  method:
    - name: half of them hang
      fault: process.pause
      target:
        process: { commandLine: '${dir}/cart-[0-9] shop cache' }
        select: { percent: 50% }
        control: true
        hosts: { names: [web-1] }
      for: ${lasts}
  compare:
    - name: carts answer
      http: { url: "http://127.0.0.1:{{target.port}}/healthz", measure: latency }
      expect: { lt: 250ms }
      timeout: 500ms
      margin: 5%
${extra}  recovery: { within: 10s, stable: 500ms }
`;
}
