// What a run would touch: asked of the server while somebody writes.

import type { Body } from '$/lib/client';
import { request } from '$/lib/client';
import { asError, type ApiError } from '$/lib/problem';

/** Squall's `Preview`: the answer of `POST /runs/plan`. */
export interface Preview {
  steps: StepPreview[];
  /** The longest time that the method takes if nothing hangs. */
  longest: string;
}

export interface StepPreview {
  name: string;
  path: string;
  fault: string;
  duration?: string | null;
  matched: number;
  protected: number;
  targets: TargetPreview[];
  /** Labels of the control group, which nothing touches. */
  control?: string[];
  refusals: string[];
  /** The rule that wants the most people to approve the run, where one does. */
  approvals?: { policy: string; rule: string; wanted: number; have: number };
}

export interface TargetPreview {
  id: string;
  label: string;
  changes: { what: string; mechanism: string; undo: string }[];
  claims: string[];
  irreversible: boolean;
}

export type RunBody = Body<'/api/v1/runs/plan', 'post'>;

/** Asks for a plan. */
export async function planOf(body: RunBody, signal: AbortSignal): Promise<Preview> {
  const response = await request('post', '/api/v1/runs/plan', { body, signal });
  return (await response.json()) as Preview;
}

/** A plan that follows what somebody writes. */
export class Planner {
  preview = $state.raw<Preview | undefined>();
  error = $state.raw<ApiError | undefined>();
  asking = $state(false);
  #abort: AbortController | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** Asks soon, once nothing has changed for a moment. `told` hears what the server said of the text. */
  ask(body: RunBody, told: (error?: ApiError) => void): void {
    this.stop();
    this.asking = true;
    this.#timer = setTimeout(() => void this.#now(body, told), 400);
  }

  async #now(body: RunBody, told: (error?: ApiError) => void): Promise<void> {
    const abort = new AbortController();
    this.#abort = abort;
    try {
      const preview = await planOf(body, abort.signal);
      if (abort.signal.aborted) return;
      this.preview = preview;
      this.error = undefined;
      told();
    } catch (thrown) {
      if (abort.signal.aborted) return;
      this.error = asError(thrown);
      told(this.error);
    }
    this.asking = false;
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#abort?.abort();
    this.asking = false;
  }
}
