import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { check } from './check';
import { blank, faultStep, group, label, likelyTarget, shapeOf, typed, widget } from './form';
import { choices, conditioned, pathText, resolve, type Schema } from './schema';

const root = new URL('../../../', import.meta.url).pathname;
const schema = JSON.parse(readFileSync(`${root}docs/reference/experiment.schema.json`, 'utf8')) as Schema;
const step: Schema = { $ref: '#/$defs/Step' };
const faults = choices(resolve(schema, step).properties?.['fault'] ?? {})?.map((word) => word.value) ?? [];

describe('a form', () => {
  test('there are faults to make forms of', () => {
    expect(faults.length).toBeGreaterThan(80);
  });

  test.each(faults)('every argument of %s has a field, all the way down', (fault) => {
    const withFault = conditioned(schema, step, { fault });
    const walk = (inner: Schema, depth: number): void => {
      const shown = widget(schema, inner, undefined);
      expect(shown.kind).toBeTruthy();
      if (depth > 4) return;
      if (shown.kind === 'group') {
        const { fields, one } = group(schema, inner, {});
        for (const field of [...fields, ...(one?.keys ?? [])]) {
          expect(field.label).not.toBe('');
          walk(field.schema, depth + 1);
        }
      }
      if (shown.kind === 'list') walk(shown.items, depth + 1);
      if (shown.kind === 'map') walk(shown.values, depth + 1);
      if (shown.kind === 'either') {
        expect(shown.options.length).toBeGreaterThan(1);
        expect(new Set(shown.options.map((option) => option.label)).size).toBe(shown.options.length);
        for (const option of shown.options) {
          expect(shapeOf(shown.options, blank(schema, option.schema))).toBeGreaterThanOrEqual(0);
          walk(option.schema, depth + 1);
        }
      }
    };
    walk(withFault.properties?.['with'] ?? {}, 0);
  });

  test.each(faults)('a new step with %s begins as one that the schema takes', (fault) => {
    const begun = faultStep(schema, fault, likelyTarget(fault));
    const manifest = {
      apiVersion: 'squall.dev/v1',
      kind: 'Experiment',
      metadata: { name: 'x' },
      spec: { hypothesis: { statement: 's', probes: [] }, method: [begun] },
    };
    expect(check(schema, manifest).map((issue) => `${pathText(issue.path)}: ${issue.message}`)).toEqual([]);
  });

  test.each(faults)('a monkey can be given %s by its form, too', (fault) => {
    const monkey = JSON.parse(readFileSync(`${root}docs/reference/monkey.schema.json`, 'utf8')) as Schema;
    const target = likelyTarget(fault);
    const spec = { groups: [{ name: 'all' }], faults: [{ ...faultStep(monkey, fault, target), target }] };
    const found = check(monkey, { apiVersion: 'squall.dev/v1', kind: 'Monkey', metadata: { name: 'x' }, spec });
    expect(found.map((issue) => `${pathText(issue.path)}: ${issue.message}`)).toEqual([]);
  });

  test('a probe, a target and an expectation are one of several', () => {
    const probe = group(schema, { $ref: '#/$defs/Probe' }, { name: 'x', http: {} });
    expect(probe.one?.chosen).toBe('http');
    expect(probe.one?.keys.map((key) => key.name)).toContain('tcp');
    expect(probe.fields.map((field) => field.name)).toEqual(['name', 'expect', 'every', 'timeout']);
    expect(group(schema, { $ref: '#/$defs/Target' }, {}).one?.chosen).toBeUndefined();
  });

  test('shapes are told apart by their value', () => {
    const select = widget(schema, { $ref: '#/$defs/Select' }, undefined);
    if (select.kind !== 'either') throw new Error(select.kind);
    const labels = select.options.map((option) => option.label);
    const shape = (value: unknown) => labels[shapeOf(select.options, value)];
    expect([shape('all'), shape({ count: 3 }), shape({ percent: '30%' }), shape(undefined)]).toEqual([
      'all',
      'count',
      'percent',
      undefined,
    ]);
  });

  test('what is typed becomes a number only where one may be', () => {
    expect([typed('503', true), typed('503', false), typed('5s', true), typed('true', true), typed('007', true)]).toEqual([
      503,
      '503',
      '5s',
      true,
      '007',
    ]);
    expect([label('maxInFlight'), label('url'), label('httpUrl'), label('within')]).toEqual(['Max in flight', 'URL', 'HTTP URL', 'Within']);
  });

  test('new items of a list begin as something that can be understood', () => {
    expect(blank(schema, { $ref: '#/$defs/Guard' })).toMatchObject({ probe: '' });
    expect(blank(schema, { $ref: '#/$defs/Probe' })).toMatchObject({ name: '' });
    expect(Object.keys(blank(schema, { $ref: '#/$defs/Traffic' }) as object)).toEqual(expect.arrayContaining(['name', 'rate', 'http']));
  });
});
