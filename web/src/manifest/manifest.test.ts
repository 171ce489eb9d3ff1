import { readFileSync, readdirSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { check } from './check';
import { explain, positionAt, suggestions } from './complete';
import { append, edit, move, place, read, rename } from './document';
import { fill, mask, mentions, parametersOf, unmask } from './mask';
import { pathText, type Schema } from './schema';

const root = new URL('../../../', import.meta.url).pathname;
const schema = JSON.parse(readFileSync(`${root}docs/reference/experiment.schema.json`, 'utf8')) as Schema;
const library = readdirSync(`${root}library`).filter((name) => name.endsWith('.yaml'));
const text = (name: string) => readFileSync(`${root}library/${name}`, 'utf8');

const SMALL = `# Why we do this.
apiVersion: squall.dev/v1
kind: Experiment
metadata:
  name: small # a short name
spec:
  hypothesis:
    statement: It answers.
    probes:
      - name: up
        http: { url: "http://127.0.0.1:8080/" }
        expect: { eq: 200 }
  method:
    - fault: process.pause
      target: { process: { name: payments } }
      for: 10s
`;

/** What is offered at \`|\`. */
function offered(marked: string): string[] {
  const cursor = marked.indexOf('|');
  const position = positionAt(marked.replace('|', ''), cursor);
  return position ? suggestions(schema, position).map((one) => one.label) : [];
}

describe('parameters', () => {
  test('a masked text is as long as before and comes back as it was', () => {
    for (const name of library) {
      expect(mask(text(name))).toHaveLength(text(name).length);
      expect(unmask(mask(text(name)))).toBe(text(name));
    }
  });

  test('parameters are found in order, with the first default that is written', () => {
    expect(parametersOf('a: ${x}\nb: ${y:-2}\nc: ${x:-1}\nd: $${no}')).toEqual([
      { name: 'x', fallback: '1' },
      { name: 'y', fallback: '2' },
    ]);
    expect(mentions('${x}')).toBe(true);
    expect(mentions('${not a name}')).toBe(false);
    expect(fill('a: ${x}, ${y:-2}, ${x:-1}', { y: '3' })).toBe('a: 1, 3, 1');
  });
});

describe('the schema', () => {
  test.each(library)('every experiment of the library is right: %s', (name) => {
    const reading = read(text(name));
    expect(reading.errors).toEqual([]);
    expect(check(schema, reading.value).map((issue) => `${pathText(issue.path)}: ${issue.message}`)).toEqual([]);
  });

  test.each([
    ['fault: process.pause', 'fault: process.pose', 'spec.method[0].fault', 'did you mean `process.pause`'],
    ['for: 10s', 'for: 10', 'spec.method[0].for', 'a time with its unit'],
    ['for: 10s', 'fro: 10s', 'spec.method[0].fro', 'did you mean `for`'],
    ['statement: It answers.', 'statement: [1]', 'spec.hypothesis.statement', 'a text'],
    ['name: small', 'title: small', 'metadata', '`name` is missing'],
    ['{ eq: 200 }', '{ eq: 200, lt: 3 }', 'spec.hypothesis.probes[0].expect', 'only one of these'],
    ['{ process: { name: payments } }', '{ process: { nam: payments } }', 'spec.method[0].target.process.nam', 'did you mean `name`'],
    ['{ process: { name: payments } }', '{ select: one }', 'spec.method[0].target', 'one of these is needed'],
    ['{ process: { name: payments } }', '{ process: {}, select: { percent: 300 } }', 'spec.method[0].target.select.percent', 'percentage'],
    ['      for: 10s', '      with: { signal: 3 }\n      for: 10s', 'spec.method[0].with.signal', 'not a field here'],
  ])('finds what is wrong with %s → %s', (from, to, path, message) => {
    const found = check(schema, read(SMALL.replace(from, to)).value);
    expect(found.map((issue) => pathText(issue.path))).toContain(path);
    expect(found.map((issue) => issue.message).join('\n')).toContain(message);
  });

  test('a mistake is marked where it is', () => {
    const broken = SMALL.replace('for: 10s', 'for: 10');
    const [issue] = check(schema, read(broken).value);
    const { from, to } = place(read(broken), issue?.path ?? [], issue?.key);
    expect(broken.slice(from, to)).toBe('10');
    expect(place(read(broken), ['spec', 'method', 0, 'nothing'])).not.toEqual({ from: 0, to: 1 });
  });
});

describe('completion', () => {
  test('fields are offered by where the cursor is, without those that are there', () => {
    expect(offered(SMALL.replace('      for: 10s', '      |'))).toEqual(expect.arrayContaining(['for', 'with', 'after']));
    expect(offered(SMALL.replace('      for: 10s', '      |'))).not.toContain('target');
    expect(offered(SMALL.replace('  method:', '  |\n  method:'))).toEqual(expect.arrayContaining(['guards', 'steady', 'recovery']));
    expect(offered(SMALL.replace('{ eq: 200 }', '{ | }'))).toEqual(expect.arrayContaining(['lt', 'between', 'for']));
    expect(offered(`${SMALL}    - |`)).toEqual(expect.arrayContaining(['fault', 'wait', 'parallel']));
    expect(offered(`${SMALL}    - fau|`)).toContain('fault');
  });

  test('the arguments of a fault are those of its kind', () => {
    const step = SMALL.replace('process.pause', 'network.latency').replace('for: 10s', 'with: { | }');
    expect(offered(step)).toEqual(expect.arrayContaining(['delay', 'jitter', 'scope']));
    const block = SMALL.replace('process.pause', 'network.latency').replace('for: 10s', 'with:\n        de|');
    expect(offered(block)).toEqual(expect.arrayContaining(['delay', 'jitter', 'scope']));
  });

  test('values are offered: kinds of fault, words, names of probes', () => {
    expect(offered(SMALL.replace('process.pause', 'pro|'))).toEqual(expect.arrayContaining(['process.pause', 'network.latency']));
    expect(offered(SMALL.replace('{ process: { name: payments } }', '{ process: {}, select: | }'))).toEqual(
      expect.arrayContaining(['all', 'one']),
    );
    expect(offered(`${SMALL}  guards:\n    - probe: |\n`)).toEqual(['up']);
    const named = SMALL.replace('- fault: process.pause', '- name: it hangs\n      fault: process.pause');
    expect(offered(`${named}  compare:\n    - name: c\n      step: |\n`)).toEqual(['it hangs']);
  });

  test('nothing is offered in a comment', () => {
    expect(offered(SMALL.replace('# Why', '# W|hy'))).toEqual([]);
  });

  test('a key says what it means', () => {
    expect(explain(schema, SMALL, SMALL.indexOf('for: 10s') + 1)?.about).toContain('How long the fault is in force');
  });
});

describe('changes', () => {
  test('a value is replaced where it stands, and nothing else is touched', () => {
    expect(edit(SMALL, ['spec', 'method', 0, 'for'], '20s')).toBe(SMALL.replace('10s', '20s'));
    expect(edit(SMALL, ['metadata', 'name'], 'other')).toBe(SMALL.replace('name: small', 'name: other'));
    expect(edit(SMALL, ['spec', 'hypothesis', 'probes', 0, 'http', 'url'], 'http://x/')).toBe(
      SMALL.replace('http://127.0.0.1:8080/', 'http://x/'),
    );
    expect(edit(SMALL, ['spec', 'method', 0, 'target', 'process', 'name'], 'a, b')).toBe(SMALL.replace('name: payments', 'name: "a, b"'));
  });

  test('whatever is typed comes back as it was typed', () => {
    for (const value of [
      'a: b',
      '- x',
      '#',
      "it's",
      '"',
      'true',
      '12',
      '',
      ' x ',
      '${x}',
      '<b>&',
      'ü',
      'a\nb',
      '{',
      '%',
      '@',
      '`',
      'null',
      '~',
    ]) {
      const changed = edit(SMALL, ['spec', 'hypothesis', 'statement'], value);
      expect(read(changed).errors).toEqual([]);
      expect(read(changed).value).toMatchObject({ spec: { hypothesis: { statement: value } } });
      const inFlow = edit(SMALL, ['spec', 'method', 0, 'target', 'process', 'name'], value);
      expect(read(inFlow).errors).toEqual([]);
      expect(read(inFlow).value).toMatchObject({ spec: { method: [{ target: { process: { name: value } } }] } });
    }
  });

  test('comments and unknown fields outlive every change', () => {
    const own = SMALL.replace('  method:', '  myOwn: { kept: true } # mine\n  method:');
    for (const changed of [
      edit(own, ['spec', 'seed'], 3),
      edit(own, ['spec', 'method', 0, 'for'], undefined),
      append(own, ['spec', 'method'], { wait: '3s' }),
      append(own, ['spec', 'guards'], { probe: 'up', abort: { lt: 1 } }),
      rename(own, ['spec', 'method', 0, 'target', 'process'], 'container'),
      move(append(own, ['spec', 'method'], { wait: '3s' }), ['spec', 'method'], 1, 0),
    ]) {
      for (const kept of ['# Why we do this.', '# a short name', 'myOwn: { kept: true } # mine', '"http://127.0.0.1:8080/"'])
        expect(changed).toContain(kept);
      expect(read(changed).errors).toEqual([]);
    }
  });

  test('what is not there yet is made', () => {
    expect(read(edit('', ['spec', 'method', 0, 'for'], '3s')).value).toEqual({ spec: { method: [{ for: '3s' }] } });
    expect(read(edit('spec:\n', ['spec', 'seed'], 1)).value).toEqual({ spec: { seed: 1 } });
    expect(read(append('spec: {}\n', ['spec', 'method'], { wait: '1s' })).value).toEqual({ spec: { method: [{ wait: '1s' }] } });
  });

  test.each(library)('changing a value of the library keeps everything else of the text: %s', (name) => {
    const before = text(name);
    const after = edit(before, ['metadata', 'name'], 'another');
    expect(after).toBe(before.replace(/^( {2}name: ).*$/m, '$1another'));
    // A change of structure writes the whole text anew: it says the same.
    const added = edit(before, ['spec', 'seed'], 7);
    expect(read(edit(added, ['spec', 'seed'], undefined)).value).toEqual(read(before).value);
    expect(parametersOf(added)).toEqual(parametersOf(before));
  });
});
