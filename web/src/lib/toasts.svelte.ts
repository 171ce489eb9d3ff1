// Short messages that go by themselves; errors stay until they are closed.

import { asError } from './problem';

export interface Toast {
  id: number;
  kind: 'good' | 'bad' | 'info';
  text: string;
  hint?: string;
}

class Toasts {
  list = $state<Toast[]>([]);
  #next = 1;

  add(kind: Toast['kind'], text: string, hint?: string): void {
    const id = this.#next++;
    this.list.push(hint ? { id, kind, text, hint } : { id, kind, text });
    if (kind !== 'bad') setTimeout(() => this.close(id), 6000);
  }

  good(text: string): void {
    this.add('good', text);
  }

  /** Whatever was thrown. */
  bad(thrown: unknown): void {
    const { problem } = asError(thrown);
    this.add('bad', problem.detail ?? problem.title, problem.hint ?? undefined);
  }

  close(id: number): void {
    this.list = this.list.filter((toast) => toast.id !== id);
  }
}

export const toasts = new Toasts();
