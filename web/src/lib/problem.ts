// Errors of the API (RFC 9457), and those of the way to it, as one thing that a page can show.

import type { components } from '$/api/schema';

export type Problem = components['schemas']['Problem'];
export type FieldError = components['schemas']['FieldError'];

/** Why a request was not done. */
export class ApiError extends Error {
  readonly problem: Problem;

  constructor(problem: Problem) {
    super(problem.detail ?? problem.title);
    this.name = 'ApiError';
    this.problem = problem;
  }

  get status(): number {
    return this.problem.status;
  }

  /** Nothing answered: it may work in a moment. */
  get unreachable(): boolean {
    return this.problem.status === 0;
  }
}

export function unreachable(): ApiError {
  return new ApiError({
    type: '/problems/unreachable',
    title: 'The server does not answer',
    status: 0,
    detail: 'the server cannot be reached',
    hint: 'this page asks again by itself; faults on hosts end with their leases even if the server stays away',
  });
}

function isProblem(body: unknown): body is Problem {
  return typeof body === 'object' && body !== null && 'title' in body && 'status' in body;
}

/** The problem of an answer that is not a success. */
export async function problemOf(response: Response): Promise<ApiError> {
  const body: unknown = await response.json().catch(() => null);
  if (isProblem(body)) return new ApiError(body);
  return new ApiError({ type: 'about:blank', title: `The server answered ${response.status}`, status: response.status });
}

/** Whatever was thrown, as an error to show. */
export function asError(thrown: unknown): ApiError {
  if (thrown instanceof ApiError) return thrown;
  const detail = thrown instanceof Error ? thrown.message : String(thrown);
  return new ApiError({ type: 'about:blank', title: 'The console failed', status: -1, detail, hint: 'reload the page' });
}
