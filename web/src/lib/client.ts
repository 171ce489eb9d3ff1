// The API, with the types of its description. `api.get('/api/v1/runs/{run}', { path: { run } })` gives a `Run`, or throws an `ApiError`.

import type { paths } from '$/api/schema';
import { ApiError, problemOf, unreachable } from './problem';

type Method = 'get' | 'put' | 'post' | 'delete' | 'patch';
type Operation<P extends keyof paths, M extends Method> = M extends keyof paths[P] ? NonNullable<paths[P][M]> : never;
/** Paths that have a method. */
export type PathOf<M extends Method> = { [P in keyof paths]: [Operation<P, M>] extends [never] ? never : P }[keyof paths];

type JsonOf<R> = R extends { content: { 'application/json': infer T } } ? T : never;
type Responses<O> = O extends { responses: infer R } ? R : never;
/** What a path gives when it works. */
export type Answer<P extends keyof paths, M extends Method> = JsonOf<
  Responses<Operation<P, M>>[keyof Responses<Operation<P, M>> & (200 | 201 | 202)]
>;
/** What a path takes as its body. */
export type Body<P extends keyof paths, M extends Method> =
  Operation<P, M> extends { requestBody?: infer B } ? JsonOf<NonNullable<B>> : never;
type PathArgs<O> = O extends { parameters: { path: infer A } } ? { path: A } : { path?: never };
type QueryArgs<O> = O extends { parameters: { query?: infer Q } } ? { query?: Q } : { query?: never };
type BodyArgs<P extends keyof paths, M extends Method> = [Body<P, M>] extends [never] ? { body?: never } : { body?: Body<P, M> };

export type Args<P extends keyof paths, M extends Method> = PathArgs<Operation<P, M>> &
  QueryArgs<Operation<P, M>> &
  BodyArgs<P, M> & { signal?: AbortSignal; headers?: Record<string, string> };
type Rest<A> = Partial<A> extends A ? [args?: A] : [args: A];

interface Loose {
  path?: Record<string, string | number>;
  query?: Record<string, unknown>;
  body?: unknown;
  signal?: AbortSignal;
  headers?: Record<string, string>;
}

/** In memory and nowhere else: a script that gets in finds nothing in storage. */
let csrf: string | undefined;
let signedOut: () => void = () => {};

export function setCsrf(token: string | undefined): void {
  csrf = token;
}

/** Called when the server says that nobody is signed in. */
export function onSignedOut(then: () => void): void {
  signedOut = then;
}

/** A path with its parameters filled in and its query. */
export function urlOf(path: string, args: Pick<Loose, 'path' | 'query'> = {}): string {
  const filled = path.replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(String(args.path?.[name] ?? '')));
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(args.query ?? {})) {
    if (value === undefined || value === null || value === '' || value === false) continue;
    for (const one of Array.isArray(value) ? value : [value]) query.append(name, String(one));
  }
  const text = query.toString();
  return text ? `${filled}?${text}` : filled;
}

/** Asks, and gives the answer of a success whatever it is made of. */
export async function request(method: string, path: string, args: Loose = {}): Promise<Response> {
  const headers: Record<string, string> = { accept: 'application/json', ...args.headers };
  if (method !== 'get' && csrf) headers['x-squall-csrf'] = csrf;
  if (args.body !== undefined) headers['content-type'] = 'application/json';
  const init: RequestInit = { method: method.toUpperCase(), headers, credentials: 'same-origin', cache: 'no-store' };
  if (args.body !== undefined) init.body = JSON.stringify(args.body);
  if (args.signal) init.signal = args.signal;
  let response: Response;
  try {
    response = await fetch(urlOf(path, args), init);
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') throw error;
    throw unreachable();
  }
  if (response.ok) return response;
  const error = await problemOf(response);
  // A wrong password is a 401 too, and no reason to sign anybody out.
  if (error.status === 401 && !(path === '/api/v1/session' && method === 'post')) signedOut();
  throw error;
}

async function call<P extends keyof paths, M extends Method>(method: M, path: P, args?: Args<P, M>): Promise<Answer<P, M>> {
  const response = await request(method, path, args as Loose);
  const type = response.headers.get('content-type') ?? '';
  // Answers without a body have no type to be given as: `Answer` is `never` there, and nobody uses it.
  if (response.status === 204 || !type.includes('json')) return undefined as Answer<P, M>;
  return (await response.json()) as Answer<P, M>;
}

export const api = {
  get: <P extends PathOf<'get'>>(path: P, ...[args]: Rest<Args<P, 'get'>>) => call('get', path, args),
  post: <P extends PathOf<'post'>>(path: P, ...[args]: Rest<Args<P, 'post'>>) => call('post', path, args),
  put: <P extends PathOf<'put'>>(path: P, ...[args]: Rest<Args<P, 'put'>>) => call('put', path, args),
  delete: <P extends PathOf<'delete'>>(path: P, ...[args]: Rest<Args<P, 'delete'>>) => call('delete', path, args),
  patch: <P extends PathOf<'patch'>>(path: P, ...[args]: Rest<Args<P, 'patch'>>) => call('patch', path, args),
};

/** Every item of a list that comes in pages, up to `most`. */
export async function all<T>(
  page: (after: string | undefined) => Promise<{ items: T[]; next?: string | null }>,
  most = 5000,
): Promise<T[]> {
  const items: T[] = [];
  let after: string | undefined;
  do {
    const part = await page(after);
    items.push(...part.items);
    after = part.next ?? undefined;
  } while (after !== undefined && items.length < most);
  return items;
}

export { ApiError };
