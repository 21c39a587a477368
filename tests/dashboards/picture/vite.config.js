// One page with everything in it, read from a file: no server.
export default {
  base: './',
  build: { outDir: 'dist', minify: false, target: 'es2022', chunkSizeWarningLimit: 1e6, modulePreload: false },
  define: { 'process.env.NODE_ENV': '"production"', 'process.env': '{}', global: 'globalThis' },
  oxc: { jsx: { runtime: 'automatic' } },
};
