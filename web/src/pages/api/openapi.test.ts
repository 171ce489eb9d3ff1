import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { curl, entries, named, typeOf, type Description } from './openapi';

const description = JSON.parse(readFileSync('../docs/reference/openapi.json', 'utf8')) as Description;
const schemas = description.components?.schemas ?? {};

test('every operation of the API is shown, under its tag', () => {
  const shown = [...entries(description).values()].flat();
  const there = Object.values(description.paths).flatMap((path) => Object.keys(path).filter((key) => key !== 'parameters'));
  expect(shown.length).toBe(there.length);
  expect(shown.every((entry) => entry.tag !== 'other' && entry.operation.summary)).toBe(true);
});

test('types are words, and every name leads to a type', () => {
  expect(typeOf({ $ref: '#/components/schemas/Run' })).toBe('Run');
  expect(typeOf({ type: ['string', 'null'], format: 'date-time' })).toBe('string (date-time) or null');
  expect(typeOf({ type: 'array', items: { $ref: '#/components/schemas/Run' } })).toBe('list of Run');
  const start = description.paths['/api/v1/runs']?.['post'];
  const names = named(start?.requestBody?.content['application/json']?.schema, schemas);
  expect(names[0]).toBe('NewRun');
  expect(names.every((name) => name in schemas)).toBe(true);
});

test('a line for the shell has the method, the token and the body', () => {
  const [entry] = (entries(description).get('runs') ?? []).filter((one) => one.method === 'post' && one.path === '/api/v1/runs');
  expect(entry && curl(entry, 'https://squall.example')).toBe(
    `curl -X POST -H "Authorization: Bearer $SQUALL_TOKEN" -H 'Content-Type: application/json' -d @body.json 'https://squall.example/api/v1/runs'`,
  );
});
