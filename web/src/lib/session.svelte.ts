// Who is signed in, and what they may do.

import type { components } from '$/api/schema';
import { api, onSignedOut, setCsrf } from './client';
import { asError, type ApiError } from './problem';
import { refusal } from './refused';
import { router } from './router.svelte';

export type Whoami = components['schemas']['Whoami'];
export type Role = components['schemas']['Role'];

class Session {
  /** `undefined` before it is known, `null` when nobody is signed in. */
  who = $state.raw<Whoami | null | undefined>(undefined);
  /** Why it is not known. */
  error = $state.raw<ApiError | undefined>(undefined);
  /** Why a provider's sign-in led back here. */
  refused = $state.raw<ApiError | undefined>(undefined);

  constructor() {
    const word = router.query.get('refused');
    if (word !== null) {
      this.refused = refusal(word);
      router.setQuery({ refused: undefined });
    }
    onSignedOut(() => this.set(null));
  }

  set(who: Whoami | null): void {
    setCsrf(who?.csrf ?? undefined);
    this.error = undefined;
    this.who = who;
  }

  async find(): Promise<void> {
    try {
      this.set(await api.get('/api/v1/session'));
    } catch (thrown) {
      const error = asError(thrown);
      if (error.status !== 401) this.error = error;
    }
  }

  async signIn(user: string, password: string): Promise<void> {
    this.set(await api.post('/api/v1/session', { body: { user, password } }));
  }

  async signOut(): Promise<void> {
    await api.delete('/api/v1/session');
    this.set(null);
  }

  /** Whether they have a role, or one that has all of it. */
  may(role: Role): boolean {
    return this.who?.roles.some((has) => has === role || has === 'admin' || role === 'viewer') ?? false;
  }
}

export const session = new Session();
