// An OpenID provider: real keys and signatures, a page that people sign in on, PKCE checked, codes good once. On `localhost`, which is
// another site than the server's 127.0.0.1: cookies behave as they do between two companies.

import { createHash, generateKeyPairSync, randomBytes, sign, type KeyObject } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export const CLIENT = { id: 'squall console', secret: 's3cret:with/odd+signs' };

/** What somebody is to the provider, besides their name there. */
export interface Person {
  password: string;
  claims: Record<string, unknown>;
}

/** What a client asked for, until it is answered. */
interface Asked {
  redirect: string;
  state: string;
  nonce: string;
  challenge: string;
}

interface Answer {
  status: number;
  headers: Record<string, string>;
  body: string;
}

const page = (status: number, main: string): Answer => ({
  status,
  headers: { 'content-type': 'text/html; charset=utf-8', 'cache-control': 'no-store' },
  body: `<!doctype html><html lang="en"><title>The Company</title><link rel="icon" href="data:,"><h1>The Company</h1>${main}`,
});
const json = (status: number, body: unknown): Answer => ({
  status,
  headers: { 'content-type': 'application/json', 'cache-control': 'no-store' },
  body: JSON.stringify(body),
});

export class Provider {
  readonly people = new Map<string, Person>();
  /** Where it sends people back to, and nowhere else. */
  redirect = '';
  /** Its token endpoint fails. */
  broken = false;
  /** Why requests were refused that no client should make. */
  readonly wrong: string[] = [];
  /** Codes that were given for an ID token. */
  redeemed = 0;
  #server: Server;
  #key: { publicKey: KeyObject; privateKey: KeyObject } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  #asked = new Map<string, Asked>();
  #codes = new Map<string, Asked & { name: string }>();

  private constructor() {
    this.#server = createServer((request, response) => {
      void this.#serve(request, response).catch((error: unknown) => {
        this.wrong.push(String(error));
        response.writeHead(500).end();
      });
    });
  }

  static async start(): Promise<Provider> {
    const provider = new Provider();
    await new Promise<void>((resolve) => provider.#server.listen(0, '127.0.0.1', resolve));
    return provider;
  }

  get url(): string {
    return `http://localhost:${(this.#server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', this.url);
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const form = new URLSearchParams(Buffer.concat(chunks).toString());
    const { status, headers, body } = this.#answer(`${request.method} ${url.pathname}`, url.searchParams, form, request);
    response.writeHead(status, headers).end(body);
  }

  #answer(what: string, query: URLSearchParams, form: URLSearchParams, request: IncomingMessage): Answer {
    switch (what) {
      case 'GET /.well-known/openid-configuration':
        return json(200, {
          issuer: this.url,
          authorization_endpoint: `${this.url}/authorize`,
          token_endpoint: `${this.url}/token`,
          jwks_uri: `${this.url}/keys`,
          response_types_supported: ['code'],
          subject_types_supported: ['public'],
          id_token_signing_alg_values_supported: ['ES256'],
          code_challenge_methods_supported: ['S256'],
          authorization_response_iss_parameter_supported: true,
        });
      case 'GET /keys':
        return json(200, { keys: [{ ...this.#key.publicKey.export({ format: 'jwk' }), kid: 'one', use: 'sig', alg: 'ES256' }] });
      case 'GET /authorize':
        return this.#authorize(query);
      case 'POST /sign-in':
        return this.#signIn(form);
      case 'POST /token':
        return this.#token(form, request.headers.authorization ?? '');
      default:
        return page(404, '<p>There is no such page.</p>');
    }
  }

  /** The page to sign in on. A request that is wrong is told to the person, and sends nobody anywhere (RFC 6749, 4.1.2.1). */
  #authorize(query: URLSearchParams): Answer {
    const get = (name: string): string => query.get(name) ?? '';
    const checks: [boolean, string][] = [
      [get('response_type') === 'code', 'response_type'],
      [get('client_id') === CLIENT.id, 'client_id'],
      [get('redirect_uri') === this.redirect, 'redirect_uri'],
      [get('scope').split(' ').includes('openid'), 'scope'],
      [get('code_challenge_method') === 'S256' && get('code_challenge').length === 43, 'code_challenge'],
      [get('state').length >= 20 && get('nonce').length >= 20, 'state, nonce'],
    ];
    const bad = checks.filter(([good]) => !good).map(([, name]) => name);
    if (bad.length > 0) {
      this.wrong.push(`authorize: ${bad.join(', ')}`);
      return page(400, '<p>The request is wrong.</p>');
    }
    const id = randomBytes(16).toString('hex');
    this.#asked.set(id, { redirect: this.redirect, state: get('state'), nonce: get('nonce'), challenge: get('code_challenge') });
    return this.#form(id);
  }

  #form(id: string, said = ''): Answer {
    const fields = `<label>Name <input name="name"></label> <label>Password <input name="password" type="password"></label>`;
    const buttons = '<button name="do" value="in">Continue</button> <button name="do" value="out">Cancel</button>';
    return page(
      200,
      `${said}<form method="post" action="/sign-in"><input type="hidden" name="id" value="${id}">${fields} ${buttons}</form>`,
    );
  }

  #signIn(form: URLSearchParams): Answer {
    const [id, name] = [form.get('id') ?? '', form.get('name') ?? ''];
    const asked = this.#asked.get(id);
    if (!asked) return page(400, '<p>This took too long.</p>');
    const to = new URL(asked.redirect);
    to.searchParams.set('state', asked.state);
    to.searchParams.set('iss', this.url);
    if (form.get('do') === 'out') {
      to.searchParams.set('error', 'access_denied');
      to.searchParams.set('error_description', 'They <b>pressed</b> Cancel.');
    } else {
      if (!this.people.has(name) || this.people.get(name)?.password !== form.get('password'))
        return this.#form(id, '<p>That is wrong.</p>');
      const code = randomBytes(16).toString('hex');
      this.#codes.set(code, { ...asked, name });
      to.searchParams.set('code', code);
    }
    this.#asked.delete(id);
    return { status: 303, headers: { location: to.href }, body: '' };
  }

  #token(form: URLSearchParams, authorization: string): Answer {
    const refuse = (status: number, error: string, why: string): Answer => {
      this.wrong.push(`token: ${why}`);
      return json(status, { error });
    };
    if (this.broken) return json(500, {});
    // RFC 6749, 2.3.1: both parts are form-encoded before they are joined.
    const both = Buffer.from(authorization.replace(/^Basic /, ''), 'base64')
      .toString()
      .split(':');
    const [id, secret] = both.map((part) => new URLSearchParams(`x=${part}`).get('x'));
    if (both.length !== 2 || id !== CLIENT.id || secret !== CLIENT.secret) return refuse(401, 'invalid_client', 'another client');
    if (form.get('grant_type') !== 'authorization_code') return refuse(400, 'unsupported_grant_type', 'grant_type');
    const code = form.get('code') ?? '';
    const given = this.#codes.get(code);
    this.#codes.delete(code);
    if (!given) return refuse(400, 'invalid_grant', 'a code that is not good, or no more');
    if (form.get('redirect_uri') !== given.redirect) return refuse(400, 'invalid_grant', 'redirect_uri');
    const verifier = createHash('sha256')
      .update(form.get('code_verifier') ?? '')
      .digest('base64url');
    if (verifier !== given.challenge) return refuse(400, 'invalid_grant', 'code_verifier');
    this.redeemed += 1;
    const now = Math.floor(Date.now() / 1000);
    const own = { iss: this.url, aud: CLIENT.id, iat: now, exp: now + 300, nonce: given.nonce };
    const claims = { sub: `of-${given.name}`, preferred_username: given.name, ...this.people.get(given.name)?.claims, ...own };
    return json(200, {
      access_token: randomBytes(16).toString('hex'),
      token_type: 'Bearer',
      expires_in: 300,
      id_token: this.#sign(claims),
    });
  }

  #sign(claims: unknown): string {
    const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
    const text = `${part({ alg: 'ES256', kid: 'one', typ: 'JWT' })}.${part(claims)}`;
    const signature = sign('sha256', Buffer.from(text), { key: this.#key.privateKey, dsaEncoding: 'ieee-p1363' });
    return `${text}.${signature.toString('base64url')}`;
  }
}
