// The red button: what it does, and whether everything is stopped. One for the whole console.

import type { components } from '$/api/schema';
import { api } from './client';

export type Stopped = components['schemas']['Stopped'];

class Stop {
  /** Who stopped everything; `undefined` where nothing is stopped. */
  by = $state<string | undefined>(undefined);

  async look(signal?: AbortSignal): Promise<void> {
    const state = await api.get('/api/v1/stop', signal ? { signal } : {});
    this.by = state.by ?? undefined;
  }

  async press(reason: string, block: boolean): Promise<Stopped> {
    const stopped = await api.post('/api/v1/stop', { body: { reason: reason || null, block } });
    await this.look().catch(() => {});
    return stopped;
  }

  async lift(): Promise<void> {
    await api.delete('/api/v1/stop');
    this.by = undefined;
  }
}

export const stop = new Stop();
