// Server-sent events by `fetch`: unlike `EventSource` it can begin after an event that is known already, and sees why it was refused.

import { request } from './client';
import { asError, type ApiError } from './problem';

export interface LiveEvent {
  id: string;
  event: string;
  data: string;
}

/** Splits a stream of text into events (WHATWG HTML, 9.2.6). */
export class EventParser {
  #rest = '';
  #id = '';
  #event = '';
  #data: string[] = [];

  push(text: string): LiveEvent[] {
    const found: LiveEvent[] = [];
    const lines = (this.#rest + text).split(/\r\n|\n|\r/);
    this.#rest = lines.pop() ?? '';
    for (const line of lines) {
      if (line === '') {
        if (this.#data.length > 0) found.push({ id: this.#id, event: this.#event || 'message', data: this.#data.join('\n') });
        this.#event = '';
        this.#data = [];
      } else if (!line.startsWith(':')) {
        const colon = line.indexOf(':');
        const field = colon < 0 ? line : line.slice(0, colon);
        const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
        if (field === 'data') this.#data.push(value);
        else if (field === 'event') this.#event = value;
        else if (field === 'id') this.#id = value;
      }
    }
    return found;
  }
}

export type LiveState = 'connecting' | 'live' | 'waiting' | 'ended' | 'refused';

export interface LiveOptions {
  /** Go on after this event. */
  last?: string | undefined;
  /** Events that came together, in order. */
  onEvents: (events: LiveEvent[]) => void;
  onState?: (state: LiveState, error?: ApiError) => void;
  /** Whether the end of the stream is the end of all: else it is opened again. */
  isOver?: () => boolean;
}

/** Times between tries, in milliseconds: soon at first, so that a server's restart is hardly seen. */
const WAITS = [200, 400, 800, 1500, 3000, 5000];

/** Follows a stream until it is over or the returned function is called. Cut off, it goes on after the last event that came. */
export function follow(path: string, options: LiveOptions): () => void {
  const stop = new AbortController();
  const tell = options.onState ?? (() => {});
  let last = options.last;
  let failures = 0;

  /** Nobody looks: the connection is given back, as a browser has few of them to a server (six, by HTTP/1.1). */
  let away = new AbortController();
  function hidden(): void {
    if (document.hidden) away.abort();
  }
  async function looked(): Promise<void> {
    while (document.hidden && !stop.signal.aborted) {
      await new Promise((resolve) => document.addEventListener('visibilitychange', resolve, { once: true }));
    }
    away = new AbortController();
  }

  async function once(): Promise<void> {
    const headers: Record<string, string> = { accept: 'text/event-stream' };
    if (last !== undefined) headers['last-event-id'] = last;
    const response = await request('get', path, { headers, signal: AbortSignal.any([stop.signal, away.signal]) });
    tell('live');
    failures = 0;
    const parser = new EventParser();
    const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const part = await reader?.read();
      if (!part || part.done) return;
      const events = parser.push(part.value);
      const newest = events.at(-1);
      if (newest) {
        if (newest.id !== '') last = newest.id;
        options.onEvents(events);
      }
    }
  }

  async function keep(): Promise<void> {
    while (!stop.signal.aborted) {
      try {
        await looked();
        tell('connecting');
        await once();
        if (options.isOver?.()) return tell('ended');
      } catch (thrown) {
        if (stop.signal.aborted) return;
        if (away.signal.aborted) continue;
        const error = asError(thrown);
        // Nothing will change by asking again.
        if (error.status === 401 || error.status === 403 || error.status === 404) return tell('refused', error);
      }
      tell('waiting');
      const wait = WAITS[Math.min(failures, WAITS.length - 1)] ?? 5000;
      failures += 1;
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }

  document.addEventListener('visibilitychange', hidden);
  void keep();
  return () => {
    document.removeEventListener('visibilitychange', hidden);
    stop.abort();
  };
}
