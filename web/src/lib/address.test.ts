import { expect, test } from 'vitest';
import { webAddress } from './address';

test('only addresses of the web become links', () => {
  expect(webAddress('https://wiki.example/runbooks/payments')).toBe('https://wiki.example/runbooks/payments');
  for (const text of [
    'javascript:alert(1)',
    ' javascript:alert(1)',
    'data:text/html,<b>',
    'wiki/runbook',
    '',
    null,
    undefined,
    'vbscript:x',
    'blob:https://x',
  ]) {
    expect(webAddress(text)).toBeUndefined();
  }
});
