import { describe, expect, it, vi } from 'vitest';

vi.stubGlobal('location', { pathname: '/', search: '', origin: 'http://squall' });
vi.stubGlobal('addEventListener', () => {});
const { match } = await import('./router.svelte');

describe('paths', () => {
  it('give their parameters, decoded', () => {
    expect(match('/runs/:run', '/runs/a-1')).toEqual({ params: { run: 'a-1' } });
    expect(match('/x/:name/edit', '/x/a%20b/edit/')).toEqual({ params: { name: 'a b' } });
  });

  it('that are longer, shorter, other or broken match nothing', () => {
    const given = ['/runs', '/runs/1/2', '/hosts/1', '/runs/%E0%A4%A'];
    expect(given.map((path) => match('/runs/:run', path))).toEqual([undefined, undefined, undefined, undefined]);
  });
});
