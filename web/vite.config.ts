import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vitest/config';

// `npm run dev` asks a server that runs beside it: `squall server`.
const server = process.env['SQUALL_SERVER'] ?? 'http://127.0.0.1:7440';

export default defineConfig({
  plugins: [svelte()],
  resolve: { alias: { $: new URL('./src', import.meta.url).pathname } },
  server: { proxy: { '/api': { target: server, changeOrigin: true } } },
  build: {
    target: 'es2022',
    // The policy of the server allows files of its own only: nothing is put into the page as `data:` but pictures.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    chunkSizeWarningLimit: 700,
  },
  test: { include: ['src/**/*.test.ts'] },
});
