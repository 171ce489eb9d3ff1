import { describe, expect, it } from 'vitest';

import { refusal } from './refused';

describe('refusal', () => {
  it('says what happened and what to do', () => {
    const { problem } = refusal('no-role');
    expect(problem.detail).toContain('none of your groups has a role');
    expect(problem.hint).toContain('ask');
  });

  it('shows nothing of a word that the server does not say', () => {
    for (const word of ['', 'call 0800 for help', '<b>', 'constructor', '__proto__']) {
      expect(refusal(word).problem.detail).toBe('the server could not sign you in');
    }
  });
});
