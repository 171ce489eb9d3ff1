import { defineConfig } from 'vitest/config';

// Driven tests: a real server and real agents, and a real Chromium. `SQUALL` is the program, by default the debug build.
export default defineConfig({
  test: {
    root: new URL('.', import.meta.url).pathname,
    include: ['*.test.ts'],
    fileParallelism: false,
    testTimeout: 240_000,
    hookTimeout: 120_000,
  },
});
