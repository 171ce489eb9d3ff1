import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';

import { svelte } from '@sveltejs/vite-plugin-svelte';
import type { Plugin } from 'vite';
import { defineConfig } from 'vitest/config';

// `npm run dev` asks a server that runs beside it: `squall server`.
const server = process.env['SQUALL_SERVER'] ?? 'http://127.0.0.1:7440';

/** Writes each text a second and third time, compressed: the server sends what the browser takes, and compresses nothing itself. */
function compressed(): Plugin {
  let dist = '';
  return {
    name: 'compressed',
    apply: 'build',
    configResolved(config) {
      dist = resolve(config.root, config.build.outDir);
    },
    closeBundle() {
      for (const entry of readdirSync(dist, { recursive: true, withFileTypes: true })) {
        if (!entry.isFile() || !/\.(js|css|html|svg|json)$/.test(entry.name)) continue;
        const path = join(entry.parentPath, entry.name);
        const text = readFileSync(path);
        if (text.length < 1024) continue;
        writeFileSync(`${path}.br`, brotliCompressSync(text, { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } }));
        writeFileSync(`${path}.gz`, gzipSync(text, { level: 9 }));
      }
    },
  };
}

export default defineConfig({
  plugins: [svelte(), compressed()],
  resolve: { alias: { $: new URL('./src', import.meta.url).pathname } },
  server: { proxy: { '/api': { target: server, changeOrigin: true } } },
  build: {
    emptyOutDir: true,
    target: 'es2022',
    // The policy of the server allows files of its own only: nothing is put into the page as `data:` but pictures.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    chunkSizeWarningLimit: 700,
  },
  test: { include: ['src/**/*.test.ts'] },
});
